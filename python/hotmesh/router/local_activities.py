"""Activities that start in this process, right after the commit that says so.

The first attempt of an activity that this worker hosts needs no task in the queue (it is *eager*).
What comes of it goes into the pipe's next batch; a failure that may be retried becomes a task.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson

from hotmesh import json_bytes
from hotmesh.backends.protocol import LOST, Step
from hotmesh.core import CoreError, Event, Transition, encode_event, kinds
from hotmesh.core.kinds import ACTIVITY_OUTCOMES
from hotmesh.engine.activity_options import OPTIONS_REMEMBERED_MAX, read_options
from hotmesh.engine.activity_task import ActivityTask, Outcome
from hotmesh.engine.details import RunDetails
from hotmesh.engine.outside import outside_tasks
from hotmesh.limits import BATCH_BYTES_MAX, PLACED_BYTES_MAX, RESULTS_BYTES_MAX
from hotmesh.router.collection import collection_paused
from hotmesh.router.effects import CANCELLED_FAILURE, Effects, cancelled_frame, task_meta
from hotmesh.router.memory import PipeMemory
from hotmesh.router.pace import Pace
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.state import RunState

AT_ONCE_SECONDS = 4.0
"""How much work of activities that never wait may be taken on beyond the free slots."""

BUSY_SECONDS = 0.02
"""How long to start activities in a row before the rest of the process has its turn."""

LARGE_BYTES = 16 * 1024
"""Arguments and results from which on they are counted; there are never many small ones."""

Key = tuple[bytes, int]
"""An activity: (run id, seq). Only its first attempt is ever made here."""

"""Kinds of what an activity has come to."""


class LocalActivities:
    """A pipe's activities that run in this process."""

    def __init__(
        self,
        context: PipeContext,
        memory: PipeMemory,
        leaving: Collection[int],
        wake: Callable[[], None],
        have_enough: Callable[[], bool],
    ) -> None:
        self._context = context
        self._memory = memory
        self._leaving = leaving
        self._wake = wake
        self._have_enough = have_enough
        self.eager = context.eager
        """Whether activities of the queue may start here without a task; else there is no room."""
        self.inflight: dict[Key, ActivityTask] = {}
        """The first attempts that are running, or about to."""
        self.unstarted: dict[Key, int] = {}
        """Those whose step had an unknown outcome, with their lane: if journaled, they start
        here."""
        self._outcomes = 0
        """How many have come since somebody looked."""
        self._looking = False
        """Whether somebody will look once this callback of the event loop is over."""
        self._waiting: deque[ActivityTask] = deque()
        """To start as soon as a slot is free."""
        self._handing_over = False
        self._room = 0
        """How many more may be placed in the next step."""
        self._unrecorded: dict[Key, int] = {}
        """Sizes of large results that no step has taken yet."""
        self._large_types = context.large_turn.large_types
        """Activity types that have given large results in this process."""
        self._large_bytes = 0
        """Large arguments among what waits or is to be placed; at least that."""
        self._room_at_once = 0
        """The same for activities that never wait, and so need no slot."""
        self._placeable: dict[tuple[str, bytes], dict[str, Any]] = {}
        """Options of the commands that may be placed, by name and text of the options."""
        self._pace = Pace()
        self._retries: list[tuple[ActivityTask, Outcome]] = []
        self._failed: dict[Key, tuple[int, Outcome]] = {}
        """Lane and outcome of failed first attempts, until a committed step has made them tasks.
        Should it not be applied, who takes the run in finds that nobody does this work."""
        self._settled: dict[Key, Outcome] = {}
        """What came of first attempts whose tasks the next step stores."""
        self._outside: dict[Key, tuple[int, Outcome]] = {}
        """Lane and outcome of first attempts that a client completes, until it has."""
        self._lost: set[Key] = set()
        """Those among the tasks of the next step that somebody else may have finished before."""
        self._not_begun: set[Key] = set()
        """Those among the failed that are first attempts still."""

    # Deciding

    def place(self, command: Event, lane: int) -> dict[str, Any] | None:
        """The options of an activity that starts here at once; None if it goes to the queue."""
        name, meta, body = command[3], command[4], command[5]
        options = self._placeable.get((name, meta))
        if options is None:
            options = self._look_at(name, meta)
            if options is None:
                return None
        if "local" in options:
            return options
        if not self.eager or lane in self._leaving:
            return None
        at_once = self._room <= 0
        if at_once and not (self._room_at_once > 0 and self._context.runner.ends_at_once(name)):
            return None
        if len(body) > LARGE_BYTES and not self._has_place_for(len(body)):
            return None
        if at_once:
            self._room_at_once -= 1
        else:
            self._room -= 1
        return options

    def record_next(
        self, details: RunDetails, now_ms: int, outcome: Event, commands: list[Event]
    ) -> int:
        """Record a transition in which one thing came in and one activity starts here; most are so.

        As :meth:`place`, the core's `complete`, `first_attempt` and :meth:`recorded`, without their
        calls.

        Args:
            details: The run.
            now_ms: The transition's time.
            outcome: What came in: an activity's result, or the run's start.
            commands: The activity.

        Returns:
            The transition's bytes; 0 if the activity goes to the queue, and nothing was recorded.

        Raises:
            BaseException: The core refuses it; nothing was recorded.
        """
        (command,) = commands
        _, seq, _, name, meta, body = command
        lane = details.lane
        options = self._placeable.get((name, meta))
        if (
            options is not None
            and self._room > 0
            and len(body) <= LARGE_BYTES
            and lane not in self._leaving
        ):
            self._room -= 1
        else:
            options = self.place(command, lane)
            if options is None:
                return 0
        run_id, memory, inflight = details.run_id, self._memory, self.inflight
        size = memory.core.complete(run_id, now_ms, commands)
        effects = memory.effects
        ended = inflight.pop((run_id, outcome[1]), None)
        if ended is not None:
            effects.ended.append((ended, outcome))
        elif self._outside:
            self._outside.pop((run_id, outcome[1]), None)
        task = ActivityTask(run_id, seq, lane, name, options, body, now_ms, details, True)
        inflight[run_id, seq] = task
        if self.unstarted:
            self.unstarted.pop((run_id, seq), None)
        effects.placed.append(task)
        return size

    def _has_place_for(self, size: int) -> bool:
        """Whether such arguments may wait here for a slot."""
        if self._large_bytes >= PLACED_BYTES_MAX:
            return False
        self._large_bytes += size
        return True

    def _look_at(self, name: str, meta: bytes) -> dict[str, Any] | None:
        """The options of a command if such activities may start here at all; remembered then."""
        context = self._context
        if context.runner is None or not context.runner.hosts(name):
            return None
        options = read_options(meta)
        elsewhere = options.get("q", context.task_queue) != context.task_queue
        if "local" not in options and ("hb" in options or elsewhere):
            return None
        if len(self._placeable) >= OPTIONS_REMEMBERED_MAX:
            self._placeable.clear()
        self._placeable[name, meta] = options
        return options

    def make_room(self) -> None:
        """Before a batch of activations: slots that are free, or will be in a moment."""
        runner = self._context.runner
        if not self.eager:
            self._room = self._room_at_once = 0
        elif self._unrecorded and self._waiting and not self._drop_recorded():
            # Whoever comes now would wait behind these, as long as their results take to write.
            self._room = self._room_at_once = 0
        elif runner is not None:
            placed = len(self._memory.effects.placed) + len(self._waiting)
            self._room = runner.free + self._pace.recent() - placed
            if not placed:
                self._large_bytes = 0
            elif self._large_bytes >= PLACED_BYTES_MAX:  # some may have been cancelled
                sizes = (len(each.body) for each in (*self._memory.effects.placed, *self._waiting))
                self._large_bytes = sum(size for size in sizes if size > LARGE_BYTES)
            self._room_at_once = int(AT_ONCE_SECONDS / self._context.cost.seconds) - placed

    @property
    def startable_bytes(self) -> int:
        """Large arguments of those that have not begun yet, at least that; none, if no slot is
        free: what is running may last for hours."""
        runner = self._context.runner
        return self._large_bytes if runner is not None and runner.free > 0 else 0

    def in_hand(self) -> dict[Key, int]:
        """What nobody else may do before it is stored what has become of it here, with its lane."""
        lanes = {key: task.lane for key, task in self.inflight.items()}
        lanes.update((key, lane) for key, (lane, _) in self._failed.items())
        lanes.update(self.unstarted)
        return lanes

    def waits_for(self, is_failing: Callable[[bytes], bool]) -> bool:
        """Whether something has ended here and is not stored, of a run that takes it soon.

        Args:
            is_failing: Says of which run nobody knows when it will.
        """
        ended = {run_id for (run_id, _), task in self.inflight.items() if task.event is not None}
        ended.update(run_id for run_id, _ in self._failed)
        return not all(map(is_failing, ended))

    # Running

    def accept(self, placed: Sequence[ActivityTask]) -> None:
        """Their commands are committed: they start as soon as there are slots."""
        self._waiting.extend(placed)
        if self.unstarted:
            for task in placed:
                self.unstarted.pop((task.run_id, task.seq), None)
        if self._handing_over:
            self.hand_over()

    def start_waiting(self, most: int = sys.maxsize) -> bool:
        """Start what has a free slot; the rest was taken on because slots free up fast here.

        Args:
            most: How many at most.

        Returns:
            Whether some were started, so that more may have to be.
        """
        waiting, runner, inflight = self._waiting, self._context.runner, self.inflight
        tenure = self._context.tenure
        if not waiting or not tenure.is_held or self._has_enough_results():
            return False
        kept: list[ActivityTask] = []
        large_types = self._large_types if self._have_enough() else ()
        local, clock = self._memory.local, self._context.clock
        now_ms, shift_ms = clock.now_ms(), clock.shift_ms
        wall_ms = now_ms - shift_ms
        at_once, began, free, ended = 0, time.perf_counter(), runner.free, self._ended
        left, large = most, 0
        with outside_tasks(), collection_paused():
            while waiting and free > 0 and left > 0:
                task = waiting.popleft()
                if self._large_bytes and len(task.body) > LARGE_BYTES:
                    self._large_bytes -= len(task.body)
                if inflight.get((task.run_id, task.seq)) is not task:
                    continue  # no longer wanted
                if large_types and task.name in large_types:
                    kept.append(task)
                    continue
                left -= 1
                task.started_ms = now_ms
                if tenure.over:  # looked at once it is marked, see `Tenure`
                    task.started_ms = 0
                    break
                if shift_ms or task.scheduled_ms > wall_ms:  # by the run's time until now
                    task.scheduled_ms += clock.due_shift_ms(task.scheduled_ms)
                event = runner.start(task, ended)
                if event is None:
                    free = runner.free
                elif tenure.over:
                    tenure.late(task, Outcome("completed", event))
                    break
                else:
                    task.event = event
                    local.append((task.run_id, event))
                    at_once += 1
                    if len(event[5]) > LARGE_BYTES:
                        self._large_types.add(task.name)
                        self._unrecorded[task.run_id, task.seq] = len(event[5])
                        large += len(event[5])
                        if large >= BATCH_BYTES_MAX:
                            break
                if time.perf_counter() - began > BUSY_SECONDS:
                    break
        waiting.extendleft(reversed(kept))
        self._large_bytes += sum(len(each.body) for each in kept if len(each.body) > LARGE_BYTES)
        if at_once:
            self._pace.count(at_once)
            self._context.cost.saw(at_once, time.perf_counter() - began)
            self._wake()
        return left < most

    def _has_enough_results(self) -> bool:
        """Whether so many results wait to be journaled that nothing more is started meanwhile."""
        return bool(self._unrecorded) and self.result_bytes >= RESULTS_BYTES_MAX

    def _may_start(self) -> bool:
        """Whether something of what waits may be started.

        While enough is to be written, only what has given nothing large yet: what is small need not
        wait for that.
        """
        if not self._context.tenure.is_held or self._has_enough_results():
            return False
        if not self._have_enough():
            return True
        return any(task.name not in self._large_types for task in self._waiting)

    @property
    def result_bytes(self) -> int:
        """Large results of this process that are not journaled yet.

        Those of a run whose task has failed don't count: nobody knows when it will take them.
        """
        if self._drop_recorded():
            return 0
        later = self._memory.is_postponed
        return sum(size for key, size in self._unrecorded.items() if not later(key[0]))

    @property
    def largest_result(self) -> int:
        """Bytes of the largest of them."""
        if self._drop_recorded():
            return 0
        later = self._memory.is_postponed
        return max((size for key, size in self._unrecorded.items() if not later(key[0])), default=0)

    def _drop_recorded(self) -> bool:
        """Forget results that are no longer in flight: they are journaled, or nobody wants them.

        Returns:
            Whether none is left.
        """
        if self._unrecorded:
            self._unrecorded = {
                key: size for key, size in self._unrecorded.items() if key in self.inflight
            }
        return not self._unrecorded

    def _start_more(self) -> None:
        self.start_waiting()
        self._look_again()

    def _ended(self, task: ActivityTask, outcome: Outcome) -> None:
        if self._context.tenure.over:
            self._context.tenure.late(task, outcome)
            return
        if self.inflight.get((task.run_id, task.seq)) is not task:
            return  # cancelled, or the lane was lost: the result is no longer wanted
        self._outcomes += 1
        if outcome.event is not None:
            task.event = outcome.event
            self._memory.local.append((task.run_id, outcome.event))
            if len(outcome.event[5]) > LARGE_BYTES:
                self._large_types.add(task.name)
                self._unrecorded[task.run_id, task.seq] = len(outcome.event[5])
        else:
            self._retries.append((task, outcome))
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look_again)

    def _look_again(self) -> None:
        """Once for all outcomes of a moment: there are results to commit and slots to fill."""
        self._looking = False
        if self._waiting and self._context.runner.free > 0 and self._may_start():
            self._looking = True
            asyncio.get_running_loop().call_soon(self._start_more)
        if not self._outcomes:
            return
        self._pace.count(self._outcomes)
        self._outcomes = 0
        self._wake()

    def slot_free(self) -> None:
        """A slot may be free that anything of this process had."""
        if self._waiting and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._start_more)

    # Becoming tasks

    @property
    def has_retries(self) -> bool:
        """Whether attempts wait to become tasks: failed ones, and those that a client completes."""
        return bool(self._retries)

    def settle_retries(self) -> None:
        """Failed first attempts become tasks of the queue, claimable after their backoff.

        Those that a client completes become claimed tasks, claimable after their timeouts.
        """
        retries, self._retries = self._retries, []
        held = self._memory.held
        for task, outcome in retries:
            if held and self._memory.is_held(task.run_id):
                self._retries.append((task, outcome))  # its jobs come first
            else:
                self._settle_retry(task, outcome)

    def _settle_retry(self, task: ActivityTask, outcome: Outcome) -> None:
        memory, key = self._memory, (task.run_id, task.seq)
        state = memory.states.get(task.run_id)
        if self.inflight.get(key) is not task:
            return  # nobody wants it
        del self.inflight[key]
        if self._context.tenure.over:  # looked at once it is taken out, see `Tenure`
            self._context.tenure.late(task, outcome)
            return
        if state is not None and state.closed:
            return  # nor here
        self._failed[key] = (task.lane, outcome)
        if not task.started_ms:
            self._not_begun.add(key)
        if state is None:
            # Whoever takes the run in finds that nobody does this work, and asks for the outcome.
            if memory.core.known(task.run_id):
                memory.core.fail(task.run_id)
                memory.loads.append(task.run_id)
            return
        command = (
            kinds.ACTIVITY,
            task.seq,
            0,
            task.name,
            json_bytes.dumps(task.options),
            task.body,
        )
        again = self.redispatch(state, command, outcome.state)
        now_ms = max(state.now_ms, self._context.clock.wall_ms())
        try:
            size = memory.core.complete(task.run_id, now_ms, [again])
        except CoreError:
            # Settled meanwhile. The core no longer trusts what it knew of the run.
            del self._failed[key]
            self._not_begun.discard(key)
            memory.drop(task.run_id)
            if memory.core.known(task.run_id):
                memory.loads.append(task.run_id)
            return
        state.now_ms = now_ms
        state.journaled((now_ms, [], [again]), size)
        memory.step_bytes += size
        self._settled[key] = outcome
        if outcome.kind == "async":
            self._lost.add(key)
            self._outside[key] = (task.lane, outcome)
        if key in memory.effects.cancelled:  # asked for while the attempt was still going on
            memory.effects.recalls.append((*key, cancelled_frame(task.seq), True))
        memory.has_columns = True

    def redispatch_lost(self, state: RunState, command: Event) -> Event:
        """As :meth:`redispatch`, for what nobody does any more; it may have ended here."""
        key = (state.details.run_id, command[1])
        _, outcome = self._failed.get(key) or self._outside.get(key, (0, None))
        if outcome is None:
            self._lost.add(key)
            return self.redispatch(state, command, b"")
        self._settled[key] = outcome
        if outcome.kind == "async":
            self._lost.add(key)
            self._outside[key] = (state.details.lane, outcome)
        return self.redispatch(state, command, outcome.state)

    def redispatch(self, state: RunState, command: Event, task_state: bytes) -> Event:
        """The command that makes a local activity a task of the queue, for its next attempt."""
        _, seq, _, name, meta, body = command
        options = orjson.loads(meta)
        options.pop("w", None)
        queue_id = self._context.queue_ids[options.get("q", state.details.task_queue)]
        frame = encode_event((kinds.ACTIVITY, seq, queue_id, name, task_meta(options, state), body))
        self._memory.effects.task_queues.add(queue_id)
        return (kinds.REDISPATCH, seq, queue_id, name, frame, task_state)

    def amend_tasks(self, step: Step) -> None:
        """Fill in what the core does not know of the tasks that began here: how they ended."""
        if not (self._settled or self._lost):
            return
        for index, key in enumerate(zip(step.task_run, step.task_seq, strict=True)):
            outcome = self._settled.get(key)
            step.task_delay[index] = 0 if outcome is None else outcome.delay_ms
            if key in self._not_begun:
                step.task_attempt[index] = 0
            elif key in self._lost:
                step.task_attempt[index] = LOST
            if outcome is not None and outcome.kind == "async":
                step.outside_run.append(key[0])
                step.outside_seq.append(key[1])
        self._settled = {}
        self._lost = set()

    def stored(self, step: Step) -> None:
        """A step is committed: what ended here is among the tasks."""
        if self.unstarted:  # what a run that has gone on is to start here, it has placed anew
            moved = set(step.journal_run)
            self.unstarted = {k: lane for k, lane in self.unstarted.items() if k[0] not in moved}
        if self._failed:
            for key in zip(step.task_run, step.task_seq, strict=True):
                if self._failed.pop(key, None) is not None:
                    self._not_begun.discard(key)

    # Ending

    def hand_over(self) -> None:
        """Begin nothing more: what waits for its turn goes to the queue, as if never placed."""
        self.eager = False
        self._room = self._room_at_once = 0
        self._handing_over = True
        waiting, self._waiting = self._waiting, deque()
        for task in waiting:
            self._retries.append((task, Outcome("retry")))

    def recorded(
        self, run_id: bytes, jobs: Sequence[Event], placed: Sequence[ActivityTask]
    ) -> None:
        """Outcomes among a run's jobs are recorded; what was placed starts with the next commit."""
        inflight = self.inflight
        if inflight or self._outside:
            for job in jobs:
                if job[0] in ACTIVITY_OUTCOMES:
                    key = (run_id, job[1])
                    ended = inflight.pop(key, None)
                    if ended is not None:
                        self._memory.effects.ended.append((ended, job))
                    else:
                        self._outside.pop(key, None)
        for task in placed:
            inflight[run_id, task.seq] = task
            if self.unstarted:
                self.unstarted.pop((run_id, task.seq), None)

    def cancel(self, run_ids: Collection[bytes]) -> None:
        """The runs are closed: nobody wants the outcome."""
        for key in [key for key in self.inflight if key[0] in run_ids]:
            self._stop(self.inflight.pop(key))
        for known in (self._failed, self._outside, self.unstarted):
            for key in [key for key in known if key[0] in run_ids]:
                del known[key]
        self._not_begun.intersection_update(self._failed)

    def drop_unwanted(self, run_id: bytes, transitions: Sequence[Transition]) -> None:
        """Stop what a run's journal does not ask for, or has the outcome of already.

        The database has gone back behind it, or a step was applied whose answer got lost. Nothing
        more would ever be recorded of it, and its lane never be quiet.
        """
        wanted: set[int] = set()
        for _, jobs, commands in transitions:
            wanted.update(command[1] for command in commands if command[0] == kinds.ACTIVITY)
            wanted.difference_update(job[1] for job in jobs if job[0] in ACTIVITY_OUTCOMES)
        for key in [key for key in self.inflight if key[0] == run_id and key[1] not in wanted]:
            self._stop(self.inflight.pop(key))

    def looked_for(self, run_id: bytes, lost: Sequence[Event]) -> None:
        """A run's journal was read, and nobody does what these commands ask for: no others do."""
        if not (self._failed or self.unstarted):
            return
        seqs = {command[1] for command in lost}
        for known in (self._failed, self.unstarted):
            for key in [key for key in known if key[0] == run_id and key[1] not in seqs]:
                del known[key]
        self._not_begun.intersection_update(self._failed)

    def request_cancel(self, run_id: bytes, seq: int) -> None:
        """The run has asked for an activity's end; an attempt that has not begun never does."""
        task = self.inflight.get((run_id, seq))
        if task is None:
            return  # It has ended: its outcome is on its way, or its task was recalled.
        if task in self._waiting:
            self._waiting.remove(task)
        elif any(retried is task for retried, _ in self._retries):
            self._retries = [each for each in self._retries if each[0] is not task]
        else:
            self._context.runner.cancel(task.key, "cancel_requested")
            return
        task.event = event = (kinds.ACTIVITY_CANCELED, seq, 0, "", b"", CANCELLED_FAILURE)
        self._memory.local.append((run_id, event))
        self._wake()

    def end(self) -> None:
        """The tenure is over: what has come of its attempts goes the way of tasks."""
        tenure, inflight = self._context.tenure, self.inflight
        for task in inflight.values():
            if task.event is not None:  # wherever it is: with the core, it may wait for its run
                tenure.late(task, Outcome("completed", task.event))
        for task, event in self._memory.effects.ended:
            tenure.late(task, Outcome("completed", event))
        for task, outcome in self._retries:
            tenure.late(task, outcome)
        self._retries = []
        self._waiting.clear()
        inflight.clear()  # The translator looks at it too.

    def _stop(self, task: ActivityTask) -> None:
        """Nobody wants the outcome. An attempt that has not begun here may go on elsewhere.

        Its command was not committed, perhaps, and the attempt of its number be a claimed task:
        one that this very worker makes.
        """
        if task.started_ms:
            self._context.runner.cancel(task.key, "not_found")

    def not_committed(self, effects: Effects, *, unknown: bool) -> list[bytes]:
        """A step was not applied, or nobody knows.

        What it was to record is in hand again: the core has it still, and a lane that goes to
        another worker before it is stored has that activity made once more.

        Args:
            effects: The step's.
            unknown: Whether it may have been applied all the same.

        Returns:
            Runs whose journals tell whether it was: nothing unread may be left of them.
        """
        for each in effects.placed:
            self.inflight.pop((each.run_id, each.seq), None)
            if unknown:
                self.unstarted[each.run_id, each.seq] = each.lane
        for task, _ in effects.ended:
            key = (task.run_id, task.seq)
            self.inflight[key] = task
            if task.event is not None and len(task.event[5]) > LARGE_BYTES:
                self._unrecorded[key] = len(task.event[5])
        return list({run_id for run_id, _ in self._failed})

    def forget_lanes(self, lanes: Collection[int]) -> None:
        """Others see to these lanes now."""
        self.unstarted = {key: lane for key, lane in self.unstarted.items() if lane not in lanes}
        for known in (self._failed, self._outside):
            for key in [key for key, (lane, _) in known.items() if lane in lanes]:
                del known[key]
        self._not_begun.intersection_update(self._failed)
