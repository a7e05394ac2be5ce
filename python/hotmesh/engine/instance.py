"""One run of a workflow in memory: jobs in, commands out.

An activation applies the jobs of one transition and runs the loop until the workflow blocks. The
same code replays a journal: the clock, the jobs and their order are all it ever sees.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from hotmesh.common import Priority
from hotmesh.converter import (
    DataConverter,
    SerializationContext,
    decode_failure,
    decode_values,
    encode_failure,
)
from hotmesh.core import kinds
from hotmesh.core.kinds import ACTIVITY_OUTCOMES, CHILD_NEWS, CLOSING, HANDLED, UPDATE_ANSWERS
from hotmesh.engine import failures, stacks, unawaited, wire
from hotmesh.engine.attributes import Attributes
from hotmesh.engine.conditions import Condition, settle
from hotmesh.engine.contexts import RunContexts
from hotmesh.engine.definition import (
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    WorkflowDefinition,
    check_arity,
)
from hotmesh.engine.details import EngineOptions, RunDetails
from hotmesh.engine.failures import Event
from hotmesh.engine.handlers import Handlers, Incoming
from hotmesh.engine.handles import ActivityHandle, ChildWorkflowHandle
from hotmesh.engine.info import Info, ParentInfo, ReadOnlyContextError, RootInfo
from hotmesh.engine.loop import NEVER_MS, Stage, TimerHandle, WorkflowLoop
from hotmesh.engine.options import retry_policy
from hotmesh.engine.outbound import Outbound
from hotmesh.engine.pausing import PAUSE, Pausing
from hotmesh.engine.verdict import Verdict, continuation, verdict_of
from hotmesh.exceptions import CancelledError
from hotmesh.groups import all_of
from hotmesh.interrupts import is_from_outside
from hotmesh.printing import message_of, printable

logger = logging.getLogger(__name__)


class WorkflowInstance(Outbound, Attributes, Pausing):
    """A run whose coroutine lives in this process."""

    __slots__ = (
        "__weakref__",
        "_info",
        "_memo",
        "_random",
        "_search",
        "cancel_reason",
        "closed",
        "commands",
        "conditions",
        "contexts",
        "converter",
        "current_details",
        "definition",
        "details",
        "events_first",
        "evicted",
        "failure_types",
        "handlers",
        "held_up",
        "is_replaying",
        "journal_bytes",
        "left",
        "loop",
        "made",
        "now_ms",
        "object",
        "options",
        "others",
        "patch_answers",
        "patches",
        "pending",
        "primary",
        "read_only",
        "replies",
        "seq",
        "start_ms",
        "status",
        "stopped_ms",
        "task_error",
        "transitions",
        "unanswered",
        "until",
    )

    extern_functions: Mapping[str, Callable[..., Any]] = MappingProxyType({})
    """Functions that the worker's interceptors let workflow code reach by name."""

    def __init__(
        self, definition: WorkflowDefinition, details: RunDetails, options: EngineOptions
    ) -> None:
        self.definition = definition
        self.details = details
        self.options = options
        self.contexts: RunContexts | None = None
        """Whose each payload is; None where no converter wants to know."""
        self.converter = options.converter
        if options.converter.takes_context:
            self.contexts = RunContexts(
                details.namespace, details.workflow_id, details.workflow_type, details.task_queue
            )
            self.converter = options.converter.with_context(self.contexts.own)
        self.loop = WorkflowLoop(self, int.from_bytes(details.run_id[-_NUMBER_BYTES:], "big"))
        self.now_ms = 0
        self.start_ms = 0
        self.seq = 0
        self.others = 0  # Commands that were no activities: those are numbered without them.
        self.is_replaying = False
        self.evicted = False
        """Whether it has left the memory while it was open."""
        self.read_only = ""
        """What is running that may not change anything (a query, a validator), or ""."""
        self.closed = False
        self.status = 1
        """What the store says of the run (a RunStatus); queries may depend on it."""
        self.commands: list[Event] = []
        self.replies: list[tuple[bytes, bytes]] = []
        self.unanswered = 0
        """How many of the activation's queries, the last ones, were not answered: the answers to
        the others are large."""
        self.pending: dict[int, Any] = {}
        """What waits for the result of a command, by its seq."""
        self.conditions: list[Condition] = []
        self.patches: set[str] = set()
        self.patch_answers: dict[str, bool] = {}
        self.object: Any = None
        self.handlers = Handlers(self)
        self.primary: asyncio.Task[None] | None = None
        self.cancel_reason: str | None = None
        self.transitions = 0
        self.journal_bytes = 0
        """Rows of the journal before this transition, and their bytes as stored."""
        self.failure_types = options.failure_types + definition.failure_exception_types
        self.current_details = ""
        self.task_error: BaseException | None = None
        """What failed the task in the callback that runs, or :data:`PAUSE`."""
        self.held_up = True
        self.events_first = False
        self.left: list[tuple[int, Sequence[Event]]] | None = None
        self.made = (0, 0)
        self.stopped_ms = 0
        self.until: Sequence[Event] | None = None
        self._info: Info | None = None
        self._random: random.Random | None = None
        self._memo: dict[str, bytes] | None = None
        self._search: dict[str, Any] | None = None

    # Activation

    def activate(
        self,
        now_ms: int,
        jobs: Sequence[Event],
        stage: Stage | None = None,
        *,
        replaying: bool = False,
        accepted: Collection[str] = (),
    ) -> list[Event]:
        """Apply a transition's jobs and run until blocked.

        Args:
            now_ms: The workflow's time in this transition.
            jobs: The events to apply, in the journal's order.
            stage: Where it runs, in a thread that runs nothing else; None: wherever this is called.
            replaying: Whether the journal already holds this transition.
            accepted: Ids of the updates that were accepted in it, when replaying.

        Returns:
            The commands issued, in order, the closing one last.

        Raises:
            BaseException: the task failed (an error in workflow code that is no failure); the
                instance must be thrown away.
        """
        self.now_ms = now_ms
        self.is_replaying = replaying
        self.commands = []
        if replaying:
            self.handlers.accepted_in_replay = accepted
        loop, outer = self.loop, None
        if stage is None:
            outer = loop.enter()
        else:
            loop.take(stage)
        try:
            if self.held_up:
                if self.left is None:
                    self._instantiate()
                    self.held_up = False
                else:
                    jobs = self._go_on(jobs)
            if len(jobs) == 1 and (kind := jobs[0][0]) not in HANDLED:
                if kind in ACTIVITY_OUTCOMES:  # most are
                    self._resolve_activity(jobs[0])
                else:
                    self._apply(jobs[0])
                self._run_once()
            else:
                self._apply_in_order(jobs)
        finally:
            if stage is None:
                loop.leave(outer)
            else:
                stage.loop = None
        return self._closing_commands() if self.closed else self.commands

    def _apply(self, job: Event) -> None:
        kind, seq = job[0], job[1]
        if kind in ACTIVITY_OUTCOMES:
            self._resolve_activity(job)
        elif kind == kinds.START:
            self.start_ms = self.now_ms
            self.primary = self.loop.begin(self._run_main())
        elif kind == kinds.TIMER_FIRED:
            handle = self.pending.pop(seq, None)
            if handle is not None and not handle.cancelled_:
                handle.timer_seq = 0
                self.loop.ready.append(handle)
        elif kind == kinds.CANCEL:
            self.cancel_reason = job[5].decode()
            if self.primary is not None:
                self.loop.call_soon(self.primary.cancel)
        elif kind in CHILD_NEWS:
            self._resolve_child(job)
        else:
            self._resolve_other(job)

    def _run_once(self) -> None:
        """Run until nothing moves any more, conditions included; or until it is stopped."""
        conditions, loop = self.conditions, self.loop
        while True:
            while batch := loop.ready:
                loop.ready = []
                for handle in batch:
                    if not handle.cancelled_:
                        try:
                            handle.context.run(handle.callback, *handle.args)
                        except BaseException as error:  # noqa: BLE001 - a callback of the code's
                            self.end_by(error)
                        if self.task_error is not None and self._stopped(batch, handle):
                            return
            if not conditions:
                return
            settle(conditions, self.end_by)
            self._raise_task_error()
            if not loop.ready:
                return

    def _raise_task_error(self) -> None:
        """End the activation by what failed the task, if something did."""
        error = self.task_error
        if error is not None and error is not PAUSE:
            self.task_error = None
            raise error

    def _closing_commands(self) -> list[Event]:
        """The commands of a run that is closed: what came after its end does not count."""
        commands = self.commands
        if commands and commands[-1][0] in CLOSING:
            self.handlers.warn_unfinished()
            return commands
        closing = next((c for c in commands if c[0] in CLOSING), None)
        if closing is None:  # closed earlier: a query or a late update
            return [c for c in commands if c[0] in UPDATE_ANSWERS]
        at = commands.index(closing)
        kept = commands[:at]
        kept += [c for c in commands[at + 1 :] if c[0] in UPDATE_ANSWERS]
        kept.append(closing)
        self.handlers.warn_unfinished()
        return kept

    def dismantle(self, elsewhere: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Take the run apart because it leaves this process's memory. It is of no use after that.

        The ``finally`` blocks of its coroutines run now, and cannot change anything; left to the
        garbage collector they would run at any time, in the midst of another run's activation.
        Nothing of a run that has ended refers back to the instance then, so that its memory is
        free at once. (Tasks that still wait and what they wait for refer to each other.)

        Args:
            elsewhere: Takes what is to be done if there is code left to run; None: it runs here.
        """
        self.evicted = not self.closed
        unfinished = self.loop.unfinished()
        if unfinished and elsewhere is not None:
            elsewhere(lambda: self._take_apart(unfinished))
        else:
            self._take_apart(unfinished)

    def _take_apart(self, unfinished: Sequence[asyncio.Task[Any]]) -> None:
        if unfinished:
            self._end_coroutines(unfinished)
        self.loop.forget_tasks()
        self.primary = self.object = None
        if unfinished or self.pending or self.conditions:
            self.pending, self.conditions = {}, []
            # What still waits keeps the instance for the garbage collector: not with all it had.
            self.commands, self.replies = [], []
        del self.handlers, self.loop

    def _end_coroutines(self, unfinished: Sequence[asyncio.Task[Any]]) -> None:
        self.read_only = "eviction"
        token = self.loop.enter()
        try:
            for task in unfinished:
                self._end_coroutine(task)
        finally:
            self.loop.leave(token)

    def _end_coroutine(self, task: asyncio.Task[Any]) -> None:
        try:
            coroutine: Any = task.get_coro()
            coroutine.close()
            # Its own coroutines have kept what came out; that they are closed is no news.
            kept, self.task_error = self.task_error, None
            if kept not in (None, PAUSE) and not isinstance(kept, GeneratorExit):
                raise kept
        except BaseException as error:
            if is_from_outside(error):
                raise
            if logger.isEnabledFor(logging.DEBUG):  # writing an error down takes long
                logger.debug(
                    "%s did not end well on eviction", task.get_name(), exc_info=printable(error)
                )

    # The main coroutine

    def _instantiate(self) -> None:
        definition = self.definition
        if definition.cls is None:
            return
        try:
            if definition.init_takes_arguments:
                self.object = definition.cls(*self._arguments())
            else:
                self.object = definition.cls()
            if definition.dynamic_config is not None:
                config = definition.dynamic_config(self.object)
                if config.failure_exception_types is not None:
                    types = tuple(config.failure_exception_types)
                    self.failure_types = self.options.failure_types + types
        except BaseException as error:
            if verdict_of(error, self.failure_types) is Verdict.TASK_FAILED:
                raise
            self.object = None
            self.end_by(error)

    def _arguments(self) -> list[Any]:
        definition = self.definition
        what = f"workflow {self.details.workflow_type!r}"
        values = self.decode_arguments(
            self.details.input,
            definition.arg_types,
            definition.name is None,
            definition.takes_raw,
            what,
        )
        if definition.name is not None:
            check_arity(definition.arity, len(values), f"workflow {self.details.workflow_type!r}")
        return values

    async def _run_main(self) -> None:
        if self.closed:
            return
        try:
            result = await self.call_run(self._arguments())
            body = self.encode([result], f"result of workflow {self.details.workflow_type!r}")
            self._close((kinds.COMPLETE, 0, 0, "", b"", body))
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            self.end_by(error)

    def end_by(self, error: BaseException) -> None:
        """End the run, or the task, by what came out of the workflow's code or a signal's handler.

        Nothing of it gets further: asyncio raises KeyboardInterrupt and SystemExit of a task again
        in whoever runs the loop, and that is the worker.
        """
        verdict = verdict_of(error, self.failure_types)
        if verdict is Verdict.FAILED and is_from_outside(error):
            verdict = Verdict.TASK_FAILED
        if verdict is Verdict.CONTINUED:
            self._close(continuation(error).command)
        elif verdict is Verdict.TASK_FAILED:
            self.fail_task(error)
        elif verdict is Verdict.FAILED:
            self._close_with(error)
        elif self.cancel_reason is not None:
            self._close_cancelled(error)
        elif all_of(error, lambda each: isinstance(each, asyncio.CancelledError)):
            self._close_with(CancelledError(message_of(error) or "Cancelled"))
        else:
            self._close_with(error)

    # What interceptors wrap (see worker._workflow_interception)

    def call_run(self, args: list[Any]) -> Awaitable[Any]:
        """Run the workflow's own code."""
        run_fn = self.definition.run_fn
        return run_fn(*args) if self.definition.cls is None else run_fn(self.object, *args)

    def call_signal(self, definition: SignalDefinition, incoming: Incoming) -> Any:
        """Call a signal's handler; what it returns is awaited if it can be."""
        return self.handlers.bound(definition)(*incoming.args)

    def call_query(self, definition: QueryDefinition, incoming: Incoming) -> Any:
        """Call a query's handler."""
        return self.handlers.bound(definition)(*incoming.args)

    def call_validator(self, definition: UpdateDefinition, incoming: Incoming) -> None:
        """Call an update's validator."""
        self.handlers.bound_validator(definition)(*incoming.args)

    def call_update(self, definition: UpdateDefinition, incoming: Incoming) -> Any:
        """Call an update's handler."""
        return self.handlers.bound(definition)(*incoming.args)

    # Closing

    def _close_cancelled(self, error: BaseException) -> None:
        shown = error if not isinstance(error, asyncio.CancelledError) else None
        body = encode_failure(
            self.converter,
            shown if isinstance(shown, CancelledError) else CancelledError("Workflow cancelled"),
        )
        self._close((kinds.CANCELED, 0, 0, "", b"", body))

    def _close_with(self, error: BaseException) -> None:
        what = f"workflow {self.details.workflow_type!r}"
        body = failures.stored_failure(self.converter, error, self.options.payload_limit, what)
        self._close((kinds.FAIL, 0, 0, "", b"", body))

    def _close(self, command: Event) -> None:
        if not self.closed:
            self.closed = True
            self.commands.append(command)

    def fail_task(self, error: BaseException) -> None:
        """Record that the current activation failed: raised once the running callback returns."""
        if self.task_error is None or self.task_error is PAUSE:
            self.task_error = error

    # Resolutions

    def decode_one(self, body: bytes, hint: Any) -> Any:
        """The single value of a body of the run's own.

        Raises:
            ConversionError: it is not what the hint says.
        """
        values = decode_values(self.converter, body, None if hint is None else [hint])
        return values[0] if values else None

    def converter_of(self, job: Event) -> DataConverter:
        """The converter of what a job carries."""
        if self.contexts is None:
            return self.converter
        context = self.contexts.of_job(job)
        return self.options.converter if context is None else self._bound(context)

    def converter_for(self, command: Event) -> DataConverter:
        """The converter of what a command carries."""
        if self.contexts is None:
            return self.converter
        context = self.contexts.of_command(command)
        return self.options.converter if context is None else self._bound(context)

    def _bound(self, context: SerializationContext) -> DataConverter:
        return self.options.converter.with_context(context)

    def _resolve_activity(self, job: Event) -> None:
        handle: ActivityHandle | None = self.pending.pop(job[1], None)
        if handle is None or handle.done():
            return
        if job[0] != _ACTIVITY_COMPLETED:
            converter = self.converter_of(job)
            handle.set_exception(failures.activity_failed(handle, job, converter))
            return
        try:
            activity = handle.activity
            values = decode_values(
                self.converter if self.contexts is None else self.converter_of(job),
                job[5],
                activity.result_hints,
                activity.result_text,
            )
        except Exception as error:  # noqa: BLE001 - user code may raise anything
            handle.set_exception(error)
        else:
            handle.set_result(values[0] if values else None)

    def _resolve_child(self, job: Event) -> None:
        kind, seq = job[0], job[1]
        handle: ChildWorkflowHandle | None = self.pending.get(seq)
        if handle is None:
            return
        if kind == kinds.CHILD_STARTED:
            handle.run_id = wire.run_id_text(job[4])
            if not handle.started.done():
                handle.started.set_result(None)
            return
        del self.pending[seq]
        if kind == kinds.CHILD_START_FAILED:
            handle.cancel_quietly()
            if not handle.started.done():  # whoever awaited it may have been cancelled
                handle.started.set_exception(failures.child_not_started(handle, job))
            return
        if not handle.started.done():
            handle.started.set_result(None)
        if handle.done():
            return
        if kind == kinds.CHILD_COMPLETED:
            try:
                what = f"result of child workflow {handle.workflow_type!r}"
                hints = None if handle.result_type is None else [handle.result_type]
                values = decode_values(self.converter_of(job), job[5], hints, what)
                handle.set_result(values[0] if values else None)
            except Exception as error:  # noqa: BLE001 - user code may raise anything
                handle.set_exception(error)
        else:
            handle.set_exception(failures.child_failed(handle, job, self.converter_of(job)))

    def _resolve_other(self, job: Event) -> None:
        waiting = self.pending.pop(job[1], None)
        if waiting is None:
            return
        future, action = waiting
        if future.done():
            return
        if job[0] == kinds.EXTERNAL_FAILED:
            future.set_exception(failures.external_failed(job, action))
        elif job[0] == kinds.MAIL:
            try:
                values = decode_values(self.converter_of(job), job[5])
                future.set_result(values[0] if values else None)
            except Exception as error:  # noqa: BLE001 - user code may raise anything
                future.set_exception(error)
        else:
            future.set_result(None)

    # The loop's host

    def start_timer(self, handle: TimerHandle, delay_ms: int) -> None:
        """A durable timer for a callback of the loop."""
        self.check_writable("start a timer")
        seq = self.next_seq()
        handle.timer_seq = handle.number = seq
        if delay_ms == NEVER_MS:
            return  # nothing has to remember it: whoever waits for it may still be cancelled
        self.pending[seq] = handle
        self.commands.append((kinds.TIMER, seq, self.now_ms + delay_ms, "", b"", b""))

    def cancel_timer(self, handle: TimerHandle) -> None:
        """Cancel it; one that was not sent yet vanishes."""
        seq = handle.timer_seq
        if not seq or self.pending.pop(seq, None) is None:
            return
        handle.timer_seq = 0
        if not self.take_back(seq):
            self.commands.append((kinds.CANCEL_TIMER, seq, 0, "", b"", b""))

    def on_loop_error(self, context: dict[str, Any]) -> None:
        """An exception that nobody awaited."""
        is_news = not self.is_replaying and not self.evicted
        unawaited.note(context, self.log_fields(), is_news=is_news)

    # Small services

    def next_seq(self) -> int:
        """The number of the next command."""
        self.seq += 1
        self.others += 1
        return self.seq

    def command(self, event: Event) -> None:
        """Issue a command."""
        self.commands.append(event)

    def take_back(self, seq: int) -> bool:
        """Remove a command (and its deadlines) that this very activation issued."""
        before = len(self.commands)
        self.commands = [c for c in self.commands if c[1] != seq]
        return len(self.commands) < before

    def check_writable(self, action: str) -> None:
        """Refuse what a query or validator may not do.

        Raises:
            ReadOnlyContextError: naming the action.
        """
        if self.read_only:
            raise ReadOnlyContextError(f"While in read-only function, action attempted: {action}")

    @property
    def random(self) -> random.Random:
        """The run's own generator, the same in every replay."""
        if self._random is None:
            self._random = random.Random(self.details.run_id)
        return self._random

    @property
    def info(self) -> Info:
        """What the run knows about itself."""
        if self._info is None:
            self._info = self._build_info()
        return self._info

    def _build_info(self) -> Info:
        details, header = self.details, self.details.header
        run_id = wire.run_id_text(details.run_id)
        parent = header.get("parent")
        root = header.get("root")
        start = datetime.fromtimestamp(self.start_ms / 1000, UTC)
        return Info(
            attempt=header.get("attempt", 1),
            continued_run_id=wire.spelled_run_id(header.get("continued")),
            cron_schedule=None,
            execution_timeout=wire.duration(header.get("exec")),
            first_execution_run_id=wire.spelled_run_id(header.get("first")) or run_id,
            headers=wire.unpack_headers(header.get("h", {})),
            namespace=details.namespace,
            parent=parent
            and ParentInfo(
                namespace=parent["ns"],
                run_id=wire.spelled_run_id(parent["rid"]) or "",
                workflow_id=parent["wid"],
            ),
            root=root
            and RootInfo(run_id=wire.spelled_run_id(root["rid"]) or "", workflow_id=root["wid"]),
            priority=Priority.default,
            raw_memo=self.raw_memo(),
            retry_policy=retry_policy(header.get("retry")),
            run_id=run_id,
            run_timeout=wire.duration(header.get("run")),
            search_attributes=self.untyped_search_attributes(),
            start_time=start,
            task_queue=details.task_queue,
            task_timeout=wire.duration(header.get("task")) or timedelta(seconds=10),
            typed_search_attributes=self.typed_search_attributes(),
            workflow_id=details.workflow_id,
            workflow_start_time=start,
            workflow_type=details.workflow_type,
            history=lambda: (self.transitions, self.journal_bytes),
            build_id=self.options.build_id,
        )

    def forget_info(self) -> None:
        """Build the info again next time: attributes have changed."""
        self._info = None

    def last_failure(self) -> BaseException | None:
        """How the run before this one in a chain of retries failed."""
        text = self.details.header.get("last_failure")
        return None if text is None else decode_failure(self.converter, wire.unpack_bytes(text))

    def stack_trace(self) -> str:
        """Where the run's tasks stand, for the ``__stack_trace`` query."""
        return stacks.describe(self.loop.unfinished())

    def state(self) -> dict[str, Any]:
        """A summary for people."""
        return {
            "transitions": self.transitions,
            "pending": len(self.pending),
            "closed": self.closed,
        }


_NUMBER_BYTES = 7
"""So much of the end of a run id, which is random, is where the run's numbers begin."""

_ACTIVITY_COMPLETED = kinds.ACTIVITY_COMPLETED
