"""Activations: a run's code takes its new jobs, and what it asks for goes into the next step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hotmesh.backends.protocol import MessageRow
from hotmesh.converter import decode_values, encode_failure
from hotmesh.core import Event, kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.engine.instance import RunDetails
from hotmesh.exceptions import NondeterminismError
from hotmesh.retrying import PASSING
from hotmesh.router.closing import Closer, terminated, timed_out
from hotmesh.router.coding import Coder
from hotmesh.router.effects import CommandTranslator
from hotmesh.router.local_activities import LocalActivities
from hotmesh.router.memory import PipeMemory
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.state import RunState
from hotmesh.router.task_failures import TaskFailures

Reply = tuple[bytes, bytes]
"""(reply id, data) for a client that waits."""

BACKEND_PAUSE_SECONDS = 0.25
"""Before a run is tried again whose task needed a backend that was away."""


class Activator:
    """Runs the code of a pipe's runs."""

    def __init__(
        self,
        context: PipeContext,
        memory: PipeMemory,
        translator: CommandTranslator,
        closer: Closer,
        activities: LocalActivities,
        failures: TaskFailures,
    ) -> None:
        self._context = context
        self._memory = memory
        self._translator = translator
        self._closer = closer
        self._activities = activities
        self._failures = failures

    async def activate_all(
        self,
        activations: Sequence[tuple[bytes, list[Event], int]],
        messages: Sequence[MessageRow],
        is_dead: Callable[[], bool],
    ) -> None:
        """Run the code of each; nothing waits without a codec or a task queue that is new."""
        memory, states = self._memory, self._memory.states
        for run_id, jobs, fresh in activations:
            if fresh >= 0:
                state = states[run_id] = self._fresh_state(messages[fresh])
            else:
                found = states.get(run_id)
                if found is None:
                    # Known to the core only (evicted here): take it in from the journal.
                    memory.core.fail(run_id)
                    memory.loads.append(run_id)
                    continue
                state = found
            waiting = self._activate(state, jobs)
            if waiting is not None:
                await waiting
                if is_dead():
                    return

    def _fresh_state(self, row: MessageRow) -> RunState:
        _, lane, run_id, _, workflow_id, workflow_type, header, body, _ = row
        context = self._context
        return RunState(
            RunDetails(
                context.namespace,
                workflow_id or "",
                run_id,
                workflow_type or "",
                context.task_queue,
                lane,
                wire.load(header or b""),
                body or b"",
            )
        )

    def _activate(self, state: RunState, jobs: list[Event]) -> Awaitable[None] | None:
        """Run a run's code and record what it did; what is returned does the rest of it."""
        if self._context.coder is not None:
            return self._activate_coded(self._context.coder, state, jobs)
        now_ms = self._context.clock.now_ms()
        if now_ms < state.now_ms:
            now_ms = state.now_ms
        try:
            commands, replies, error = self._run_watched(state, now_ms, jobs)
        except BaseException:  # this process is ending
            self._memory.core.fail(state.details.run_id)
            raise
        if error is not None:
            self._failures.add(state, jobs, error)
            return None
        starts = None
        if len(commands) == len(jobs) == 1 and commands[0][0] == kinds.ACTIVITY:
            kind, details = jobs[0][0], state.details
            if kind == kinds.ACTIVITY_COMPLETED or (
                kind == kinds.START and _TIMED.isdisjoint(details.header)
            ):
                starts = self._activities.place(commands[0], details.lane)
        if starts is None and self._translator.missing_queues(commands):
            return self._record_later(state, now_ms, jobs, commands, replies)
        self._record(state, now_ms, jobs, commands, replies, starts)
        return None

    async def _activate_coded(self, coder: Coder, state: RunState, jobs: list[Event]) -> None:
        now_ms = max(state.now_ms, self._context.clock.now_ms())
        try:
            opened = await coder.open(state, jobs)
            commands, replies, error = self._run_watched(state, now_ms, opened)
            if error is not None:
                self._failures.add(state, jobs, error)
                return
            commands = await coder.seal(state, commands)
            replies = await coder.seal_replies(replies)
        except Exception as failure:  # noqa: BLE001 - a codec may raise anything
            self._failures.add(state, jobs, failure)
        except BaseException:  # this process is ending
            self._memory.core.fail(state.details.run_id)
            raise
        else:
            await self._record_later(state, now_ms, jobs, commands, replies)

    async def _record_later(
        self,
        state: RunState,
        now_ms: int,
        jobs: list[Event],
        commands: list[Event],
        replies: list[Reply],
    ) -> None:
        """Find the ids of new task queues first."""
        context, run_id = self._context, state.details.run_id
        try:
            for name in self._translator.missing_queues(commands):
                context.queue_ids[name] = await context.resolve_queue(name)
        except PASSING:
            self._memory.core.fail(run_id)
            self._memory.postpone(run_id, BACKEND_PAUSE_SECONDS)
            self._memory.drop(run_id)
        except BaseException:  # this process is ending
            self._memory.core.fail(run_id)
            raise
        else:
            self._record(state, now_ms, jobs, commands, replies)

    # The code

    def _run_watched(
        self, state: RunState, now_ms: int, jobs: list[Event]
    ) -> tuple[list[Event], list[Reply], BaseException | None]:
        """Commands, replies and, if the task failed, why: also if the code hid its interrupt."""
        watchdog = self._context.watchdog
        if self._failures.any:
            jobs = self._failures.admitted(jobs)
        commands, replies = _NO_COMMANDS, _NO_REPLIES
        failure: BaseException | None = None
        watchdog.count = activation = watchdog.count + 1
        try:
            try:
                for job in jobs:
                    if job[0] in _ENDED_FROM_OUTSIDE:
                        commands, replies = self._end(job)
                        break
                else:
                    instance = state.instance or self._context.engine.bring_up(state)
                    commands = instance.activate(now_ms, jobs)
                    if instance.replies:
                        replies, instance.replies = instance.replies, []
            finally:
                watchdog.count += 1
                if watchdog.firing or watchdog.fired == activation:
                    watchdog.settle()
        except KeyboardInterrupt:
            raise
        except NondeterminismError as error:
            commands = self._failed_by(state, error)
            failure = None if commands else error
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            failure = error
        if watchdog.fired == activation:
            failure = watchdog.error()
        return commands, replies, failure

    def _failed_by(self, state: RunState, error: NondeterminismError) -> list[Event]:
        """The command that fails the run, if its definition or the worker wants that."""
        engine = self._context.engine
        definition = engine.definitions.get(state.details.workflow_type)
        types = engine.options.failure_types
        if definition is not None:
            types += definition.failure_exception_types
        if not isinstance(error, types):
            return _NO_COMMANDS
        return [(kinds.FAIL, 0, 0, "", b"", encode_failure(self._context.converter, error))]

    def _end(self, job: Event) -> tuple[list[Event], list[Reply]]:
        """The run is terminated, or its time is up: its code has no say in it."""
        if job[0] == kinds.TERMINATE:
            return self._terminate(job)
        return [timed_out(self._context.converter)], _NO_REPLIES

    def _terminate(self, job: Event) -> tuple[list[Event], list[Reply]]:
        document, body = wire.split_document(job[5])
        converter = self._context.converter
        details = decode_values(converter, body) if body else []
        replies = [(bytes.fromhex(document["reply"]), b"T")] if "reply" in document else []
        return [terminated(converter, document, details)], replies

    # What it did

    def _record(
        self,
        state: RunState,
        now_ms: int,
        jobs: list[Event],
        commands: list[Event],
        replies: list[Reply],
        starts: dict[str, Any] | None = None,
    ) -> None:
        """Put a transition into the next step; the task fails if the core refuses it.

        Args:
            state: The run.
            now_ms: The transition's time.
            jobs: What came in.
            commands: What the code asked for.
            replies: For clients that wait.
            starts: The options of the activity that starts here if that is all it does. Most
                transitions are of this kind: the run begins, or one result came in, and the next
                activity begins.
        """
        memory, effects, details = self._memory, self._memory.effects, state.details
        mark = effects.mark() if starts is None else ()
        try:
            if starts is None:
                commands = self._take_effects(state, now_ms, jobs, commands)
            size = memory.core.complete(details.run_id, now_ms, commands)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing of it was recorded
            if mark:
                effects.take_back(mark)
            self._failures.add(state, jobs, error)
            return
        state.journaled(None, size)
        if starts is None:
            self._activities.recorded(details.run_id, jobs, effects.placed_since(mark))
        else:
            if jobs[0][0] == kinds.START:
                state.start_ms = now_ms
            # As `first_attempt`, without its call.
            _, seq, _, name, _, body = commands[0]
            task = ActivityTask(
                details.run_id, seq, details.lane, name, starts, body, now_ms, details, True
            )
            effects.placed.append(task)
            self._activities.followed(jobs[0], task)
        if replies:
            effects.replies += replies
        state.now_ms = now_ms
        if self._failures.any:
            self._failures.forget(details.run_id, jobs)
        if details.attributes:
            self._failures.clear_record(state)
        memory.has_columns = True
        memory.states.move_to_end(details.run_id)

    def _take_effects(
        self, state: RunState, now_ms: int, jobs: list[Event], commands: list[Event]
    ) -> list[Event]:
        """Everything else that follows from a transition; its commands as they are journaled."""
        effects = self._memory.effects
        if jobs and jobs[0][0] == kinds.START:
            state.start_ms = now_ms
            self._closer.first_timers(state, now_ms, effects)
        if state.children:
            state.settle_children(jobs)
        if commands:
            commands = self._translator.translate(state, now_ms, commands, effects)
            if commands[-1][0] >= kinds.COMPLETE:
                commands = self._closer.close(state, now_ms, commands, effects)
        return commands


_ENDED_FROM_OUTSIDE = frozenset((kinds.TERMINATE, kinds.RUN_TIMED_OUT))
_TIMED = frozenset(("run", "exec"))
"""What the header of a run with timeouts of its own holds."""
_NO_COMMANDS: list[Event] = []
_NO_REPLIES: list[Reply] = []
