"""A pipe: one connection, a share of the lanes, and the loop that moves their runs.

Each turn applies what the last one decided and reads what is new, in one round trip; then runs are
brought up, activated, and their commands drained into the next step. Nothing leaves the process
before the step that says so has been applied.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from hotmesh.backends.protocol import LoadedRun, MessageRow, RunStatus, Session, Step, StepReply
from hotmesh.converter import DataConverter, decode_values, encode_failure
from hotmesh.core import (
    DRAINED_FIELDS,
    CoreError,
    Event,
    Router,
    RouterError,
    encode_event,
    kinds,
)
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask, Outcome
from hotmesh.engine.instance import RunDetails
from hotmesh.exceptions import (
    BackendUnavailableError,
    CorruptJournalError,
    NondeterminismError,
)
from hotmesh.limits import BATCH_MESSAGES_MAX, TIMER_HORIZON_MS
from hotmesh.router import publishing
from hotmesh.router.clock import BackendClock
from hotmesh.router.closing import Closer, terminated, timed_out
from hotmesh.router.coding import Coder
from hotmesh.router.effects import (
    CommandTranslator,
    Effects,
    Owner,
    Placed,
    cancelled_frame,
    task_meta,
)
from hotmesh.router.notifier import Notifier
from hotmesh.router.pace import Pace
from hotmesh.router.replaying import Engine
from hotmesh.router.state import RunState
from hotmesh.router.watchdog import Watchdog

logger = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 1.0
"""How long an idle pipe sleeps at most without a hint."""

TASK_RETRY_SECONDS = (0.25, 10.0)
"""First and longest pause before a failed workflow task is tried again."""

STALE_PAUSE_SECONDS = 0.02
"""Pause before a journal is read again that was read before the last commit."""

NO_LANE = -1

FAILURE_ATTRIBUTE = "hotmesh.task_failure"
"""Name in a run's record that says why its workflow task fails."""


@dataclass(slots=True)
class PipeContext:
    """What the pipes of a router share."""

    namespace: str
    queue_ids: dict[str, int]
    task_queue: str
    queue_id: int
    clock: BackendClock
    notifier: Notifier
    engine: Engine
    converter: DataConverter
    watchdog: Watchdog
    runner: Any
    """The activity runner, or None."""
    publisher: publishing.Publisher
    resolve_queue: Callable[[str], Any]
    on_fenced: Callable[[], None]
    on_lanes_quiet: Callable[[Sequence[int]], None]
    wake_all: Callable[[], None]
    coder: Coder | None
    """Applies the payload codec, if there is one."""
    on_slot_free: Callable[[], None]
    """An activity that was started here has ended; the queue may have one for its place."""
    owns_all: Callable[[], bool]
    """Whether this router owns every lane of its queue."""
    max_cached: int = 1000
    eager: bool = True


class Pipe:
    """Moves the runs of its lanes. One task runs :meth:`run`; everything else is called on it."""

    def __init__(self, context: PipeContext, router_id: bytes) -> None:
        self._context = context
        self._router_id = router_id
        self._session: Session | None = None
        self._core = Router(TIMER_HORIZON_MS)
        self._states: OrderedDict[bytes, RunState] = OrderedDict()
        self._effects = Effects()
        self._translator = CommandTranslator(
            context.namespace, context.queue_ids, self._place, self._is_inflight
        )
        self._closer = Closer(context.converter, context.queue_ids)
        self.lanes: list[int] = []
        self._leaving: set[int] = set()
        self._waiting: deque[Placed] = deque()
        """Activities that start here as soon as a slot is free."""
        self._placing = 0
        self._pace = Pace()
        self._local: list[tuple[bytes, Event]] = []
        self._inflight: dict[tuple[bytes, int], int] = {}
        """Activities running here: (run id, seq) → lane."""
        self._unstarted: dict[tuple[bytes, int], int] = {}
        """Activities whose step had an unknown outcome, with their lane: if journaled, they
        start here."""
        self._retries: list[tuple[ActivityTask, Outcome]] = []
        self._retry_delays: dict[tuple[bytes, int], int] = {}
        self._loads: list[bytes] = []
        self._postponed: list[tuple[float, bytes]] = []
        self._failures: dict[bytes, int] = {}
        self._refused_queries: set[bytes] = set()
        """Queries that a task failed with: answered so, and not asked of the code again."""
        self._wake: asyncio.Future[None] | None = None
        self._awake = True
        self._has_columns = False
        self._eager = context.eager
        self._stopping = False
        self._dead = False

    # What others call

    def wake(self) -> None:
        """Look for work at once."""
        self._awake = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def assign(self, lanes: Sequence[int]) -> None:
        """These are the pipe's lanes now; new ones are read from their start."""
        new = [lane for lane in lanes if lane not in self.lanes]
        if new and self._session is not None:
            self._session.forget(new)
        self.lanes = list(lanes)
        self._leaving.intersection_update(lanes)
        if new:
            self.wake()

    def give_up(self, lanes: Sequence[int]) -> None:
        """Stop taking work from these lanes; they are reported once nothing is going on there."""
        self._leaving.update(lanes)
        self.wake()

    def start_nothing(self) -> None:
        """Leave activities to others from now on: this worker is about to go."""
        self._eager = False

    def stop(self) -> None:
        """Commit what is in hand, then end."""
        self._eager = False
        self._stopping = True
        self.wake()

    def kill(self) -> None:
        """End at once: the router was declared dead, nothing of it counts any more."""
        self._dead = True
        self._waiting.clear()
        running, self._inflight = self._inflight, {}
        for run_id, seq in running:
            self._context.runner.cancel(run_id, seq, "not_found")
        self.wake()

    @property
    def busy(self) -> bool:
        """Whether activities are running for this pipe's runs."""
        return bool(self._inflight)

    # The loop

    async def run(self, session: Session) -> None:
        """Move runs until stopped."""
        self._session = session
        pause = 0.05
        try:
            while not self._dead:
                try:
                    idle = await self._turn(session)
                    pause = 0.05
                except BackendUnavailableError as error:
                    logger.warning("backend unavailable, trying again: %s", error)
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 1.0)
                    continue
                if idle:
                    if self._stopping:
                        return
                    await self._sleep()
        finally:
            self._session = None
            for run_id in list(self._states):
                self._drop(run_id)
            await session.close()

    async def _turn(self, session: Session) -> bool:
        """One step and what follows from it; true when there was nothing to do."""
        self._awake = False
        if self._local or self._retries:
            # Results of this process go straight into the step, without a round trip before.
            await self._advance(session, _NOTHING_READ)
        step, effects = self._drain()
        sent = self._context.clock.mark()
        try:
            reply = await session.step(step)
        except BackendUnavailableError:
            self._roll_back(effects, unknown=True)
            raise
        self._context.clock.learn(sent, reply.now_ms)
        if reply.fenced:
            if not self._dead:
                self._context.on_fenced()
            self._dead = True
        if self._dead:
            return True
        if reply.refused:
            self._roll_back(effects, unknown=False)
            return False
        self._core.commit()
        self._after_commit(effects, reply)
        self._report_quiet_lanes(step.lanes)
        self._evict()
        await self._advance(session, reply)
        return not (
            self._has_columns or self._effects or self._local or self._retries or self._loads
        )

    async def _sleep(self) -> None:
        if self._awake:
            return
        seconds = IDLE_POLL_SECONDS
        due = self._core.next_due()
        if due is not None:
            seconds = min(seconds, (due - self._context.clock.now_ms()) / 1000)
        if self._postponed:
            seconds = min(seconds, self._postponed[0][0] - time.monotonic())
        if seconds <= 0:
            return
        self._wake = asyncio.get_running_loop().create_future()
        handle = asyncio.get_running_loop().call_later(seconds, self.wake)
        try:
            await self._wake
        finally:
            handle.cancel()
            self._wake = None

    # Out: the step

    def _drain(self) -> tuple[Step, Effects]:
        lanes = [lane for lane in self.lanes if lane not in self._leaving]
        step = Step(self._router_id, lanes, 0 if self._stopping else BATCH_MESSAGES_MAX)
        for name, column in zip(DRAINED_FIELDS, self._core.drain(), strict=True):
            setattr(step, name, column)
        self._has_columns = False
        self._placing = 0
        if self._retry_delays:
            for index, key in enumerate(zip(step.task_run, step.task_seq, strict=True)):
                step.task_delay[index] = self._retry_delays.get(key, 0)
            self._retry_delays = {}
        effects, self._effects = self._effects, Effects()
        effects.fill(step)
        return step, effects

    def _after_commit(self, effects: Effects, reply: StepReply) -> None:
        context = self._context
        if effects.placed:
            self._start_placed(effects.placed)
        for run_id, seq in effects.cancelled:
            if context.runner is not None:
                context.runner.cancel(run_id, seq, "cancel_requested")
        if effects.published:
            context.publisher.publish(effects.published)
        self._answer_outcomes(effects, reply)
        touched = {lane for lane, _, _, _ in effects.messages}
        touched.update(start.lane for start in effects.starts)
        touched.update(outcome.lane for outcome in reply.send_outcomes if outcome.delivered)
        touched.update(reply.mail_lanes)
        if touched:
            self._wake_lanes(touched)
        if effects.closed:
            context.notifier.done(effects.closed)
            self._cancel_work_of(effects.closed)
            for run_id in effects.closed:
                if not self._core.known(run_id):
                    self._drop(run_id)
        if effects.timers:
            self.wake()  # the core does not know them: they are read like everybody else's
        if effects.replies:
            context.notifier.done(reply_id for reply_id, _ in effects.replies)
        for queue_id in effects.task_queues:
            context.notifier.tasks(queue_id)
        if effects.recalls:
            # Whoever holds the task looks now; one that nobody holds came back to our lane.
            for queue_id in context.queue_ids.values():
                context.notifier.tasks(queue_id, "c")
            context.wake_all()

    def _wake_lanes(self, lanes: set[int]) -> None:
        context = self._context
        own = {lane for lane in lanes if lane >> 6 == context.queue_id}
        if own:
            context.wake_all()
        if lanes - own or not context.owns_all():
            context.notifier.lanes(lanes)

    def _answer_outcomes(self, effects: Effects, reply: StepReply) -> None:
        for owner, outcome, start in zip(
            effects.start_owners, reply.start_outcomes, effects.starts, strict=True
        ):
            if owner is None:
                if not outcome.started:
                    logger.error(
                        "the next run of workflow %r could not start: its id is taken by run %s",
                        start.workflow_id,
                        wire.run_id_text(outcome.run_id),
                    )
                continue
            kind = kinds.CHILD_STARTED if outcome.started else kinds.CHILD_START_FAILED
            event = (kind, owner.seq, 0, "", outcome.run_id, b"")
            self._local.append((owner.run_id, event))
        for owner, outcome in zip(effects.send_owners, reply.send_outcomes, strict=True):
            if owner is not None:
                kind = kinds.EXTERNAL_DONE if outcome.delivered else kinds.EXTERNAL_FAILED
                self._local.append((owner.run_id, (kind, owner.seq, 0, "", b"", b"")))

    def _roll_back(self, effects: Effects, *, unknown: bool) -> None:
        """The step was not applied, or nobody knows: forget the runs it touched, read again."""
        for placed in effects.placed:
            self._inflight.pop((placed.run_id, placed.seq), None)
            if unknown:
                self._unstarted[placed.run_id, placed.seq] = placed.details.lane
        for run_id in self._core.rollback():
            self._drop(run_id)
        # Recovered work leaves no row in the core: such runs are taken in anew.
        recovered = [placed.run_id for placed in effects.placed]
        recovered += [owner.run_id for owner in effects.start_owners if owner is not None]
        recovered += [owner.run_id for owner in effects.send_owners if owner is not None]
        for run_id in recovered:
            if self._drop(run_id) and self._core.known(run_id):
                self._core.fail(run_id)
                self._loads.append(run_id)
        if self._session is not None:
            self._session.forget()

    # In: what was read

    async def _advance(self, session: Session, reply: StepReply) -> None:
        core, context = self._core, self._context
        self._settle_retries()
        local, self._local = self._local, []
        now_ms = context.clock.now_ms()
        messages = cast("Sequence[MessageRow]", reply.messages)
        activations, loads, late, errors, expired = core.ingest(
            messages, reply.timers, local, now_ms
        )
        for run_id, event in late:
            self._on_late(run_id, event)
        for message_id, lane, run_id, text in errors:
            logger.error(
                "message %d in lane %d for run %s can't be read and was dropped: %s",
                message_id,
                lane,
                run_id.hex(),
                text,
            )
        for run_id, seq in expired:
            self._recall_unstarted(run_id, seq)
        if messages or local or reply.timers or expired:
            self._has_columns = True
        await self._activate_all(activations, messages)
        if self._failures:
            # What comes for a failing run may be what it needs, or its end: don't wait longer.
            self._loads += [row[2] for row in messages if self._is_failing(row[2])]
        loads = [*loads, *self._loads, *self._due_again()]
        self._loads = []
        if loads:
            await self._load(session, list(dict.fromkeys(loads)))

    async def _activate_all(
        self, activations: Sequence[tuple[bytes, list[Event], int]], messages: Sequence[MessageRow]
    ) -> None:
        for run_id, jobs, fresh in activations:
            if self._dead:
                return
            if fresh >= 0:
                self._states[run_id] = self._fresh_state(messages[fresh])
            await self._activate(run_id, jobs)

    def _fresh_state(self, row: MessageRow) -> RunState:
        return RunState(
            RunDetails(
                self._context.namespace,
                cast("str", row[4]),
                row[2],
                cast("str", row[5]),
                self._context.task_queue,
                row[1],
                wire.load(row[6] or b""),
                row[7] or b"",
            )
        )

    async def _load(self, session: Session, run_ids: Sequence[bytes]) -> None:
        found: dict[bytes, LoadedRun] = {}
        try:
            for loaded in await session.load(run_ids):
                found[loaded.run_id] = loaded
        except BackendUnavailableError:
            self._loads = list(run_ids)
            raise
        for run_id in run_ids:
            await self._take_loaded(run_id, found.get(run_id))
        activations, more, late, _, expired = self._core.ingest(
            (), (), (), self._context.clock.now_ms()
        )
        self._loads.extend(more)
        self._has_columns = True
        for run_id, event in late:
            self._on_late(run_id, event)
        for run_id, seq in expired:
            self._recall_unstarted(run_id, seq)
        await self._activate_all(activations, ())

    async def _take_loaded(self, run_id: bytes, loaded: LoadedRun | None) -> None:
        kept = self._states.get(run_id)
        if kept is not None and kept.closed:
            # The core forgot it once nothing was owed to it; now something came again: a query.
            self._drop(run_id)
            kept = None
        if self._dead or kept is not None:
            return
        if loaded is None:
            # Pruned: nobody can handle what came for it.
            self._core.load(run_id, NO_LANE, [], True, [])
            return
        if loaded.lane not in self.lanes:
            # A late result of this process, for a run that is no longer ours: its owner does
            # the work again. Nothing may be acknowledged.
            self._core.load(run_id, loaded.lane, [], True, [])
            self._core.forget([loaded.lane])
            return
        state = RunState(
            RunDetails(
                self._context.namespace,
                loaded.workflow_id,
                run_id,
                loaded.workflow_type,
                self._context.task_queue,
                loaded.lane,
                wire.load(loaded.header),
                loaded.input,
                loaded.attributes,
            )
        )
        state.status = loaded.status
        state.closed = loaded.status != RunStatus.RUNNING
        inflight = [seq for (owner, seq) in self._inflight if owner == run_id]
        try:
            transitions, lost = self._core.load(
                run_id, loaded.lane, loaded.frames, state.closed, inflight
            )
        except RouterError:
            # Rows of this run are still to be committed: the journal is read again after that.
            self._core.fail(run_id)
            self._postpone(run_id, STALE_PAUSE_SECONDS)
            return
        except CoreError as error:
            self._on_corrupt(state, error)
            return
        state.remember(transitions)
        self._states[run_id] = state
        if state.closed:
            self._cancel_work_of([run_id])
            return
        cancelled = {
            command[1]
            for _, _, commands in transitions
            for command in commands
            if command[0] == kinds.CANCEL_ACTIVITY
        }
        for seq in cancelled.intersection(inflight):
            self._context.runner.cancel(run_id, seq, "cancel_requested")
        if lost:
            await self._recover(state, lost, cancelled)

    def _on_corrupt(self, state: RunState, error: Exception) -> None:
        corrupt = CorruptJournalError(wire.run_id_text(state.details.run_id), None, str(error))
        self._report_task_failure(state, corrupt)

    async def _recover(
        self, state: RunState, lost: Sequence[Event], cancelled: Container[int]
    ) -> None:
        """Do again what a router that is gone had in hand."""
        run_id = state.details.run_id
        try:
            for name in self._translator.missing_queues(state, lost):
                self._context.queue_ids[name] = await self._context.resolve_queue(name)
        except BackendUnavailableError:
            self._core.fail(run_id)
            self._drop(run_id)
            self._postpone(run_id, 0.25)
            return
        again: list[Event] = []
        for command in lost:
            seq = command[1]
            if command[0] == kinds.ACTIVITY:
                if self._unstarted.pop((run_id, seq), None) is not None and seq not in cancelled:
                    # The journal says that it was committed to start here, and it has not. It
                    # may after one more step: that one tells whether the journal is still ours.
                    self._inflight[run_id, seq] = state.lane
                    options = orjson.loads(command[4])
                    self._effects.placed.append(
                        Placed(run_id, seq, command, options, state.details, state.now_ms)
                    )
                    self._has_columns = True
                else:
                    again.append(self._redispatch(state, command, b""))
                    if seq in cancelled:
                        self._effects.recalls.append((run_id, seq, cancelled_frame(seq), True))
            elif command[0] == kinds.CHILD:
                self._effects.starts.append(self._translator.child_start(state, command))
                self._effects.start_owners.append(Owner(kinds.CHILD, run_id, seq))
            else:
                self._translator.translate(state, 0, [command], self._effects)
        if again:
            now_ms = max(state.now_ms, self._context.clock.now_ms())
            self._core.complete(run_id, now_ms, again)
            state.transitions = [*state.transitions, (now_ms, [], again)]
            self._has_columns = True

    def _redispatch(self, state: RunState, command: Event, task_state: bytes) -> Event:
        """The command that makes a local activity a task of the queue, for its next attempt."""
        _, seq, _, name, meta, body = command
        options = orjson.loads(meta)
        options.pop("w", None)
        queue_id = self._context.queue_ids[options.get("q", state.details.task_queue)]
        frame = encode_event((kinds.ACTIVITY, seq, queue_id, name, task_meta(options, state), body))
        self._effects.task_queues.add(queue_id)
        return (kinds.REDISPATCH, seq, queue_id, "", frame, task_state)

    # Activation

    async def _activate(self, run_id: bytes, jobs: list[Event]) -> None:
        context = self._context
        state = self._states.get(run_id)
        if state is None:
            # Known to the core only (evicted here): take it in from the journal.
            self._core.fail(run_id)
            self._loads.append(run_id)
            return
        now_ms = max(state.now_ms, context.clock.now_ms())
        replies: list[tuple[bytes, bytes]] = []
        coder = context.coder
        try:
            opened = jobs if coder is None else await coder.open(state, jobs)
            if self._refused_queries:
                opened = [job for job in opened if not self._is_refused(job)]
            commands, replies, error = self._run_watched(state, now_ms, opened)
            if error is not None:
                self._on_task_failure(state, jobs, error)
                return
            if coder is not None:
                commands = await coder.seal(state, commands)
                replies = await coder.seal_replies(replies)
            for name in self._translator.missing_queues(state, commands):
                context.queue_ids[name] = await context.resolve_queue(name)
            self._record(state, now_ms, jobs, commands)
        except BackendUnavailableError:
            self._core.fail(run_id)
            self._postpone(run_id, 0.25)
            self._drop(run_id)
        except Exception as error:  # noqa: BLE001 - a codec may raise anything
            self._on_task_failure(state, jobs, error)
        except BaseException:  # this process is ending
            self._core.fail(run_id)
            raise
        else:
            self._effects.replies += replies

    def _run_watched(
        self, state: RunState, now_ms: int, jobs: list[Event]
    ) -> tuple[list[Event], list[tuple[bytes, bytes]], BaseException | None]:
        """Commands, replies and, if the task failed, why: also if the code hid its interrupt."""
        watchdog = self._context.watchdog
        token = watchdog.enter()
        found: tuple[list[Event], list[tuple[bytes, bytes]]] = ([], [])
        failure: BaseException | None = None
        try:
            try:
                found = self._run_code(state, now_ms, jobs)
            finally:
                watchdog.leave(token)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - user code may raise anything
            failure = error
        return *found, watchdog.interrupted(token) or failure

    def _run_code(
        self, state: RunState, now_ms: int, jobs: list[Event]
    ) -> tuple[list[Event], list[tuple[bytes, bytes]]]:
        for job in jobs:
            if job[0] == kinds.TERMINATE:
                return self._terminate(job)
            if job[0] == kinds.RUN_TIMED_OUT:
                return [timed_out(self._context.converter)], []
        try:
            instance = self._context.engine.bring_up(state)
            instance.status = state.status
            commands = instance.activate(now_ms, jobs)
        except NondeterminismError as error:
            definition = self._context.engine.definitions.get(state.details.workflow_type)
            types = self._context.engine.options.failure_types
            if definition is not None:
                types += definition.failure_exception_types
            if not isinstance(error, types):
                raise
            return [(kinds.FAIL, 0, 0, "", b"", encode_failure(self._context.converter, error))], []
        replies, instance.replies = instance.replies, []
        return commands, replies

    def _terminate(self, job: Event) -> tuple[list[Event], list[tuple[bytes, bytes]]]:
        document, body = wire.split_document(job[5])
        converter = self._context.converter
        details = decode_values(converter, body) if body else []
        replies = [(bytes.fromhex(document["reply"]), b"T")] if "reply" in document else []
        return [terminated(converter, document, details)], replies

    def _record(
        self, state: RunState, now_ms: int, jobs: list[Event], commands: list[Event]
    ) -> None:
        run_id = state.details.run_id
        effects = self._effects
        mark = effects.mark()
        try:
            if jobs and jobs[0][0] == kinds.START:
                state.start_ms = now_ms
                self._closer.first_timers(state, now_ms, effects)
            state.follow(jobs, commands)
            if commands:
                commands = self._translator.translate(state, now_ms, commands, effects)
                if commands[-1][0] >= kinds.COMPLETE:
                    commands = self._closer.close(state, now_ms, commands, effects)
            self._core.complete(run_id, now_ms, commands)
        except BaseException:
            effects.take_back(mark)
            raise
        for job in jobs:
            if kinds.ACTIVITY_COMPLETED <= job[0] <= kinds.ACTIVITY_TIMED_OUT:
                self._inflight.pop((run_id, job[1]), None)
            elif job[0] == kinds.QUERY:
                self._refused_queries.discard(job[4])
        for placed in effects.placed_since(mark):
            self._inflight[placed.run_id, placed.seq] = state.lane
            self._unstarted.pop((placed.run_id, placed.seq), None)
        state.now_ms = now_ms
        self._failures.pop(run_id, None)
        if state.details.attributes:
            self._forget_task_failure(state, effects)
        self._has_columns = True
        self._states.move_to_end(run_id)

    def _is_refused(self, job: Event) -> bool:
        return job[0] == kinds.QUERY and job[4] in self._refused_queries

    # Activities

    def _place(self, name: str, options: dict[str, Any], lane: int) -> bool:
        """Whether an activity starts here at once, or goes to the queue."""
        runner = self._context.runner
        if runner is None or not runner.hosts(name):
            return False
        if options.get("local"):
            return True
        if not self._eager or lane in self._leaving:
            return False
        if (
            "hb" in options
            or options.get("q", self._context.task_queue) != self._context.task_queue
        ):
            return False
        if runner.free + self._pace.recent() - self._placing - len(self._waiting) <= 0:
            return False
        self._placing += 1
        return True

    def _start_placed(self, placed: Sequence[Placed]) -> None:
        self._waiting.extend(placed)
        self._start_waiting()

    def _start_waiting(self) -> None:
        """Start what has a free slot; the rest was taken on because slots free up fast here."""
        runner = self._context.runner
        while self._waiting and runner.free > 0:
            self._start_activity(self._waiting.popleft())

    def _is_inflight(self, run_id: bytes, seq: int) -> bool:
        return (run_id, seq) in self._inflight

    def _start_activity(self, placed: Placed) -> None:
        if (placed.run_id, placed.seq) not in self._inflight:
            return
        details, now_ms = placed.details, self._context.clock.now_ms()
        _, seq, _, name, _, body = placed.command
        task = ActivityTask(
            run_id=placed.run_id,
            seq=seq,
            attempt=1,
            lane=details.lane,
            name=name,
            options=placed.options,
            body=body,
            state=b"",
            workflow_id=details.workflow_id,
            workflow_type=details.workflow_type,
            namespace=details.namespace,
            task_queue=details.task_queue,
            scheduled_ms=placed.scheduled_ms,
            started_ms=now_ms,
            local=True,
        )
        self._context.runner.start(task, self._on_outcome)

    def _on_outcome(self, task: ActivityTask, outcome: Outcome) -> None:
        key = (task.run_id, task.seq)
        if key not in self._inflight:
            return  # cancelled, or the lane was lost: the result is no longer wanted
        self._pace.count()
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._start_waiting)
        else:
            self._context.on_slot_free()
        if outcome.kind == "async":
            self._watch_async(task)
            return
        if outcome.kind == "retry":
            self._retries.append((task, outcome))
        else:
            assert outcome.event is not None
            self._local.append((task.run_id, outcome.event))
        self.wake()

    def _watch_async(self, task: ActivityTask) -> None:
        """An activity that a client completes may still not take longer than it is allowed."""
        limit = task.options.get("st") or task.options.get("sc")
        if limit:
            asyncio.get_running_loop().call_later(limit / 1000, self._retries_if_open, task)

    def _retries_if_open(self, task: ActivityTask) -> None:
        if (task.run_id, task.seq) in self._inflight:
            self._retries.append((task, Outcome("retry")))
            self.wake()

    def _settle_retries(self) -> None:
        """Failed first attempts become tasks of the queue, claimable after their backoff."""
        retries, self._retries = self._retries, []
        for task, outcome in retries:
            key = (task.run_id, task.seq)
            state = self._states.get(task.run_id)
            if state is None or state.closed or key not in self._inflight:
                # Closed: nobody wants it. Not in memory: whoever takes it in sees to it.
                self._inflight.pop(key, None)
                continue
            command = (
                kinds.ACTIVITY,
                task.seq,
                0,
                task.name,
                orjson.dumps(task.options),
                task.body,
            )
            again = self._redispatch(state, command, outcome.state)
            now_ms = max(state.now_ms, self._context.clock.now_ms())
            try:
                self._core.complete(task.run_id, now_ms, [again])
            except CoreError:
                # Settled meanwhile. The core no longer trusts what it knew of the run.
                self._inflight.pop(key, None)
                self._drop(task.run_id)
                if self._core.known(task.run_id):
                    self._loads.append(task.run_id)
                continue
            self._inflight.pop(key, None)
            state.now_ms = now_ms
            if state.instance is None:
                state.transitions = [*state.transitions, (now_ms, [], [again])]
            self._retry_delays[key] = outcome.delay_ms
            self._has_columns = True

    def _recall_unstarted(self, run_id: bytes, seq: int) -> None:
        frame = encode_event((kinds.ACTIVITY_TIMED_OUT, seq, 1, "", b"", b""))
        self._effects.recalls.append((run_id, seq, frame, False))

    def _cancel_work_of(self, run_ids: Sequence[bytes]) -> None:
        if not self._inflight:
            return
        closed = set(run_ids)
        for run_id, seq in [key for key in self._inflight if key[0] in closed]:
            del self._inflight[run_id, seq]
            self._context.runner.cancel(run_id, seq, "not_found")

    def _drop(self, run_id: bytes) -> bool:
        """Let a run go from memory; false if it was not there."""
        state = self._states.pop(run_id, None)
        if state is not None and state.instance is not None:
            state.instance.dismantle()
        return state is not None

    # Failures of workflow tasks

    def _on_task_failure(self, state: RunState, jobs: list[Event], error: BaseException) -> None:
        run_id = state.details.run_id
        self._core.fail(run_id)
        self._drop(run_id)
        for job in jobs:
            if job[0] == kinds.START and run_id not in self._failures:
                # A run that never gets through its first task is timed out all the same.
                now_ms = self._context.clock.now_ms()
                self._closer.first_timers(state, now_ms, self._effects)
            if job[0] == kinds.QUERY:
                self._refused_queries.add(job[4])
                self._effects.replies.append((job[4], b"N" + str(error).encode()))
        self._report_task_failure(state, error)

    def _report_task_failure(self, state: RunState, error: BaseException) -> None:
        run_id = state.details.run_id
        failures = self._failures[run_id] = self._failures.get(run_id, 0) + 1
        first, longest = TASK_RETRY_SECONDS
        pause = min(first * 2 ** (failures - 1), longest)
        details = state.details
        logger.error(
            "Failed workflow task of %s (type %s, run %s), attempt %d, next in %.2f s: %s: %s",
            details.workflow_id,
            details.workflow_type,
            wire.run_id_text(run_id),
            failures,
            pause,
            type(error).__name__,
            error,
            exc_info=error,
            extra={
                "namespace": details.namespace,
                "workflow_id": details.workflow_id,
                "run_id": wire.run_id_text(run_id),
                "workflow_type": details.workflow_type,
                "task_queue": details.task_queue,
            },
        )
        text = orjson.dumps(
            {"type": type(error).__name__, "message": str(error)[:2000], "attempt": failures}
        )
        self._effects.attributes.append((run_id, FAILURE_ATTRIBUTE, text))
        self._postpone(run_id, pause)

    def _is_failing(self, run_id: bytes) -> bool:
        return run_id in self._failures and run_id not in self._states and self._core.known(run_id)

    def _forget_task_failure(self, state: RunState, effects: Effects) -> None:
        """The task has succeeded: the record no longer says otherwise."""
        if FAILURE_ATTRIBUTE in wire.load(state.details.attributes):
            effects.attributes.append((state.details.run_id, FAILURE_ATTRIBUTE, b""))
        state.details.attributes = b""

    def _postpone(self, run_id: bytes, seconds: float) -> None:
        heapq.heappush(self._postponed, (time.monotonic() + seconds, run_id))

    def _due_again(self) -> list[bytes]:
        due: list[bytes] = []
        while self._postponed and self._postponed[0][0] <= time.monotonic():
            run_id = heapq.heappop(self._postponed)[1]
            if self._core.known(run_id) and run_id not in self._states:
                due.append(run_id)
        return due

    # Leftovers

    def _on_late(self, run_id: bytes, event: Event) -> None:
        """A message for a closed run. Results are expected to come late; callers are told."""
        kind = event[0]
        if kind == kinds.TERMINATE:
            document, _ = wire.split_document(event[5])
            if "reply" in document:
                self._effects.replies.append((bytes.fromhex(document["reply"]), b"T"))
        elif kind == kinds.UPDATE:
            document, _ = wire.split_document(event[5])
            text = b"Nworkflow execution already completed"
            for key in ("accepted", "completed"):
                if key in document:
                    self._effects.replies.append((bytes.fromhex(document[key]), text))
        elif kind == kinds.SIGNAL:
            logger.warning(
                "signal %r came after run %s had closed", event[3], wire.run_id_text(run_id)
            )

    def _report_quiet_lanes(self, just_read: Sequence[int]) -> None:
        """Hand back lanes that are to leave and where nothing is going on any more."""
        if not self._leaving:
            return
        active = {*self._inflight.values(), *just_read}
        for run_id, _ in self._local:
            state = self._states.get(run_id)
            if state is not None:
                active.add(state.lane)
        quiet = [lane for lane in self._leaving if lane not in active and lane in self.lanes]
        if not quiet:
            return
        self._core.forget(quiet)
        gone = set(quiet)
        for run_id in [r for r, state in self._states.items() if state.lane in gone]:
            self._drop(run_id)
        self._unstarted = {key: lane for key, lane in self._unstarted.items() if lane not in gone}
        self.lanes = [lane for lane in self.lanes if lane not in gone]
        self._leaving -= gone
        if self._session is not None:
            self._session.forget(quiet)
        self._context.on_lanes_quiet(quiet)

    def _evict(self) -> None:
        """Keep the cache within its bound, the longest idle first."""
        excess = len(self._states) - self._context.max_cached
        if excess <= 0:
            return
        for run_id in list(self._states):
            if not self._core.known(run_id) or self._core.evict(run_id):
                self._drop(run_id)
                excess -= 1
                if excess <= 0:
                    return


_NOTHING_READ = StepReply(0)
