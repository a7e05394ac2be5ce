"""Activations: a run's code takes its new jobs, and what it asks for goes into the next step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from hotmesh.backends.protocol import MessageRow
from hotmesh.converter import decode_values, encode_failure
from hotmesh.core import Event, kinds
from hotmesh.core.kinds import DUE, ENDING, LAST
from hotmesh.engine import wire
from hotmesh.engine.contexts import own_converter
from hotmesh.engine.failures import WHATEVER
from hotmesh.engine.instance import WorkflowInstance
from hotmesh.engine.loop import Stage
from hotmesh.exceptions import NondeterminismError, TransitionTooLargeError
from hotmesh.interrupts import is_from_outside
from hotmesh.limits import SMALL_BYTES_MAX, STEP_BYTES_MAX
from hotmesh.retrying import PASSING
from hotmesh.router.closing import Closer, terminated, timed_out
from hotmesh.router.coding import Coder
from hotmesh.router.effects import CommandTranslator
from hotmesh.router.local_activities import LocalActivities
from hotmesh.router.memory import BACKEND_PAUSE_SECONDS, Activation, PipeMemory
from hotmesh.router.moving import Mover
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.state import LARGE_BYTES, RunState
from hotmesh.router.task_failures import TaskFailures
from hotmesh.router.watchdog import LeftBehind
from hotmesh.router.workflow_thread import StuckError

Reply = tuple[bytes, bytes]
"""(reply id, data) for a client that waits."""


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
        mover: Mover,
    ) -> None:
        self._context = context
        self._mover = mover
        self._memory = memory
        self._translator = translator
        self._closer = closer
        self._activities = activities
        self.failures = failures

    async def activate_all(
        self,
        activations: Sequence[Activation],
        messages: list[MessageRow],
        is_dead: Callable[[], bool],
    ) -> None:
        """Run the code of each, in the workflows' thread.

        Meanwhile the event loop does what else there is to do, but for this pipe's turn: core,
        memory and effects are the thread's until it is through.
        """
        batch = _Batch(self, self._memory, activations, messages)
        while batch.rest():
            try:
                waiting = await self._context.workflows.run(batch.run)
            except StuckError as stuck:
                assert batch.state is not None, "only a run's code gets stuck"
                self._leave_behind(batch.state, batch.jobs, stuck)
                continue
            except asyncio.CancelledError:
                if batch.state is not None:
                    batch.state.instance = None  # its code may be running still
                raise
            if waiting is not None:
                await waiting
                if is_dead():
                    return

    def state_of(
        self, run_id: bytes, jobs: Sequence[Event], fresh: int, messages: list[MessageRow]
    ) -> RunState | None:
        """The run's state; None if it has to wait, or to be taken in from its journal first."""
        memory = self._memory
        if self.failures.any and self.failures.bars(run_id, jobs):
            memory.core.fail(run_id)
            memory.drop(run_id)
            return None
        if fresh >= 0:
            _, lane, _, _, workflow_id, workflow_type, header, body, _ = messages[fresh]
            context = self._context
            state = RunState.of(
                context.namespace,
                context.task_queue,
                run_id,
                lane,
                workflow_id,
                workflow_type,
                header,
                body,
            )
            messages[fresh] = _TAKEN  # its input may be large
            memory.keep(state)
            return state
        found = memory.states.get(run_id)
        if found is None:  # known to the core only: evicted here
            memory.core.fail(run_id)
            memory.loads.append(run_id)
        return found

    def set_aside(self, run_id: bytes, error: BaseException) -> None:
        """A run's activation has failed in an unforeseen way; the others go on."""
        state = self._memory.states.get(run_id)
        if state is None:
            context = self._context
            state = RunState.of(
                context.namespace, context.task_queue, run_id, -1, None, None, None, None
            )
        self.failures.set_aside(state, error)

    def _leave_behind(self, state: RunState, jobs: list[Event], stuck: StuckError) -> None:
        """The code of a run has not come back; the others go on without it."""
        self._context.workflows.stuck[state.details.run_id] = stuck.thread
        state.abandon_code()  # it can't be taken apart while it runs
        self.failures.add(state, jobs, stuck.error)

    def activate(self, state: RunState, jobs: list[Event]) -> Awaitable[None] | None:
        """Run a run's code and record what it did; what is returned does the rest of it."""
        context = self._context
        if context.coder is not None:
            return self._activate_coded(context.coder, state, jobs)
        now_ms = context.clock.wall_ms()
        if now_ms < state.now_ms:
            now_ms = state.now_ms
        try:
            commands, replies, error = self._run_watched(state, now_ms, jobs)
        except LeftBehind:
            raise  # nothing here is this thread's any more
        except BaseException:  # this process is ending
            self._memory.core.fail(state.details.run_id)
            raise
        if error is not None:
            if self._is_for_others(state):
                return self._send_on(state, jobs)
            self.failures.add(state, jobs, error)
            return None
        if (
            len(commands) == 1
            and len(jobs) == 1
            and commands[0][0] == _ACTIVITY
            and not replies
            and self._record_next(state, now_ms, jobs, commands)
        ):
            return None
        if self._translator.missing_queues(commands):
            return self._record_later(state, now_ms, jobs, commands, replies)
        self._record(state, now_ms, jobs, commands, replies)
        return None

    async def _activate_coded(self, coder: Coder, state: RunState, jobs: list[Event]) -> None:
        now_ms = max(state.now_ms, self._context.clock.wall_ms())
        try:
            opened = await coder.open(state, jobs)
            commands, replies, error = await self._context.workflows.run(
                lambda: self._run_watched(state, now_ms, opened)
            )
            if error is not None:
                if self._is_for_others(state):
                    await self._send_on(state, jobs)
                    return
                self.failures.add(state, jobs, error)
                return
            commands = await coder.seal(state, commands)
            replies = await coder.seal_replies(state, replies)
        except StuckError as stuck:
            self._leave_behind(state, jobs, stuck)
        except BaseException as failure:  # a codec may raise anything
            if is_from_outside(failure):
                self._memory.core.fail(state.details.run_id)
                raise
            self.failures.add(state, jobs, failure)
        else:
            await self._record_later(state, now_ms, jobs, commands, replies)

    def _is_for_others(self, state: RunState) -> bool:
        """Whether a task failed for want of code that others may have; of no type nobody has it."""
        workflow_type = state.workflow_type
        hosts = self._context.engine.hosts
        return state.instance is None and workflow_type != "" and not hosts(workflow_type)

    def _send_on(self, state: RunState, jobs: Sequence[Event]) -> Awaitable[None]:
        """Others have the code of this run."""
        memory = self._memory
        if any(job[0] == kinds.START for job in jobs):
            # A run that nobody ever takes is timed out all the same.
            self.failures.limit_time(state)
        memory.core.fail(state.details.run_id)
        memory.drop(state.details.run_id)
        return self._mover.move(state)

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
        workflows, failures = self._context.workflows, self.failures
        # This thread's: should it be left behind, another one has theirs by the time it is back.
        watchdog, stage = workflows.watchdog, workflows.stage
        commands, replies = _NO_COMMANDS, _NO_REPLIES
        failure: BaseException | None = None
        given, some_fail = jobs, failures.any
        if some_fail:
            jobs = failures.admitted(jobs)
            failure = workflows.still_stuck(state.details.run_id)
            if failure is not None and not any(job[0] in ENDING for job in jobs):
                return commands, replies, failure
            failure = None
        watchdog.count = activation = watchdog.count + 1
        try:
            try:
                for job in jobs:
                    if job[0] in ENDING:
                        commands, replies = self._end(state, job)
                        break
                else:
                    instance = state.instance
                    if instance is None:
                        instance = self._context.engine.bring_up(state, watchdog)
                        if state.changed_arguments:
                            failures.note_changed_arguments(state)
                    if some_fail:
                        commands = self._activate_anew(instance, now_ms, given, jobs, stage)
                    else:
                        commands = instance.activate(now_ms, jobs, stage)
                    if instance.replies:
                        replies, instance.replies = instance.replies, []
            finally:
                watchdog.count = activation + 1
                if watchdog.firing or watchdog.fired == activation:
                    watchdog.settle()
        except LeftBehind:
            raise
        except NondeterminismError as error:
            commands = self._failed_by(state, error)
            failure = None if commands else error
        except BaseException as error:  # user code may raise anything
            if is_from_outside(error):
                raise
            failure = error
        if watchdog.fired == activation:
            failure = watchdog.error()
        return commands, replies, failure

    def _activate_anew(
        self,
        instance: WorkflowInstance,
        now_ms: int,
        given: list[Event],
        jobs: list[Event],
        stage: Stage | None,
    ) -> list[Event]:
        """Activate a run that may have failed before, or not have been allowed to end.

        Args:
            instance: The run.
            now_ms: The transition's time.
            given: All jobs.
            jobs: Those that the code is given.
            stage: Where it runs.

        Returns:
            Its commands.
        """
        run_id, types = instance.details.run_id, instance.failure_types
        if self.failures.is_last(run_id):
            instance.failure_types += WHATEVER
        instance.events_first = run_id in self.failures.refused_ends
        commands = instance.activate(now_ms, jobs, stage)
        instance.failure_types = types
        if instance.unanswered:
            instance.unanswered = _rest_of_queries(given, jobs, instance.unanswered)
        return commands

    def _failed_by(self, state: RunState, error: NondeterminismError) -> list[Event]:
        """The command that fails the run, if its definition or the worker wants that."""
        engine = self._context.engine
        definition = engine.definitions.get(state.details.workflow_type)
        types = engine.options.failure_types
        if definition is not None:
            types += definition.failure_exception_types
        if not isinstance(error, types):
            return _NO_COMMANDS
        converter = own_converter(self._context.converter, state.details)
        return [(kinds.FAIL, 0, 0, "", b"", encode_failure(converter, error))]

    def _end(self, state: RunState, job: Event) -> tuple[list[Event], list[Reply]]:
        """The run is terminated, or its time is up: its code has no say in it."""
        if job[0] == kinds.TERMINATE:
            return self._terminate(state, job)
        return [timed_out(self._context.converter)], _NO_REPLIES

    def _terminate(self, state: RunState, job: Event) -> tuple[list[Event], list[Reply]]:
        document, body = wire.split_document(job[5])
        converter = own_converter(self._context.converter, state.details)
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
    ) -> None:
        """Put a transition into the next step; the task fails if the core refuses it.

        Args:
            state: The run.
            now_ms: The transition's time.
            jobs: What came in.
            commands: What the code asked for.
            replies: For clients that wait.
        """
        memory, effects, details = self._memory, self._memory.effects, state.details
        mark = effects.begin(details.run_id)
        if len(details.input) > LARGE_BYTES:
            state.let_go_of_input()
        try:
            if len(jobs) > 1 or len(commands) > 1:  # One in and one out always fit.
                self._check_size(state, jobs, commands)
            commands = self._take_effects(state, now_ms, jobs, commands)
            if replies:
                self._defer_unanswered(state)
            size = memory.core.complete(details.run_id, now_ms, commands)
        except BaseException as error:  # whatever it is, nothing of it was recorded
            if is_from_outside(error):
                raise
            effects.take_back(mark)
            memory.drop_held((details.run_id,))
            self.failures.add(state, jobs, error)
            return
        self._activities.recorded(details.run_id, jobs, effects.placed_since(mark))
        if replies:
            effects.replies += replies
            size_of_replies = sum(len(data) for _, data in replies)
            memory.answered(size_of_replies)
            state.is_heavy = size_of_replies >= SMALL_BYTES_MAX
        self._recorded(state, now_ms, jobs, size)

    def _record_next(
        self, state: RunState, now_ms: int, jobs: list[Event], commands: list[Event]
    ) -> bool:
        """As :meth:`_record`, where one thing came in and one activity starts here; most do that.

        Args:
            state: The run.
            now_ms: The transition's time.
            jobs: Its start, or a result.
            commands: The activity.

        Returns:
            Whether it was such a transition.
        """
        job, details = jobs[0], state.details
        if job[0] != _ACTIVITY_COMPLETED:
            if job[0] != kinds.START or not _TIMED.isdisjoint(details.header):
                return False
            state.start_ms = now_ms
            if len(details.input) > LARGE_BYTES:
                state.let_go_of_input()
        try:
            size = self._activities.record_next(details, now_ms, job, commands)
        except BaseException as error:  # whatever it is, nothing of it was recorded
            if is_from_outside(error):
                raise
            self.failures.add(state, jobs, error)
            return True
        if not size:
            return False
        # As `_recorded`, without its calls.
        state.now_ms = now_ms
        instance = state.instance
        assert instance is not None, "its code has asked for an activity"
        instance.transitions += 1
        instance.journal_bytes = journal_bytes = instance.journal_bytes + size
        self._memory.step_bytes += size
        if journal_bytes > state.large_from:
            self._moved_much(state, size)
        if self.failures.any:
            self.failures.forget(details.run_id, jobs)
        if details.attributes:
            self.failures.clear_record(state)
        return True

    def _recorded(self, state: RunState, now_ms: int, jobs: list[Event], size: int) -> None:
        """The core has the transition; `size` are its bytes, 0 if nothing had to be recorded."""
        details = state.details
        state.now_ms = now_ms
        if size:
            self._memory.step_bytes += size
            if state.journaled(None, size) > state.large_from:
                self._moved_much(state, size)
        if self.failures.any:
            self.failures.forget(details.run_id, jobs)
        if details.attributes:
            self.failures.clear_record(state)

    @staticmethod
    def _moved_much(state: RunState, size: int) -> None:
        """A large run has gone on, by so many bytes."""
        state.let_go_of_input()
        state.moved_at = time.monotonic()
        state.is_heavy = size >= SMALL_BYTES_MAX

    def _defer_unanswered(self, state: RunState) -> None:
        """Queries that were not answered come again: the answers to others have filled the step."""
        instance = state.instance
        if instance is None or not instance.unanswered:
            return
        self._memory.core.defer_queries(state.details.run_id, instance.unanswered)
        instance.unanswered = 0
        state.moved_at = time.monotonic()  # it stays in memory for them

    def _check_size(self, state: RunState, jobs: list[Event], commands: list[Event]) -> None:
        """Refuse what no backend call can hold."""
        size = sum(len(each[4]) + len(each[5]) for each in (*jobs, *commands))
        limit = self._context.transition_bytes_max
        if size > limit:
            raise TransitionTooLargeError(size, limit, f"workflow {state.details.workflow_id!r}")

    def _take_effects(
        self, state: RunState, now_ms: int, jobs: list[Event], commands: list[Event]
    ) -> list[Event]:
        """Everything else that follows from a transition; its commands as they are journaled."""
        effects = self._memory.effects
        clock = self._context.clock
        # The run's time is the wall clock's of just now, unless it was ahead of that.
        shift_ms = clock.shift_ms if now_ms > state.now_ms else clock.due_shift_ms(now_ms)
        if shift_ms:
            commands = [_shifted(command, shift_ms) for command in commands]
        if jobs and jobs[0][0] == kinds.START:
            state.start_ms = now_ms
            if state.details.header:
                self._closer.first_timers(state, now_ms + shift_ms, effects)
        if state.children:
            state.settle_children(jobs)
        if commands:
            commands = self._translator.translate(state, now_ms, commands, effects)
            last = commands[-1][0]
            if last in LAST:
                if last == kinds.PAUSED:
                    self._memory.hold_rest(state.details.run_id)
                    self._defer_unanswered(state)
                else:
                    commands = self._closer.close(state, now_ms, commands, effects)
        return commands


def _rest_of_queries(given: list[Event], admitted: list[Event], unanswered: int) -> int:
    """How many of the queries given there are from the first one on that was not answered.

    Args:
        given: All jobs.
        admitted: Those that the code was given.
        unanswered: How many queries, the last ones of these, it has not answered.
    """
    if given is admitted:
        return unanswered
    first = [job for job in admitted if job[0] == kinds.QUERY][-unanswered]
    queries = [job for job in given if job[0] == kinds.QUERY]
    return len(queries) - next(at for at, job in enumerate(queries) if job is first)


def _shifted(command: Event, by_ms: int) -> Event:
    """A command with its due time, if it has one, by the backend's time in place of the run's."""
    if command[0] not in DUE:
        return command
    return (command[0], command[1], command[2] + by_ms, *command[3:])


class _Batch:
    """Runs to be activated one after the other, up to one that has to wait for something."""

    __slots__ = ("_activations", "_activator", "_at", "_memory", "_messages", "state")

    def __init__(
        self,
        activator: Activator,
        memory: PipeMemory,
        activations: Sequence[Activation],
        messages: list[MessageRow],
    ) -> None:
        self._activator = activator
        self._memory = memory
        self._activations = activations
        self._messages = messages
        self._at = 0
        self.state: RunState | None = None
        """The run that is being activated."""

    @property
    def jobs(self) -> list[Event]:
        """What that run was given."""
        return self._activations[self._at - 1][1]

    def rest(self) -> bool:
        """Whether some are still to be activated."""
        return self._at < len(self._activations)

    def run(self) -> Awaitable[None] | None:
        """Activate them; what is returned is to be awaited before the rest.

        Once the next step is full, the rest is held until it is written.
        """
        activator, memory, messages = self._activator, self._memory, self._messages
        failures, states, activate = activator.failures, memory.states, activator.activate
        at = self._at
        for run_id, jobs, fresh in self._activations[at:]:
            if memory.step_bytes >= STEP_BYTES_MAX:
                memory.hold(self._activations[at:], messages)
                self._at = len(self._activations)
                return None
            self._at = at = at + 1
            try:
                state = None if fresh >= 0 or failures.any else states.get(run_id)
                if state is None:
                    state = activator.state_of(run_id, jobs, fresh, messages)
                    if state is None:
                        continue
                self.state = state
                waiting = activate(state, jobs)
            except LeftBehind:
                raise
            except BaseException as error:  # whatever it is, it is this run's
                if is_from_outside(error):
                    raise
                activator.set_aside(run_id, error)
                continue
            if waiting is not None:
                return waiting
        return None


_ACTIVITY = kinds.ACTIVITY
_ACTIVITY_COMPLETED = kinds.ACTIVITY_COMPLETED
_TIMED = frozenset(("run", "exec"))
"""What the header of a run with timeouts of its own holds."""
_TAKEN = MessageRow(0, 0, b"", b"", None, None, None, None, None)
"""In the place of a row whose run has been made of it."""
_NO_COMMANDS: list[Event] = []
_NO_REPLIES: list[Reply] = []
