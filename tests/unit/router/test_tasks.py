"""The task pump on a store that gives what the test says."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh.backends.protocol import Backend, Tasks, TasksReply
from hotmesh.core import decode_event, encode_event, kinds
from hotmesh.engine.activity_task import (
    ActivityTask,
    AttemptKey,
    CancelReason,
    Outcome,
    TaskOrigin,
)
from hotmesh.limits import RESULTS_BYTES_MAX
from hotmesh.router.clock import BackendClock
from hotmesh.router.notifier import Notifier
from hotmesh.router.tasks import TaskPump
from hotmesh.router.tenure import Held, Tenure

RUN = b"r" * 16
SEQ = 3


class Runner:
    """Takes everything, ends nothing."""

    free = 10
    types = ("any",)

    def __init__(self) -> None:
        self.started: list[ActivityTask] = []
        self.cancelled: list[tuple[AttemptKey, CancelReason]] = []

    def lost_outcome(self, task: ActivityTask) -> None:
        del task

    def start(self, task: ActivityTask, done: object) -> Any:
        del done
        self.started.append(task)

    def cancel(self, attempt: AttemptKey, reason: CancelReason) -> None:
        self.cancelled.append((attempt, reason))


class LargeResults(Runner):
    """Ends everything at once, with a large result."""

    def start(self, task: ActivityTask, done: object) -> Any:
        super().start(task, done)
        return (kinds.ACTIVITY_COMPLETED, task.seq, 1, "", b"", bytes(RESULTS_BYTES_MAX))


class Store:
    """Answers each batch with what the test has put."""

    def __init__(self) -> None:
        self.replies: asyncio.Queue[TasksReply] = asyncio.Queue()
        self.batches: asyncio.Queue[Tasks] = asyncio.Queue()

    async def tasks(self, batch: Tasks) -> TasksReply:
        self.batches.put_nowait(batch)
        return await self.replies.get()

    def gives(self, attempt: int, lost: bool = False) -> None:
        """Let the next batch claim the activity as this attempt, and lose the one before it."""
        frame = encode_event((kinds.ACTIVITY, SEQ, 1, "act", b"{}", b""))
        row = (RUN, SEQ, 64, attempt, lost, frame, b"", 1)
        gone = [(RUN, SEQ, attempt - 1)] if lost else []
        self.replies.put_nowait(TasksReply(1, tasks=[row], lost=gone))


def pump_on(store: Store, runner: Runner) -> TaskPump:
    return TaskPump(
        cast("Backend", cast("Any", store)),
        namespace="n",
        task_queue="q",
        queue_id=1,
        lease_ms=60_000,
        runner=runner,
        clock=BackendClock(),
        notifier=cast("Notifier", None),
        router_id=lambda: b"i" * 16,
        on_lanes=lambda _: None,
    )


async def test_what_a_tenure_had_begun_is_claimed_renewed_and_finished() -> None:
    runner, store = Runner(), Store()
    pump = pump_on(store, runner)

    def attempt(seq: int, **changes: Any) -> ActivityTask:
        origin = TaskOrigin("n", "w", "t", "q")
        return ActivityTask(RUN, seq, 64, "act", {"st": 5_000}, b"", 1, origin, True, **changes)

    running, ended = attempt(1, started_ms=1), attempt(2, started_ms=1)
    about_to, outside = attempt(3), attempt(4, started_ms=1)
    tenure = Tenure()
    tenure.end(lambda: Held((), [running, ended, about_to, outside]))
    tenure.late(ended, Outcome("completed", (kinds.ACTIVITY_COMPLETED, 2, 1, "", b"", b"[]")))
    tenure.late(outside, Outcome("async", delay_ms=5_000, state=b"told"))
    pump.adopt(tenure)
    assert [task.seq for task in runner.started] == [3]
    assert pump.claimed() == [running, about_to]
    pumping = asyncio.create_task(pump.run())
    batch = await store.batches.get()
    assert [*zip(batch.finish_seq, batch.finish_attempt, strict=True)] == [(2, 1)]
    assert dict(zip(batch.beat_seq, batch.beat_lease, strict=True)) == {
        1: 60_000,
        3: 60_000,
        4: 5_000,
    }
    pumping.cancel()
    await asyncio.wait([pumping])


async def test_what_is_said_of_one_attempt_is_not_said_of_the_next() -> None:
    runner, store = Runner(), Store()
    pump = pump_on(store, runner)
    pumping = asyncio.create_task(pump.run())
    store.gives(1)
    await store.batches.get()
    while not runner.started:
        await asyncio.sleep(0)
    (first,) = runner.started
    assert pump.heartbeat(first, b"of the first")
    beating = await store.batches.get()  # under way when the claim ends, and comes back here
    assert (beating.beat_attempt, beating.beat_state) == ([1], [b"of the first"])
    assert pump.heartbeat(first, b"of the first still")
    store.gives(2, lost=True)
    after = await store.batches.get()
    assert runner.started[1].key == (RUN, SEQ, 2)
    assert runner.cancelled == [((RUN, SEQ, 1), "not_found")]
    assert b"of the first still" not in after.beat_state
    assert not pump.heartbeat(first, b"too late")
    store.replies.put_nowait(TasksReply(1, recalled=[(RUN, SEQ, 1)]))
    pump.wake("c")
    await store.batches.get()
    assert runner.cancelled[1:] == [((RUN, SEQ, 1), "cancel_requested")]
    pumping.cancel()
    await asyncio.wait([pumping])


def claimed(seq: int) -> tuple[object, ...]:
    frame = encode_event((kinds.ACTIVITY, seq, 1, "act", b"{}", b""))
    return (RUN, seq, 64, 1, False, frame, b"", 1)


async def test_large_outcomes_are_written_before_more_is_begun() -> None:
    """What is claimed already keeps its claim, and begins once there is room."""
    runner, store = LargeResults(), Store()
    pump = pump_on(store, runner)
    rows = list(map(claimed, range(1, 6)))
    pumping = asyncio.create_task(pump.run())
    assert (await store.batches.get()).room == 10
    store.replies.put_nowait(TasksReply(1, tasks=rows))
    for seq in range(1, 5):
        batch = await store.batches.get()
        assert batch.finish_seq == [seq]
        assert [task.seq for task in runner.started] == list(range(1, seq + 1))
        assert len(pump.claimed()) == 5 - seq
        assert batch.room == 0
        if seq < 4:
            store.replies.put_nowait(TasksReply(1))
    store.replies.put_nowait(TasksReply(1, lost=[(RUN, 5, 1)]))
    assert (await store.batches.get()).room == 10
    assert [task.seq for task in runner.started] == [1, 2, 3, 4]  # the last claim was lost
    pumping.cancel()
    await asyncio.wait([pumping])


async def test_what_is_claimed_begins_when_the_worker_is_told_to_stop() -> None:
    runner, store = LargeResults(), Store()
    pump = pump_on(store, runner)
    pumping = asyncio.create_task(pump.run())
    store.replies.put_nowait(TasksReply(1, tasks=list(map(claimed, range(1, 4)))))
    await store.batches.get()
    await store.batches.get()
    assert len(runner.started) == 1
    pump.stop()
    assert len(runner.started) == 3
    for _ in range(3):
        store.replies.put_nowait(TasksReply(1))
    await asyncio.wait_for(pumping, 5)


async def test_what_is_claimed_and_cancelled_before_it_begins_never_does() -> None:
    """Its run is told so at once, and the worker goes on with the others."""
    runner, store = LargeResults(), Store()
    pump = pump_on(store, runner)
    pumping = asyncio.create_task(pump.run())
    store.replies.put_nowait(TasksReply(1, tasks=list(map(claimed, range(1, 4)))))
    await store.batches.get()
    assert (await store.batches.get()).finish_seq == [1]
    store.replies.put_nowait(TasksReply(1, recalled=[(RUN, 2, 1)]))
    for _ in range(2):
        batch = await store.batches.get()
        if 2 in batch.finish_seq:
            break
        store.replies.put_nowait(TasksReply(1))
    frame = batch.finish_frame[batch.finish_seq.index(2)]
    assert decode_event(frame)[:2] == (kinds.ACTIVITY_CANCELED, 2)
    assert [task.seq for task in runner.started] in ([1], [1, 3])
    assert all(task.seq != 2 for task in pump.claimed())
    pumping.cancel()
    await asyncio.wait([pumping])


async def test_what_was_claimed_too_long_ago_is_renewed_before_it_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the answer was on its way the claim ended: somebody else may make the next attempt."""
    now = 1_000.0
    monkeypatch.setattr("hotmesh.router.tasks.time", SimpleNamespace(monotonic=lambda: now))
    runner, store = Runner(), Store()
    pump = pump_on(store, runner)
    pumping = asyncio.create_task(pump.run())
    for late_by, lost in ((60.0, []), (61.0, [(RUN, 2, 1)]), (59.0, [])):
        batch = await store.batches.get()
        assert batch.room == (10 if not pump.claimed() else 0)
        assert batch.beat_seq == [task.seq for task in pump.claimed()]
        now += late_by
        rows = [] if pump.claimed() else list(map(claimed, range(1, 4)))
        assert not runner.started
        store.replies.put_nowait(TasksReply(1, tasks=rows, lost=lost))
    await store.batches.get()
    assert [task.seq for task in runner.started] == [1, 3]
    pumping.cancel()
    await asyncio.wait([pumping])


async def test_who_stops_begins_nothing_whose_claim_may_be_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr("hotmesh.router.tasks.time", SimpleNamespace(monotonic=lambda: now))
    runner, store = Runner(), Store()
    pump = pump_on(store, runner)
    pumping = asyncio.create_task(pump.run())
    await store.batches.get()
    now += 60.0
    store.replies.put_nowait(TasksReply(1, tasks=list(map(claimed, range(1, 3)))))
    renewing = await store.batches.get()
    pump.stop()
    assert (renewing.beat_seq, runner.started) == ([1, 2], [])
    store.replies.put_nowait(TasksReply(1, lost=[(RUN, 1, 1)]))
    await asyncio.sleep(0.01)
    assert [task.seq for task in runner.started] == [2]
    pumping.cancel()
    await asyncio.wait([pumping])


async def test_who_has_lost_every_claim_asks_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is lost that has not begun leaves nothing to wait for."""
    now = 1_000.0
    monkeypatch.setattr("hotmesh.router.tasks.time", SimpleNamespace(monotonic=lambda: now))
    runner, store = Runner(), Store()
    pump = pump_on(store, runner)
    pumping = asyncio.create_task(pump.run())
    for lost in ([], [(RUN, 1, 1)]):
        await store.batches.get()
        now += 60.0
        rows = [] if lost else [claimed(1)]
        store.replies.put_nowait(TasksReply(1, tasks=rows, lost=lost))
    assert (await asyncio.wait_for(store.batches.get(), 5)).room == 10
    assert runner.started == []
    pumping.cancel()
    await asyncio.wait([pumping])
