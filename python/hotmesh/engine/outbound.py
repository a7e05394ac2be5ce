"""What workflow code asks for, turned into commands."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from hotmesh import json_bytes
from hotmesh.common import Payload, Priority, RawValue, RetryPolicy, arg_or_args
from hotmesh.converter import DataConverter, body_to_payloads, decode_values, encode_values
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_options import ActivityOptions, activity_options
from hotmesh.engine.attributes import memo_document, search_document
from hotmesh.engine.contexts import RunContexts
from hotmesh.engine.definition import SignalDefinition
from hotmesh.engine.failures import Event
from hotmesh.engine.handles import ActivityHandle, ChildWorkflowHandle
from hotmesh.engine.info import (
    ActivityCancellationType,
    ChildWorkflowCancellationType,
    ParentClosePolicy,
)
from hotmesh.engine.loop import WorkflowLoop
from hotmesh.engine.options import (
    Duration,
    checked_name,
    checked_text,
    kept_seconds,
    milliseconds,
    refuse_cron,
    refuse_priority,
    retry_document,
)
from hotmesh.exceptions import (
    HotMeshError,
    InvalidArgumentError,
    UnknownActivityTypeError,
)
from hotmesh.topics import check_event

if TYPE_CHECKING:
    from hotmesh.engine.details import EngineOptions, RunDetails

_ACTIVITY = kinds.ACTIVITY


class ContinueAsNewError(BaseException):
    """Ends the run and starts the workflow anew; raised by ``workflow.continue_as_new``."""

    def __init__(self, command: Event) -> None:
        super().__init__("Continue as new")
        self.command = command


class Outbound:
    """The part of a workflow instance that issues commands."""

    __slots__ = ()

    schedules_directly = True
    """Whether nothing stands between workflow code and :meth:`schedule`."""

    details: RunDetails
    options: EngineOptions
    converter: DataConverter
    loop: WorkflowLoop
    pending: dict[int, Any]
    now_ms: int
    seq: int
    """Number of the newest command."""
    others: int
    """How many commands were no activities."""
    is_replaying: bool
    contexts: RunContexts | None
    read_only: str
    commands: list[Event]
    conditions: list[tuple[Callable[[], bool], asyncio.Future[None]]]

    if TYPE_CHECKING:

        def next_seq(self) -> int: ...
        def command(self, event: Event) -> None: ...
        def take_back(self, seq: int) -> bool: ...
        def check_writable(self, action: str) -> None: ...
        def within_limit(self, data: bytes, what: str) -> bytes: ...
        def converter_for(self, command: Event) -> DataConverter: ...
        @property
        def random(self) -> Any: ...

    # Values

    def encode(
        self, values: Sequence[Any], what: str, converter: DataConverter | None = None
    ) -> bytes:
        """The body of values, by the run's own converter if no other is given.

        Raises:
            ConversionError: a value can't be converted.
            PayloadTooLargeError: they exceed the worker's payload limit.
        """
        return self.within_limit(encode_values(converter or self.converter, values, what), what)

    def decode_arguments(
        self, body: bytes, types: list[Any] | None, dynamic: bool, raw: bool, what: str
    ) -> list[Any]:
        """The arguments of a body; raw values, in one list, for dynamic handlers that want them.

        Raises:
            ConversionError: they are not of these types; names ``what`` was called.
        """
        if not dynamic:
            return decode_values(self.converter, body, types, f"arguments of {what}")
        if raw:
            return [[RawValue(payload) for payload in body_to_payloads(body)]]
        return decode_values(self.converter, body, None, f"arguments of {what}")

    # Activities

    def start_activity(
        self,
        name: str,
        args: Sequence[Any],
        *,
        result_type: Any = None,
        task_queue: str | None = None,
        schedule_to_close: Duration | None = None,
        schedule_to_start: Duration | None = None,
        start_to_close: Duration | None = None,
        heartbeat: Duration | None = None,
        retry_policy: RetryPolicy | None = None,
        cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
        activity_id: str | None = None,
        summary: str | None = None,
        priority: Priority | None = None,
        local: bool = False,
        headers: Mapping[str, Payload] | None = None,
    ) -> ActivityHandle:
        """Schedule an activity."""
        if local and not self.is_replaying:
            self._check_hosted(name)
        given = (
            name,
            result_type,
            task_queue if task_queue != self.details.task_queue else None,
            schedule_to_close,
            schedule_to_start,
            start_to_close,
            heartbeat,
            int(cancellation_type),
            local,
        )
        try:
            options = activity_options(*given)
        except TypeError:  # not hashable, or no duration and no text either: say which
            options = activity_options.__wrapped__(*given)
        more = _more_options(name, retry_policy, activity_id, summary, priority)
        if more:
            text = json_bytes.dumps({**options.document, **more})
            self.within_limit(text, f"options of activity {name!r}")
            options = dataclasses.replace(options, text=text)
        return self.schedule(options, args, activity_id, headers)

    def _check_hosted(self, name: str) -> None:
        """Refuse a local activity that could never run here.

        Raises:
            UnknownActivityTypeError: Its worker does not host it.
        """
        if not self.options.hosts_activity(name):
            raise UnknownActivityTypeError(name, self.options.activity_types())

    def schedule(
        self,
        activity: ActivityOptions,
        args: Sequence[Any],
        activity_id: str | None = None,
        headers: Mapping[str, Payload] | None = None,
    ) -> ActivityHandle:
        """Schedule an activity whose options are written already."""
        if self.read_only:
            self.check_writable("start activity")
        text = activity.text
        seq = self.seq + 1
        if self.others and activity_id is None:
            # What else was asked for has numbers too: then the activity's own has to be said.
            number = seq - self.others
            activity_id = str(number)
            text = text[:-1] + (b',"id":"%d"}' if len(text) > 2 else b'"id":"%d"}') % number
        converter = self.converter
        if self.contexts is not None:
            converter = self.converter_for((kinds.ACTIVITY, seq, 0, activity.name, text, b""))
        body = encode_values(converter, args, activity.arguments_text)
        if len(body) > self.options.small_bytes:
            self.within_limit(body, activity.arguments_text)
        if headers:
            body = wire.join_document({"h": wire.pack_headers(headers)}, body)
        self.seq = seq
        self.commands.append((_ACTIVITY, seq, 0, activity.name, text, body))
        if activity.has_deadlines:
            if activity.schedule_to_start_ms:
                due_ms = self.now_ms + activity.schedule_to_start_ms
                self.commands.append((kinds.DEADLINE, seq, due_ms, "", b"\x01", b""))
            if activity.schedule_to_close_ms:
                due_ms = self.now_ms + activity.schedule_to_close_ms
                self.commands.append((kinds.DEADLINE, seq, due_ms, "", b"\x02", b""))
        handle = self.pending[seq] = ActivityHandle(loop=self.loop)
        handle.instance = self
        handle.seq = seq
        handle.activity = activity
        handle.given_id = activity_id
        handle.cancel_sent = False
        return handle

    # Children

    async def start_child(
        self,
        workflow_type: str,
        args: Sequence[Any],
        *,
        workflow_id: str | None,
        result_type: Any = None,
        task_queue: str | None = None,
        cancellation_type: ChildWorkflowCancellationType,
        parent_close_policy: ParentClosePolicy,
        execution_timeout: Duration | None = None,
        run_timeout: Duration | None = None,
        task_timeout: Duration | None = None,
        id_reuse_policy: int = 1,
        retry_policy: RetryPolicy | None = None,
        cron_schedule: str = "",
        memo: Mapping[str, Any] | None = None,
        search_attributes: Any = None,
        summary: str | None = None,
        details: str | None = None,
        priority: Priority | None = None,
        expire: Duration | None = None,
        record: bool = False,
        headers: Mapping[str, Payload] | None = None,
    ) -> ChildWorkflowHandle:
        """Start a child workflow and wait until it has started.

        Raises:
            WorkflowAlreadyStartedError: its id is taken.
        """
        self.check_writable("start child workflow")
        checked_name(workflow_type, "workflow type")
        chosen = str(self.uuid4()) if workflow_id is None else workflow_id
        child_id = checked_name(chosen, "child workflow id")
        what = f"child workflow {workflow_type!r}"
        document: dict[str, Any] = {
            "id": child_id,
            "rid": UUID(bytes=self.random_run_id()).hex,
            "close": int(parent_close_policy),
            "reuse": int(id_reuse_policy),
        }
        if task_queue is not None:
            document["q"] = checked_name(task_queue, f"{what}: task queue")
        kept_s = kept_seconds(expire, f"{what}: expire")
        if kept_s is not None:
            document["expire"] = kept_s
        if record:
            document["record"] = True
        seq = self.seq + 1
        converter = self.converter
        if self.contexts is not None:
            meta = json_bytes.dumps(document)
            converter = self.converter_for((kinds.CHILD, seq, 0, workflow_type, meta, b""))
        header = run_header(
            converter,
            what,
            execution_timeout=execution_timeout,
            run_timeout=run_timeout,
            task_timeout=task_timeout,
            retry_policy=retry_policy,
            cron_schedule=cron_schedule,
            memo=memo,
            search_attributes=search_attributes,
            summary=summary,
            details=details,
            priority=priority,
        )
        if headers:
            header["h"] = wire.pack_headers(headers)
        if header:
            document["header"] = header
        body = self.encode(args, f"arguments of {what}", converter)
        meta = self.within_limit(json_bytes.dumps(document), f"options of {what}")
        seq = self.next_seq()
        handle = ChildWorkflowHandle(
            self,
            seq,
            child_id,
            workflow_type,
            result_type,
            cancellation_type,  # type: ignore[arg-type]
        )
        self.pending[seq] = handle
        self.commands.append((kinds.CHILD, seq, 0, workflow_type, meta, body))
        try:
            await handle.started
        except asyncio.CancelledError:
            handle.cancel()
            raise
        return handle

    # Other workflows

    async def signal_external(
        self,
        namespace: str,
        workflow_id: str,
        run_id: str | None,
        signal: Any,
        arg: Any,
        args: Sequence[Any],
        child: bool = False,
        headers: Mapping[str, Payload] | None = None,
    ) -> None:
        """Send a signal to another workflow and wait until it is stored."""
        self.check_writable("signal external workflow")
        name = signal_name(signal)
        target = {"ns": namespace, "wid": checked_name(workflow_id, "workflow id")}
        if run_id and not child:
            target["rid"] = run_id
        command = (kinds.SIGNAL_EXTERNAL, 0, 0, name, json_bytes.dumps(target), b"")
        body = self.encode(
            arg_or_args(arg, args), f"arguments of signal {name!r}", self.converter_for(command)
        )
        if headers:
            body = wire.join_document({"h": wire.pack_headers(headers)}, body)
        await self._external((*command[:5], body), f"signal {workflow_id}")

    async def cancel_external(
        self, namespace: str, workflow_id: str, run_id: str | None, reason: str = ""
    ) -> None:
        """Request the cancellation of another workflow and wait until that is stored."""
        self.check_writable("cancel external workflow")
        target = {"ns": namespace, "wid": checked_name(workflow_id, "workflow id")}
        if run_id:
            target["rid"] = run_id
        await self._external(
            (kinds.CANCEL_EXTERNAL, 0, 0, "", json_bytes.dumps(target), reason.encode()),
            f"cancel {workflow_id}",
        )

    async def _external(self, event: Event, action: str) -> None:
        seq = self.next_seq()
        self.commands.append((event[0], seq, *event[2:]))
        future: asyncio.Future[None] = self.loop.create_future()
        self.pending[seq] = (future, action)
        # The request is on its way once issued; only the wait for its outcome is cancelled.
        await future

    def wait_mail(self, key: str) -> asyncio.Future[Any]:
        """Wait for a datum that anybody sends under a key."""
        self.check_writable("wait for a signal")
        checked_name(key, "signal id")
        seq = self.next_seq()
        self.commands.append((kinds.WAIT, seq, 0, key, b"", b""))
        future: asyncio.Future[Any] = self.loop.create_future()
        self.pending[seq] = (future, "wait")
        return future

    def send_mail(self, key: str, value: Any) -> None:
        """Send a datum to whoever waits for the key, now or later."""
        self.check_writable("send a signal")
        checked_name(key, "signal id")
        command = (kinds.SEND_MAIL, 0, 0, key, b"", b"")
        body = self.encode([value], f"data of signal {key!r}", self.converter_for(command))
        self.commands.append((*command[:5], body))

    # Side effects on commit

    def enrich(self, values: Mapping[str, Any]) -> None:
        """Add names and values to the run's record."""
        self._effect(kinds.ENRICH, "enrich", values)

    def emit(self, events: Mapping[str, Any]) -> None:
        """Publish events by topic once the transition is committed."""
        self._effect(kinds.EMIT, "emit", events)
        try:
            for topic, data in events.items():
                check_event(topic, json_bytes.dumps(data, option=orjson.OPT_NON_STR_KEYS))
        except HotMeshError:
            self.commands.pop()  # Nobody could be told: nothing is emitted.
            raise

    def trace(self, attributes: Mapping[str, Any]) -> None:
        """Record a span with attributes once the transition is committed."""
        self._effect(kinds.TRACE, "trace", attributes)

    def _effect(self, kind: int, name: str, values: Mapping[str, Any]) -> None:
        self.check_writable(name)
        for key in values:
            checked_name(key, f"{name}: name")
        try:
            body = json_bytes.dumps(dict(values), option=orjson.OPT_NON_STR_KEYS)
        except TypeError as error:
            raise InvalidArgumentError(f"{name}: values must be JSON: {error}") from error
        self.within_limit(body, f"values of {name}")
        self.commands.append((kind, 0, 0, "", b"", body))

    # Ends

    def continue_as_new(
        self,
        args: Sequence[Any],
        *,
        workflow_type: str | None,
        task_queue: str | None,
        run_timeout: Duration | None,
        task_timeout: Duration | None,
        backoff: Duration | None,
        retry_policy: RetryPolicy | None,
        memo: Mapping[str, Any] | None,
        search_attributes: Any,
        headers: Mapping[str, Payload] | None = None,
    ) -> ContinueAsNewError:
        """The exception that ends this run and starts the next one."""
        self.check_writable("continue as new")
        document: dict[str, Any] = run_header(
            self.converter,
            "continue_as_new",
            run_timeout=run_timeout,
            task_timeout=task_timeout,
            retry_policy=retry_policy,
            memo=memo,
            search_attributes=search_attributes,
        )
        if headers:
            document["h"] = wire.pack_headers(headers)
        # Even when empty: what the run has removed must not come back from its own start.
        if memo is None and (self.memo_texts() or "memo" in self.details.header):
            document["memo"] = self.memo_texts()
        if search_attributes is None and (self.search_texts() or "sa" in self.details.header):
            document["sa"] = self.search_texts()
        if task_queue is not None:
            document["q"] = checked_name(task_queue, "continue_as_new: task queue")
        delay = milliseconds(backoff, "continue_as_new: backoff_start_interval")
        if delay:
            document["delay"] = delay
        given = self.details.workflow_type if workflow_type is None else workflow_type
        name = checked_name(given, "workflow type")
        body = self.encode(args, f"arguments of workflow {name!r}")
        meta = self.within_limit(json_bytes.dumps(document), f"options of workflow {name!r}")
        run_id = self.random_run_id()
        return ContinueAsNewError((kinds.CONTINUE, 0, 0, name, meta, run_id + body))

    def memo_texts(self) -> dict[str, str]:
        """The memo as a header holds it."""
        return {name: wire.pack_bytes(body) for name, body in self.memo_bodies().items()}  # type: ignore[attr-defined]

    def search_texts(self) -> dict[str, Any]:
        """The search attributes as a header holds them."""
        return self.search_attributes()  # type: ignore[attr-defined]

    # Waiting

    async def wait_condition(self, predicate: Callable[[], bool]) -> None:
        """Wait until the predicate holds; it is asked whenever the run has moved."""
        self.check_writable("wait condition")
        future: asyncio.Future[None] = self.loop.create_future()
        self.conditions.append((predicate, future))
        await future

    async def sleep(self, seconds: float) -> None:
        """A durable timer."""
        if seconds < 0:
            raise RuntimeError("Attempted to sleep with a negative duration")
        await asyncio.sleep(seconds)

    # Determinism

    def uuid4(self) -> UUID:
        """A random UUID, the same in every replay."""
        return UUID(bytes=self.random.getrandbits(128).to_bytes(16, "big"), version=4)

    def uuid7(self) -> UUID:
        """A UUID ordered by workflow time, the same in every replay."""
        return UUID(bytes=self.random_run_id())

    def random_run_id(self) -> bytes:
        """A UUIDv7 from the run's time and generator."""
        value = (self.now_ms << 80) | self.random.getrandbits(80)
        value = (value & ~(0xF << 76)) | (0x7 << 76)
        value = (value & ~(0x3 << 62)) | (0x2 << 62)
        return value.to_bytes(16, "big")

    def log_fields(self) -> dict[str, Any]:
        """Structured fields for every log record about this run."""
        details = self.details
        return {
            "namespace": details.namespace,
            "workflow_id": details.workflow_id,
            "run_id": wire.run_id_text(details.run_id),
            "workflow_type": details.workflow_type,
            "task_queue": details.task_queue,
        }


def _more_options(
    name: str,
    retry_policy: RetryPolicy | None,
    activity_id: str | None,
    summary: str | None,
    priority: Priority | None,
) -> dict[str, Any]:
    """The options of an activity that calls seldom have alike."""
    found: dict[str, Any] = {}
    if retry_policy is not None:
        found["retry"] = retry_document(retry_policy, f"activity {name!r}")
    if activity_id is not None:
        found["id"] = checked_name(activity_id, f"activity {name!r}: activity id")
    if summary is not None:
        found["summary"] = checked_text(summary, f"activity {name!r}: summary")
    refuse_priority(priority, f"activity {name!r}")
    return found


def signal_name(signal: Any) -> str:
    """The name of a signal given as text or as a decorated method.

    Raises:
        ValueError: it is neither, or a dynamic handler.
    """
    if isinstance(signal, str):
        return checked_name(signal, "signal name")
    definition = SignalDefinition.of(signal)
    if definition is None:
        raise ValueError(f"{signal!r} is not a signal method; pass one, or the signal's name")
    if definition.name is None:
        raise ValueError("cannot invoke a dynamic signal definition; pass the signal's name")
    return definition.name


def run_header(
    converter: DataConverter,
    what: str,
    *,
    execution_timeout: timedelta | float | None = None,
    run_timeout: timedelta | float | None = None,
    task_timeout: timedelta | float | None = None,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str = "",
    memo: Mapping[str, Any] | None = None,
    search_attributes: Any = None,
    summary: str | None = None,
    details: str | None = None,
    priority: Priority | None = None,
) -> dict[str, Any]:
    """The document that a start, a child or a continued run carries (see ``wire``)."""
    header: dict[str, Any] = {}
    for key, value, name in (
        ("exec", execution_timeout, "execution_timeout"),
        ("run", run_timeout, "run_timeout"),
        ("task", task_timeout, "task_timeout"),
    ):
        ms = milliseconds(value, f"{what}: {name}")
        if ms:
            header[key] = ms
    if retry_policy is not None:
        header["retry"] = retry_document(retry_policy, what)
    refuse_cron(cron_schedule, what)
    if memo:
        header["memo"] = memo_document(converter, memo)
    if search_attributes:
        header["sa"] = search_document(search_attributes)
    if summary is not None:
        header["summary"] = summary
    if details is not None:
        header["details"] = details
    refuse_priority(priority, what)
    return header
