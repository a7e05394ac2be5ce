"""Activity tasks from the queue: claimed in batches, renewed, finished in batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from hotmesh import json_bytes
from hotmesh.backends.protocol import Backend, NoteItem, Tasks, TasksReply
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask, AttemptKey, Outcome
from hotmesh.engine.outside import outside_tasks
from hotmesh.exceptions import BackendError, CorruptRowError
from hotmesh.interrupts import is_from_outside
from hotmesh.limits import BATCH_BYTES_MAX, BATCH_TASKS_MAX, RESULTS_BYTES_MAX
from hotmesh.printing import told
from hotmesh.retrying import PASSING, Backoff, complain
from hotmesh.router.clock import BackendClock
from hotmesh.router.effects import CANCELLED_FAILURE
from hotmesh.router.notifier import Notifier
from hotmesh.router.task_failures import LOST_ATTRIBUTE
from hotmesh.router.task_rows import read_task
from hotmesh.router.tenure import Tenure

logger = logging.getLogger(__name__)

IDLE_POLL_SECONDS = 1.0
RENEWALS_PER_LEASE = 3

_Ended = list[tuple[ActivityTask, Outcome]]


def _size_of(ended: tuple[ActivityTask, Outcome]) -> int:
    _, outcome = ended
    return len(outcome.state if outcome.event is None else outcome.event[5])


class TaskPump:
    """Moves activity tasks between the store and the runner.

    Args:
        backend: The store.
        namespace: Of the worker.
        task_queue: Whose tasks are taken.
        queue_id: Its id.
        lease_ms: How long a claim lasts without being renewed.
        runner: Runs the activities.
        clock: The backend's clock.
        notifier: Wakes the lanes that got results.
        router_id: Asked for at each batch, since a router may have to join again.
        on_lanes: Told of lanes that got results.
        claims: Whether tasks are taken from the queue at all.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        namespace: str,
        task_queue: str,
        queue_id: int,
        lease_ms: int,
        runner: Any,
        clock: BackendClock,
        notifier: Notifier,
        router_id: Callable[[], bytes],
        on_lanes: Callable[[set[int]], None],
        claims: bool = True,
    ) -> None:
        self._backend = backend
        self._namespace = namespace
        self._task_queue = task_queue
        self._queue_id = queue_id
        self._lease_ms = lease_ms
        self._runner = runner
        self._clock = clock
        self._notifier = notifier
        self._router_id = router_id
        self._on_lanes = on_lanes
        self._claims = claims
        self._claimed: dict[AttemptKey, ActivityTask] = {}
        self._outcomes: list[tuple[ActivityTask, Outcome]] = []
        self._outcome_bytes = 0
        """What those outcomes hold."""
        self._unbegun: deque[ActivityTask] = deque()
        """Claimed, to begin once outcomes that are large have been written, or once it is known
        that the claims are still held."""
        self._beats: dict[AttemptKey, bytes] = {}
        self._detached: list[tuple[ActivityTask, Outcome]] = []
        """Attempts that a client completes from now on."""
        self._renew_at = 0.0
        self._asked_at: float | None = None
        """When the call was sent that is under way, if it claims or renews what has not begun."""
        self._held_until = 0.0
        """Until then what has not begun is surely claimed still."""
        self._next_due: int | None = None
        self._wake: asyncio.Future[None] | None = None
        self._awake = True
        self._short_of_slots = False
        self._stopping = False
        self._noting: set[asyncio.Task[None]] = set()
        """Notes on their way into the records of runs."""

    def wake(self, payload: str | None = "") -> None:
        """Look for tasks at once; payload "c": look for cancellations too."""
        if payload == "c" and self._claimed:
            self._renew_at = 0.0
        self._awake = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def slot_free(self) -> None:
        """A slot of the runner is free again that something else had: use it, if we had to stop."""
        if self._short_of_slots:
            self._short_of_slots = False
            self.wake()

    def heartbeat(self, task: ActivityTask, state: bytes) -> bool:
        """Store an activity's heartbeat; false if it isn't a task of the queue."""
        if self._claimed.get(task.key) is not task:
            return False
        self._beats[task.key] = state
        self.wake()
        return True

    def adopt(self, tenure: Tenure) -> None:
        """What a tenure that is over had begun are tasks now, and this worker's claims."""
        if tenure.is_handed_over:
            return
        for task in tenure.held.begun:
            if self._stopping and not task.started_ms:
                continue  # its claim is given up with the others
            self._claimed[task.key] = task
            if not task.started_ms:  # it was about to
                task.started_ms = self._clock.now_ms()
                with outside_tasks():
                    self._begin(task)
        tenure.hand_to(self._on_outcome)
        self._renew_at = 0.0
        self.wake()

    def claimed(self) -> list[ActivityTask]:
        """The attempts that are claimed here. May be asked from any thread."""
        return list(self._claimed.values())

    def stop(self) -> None:
        """Claim nothing more; end once what runs is finished."""
        self._stopping = True
        self._begin_rest(everything=True)
        self.wake()

    async def run(self) -> None:
        """Claim and finish until stopped."""
        backoff = Backoff()
        while True:
            self._awake = False
            batch, outcomes, detached = self._batch()
            try:
                if self._worth_asking(batch):
                    sent = self._clock.mark()
                    reply = await self._backend.tasks(batch)
                    self._clock.learn(sent, reply.now_ms)
                    self._take(batch, reply)
                if self._unbegun:
                    self._begin_rest(everything=self._stopping)
                backoff.reset()
            except BackendError as error:
                # Were it to end here, this worker's activities would wait for ever.
                complain(logger, self._backend.url, "activity tasks: %s; trying again", error)
                # Whatever of it was applied is refused the second time.
                self._outcomes = outcomes + self._outcomes
                self._outcome_bytes = sum(map(_size_of, self._outcomes))
                self._detached = detached + self._detached
                self._restore_beats(batch)
                if not isinstance(error, PASSING):
                    await self._write_one_by_one()
                await backoff.pause()
                continue
            if self._stopping and not (self._claimed or self._outcomes or self._detached):
                return
            await self._sleep()

    async def _write_one_by_one(self) -> None:
        """The database refuses the data of some outcome: write the others without it.

        The attempt whose outcome can't be stored is over when its claim is; the next one may do
        better. If it refuses a batch of nothing too, it is nobody's data: all are kept.
        """
        try:
            await self._backend.tasks(self._empty_batch(0))
        except BackendError:
            return
        outcomes, self._outcomes = self._outcomes, []
        for at, each in enumerate(outcomes):
            batch = self._empty_batch(0)
            self._add_outcome(batch, *each)
            try:
                await self._backend.tasks(batch)
            except PASSING:
                self._outcomes = outcomes[at:] + self._outcomes
                self._outcome_bytes = sum(map(_size_of, self._outcomes))
                return
            except BackendError as error:
                task = each[0]
                self._set_aside((task.run_id, task.seq), error)

    def _worth_asking(self, batch: Tasks) -> bool:
        return bool(batch.room or batch.finish_run or batch.retry_run or batch.beat_run)

    def _batch(self) -> tuple[Tasks, _Ended, _Ended]:
        outcomes = self._take_outcomes()
        room = max(0, min(self._runner.free, BATCH_TASKS_MAX))
        if self._stopping or self._outcomes or self._unbegun or not self._claims:
            room = 0  # what is to be written comes first, and what is claimed already
        self._short_of_slots = not room
        self._asked_at = time.monotonic() if room else None
        batch = self._empty_batch(room)
        for task, outcome in outcomes:
            self._add_outcome(batch, task, outcome)
        detached, self._detached = self._detached, []
        self._add_beats(batch, detached)
        return batch, outcomes, detached

    def _empty_batch(self, room: int) -> Tasks:
        return Tasks(
            self._namespace,
            self._router_id(),
            self._queue_id,
            self._lease_ms,
            room,
            self._runner.types,
            self._clock.now_ms() if self._clock.is_read else None,
        )

    def _add_outcome(self, batch: Tasks, task: ActivityTask, outcome: Outcome) -> None:
        if outcome.kind == "retry":
            batch.retry_run.append(task.run_id)
            batch.retry_seq.append(task.seq)
            batch.retry_attempt.append(task.attempt)
            batch.retry_delay.append(outcome.delay_ms)
            batch.retry_state.append(outcome.state)
        else:
            assert outcome.event is not None
            batch.finish_run.append(task.run_id)
            batch.finish_seq.append(task.seq)
            batch.finish_attempt.append(task.attempt)
            batch.finish_frame.append(encode_event(outcome.event))

    def _take_outcomes(self) -> list[tuple[ActivityTask, Outcome]]:
        """What the next batch writes, up to the outcome with which it has enough bytes."""
        size = 0
        for count, each in enumerate(self._outcomes, 1):
            size += _size_of(each)
            if size >= BATCH_BYTES_MAX:
                self._awake |= count < len(self._outcomes)
                outcomes, self._outcomes = self._outcomes[:count], self._outcomes[count:]
                self._outcome_bytes -= size
                return outcomes
        outcomes, self._outcomes = self._outcomes, []
        self._outcome_bytes = 0
        return outcomes

    def _take_beats(self) -> dict[AttemptKey, bytes]:
        """The details that the next batch writes; bounded like outcomes."""
        room = BATCH_BYTES_MAX
        beats: dict[AttemptKey, bytes] = {}
        while self._beats and room > 0:
            key = next(iter(self._beats))
            beats[key] = self._beats.pop(key)
            room -= len(beats[key])
        self._awake |= bool(self._beats)
        return beats

    def _restore_beats(self, batch: Tasks) -> None:
        self._renew_at = 0.0
        for *key, state, outside in zip(
            batch.beat_run,
            batch.beat_seq,
            batch.beat_attempt,
            batch.beat_state,
            batch.beat_outside,
            strict=True,
        ):
            if state is not None and not outside:
                self._beats.setdefault(cast("AttemptKey", tuple(key)), state)

    def _add_beats(self, batch: Tasks, detached: _Ended) -> None:
        beats = self._take_beats()
        due = time.monotonic() >= self._renew_at
        if due:
            self._asked_at = time.monotonic()
            self._renew_at = self._asked_at + self._lease_ms / 1000 / RENEWALS_PER_LEASE
        for key, task in self._claimed.items():
            if due or key in beats:
                self._add_beat(batch, task, self._lease_ms, beats.get(key))
        for task, outcome in detached:
            # The claim lasts as long as the attempt may.
            self._add_beat(batch, task, outcome.delay_ms, outcome.state or None, outside=True)

    def _add_beat(
        self,
        batch: Tasks,
        task: ActivityTask,
        lease_ms: int,
        state: bytes | None,
        *,
        outside: bool = False,
    ) -> None:
        batch.beat_run.append(task.run_id)
        batch.beat_seq.append(task.seq)
        batch.beat_attempt.append(task.attempt)
        batch.beat_lease.append(lease_ms)
        batch.beat_state.append(state)
        batch.beat_outside.append(outside)

    def _take(self, batch: Tasks, reply: TasksReply) -> None:
        due: object = reply.next_due_ms
        self._next_due = due if isinstance(due, int) else None
        if reply.finished_lanes:
            lanes = set(reply.finished_lanes)
            self._notifier.lanes(lanes)
            self._on_lanes(lanes)
        for attempt in reply.recalled:
            self._request_cancel(attempt)
        for attempt in reply.lost:
            if self._claimed.pop(attempt, None) is not None:
                self._runner.cancel(attempt, "not_found")
        if self._asked_at is not None:
            self._held_until = self._asked_at + self._lease_ms / 1000
        wait = bool(reply.tasks) and self._is_late()
        with outside_tasks():
            for row in reply.tasks:
                try:
                    self._start(row, wait=wait)
                except BaseException as error:  # one row's trouble: the others go on
                    if is_from_outside(error):
                        raise
                    self._set_aside(row, error)
        if len(reply.tasks) >= batch.room > 0:
            self._awake = self._short_of_slots = True

    def _request_cancel(self, attempt: AttemptKey) -> None:
        """The run has asked for an attempt's end; one that has not begun never does."""
        task = self._claimed.get(attempt)
        if task is not None and task in self._unbegun:
            event = (kinds.ACTIVITY_CANCELED, task.seq, 0, "", b"", CANCELLED_FAILURE)
            self._on_outcome(task, Outcome("canceled", event))
        else:
            self._runner.cancel(attempt, "cancel_requested")

    def _is_late(self) -> bool:
        """Whether claims may be over by now, as after a pause; somebody else's attempt may be the
        next one then. So they are renewed before anything begins."""
        late = time.monotonic() >= self._held_until
        if late:
            self._renew_at = 0.0
            self._awake = True
        return late

    def _start(self, row: Any, *, wait: bool) -> None:
        task = read_task(row, self._namespace, self._task_queue, self._clock.now_ms())
        lost = self._runner.lost_outcome(task)
        if lost is not None:
            self._outcomes.append((task, lost))
            self._outcome_bytes += _size_of((task, lost))
            self.wake()
            return
        self._claimed[task.key] = task
        if wait or self._unbegun or self._outcome_bytes >= RESULTS_BYTES_MAX:
            self._unbegun.append(task)
        else:
            self._begin(task)

    def _begin_rest(self, *, everything: bool = False) -> None:
        """Begin what is claimed already, until outcomes are again enough to be written first."""
        claimed = self._claimed  # others were lost, or their end asked for
        self._unbegun = deque(each for each in self._unbegun if claimed.get(each.key) is each)
        if not self._unbegun or self._is_late():
            return
        with outside_tasks():
            while self._unbegun:
                if not everything and (
                    self._outcome_bytes >= RESULTS_BYTES_MAX or self._runner.free <= 0
                ):
                    return
                task = self._unbegun.popleft()
                task.started_ms = self._clock.now_ms()
                try:
                    self._begin(task)
                except BaseException as error:  # one task's trouble: the others go on
                    if is_from_outside(error):
                        raise
                    self._set_aside((task.run_id, task.seq), error)

    def _begin(self, task: ActivityTask) -> None:
        try:
            event = self._runner.start(task, self._on_outcome)
        except BaseException:
            del self._claimed[task.key]
            raise
        if event is not None:
            self._on_outcome(task, Outcome("completed", event))

    def _set_aside(self, row: Sequence[object], error: BaseException) -> None:
        """A task that can't be attempted: its run is told about, and it is looked at again later.

        The claim is kept until then, so that no worker meets the row again and again.
        """
        run_id, seq, *_ = row
        if not isinstance(error, CorruptRowError):
            run = wire.run_id_text(run_id) if isinstance(run_id, bytes) else "(unknown)"
            error = CorruptRowError(run, f"activity task {seq}", told(error))
        logger.error("%s", error, extra={"run_id": error.run, "namespace": self._namespace})
        if not isinstance(run_id, bytes):
            return
        text = json_bytes.dumps({"type": type(error).__name__, "message": str(error), "attempt": 0})
        note = NoteItem(self._namespace, run_id, LOST_ATTRIBUTE, text)
        noting = asyncio.get_running_loop().create_task(self._note(note), name="hotmesh-note")
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def _note(self, note: NoteItem) -> None:
        try:
            await self._backend.note([note])
        except BackendError as error:
            logger.warning("the record of a run could not be written: %s", error)

    def _on_outcome(self, task: ActivityTask, outcome: Outcome) -> None:
        if self._claimed.get(task.key) is not task:
            return  # the claim was lost: somebody else makes the next attempt
        del self._claimed[task.key]
        if outcome.kind == "async":
            self._detached.append((task, outcome))
        else:
            self._outcomes.append((task, outcome))
            self._outcome_bytes += _size_of((task, outcome))
        self.wake()

    async def _sleep(self) -> None:
        if self._awake:
            return
        seconds = IDLE_POLL_SECONDS
        if self._claimed:
            seconds = min(seconds, max(0.001, self._renew_at - time.monotonic()))
        if self._next_due is not None and self._runner.free > 0:
            seconds = min(seconds, max(0.001, (self._next_due - self._clock.now_ms()) / 1000))
        self._wake = asyncio.get_running_loop().create_future()
        handle = asyncio.get_running_loop().call_later(seconds, self.wake, None)
        try:
            await self._wake
        finally:
            handle.cancel()
            self._wake = None
