"""Signals, updates and queries of one run: which handler, in what order, by what rules."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import warnings
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hotmesh.converter import encode_failure
from hotmesh.core import kinds
from hotmesh.engine import failures, wire
from hotmesh.engine.definition import (
    HandlerUnfinishedPolicy,
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    check_argument_count,
    takes_raw_values,
)
from hotmesh.engine.failures import Event
from hotmesh.engine.info import (
    ReadOnlyContextError,
    UnfinishedSignalHandlersWarning,
    UnfinishedUpdateHandlersWarning,
    UpdateInfo,
)
from hotmesh.engine.verdict import Verdict, verdict_of
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    ConversionError,
    HotMeshError,
    PayloadTooLargeError,
)
from hotmesh.limits import ANSWER_KEPT_BYTES, BATCH_BYTES_MAX
from hotmesh.printing import message_of

if TYPE_CHECKING:
    from hotmesh.engine.instance import WorkflowInstance

logger = logging.getLogger(__name__)

current_update: contextvars.ContextVar[UpdateInfo | None] = contextvars.ContextVar(
    "hotmesh_current_update", default=None
)

_RUNNING = 1
"""Status of an open run."""

UPDATE_JOURNALED = b"D"
"""The answer to who asks again for a large outcome: that it is in the journal."""

_BUILT_IN_QUERIES = ("__enhanced_stack_trace", "__stack_trace", "__temporal_workflow_metadata")


class _Update:
    """An update that was accepted, and whoever asked for its outcome."""

    __slots__ = ("outcome", "waiting")

    def __init__(self) -> None:
        self.outcome: bytes | None = None
        self.waiting: list[bytes] = []


class _LargeOutcomes:
    """The newest large outcomes of a run: kept for whoever asks for one just now."""

    def __init__(self) -> None:
        self._updates: deque[tuple[_Update, int]] = deque()
        self._bytes = 0

    def keep(self, update: _Update, size: int) -> None:
        """Keep another one, and of the others those that fit into a batch with it."""
        self._updates.append((update, size))
        self._bytes += size
        while self._bytes > BATCH_BYTES_MAX:
            oldest, size = self._updates.popleft()
            oldest.outcome = UPDATE_JOURNALED
            self._bytes -= size


class Incoming(NamedTuple):
    """A signal, query or update on its way to its handler."""

    name: str
    id: str
    """Of an update or query; "" for signals."""
    args: list[Any]
    """For the dynamic handler, the name comes first."""
    document: dict[str, Any]
    """What came with it; its key "h" holds headers."""


class Handlers:
    """The handlers of one run and what they have in hand."""

    _large: _LargeOutcomes
    """Made when first needed."""

    __slots__ = (
        "_buffered",
        "_instance",
        "_known_updates",
        "_large",
        "_working",
        "accepted_in_replay",
        "queries",
        "signals",
        "updates",
    )

    def __init__(self, instance: WorkflowInstance) -> None:
        self._instance = instance
        definition = instance.definition
        self.signals: dict[str | None, SignalDefinition] = dict(definition.signals)
        self.queries: dict[str | None, QueryDefinition] = dict(definition.queries)
        self.updates: dict[str | None, UpdateDefinition] = dict(definition.updates)
        self.accepted_in_replay: Collection[str] = ()
        self._buffered: list[Event] = []
        self._known_updates: dict[str, _Update] = {}
        self._working: dict[object, tuple[str, str, HandlerUnfinishedPolicy]] = {}
        """Handlers at work: kind, name or id, policy."""

    def all_finished(self) -> bool:
        """Whether no signal or update handler is at work."""
        return not self._working

    # Signals

    def on_signal(self, job: Event) -> None:
        """Deliver a signal, or keep it until it has a handler."""
        definition = self.signals.get(job[3]) or self.signals.get(None)
        if definition is None:
            self._buffered.append(job)
            return
        self._deliver(job, definition)

    def set_signal(self, name: str | None, definition: SignalDefinition | None) -> None:
        """Install or remove a handler; waiting signals it takes are delivered in order."""
        if definition is None:
            self.signals.pop(name, None)
            return
        self.signals[name] = definition
        kept: list[Event] = []
        for job in self._buffered:
            if name is None or job[3] == name:
                self._deliver(job, definition)
            else:
                kept.append(job)
        self._buffered = kept

    def _deliver(self, job: Event, definition: SignalDefinition) -> None:
        instance = self._instance
        name = job[3]
        try:
            document, body = wire.split_document(job[5])
            args = self._arguments(definition, name, body, f"signal {name!r}")
        except Exception:
            logger.exception(
                "Failed deserializing signal input for %s, dropping the signal",
                name,
                extra=instance.log_fields(),
            )
            return
        instance.loop.begin(
            self._run_signal(definition, Incoming(name, "", args, document)),
            name=f"signal: {name}",
        )

    async def _run_signal(self, definition: SignalDefinition, incoming: Incoming) -> None:
        key = object()
        self._working[key] = ("signal", incoming.name, definition.unfinished_policy)
        instance = self._instance
        try:
            result = instance.call_signal(definition, incoming)
            if definition.is_async or asyncio.iscoroutine(result):
                await result
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            instance.end_by(error)
        finally:
            self._working.pop(key, None)

    # Updates

    def on_update(self, job: Event) -> None:
        """Take an update in; it is accepted or rejected in its turn among the other handlers."""
        self._instance.loop.begin(self._handle_update(job), name=f"update: {job[3]}")

    async def _handle_update(self, job: Event) -> None:
        document, body = wire.split_document(job[5])
        update_id: str = document["id"]
        known = self._known_updates.get(update_id)
        if known is not None:
            self._attach(known, document)
            return
        if document.get("poll"):
            error = ApplicationError(f"update {update_id!r} not found", type="NotFound")
            self._reject(document, error)
            return
        if self._instance.is_replaying and update_id not in self.accepted_in_replay:
            return  # It was rejected, whatever the code says today.
        name = job[3]
        try:
            definition, args = self._admit(name, update_id, document, body)
        except ReadOnlyContextError as error:
            self._instance.fail_task(error)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            self._reject(document, error)
        else:
            known = self._known_updates[update_id] = _Update()
            self._instance.command((kinds.UPDATE_ACCEPTED, 0, 0, name, update_id.encode(), b""))
            self._attach(known, document)
            current_update.set(UpdateInfo(id=update_id, name=name))
            await self._run_update(definition, Incoming(name, update_id, args, document))

    def _admit(
        self, name: str, update_id: str, document: dict[str, Any], body: bytes
    ) -> tuple[UpdateDefinition, list[Any]]:
        """The handler and its arguments, or the error that rejects the update."""
        definition = self.updates.get(name) or self.updates.get(None)
        if definition is None:
            known_names = sorted(n for n in self.updates if n is not None)
            raise RuntimeError(
                f"Update handler for '{name}' expected but not found, and there is no dynamic "
                f"handler. known updates: [{' '.join(known_names)}]"
            )
        args = self._arguments(definition, name, body, f"update {name!r}")
        if not self._instance.is_replaying and definition.validator is not None:
            # With arguments of its own: what it may do to them is not seen by the handler.
            own = self._arguments(definition, name, body, f"update {name!r}")
            with self._read_only("update validator"):
                incoming = Incoming(name, update_id, own, document)
                self._instance.call_validator(definition, incoming)
        return definition, args

    async def _run_update(self, definition: UpdateDefinition, incoming: Incoming) -> None:
        name, update_id = incoming.name, incoming.id
        key = object()
        self._working[key] = ("update", f"{name} ({update_id})", definition.unfinished_policy)
        instance = self._instance
        known = self._known_updates[update_id]
        try:
            result = instance.call_update(definition, incoming)
            if definition.is_async or asyncio.iscoroutine(result):
                result = await result
            outcome = b"R" + self._encoded_result(result, name)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            verdict = verdict_of(error, instance.failure_types)
            if verdict in (Verdict.CONTINUED, Verdict.TASK_FAILED):
                instance.end_by(error)  # Who asked is told that the run ended before the update.
                return
            if isinstance(error, asyncio.CancelledError):
                error = CancelledError(message_of(error) or "Cancelled")
            outcome = b"F" + self._failure(error, f"update {name!r}")
        finally:
            self._working.pop(key, None)
        known.outcome = outcome
        if len(outcome) > ANSWER_KEPT_BYTES:
            self._keep_large(known, len(outcome))
        instance.command((kinds.UPDATE_COMPLETED, 0, 0, name, update_id.encode(), outcome))
        instance.replies += [(reply, outcome) for reply in known.waiting]
        known.waiting = []

    def _keep_large(self, update: _Update, size: int) -> None:
        if not hasattr(self, "_large"):
            self._large = _LargeOutcomes()
        self._large.keep(update, size)

    def _encoded_result(self, result: Any, name: str) -> bytes:
        """An update's result; whoever awaits it is told if it can't be stored.

        Raises:
            ApplicationError: It can't be serialised, or exceeds the limit.
        """
        try:
            return self._instance.encode([result], f"result of update {name!r}")
        except (ConversionError, PayloadTooLargeError) as error:
            raise ApplicationError(
                message_of(error), type=type(error).__name__, non_retryable=True
            ) from error

    def _failure(self, error: BaseException, what: str) -> bytes:
        instance = self._instance
        limit = instance.options.payload_limit
        return failures.stored_failure(instance.converter, error, limit, what)

    def _attach(self, known: _Update, document: dict[str, Any]) -> None:
        """Answer whoever asked: accepted now, the outcome now or later."""
        replies = self._instance.replies
        if "accepted" in document:
            replies.append((bytes.fromhex(document["accepted"]), b"A"))
        if "completed" in document:
            reply = bytes.fromhex(document["completed"])
            if known.outcome is None:
                known.waiting.append(reply)
            else:
                replies.append((reply, known.outcome))

    def _reject(self, document: dict[str, Any], error: BaseException) -> None:
        instance = self._instance
        failure = b"X" + self._failure(error, f"update {document['id']!r}")
        for key in ("accepted", "completed"):
            if key in document:
                instance.replies.append((bytes.fromhex(document[key]), failure))

    def unanswered(self) -> list[tuple[bytes, bytes]]:
        """Replies to updates that were accepted and will never end: the run has closed."""
        open_ones = [each for each in self._known_updates.values() if each.outcome is None]
        if not open_ones:
            return []
        error = ApplicationError(
            "Workflow Update failed because the Workflow completed before the Update completed.",
            type="AcceptedUpdateCompletedWorkflow",
        )
        outcome = b"F" + encode_failure(self._instance.converter, error)
        return [(reply, outcome) for known in open_ones for reply in known.waiting]

    # Queries

    def answer(self, queries: Sequence[Event]) -> None:
        """Answer queries until they have filled a batch; the rest is left for another activation.

        Nothing of it is recorded, so that it does not matter which activation that is.
        """
        size = 0
        for number, job in enumerate(queries, 1):
            size += self._answer_one(job)
            if size >= BATCH_BYTES_MAX:
                self._instance.unanswered = len(queries) - number
                return

    def _answer_one(self, job: Event) -> int:
        """Answer a query, in so many bytes."""
        instance = self._instance
        reply, name = job[4], job[3]
        try:
            document, body = wire.split_document(job[5])
            rejected = "reject" in document and self._is_rejected(document["reject"])
            if rejected:
                outcome = b"J" + bytes((instance.status,))
            else:
                outcome = b"R" + self._query(name, reply, document, body)
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            outcome = b"F" + self._failure(error, f"query {name!r}")
        instance.replies.append((reply, outcome))
        return len(outcome)

    def _is_rejected(self, condition: str) -> bool:
        status = self._instance.status
        if condition == "not_open":
            return status != _RUNNING
        return status not in (_RUNNING, kinds.CLOSE_STATUS[kinds.COMPLETE])

    def _query(self, name: str, reply: bytes, document: dict[str, Any], body: bytes) -> bytes:
        instance = self._instance
        what = f"result of query {name!r}"
        if name in ("__stack_trace", "__enhanced_stack_trace"):
            return instance.encode([instance.stack_trace()], what)
        if name == "__temporal_workflow_metadata":
            return instance.encode([self._metadata()], what)
        definition = self.queries.get(name) or self.queries.get(None)
        if definition is None:
            known = [*_BUILT_IN_QUERIES, *sorted(n for n in self.queries if n is not None)]
            raise RuntimeError(
                f"Query handler for '{name}' expected but not found, known queries: "
                f"[{' '.join(known)}]"
            )
        args = self._arguments(definition, name, body, f"query {name!r}")
        with self._read_only("query"):
            incoming = Incoming(name, reply.hex(), args, document)
            result = instance.call_query(definition, incoming)
            if asyncio.iscoroutine(result):
                result = _run_at_once(result, name)
        return instance.encode([result], what)

    def _metadata(self) -> dict[str, Any]:
        def shown(table: dict[Any, Any]) -> list[dict[str, str]]:
            return [
                {"name": name or "", "description": definition.description or ""}
                for name, definition in table.items()
            ]

        return {
            "definition": {
                "type": self._instance.details.workflow_type,
                "queryDefinitions": shown(self.queries),
                "signalDefinitions": shown(self.signals),
                "updateDefinitions": shown(self.updates),
            },
            "currentDetails": self._instance.current_details,
        }

    # Shared

    def bound(
        self, definition: SignalDefinition | QueryDefinition | UpdateDefinition
    ) -> Callable[..., Any]:
        """A handler, ready to be called with its arguments."""
        if definition.is_method:
            return definition.fn.__get__(self._instance.object)
        return definition.fn

    def bound_validator(self, definition: UpdateDefinition) -> Callable[..., None]:
        """An update's validator, ready to be called with its arguments."""
        assert definition.validator is not None
        if definition.is_method:
            return definition.validator.__get__(self._instance.object)
        return definition.validator

    def _arguments(
        self,
        definition: SignalDefinition | QueryDefinition | UpdateDefinition,
        name: str,
        body: bytes,
        what: str,
    ) -> list[Any]:
        instance = self._instance
        if definition.name is not None:
            values = instance.decode_arguments(body, definition.arg_types, False, False, what)
            check_argument_count(self.bound(definition), len(values), what)
            return values
        raw = takes_raw_values(definition.fn, is_method=definition.is_method)
        values = instance.decode_arguments(body, None, True, raw, what)
        return [name, *values]

    def _read_only(self, what: str) -> _ReadOnly:
        return _ReadOnly(self._instance, what)

    def warn_unfinished(self) -> None:
        """Warn of handlers that the closing run leaves behind, unless their policy says not to."""
        if self._known_updates:
            self._instance.replies += self.unanswered()
        if not self._working or self._instance.is_replaying:
            return
        left = [
            (kind, name)
            for kind, name, policy in self._working.values()
            if policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON
        ]
        for kind, category in (
            ("update", UnfinishedUpdateHandlersWarning),
            ("signal", UnfinishedSignalHandlersWarning),
        ):
            names = [name for found, name in left if found == kind]
            if names:
                warnings.warn(
                    f"[TMPRL1102] Workflow {self._instance.details.workflow_id} finished while "
                    f"{kind} handlers are still running: {', '.join(names)}. Wait for "
                    "workflow.all_handlers_finished() before returning, or set "
                    "unfinished_policy=HandlerUnfinishedPolicy.ABANDON.",
                    category,
                    stacklevel=2,
                )


class _ReadOnly:
    """While entered, the run refuses everything that would be recorded."""

    def __init__(self, instance: WorkflowInstance, what: str) -> None:
        self._instance = instance
        self._what = what
        self._made = instance.loop.made

    def __enter__(self) -> None:
        self._instance.read_only = self._what

    def __exit__(self, *_: object) -> None:
        self._instance.read_only = ""
        # It is not run again in a replay: what is made after it has the same number there.
        self._instance.loop.made = self._made


def _run_at_once(coroutine: Any, name: str) -> Any:
    """Run an async query, which may not wait for anything."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise HotMeshError(f"query {name!r} tried to wait; queries must answer at once")
