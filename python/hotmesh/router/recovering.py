"""Taking runs in from their journal, and doing again what a router that is gone had in hand."""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence

import orjson

from hotmesh.backends.outgoing import REPEAT_SLACK_MS
from hotmesh.backends.protocol import LoadedRun, RunStatus, Session
from hotmesh.core import (
    CoreError,
    Event,
    RouterError,
    Transition,
    decode_transition,
    encode_transition,
    kinds,
)
from hotmesh.core.journal import Journal
from hotmesh.engine import wire
from hotmesh.exceptions import BackendUnavailableError, CorruptJournalError, CorruptRowError
from hotmesh.interrupts import is_from_outside
from hotmesh.limits import JOURNAL_BYTES_MAX, LANES_PER_QUEUE
from hotmesh.printing import told
from hotmesh.retrying import PASSING
from hotmesh.router.effects import CommandTranslator, Owner, cancelled_frame, first_attempt
from hotmesh.router.local_activities import LocalActivities
from hotmesh.router.memory import BACKEND_PAUSE_SECONDS, PipeMemory
from hotmesh.router.moving import Mover
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.state import RunState
from hotmesh.router.task_failures import TaskFailures

logger = logging.getLogger(__name__)

STALE_PAUSE_SECONDS = 0.02
"""Pause before a journal is read again that was read before the last commit."""

NO_LANE = -1

_NO_RUN = bytes(16)
"""A run id that nobody has."""

_STATUSES = frozenset(RunStatus)

_BLANK = encode_transition(0, [], [])
"""In the place of an entry of a journal that can't be read."""


class Recovery:
    """Takes in runs for a pipe."""

    def __init__(
        self,
        context: PipeContext,
        memory: PipeMemory,
        translator: CommandTranslator,
        activities: LocalActivities,
        failures: TaskFailures,
        mover: Mover,
    ) -> None:
        self._context = context
        self._mover = mover
        self._memory = memory
        self._translator = translator
        self._activities = activities
        self._failures = failures

    async def load(self, session: Session, run_ids: Sequence[bytes], lanes: Container[int]) -> None:
        """Read these runs' journals and take them in.

        Args:
            session: Where they are read.
            run_ids: The runs.
            lanes: The pipe's lanes.

        Raises:
            BackendUnavailableError: they are to be loaded again later.
            BackendAccessError: the same.
        """
        found: dict[bytes, LoadedRun] = {}
        try:
            unreadable, left = await self._read(session, run_ids, found)
            if unreadable and not found:
                await _try_another(session)
        except PASSING:
            self._memory.loads = list(run_ids)
            raise
        self._memory.loads += left
        waiting = frozenset(left)
        for run_id in run_ids:
            if run_id in waiting:
                continue
            loaded, error = found.get(run_id), unreadable.get(run_id)
            try:
                if error is not None:
                    raise error
                await self._take_in(run_id, loaded, lanes)
            except BaseException as failure:  # whatever is stored, also a panic: it is this run's
                if is_from_outside(failure):
                    raise
                self._failures.set_aside(self._bare_state(run_id, loaded), failure)

    async def _read(
        self, session: Session, run_ids: Sequence[bytes], found: dict[bytes, LoadedRun]
    ) -> tuple[dict[bytes, BaseException], Sequence[bytes]]:
        """Load runs; of those that the store can't give, why, and those to be loaded later.

        Raises:
            BackendUnavailableError: the store is away.
            BackendAccessError: it turns us away.
        """
        try:
            runs, left = await session.load(run_ids)
            found.update((loaded.run_id, loaded) for loaded in runs)
        except PASSING:
            raise
        except BaseException as error:  # one row is damaged: find it by halves
            if is_from_outside(error):
                raise
            if len(run_ids) == 1:
                return {run_ids[0]: error}, ()
            middle = len(run_ids) // 2
            first, first_left = await self._read(session, run_ids[:middle], found)
            second, second_left = await self._read(session, run_ids[middle:], found)
            return first | second, [*first_left, *second_left]
        return {}, left

    def _bare_state(self, run_id: bytes, loaded: LoadedRun | None) -> RunState:
        if loaded is not None:
            return self._state(loaded)
        context = self._context
        return RunState.of(
            context.namespace, context.task_queue, run_id, NO_LANE, None, None, None, None
        )

    async def _take_in(
        self, run_id: bytes, loaded: LoadedRun | None, lanes: Container[int]
    ) -> None:
        memory = self._memory
        kept = memory.states.get(run_id)
        if kept is not None and kept.closed:
            # The core forgot it once nothing was owed to it; now something came again: a query.
            memory.drop(run_id)
            kept = None
        if kept is not None:
            return
        if loaded is None and not kinds.ACCEPTED.isdisjoint(memory.core.waiting_kinds(run_id)):
            # A run has a row when such a message is accepted, and no run with one unread closes.
            logger.error(
                "what came for run %s is left unread, there is no such run: a message's row or the "
                "run's is damaged or lost; `hotmesh check` lists it",
                wire.run_id_text(run_id),
            )
            self._activities.cancel((run_id,))
            memory.core.leave(run_id)
            return
        if loaded is None:
            logger.warning(
                "run %s is not in the database (it was pruned, or the database went back): "
                "it is dropped, and so is what came for it",
                wire.run_id_text(run_id),
            )
            self._activities.cancel((run_id,))
            memory.core.load(run_id, NO_LANE, [], True, [])
            return
        if loaded.lane // LANES_PER_QUEUE < 1:
            raise CorruptRowError(wire.run_id_text(run_id), "lane", f"it is {loaded.lane}")
        state = self._state(loaded)
        if loaded.lane not in lanes and self._mover.is_others(state):
            self._activities.cancel((run_id,))  # its owner sees to all that it has open
            return
        self._mover.taken_in(run_id, loaded.lane, has_begun=loaded.next_seq > 0)
        if loaded.next_seq != len(loaded.frames):
            missing = f"it has {len(loaded.frames)} entries, and the last is {loaded.next_seq - 1}"
            self._take_in_damaged(state, loaded, missing)
            return
        inflight = [seq for (owner, seq) in self._activities.inflight if owner == run_id]
        sizes = list(map(len, loaded.frames))
        is_small = sum(sizes) <= JOURNAL_BYTES_MAX
        try:
            transitions, lost = memory.core.load(
                run_id, loaded.lane, loaded.frames, state.closed, inflight, is_small
            )
        except RouterError:
            # Rows of this run are still to be committed: the journal is read again after that.
            memory.core.fail(run_id)
            memory.postpone(run_id, STALE_PAUSE_SECONDS)
            return
        except CoreError as error:
            self._take_in_damaged(state, loaded, str(error))
            return
        if is_small:
            state.remember(transitions, sizes)
        else:
            state.remember(transitions, sizes)
            state.transitions = Journal(loaded.frames, decode_transition, transitions)
        memory.keep(state)
        if state.closed:
            self._activities.cancel((run_id,))
            return
        children = [command for command in lost if command[0] == kinds.CHILD]
        if children:
            await self._start_again(state, children)
            return
        if inflight:
            self._activities.drop_unwanted(run_id, transitions)
        self._activities.looked_for(run_id, lost)
        goes_on = bool(lost) and lost[-1][0] == kinds.PAUSED
        if goes_on:
            lost = lost[:-1]
        cancelled = {
            command[1]
            for _, _, commands in transitions
            for command in commands
            if command[0] == kinds.CANCEL_ACTIVITY
        }
        for seq in cancelled.intersection(inflight):
            self._activities.request_cancel(run_id, seq)
        if lost:
            await self._recover(state, transitions, lost, cancelled)
        if goes_on and memory.states.get(run_id) is state:
            memory.hold_rest(run_id)

    def _take_in_damaged(self, state: RunState, loaded: LoadedRun, reason: str) -> None:
        """A journal can't be read. Its run waits, unless it is to be ended: that takes no journal.

        Nor does what comes too late for a run that has ended, unless somebody waits for an answer.
        Entries that can't be read count, so that what ends the run follows them, and say nothing.
        What the run had open by such an entry (a task, a timer) is left over, and comes to nothing.
        """
        memory, run_id = self._memory, loaded.run_id
        corrupt = CorruptJournalError(wire.run_id_text(run_id), None, reason)
        waiting = memory.core.waiting_kinds(run_id)
        needed = not kinds.ANSWERED.isdisjoint(waiting) if state.closed else True
        if needed and kinds.ENDING.isdisjoint(waiting):
            self._failures.report(state, corrupt)
            return
        if state.closed:
            state.damage = state.damage or corrupt  # should somebody ask for an answer just now
        legible = [frame if _is_legible(frame) else _BLANK for frame in loaded.frames]
        legible += [_BLANK] * (loaded.next_seq - len(legible))
        try:
            transitions, _ = memory.core.load(run_id, loaded.lane, legible, state.closed, ())
        except CoreError:  # what can be read contradicts itself
            legible = [_BLANK] * loaded.next_seq
            transitions, _ = memory.core.load(run_id, loaded.lane, legible, state.closed, ())
        state.remember(transitions, list(map(len, legible)))
        memory.keep(state)

    def _state(self, loaded: LoadedRun) -> RunState:
        state = RunState.of(
            self._context.namespace,
            self._context.task_queue,
            loaded.run_id,
            loaded.lane,
            loaded.workflow_id,
            loaded.workflow_type,
            loaded.header,
            loaded.input,
            loaded.attributes,
        )
        state.status = loaded.status
        if loaded.status not in _STATUSES:
            run = wire.run_id_text(loaded.run_id)
            state.damage = CorruptRowError(run, "status", f"it is {loaded.status}")
        else:
            state.closed = loaded.status != RunStatus.RUNNING
        return state

    async def _start_again(self, state: RunState, children: Sequence[Event]) -> None:
        """Start children of which nobody knows whether they were; the run waits for the answers.

        One may have run for a while, and have continued as new. Only if the run knows that it was
        started, it finds the newest run under that id where it cancels or ends it.
        """
        memory, run_id = self._memory, state.details.run_id
        memory.core.fail(run_id)
        memory.drop(run_id)
        memory.postpone(run_id, BACKEND_PAUSE_SECONDS)  # with the answers it is read at once
        try:
            for name in self._translator.missing_queues(children):
                self._context.queue_ids[name] = await self._context.resolve_queue(name)
        except PASSING:
            return
        effects = memory.effects
        effects.begin(run_id)
        for command in children:
            owner = Owner(kinds.CHILD, run_id, command[1])
            if owner not in effects.start_owners:  # read again before the step went out
                effects.starts.append(self._translator.child_start(state, command))
                effects.start_owners.append(owner)

    async def _recover(
        self,
        state: RunState,
        transitions: Sequence[Transition],
        lost: Sequence[Event],
        cancelled: Container[int],
    ) -> None:
        """Do again what a router that is gone had in hand."""
        memory, run_id = self._memory, state.details.run_id
        memory.effects.begin(run_id)
        try:
            for name in self._translator.missing_queues(lost):
                self._context.queue_ids[name] = await self._context.resolve_queue(name)
        except PASSING:
            memory.core.fail(run_id)
            memory.drop(run_id)
            memory.postpone(run_id, BACKEND_PAUSE_SECONDS)
            return
        again: list[Event] = []
        for command in lost:
            if command[0] == kinds.ACTIVITY:
                again += self._recover_activity(state, command, cancelled)
            else:
                again_ms = self._passed_ms(transitions, command)
                send = self._translator.external_send(state, command, again_ms)
                memory.effects.sends.append(send)
                memory.effects.send_owners.append(Owner(command[0], run_id, command[1]))
        if again:
            now_ms = max(state.now_ms, self._context.clock.wall_ms())
            size = memory.core.complete(run_id, now_ms, again)
            state.journaled((now_ms, [], again), size)
            memory.step_bytes += size
            memory.has_columns = True

    def _passed_ms(self, transitions: Sequence[Transition], command: Event) -> int:
        """How long ago a command was sent at most: with the transition that it is in, or after."""
        sent_ms = next(
            now_ms
            for now_ms, _, commands in transitions
            if any(each[:5] == command[:5] for each in commands)
        )
        return max(0, self._context.clock.wall_ms() - sent_ms) + REPEAT_SLACK_MS

    def _recover_activity(
        self, state: RunState, command: Event, cancelled: Container[int]
    ) -> list[Event]:
        """The command that makes a lost activity a task, if it does not start here after all."""
        activities, effects = self._activities, self._memory.effects
        run_id, seq = state.details.run_id, command[1]
        if seq in cancelled:
            activities.unstarted.pop((run_id, seq), None)
        elif (run_id, seq) in activities.unstarted:
            # The journal says that it was committed to start here, and it has not. It may after
            # one more step: that one tells whether the journal is still ours. Until then it counts
            # as not started.
            options = orjson.loads(command[4])
            task = first_attempt(state.details, command, options, state.now_ms)
            activities.inflight[run_id, seq] = task
            effects.placed.append(task)
            self._memory.has_columns = True
            return []
        again = activities.redispatch_lost(state, command)
        if seq in cancelled:
            effects.recalls.append((run_id, seq, cancelled_frame(seq), True))
        return [again]


async def _try_another(session: Session) -> None:
    """None of some runs could be read: see that it is not all runs that the database refuses.

    Raises:
        BackendUnavailableError: It is, or the store is away.
        BackendAccessError: It turns us away.
    """
    try:
        await session.load((_NO_RUN,))
    except PASSING:
        raise
    except Exception as error:
        text = f"the database refuses to read any run: {told(error)}"
        raise BackendUnavailableError(text) from error


def _is_legible(frame: bytes) -> bool:
    try:
        decode_transition(frame)
    except CoreError:
        return False
    return True
