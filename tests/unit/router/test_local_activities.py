"""Activities that wait in a pipe for a slot of the runner."""

import asyncio
import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh.backends.protocol import LOST, Step
from hotmesh.core import encode_event, kinds
from hotmesh.engine.activity_task import (
    ActivityTask,
    AttemptKey,
    CancelReason,
    Outcome,
    OutcomeKind,
    TaskOrigin,
)
from hotmesh.engine.details import RunDetails
from hotmesh.limits import PLACED_BYTES_MAX, RESULTS_BYTES_MAX
from hotmesh.router.clock import BackendClock
from hotmesh.router.large_turn import LargeTurn
from hotmesh.router.local_activities import LARGE_BYTES, LocalActivities
from hotmesh.router.memory import PipeMemory
from hotmesh.router.pace import AverageCost
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.state import RunState
from hotmesh.router.tenure import Held, Tenure

RUN = b"r" * 16


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, all that may be started is started in a row."""
    monkeypatch.setattr("hotmesh.router.local_activities.BUSY_SECONDS", math.inf)


class Runner:
    """Takes what it is given, as long as it has slots."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.started: list[int] = []
        self.cancelled: list[tuple[AttemptKey, CancelReason]] = []

    def cancel(self, attempt: AttemptKey, reason: CancelReason) -> None:
        self.cancelled.append((attempt, reason))

    def start(self, task: ActivityTask, done: object) -> None:
        del done
        self.started.append(task.seq)
        self.free -= 1


class AtOnce(Runner):
    """Ends each at once."""

    def start(self, task: ActivityTask, done: object) -> Any:
        super().start(task, done)
        return (kinds.ACTIVITY_COMPLETED, task.seq, 1, "", b"", b"")


class Large(Runner):
    """Ends each at once, with a large result."""

    def start(self, task: ActivityTask, done: object) -> Any:
        super().start(task, done)
        return (kinds.ACTIVITY_COMPLETED, task.seq, 1, "", b"", bytes(RESULTS_BYTES_MAX))


def placed(count: int) -> list[ActivityTask]:
    return [
        ActivityTask(RUN, seq, 64, "act", {}, b"", 1, TaskOrigin("n", "w", "t", "q"), True)
        for seq in range(count)
    ]


def activities_on(
    runner: Runner, others_have_enough: Callable[[], bool] = lambda: False
) -> LocalActivities:
    context = SimpleNamespace(
        runner=runner,
        clock=BackendClock(),
        cost=AverageCost(),
        eager=True,
        task_queue="q",
        queue_ids={"q": 1},
        tenure=Tenure(),
        large_turn=LargeTurn(),
    )
    return LocalActivities(
        cast("PipeContext", cast("Any", context)),
        PipeMemory(),
        set(),
        lambda: None,
        others_have_enough,
    )


def accepted(runner: Runner, count: int) -> tuple[LocalActivities, list[ActivityTask]]:
    """Activities that are committed and wait to be started."""
    activities, tasks = activities_on(runner), placed(count)
    activities.recorded(tasks[0].run_id, [], tasks)
    activities.accept(tasks)
    return activities, tasks


async def test_a_slot_that_somebody_else_gives_back_is_used() -> None:
    runner = Runner(free=0)  # tasks of the queue have taken all of them since the placing
    activities, _ = accepted(runner, 3)
    activities.start_waiting()
    assert runner.started == []
    runner.free = 2
    activities.slot_free()
    await asyncio.sleep(0)
    assert runner.started == [0, 1]
    runner.free = 5
    activities.slot_free()
    await asyncio.sleep(0)
    assert runner.started == [0, 1, 2]


async def test_what_is_no_longer_wanted_is_not_started() -> None:
    runner = Runner(free=0)
    activities, tasks = accepted(runner, 2)
    activities.start_waiting()
    del activities.inflight[tasks[0].run_id, 0]
    runner.free = 5
    activities.slot_free()
    await asyncio.sleep(0)
    assert runner.started == [1]


async def test_a_request_to_cancel_reaches_one_that_waits_for_a_slot() -> None:
    runner = Runner(free=0)
    activities, tasks = accepted(runner, 2)
    activities.request_cancel(tasks[0].run_id, 0)
    runner.free = 5
    assert activities.start_waiting()
    assert runner.started == [1]
    ((run_id, event),) = activities._memory.local
    assert (run_id, event[0], event[1]) == (tasks[0].run_id, kinds.ACTIVITY_CANCELED, 0)


async def test_a_few_at_a_time_are_started() -> None:
    runner = Runner(free=10)
    activities, _ = accepted(runner, 5)
    assert activities.start_waiting(3)
    assert runner.started == [0, 1, 2]
    assert activities.start_waiting(3)
    assert runner.started == [0, 1, 2, 3, 4]
    assert not activities.start_waiting(3)


async def test_an_attempt_that_has_not_begun_here_is_not_cancelled_here() -> None:
    """It was never committed: the attempt of its number may be a claimed task of this worker."""
    runner = Runner(free=2)
    activities, tasks = activities_on(runner), placed(2)
    activities.recorded(RUN, [], tasks)
    activities.cancel({RUN})
    assert runner.cancelled == []
    assert not activities.inflight


async def test_what_the_journal_does_not_ask_for_any_more_is_stopped() -> None:
    """The database has gone back: else the lane would wait for ever for what nobody records."""
    runner = Runner(free=2)
    activities, tasks = accepted(runner, 2)
    activities.start_waiting()
    asked = (kinds.ACTIVITY, 0, 0, "act", b"{}", b"")
    activities.drop_unwanted(RUN, [(1, [], [asked])])
    assert list(activities.inflight.values()) == [tasks[0]]
    assert runner.cancelled == [((RUN, 1, 1), "not_found")]


async def test_an_outcome_counts_only_for_the_attempt_that_is_in_flight() -> None:
    activities, tasks = accepted(Runner(free=1), 1)
    activities.start_waiting()
    (other,) = placed(1)  # the same activity, begun by somebody else
    activities._ended(other, Outcome("retry"))
    assert not activities.has_retries
    activities._ended(tasks[0], Outcome("retry"))
    assert activities.has_retries


async def test_a_request_to_cancel_reaches_an_attempt_that_has_failed_meanwhile() -> None:
    runner = Runner(free=1)
    activities, tasks = accepted(runner, 1)
    activities.start_waiting()
    activities._ended(tasks[0], Outcome("retry"))  # while the step with the request was under way
    activities.request_cancel(RUN, 0)
    assert not activities.has_retries
    assert runner.cancelled == []
    ((run_id, event),) = activities._memory.local
    assert (run_id, event[0], event[1]) == (RUN, kinds.ACTIVITY_CANCELED, 0)


async def test_a_failed_attempt_whose_cancellation_is_asked_for_makes_no_other() -> None:
    activities, tasks = activities_on(Runner(free=1)), placed(2)[1:]
    memory = activities._memory
    start = encode_event((kinds.START, 0, 0, "", b"", b""))
    memory.core.commit([(1, 64, RUN, start, "w", "t", b"", b"", False)], [])
    memory.core.ingest([], 1)
    memory.core.complete(RUN, 1, [(kinds.ACTIVITY, 1, 0, "act", b"{}", b"")])
    memory.states[RUN] = RunState(RunDetails("n", "w", RUN, "t", "q", 64, {}, b""))
    activities.recorded(RUN, [], tasks)
    activities.accept(tasks)
    activities.start_waiting()
    memory.effects.cancelled.append((RUN, 1))  # asked for in the batch that is being made
    activities._ended(tasks[0], Outcome("retry"))
    activities.settle_retries()
    ((run_id, seq, _, claimed),) = memory.effects.recalls
    assert (run_id, seq, claimed) == (RUN, 1, True)


async def test_nothing_begins_once_the_tenure_is_over() -> None:
    runner = Runner(free=5)
    activities, tasks = accepted(runner, 2)
    activities._context.tenure.end(lambda: Held((), ()))
    assert not activities.start_waiting()
    assert runner.started == []
    assert tasks[0].started_ms == 0


async def test_nothing_begins_while_the_tenure_is_in_doubt() -> None:
    """No beat has held it for a lease, as after a pause: others may have begun it already."""
    runner = Runner(free=5)
    activities, _ = accepted(runner, 2)
    tenure = activities._context.tenure
    tenure.held_until = time.monotonic()
    assert not activities.start_waiting()
    activities.slot_free()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert runner.started == []
    assert not activities._looking  # it waits for a beat
    tenure.held_until = time.monotonic() + 60.0
    assert activities.start_waiting()
    assert runner.started == [0, 1]


async def test_what_ends_after_the_tenure_goes_the_way_of_tasks() -> None:
    late: list[tuple[int, OutcomeKind]] = []
    activities, tasks = accepted(Runner(free=5), 3)
    tenure, memory = activities._context.tenure, activities._memory
    activities.start_waiting()
    activities._ended(tasks[0], Outcome("failed", (kinds.ACTIVITY_FAILED, 0, 1, "", b"", b"")))
    activities._ended(tasks[1], Outcome("retry"))
    recorded = (kinds.ACTIVITY_COMPLETED, 2, 1, "", b"", b"")
    activities.recorded(RUN, [recorded], ())  # and not committed
    assert memory.effects.ended == [(tasks[2], recorded)]
    tenure.end(lambda: Held((), ()))
    activities.end()
    assert not activities.inflight
    tenure.hand_to(lambda task, outcome: late.append((task.seq, outcome.kind)))
    assert sorted(late) == [(0, "completed"), (1, "retry"), (2, "completed")]
    activities._ended(tasks[1], Outcome("canceled"))
    assert late[-1] == (1, "canceled")


@pytest.mark.parametrize("how", ["ended", "at once", "cancelled before its turn"])
async def test_what_the_core_has_been_given_is_not_lost_with_the_tenure(how: str) -> None:
    """It may wait there for its run to be loaded: nothing of it was recorded."""
    runner = AtOnce(free=1) if how == "at once" else Runner(free=how == "ended")
    activities, (task,) = accepted(runner, 1)
    activities.start_waiting()
    if how == "ended":
        event = (kinds.ACTIVITY_COMPLETED, 0, 1, "", b"", b"")
        activities._ended(task, Outcome("completed", event))
    elif how == "cancelled before its turn":
        activities.request_cancel(RUN, 0)
    ((_, given),) = activities._memory.take_local()
    activities._context.tenure.end(lambda: Held((), ()))
    activities.end()
    late: list[tuple[ActivityTask, Any]] = []
    activities._context.tenure.hand_to(lambda task, outcome: late.append((task, outcome.event)))
    assert late == [(task, given)]


async def test_a_failed_attempt_is_not_settled_once_the_tenure_is_over() -> None:
    """The step with its task would not be applied, and the claim be renewed for ever."""
    activities, (task,) = accepted(Runner(free=1), 1)
    activities.start_waiting()
    activities._ended(task, Outcome("retry"))
    activities._context.tenure.end(lambda: Held((), [task]))
    activities.settle_retries()  # as the pipe does before it finds out
    activities.end()
    late: list[tuple[ActivityTask, OutcomeKind]] = []
    activities._context.tenure.hand_to(lambda task, outcome: late.append((task, outcome.kind)))
    assert late == [(task, "retry")]


@pytest.mark.parametrize(
    ("outcome", "attempts"), [(None, LOST), (Outcome("async"), LOST), (Outcome("retry"), 1)]
)
async def test_a_task_of_what_others_may_have_ended_is_marked(
    outcome: Outcome | None, attempts: int
) -> None:
    """Who had begun it, or a client: it is not to be done again under numbers that were used."""
    activities = activities_on(Runner(free=1))
    state = RunState(RunDetails("n", "w", RUN, "t", "q", 64, {}, b""))
    if outcome is not None:
        activities._failed[RUN, 5] = (64, outcome)
    activities.redispatch_lost(state, (kinds.ACTIVITY, 5, 0, "act", b"{}", b""))
    step = Step(b"r" * 16, [64])
    step.task_run, step.task_seq = [RUN, RUN], [4, 5]
    step.task_attempt, step.task_delay = [1, 1], [0, 0]
    activities.amend_tasks(step)
    assert step.task_attempt == [1, attempts]
    step.task_attempt = [1, 1]
    activities.amend_tasks(step)
    assert step.task_attempt == [1, 1]


async def test_what_blocks_until_the_tenure_is_over_is_not_recorded() -> None:
    class Blocks(Runner):
        def start(self, task: ActivityTask, done: object) -> Any:
            super().start(task, done)
            activities._context.tenure.end(lambda: Held((), ()))
            return (kinds.ACTIVITY_COMPLETED, task.seq, 1, "", b"", b"")

    runner = Blocks(free=5)
    activities, tasks = accepted(runner, 2)
    activities.start_waiting()
    assert runner.started == [0]
    assert activities._memory.local == []
    late: list[ActivityTask] = []
    activities._context.tenure.hand_to(lambda task, _: late.append(task))
    assert late == [tasks[0]]


class LargeResults(Runner):
    """Ends each at once, with a large result."""

    SIZE = RESULTS_BYTES_MAX // 10

    def start(self, task: ActivityTask, done: object) -> Any:
        del done
        self.started.append(task.seq)
        return (kinds.ACTIVITY_COMPLETED, task.seq, 1, "", b"", b"x" * self.SIZE)


async def test_no_activity_starts_while_many_bytes_of_results_wait() -> None:
    runner = LargeResults(100)
    activities, _ = accepted(runner, 30)
    while activities.start_waiting():
        pass
    assert len(runner.started) == 12  # a few at a time
    await asyncio.sleep(0)  # and nothing asks in vain, again and again
    activities.slot_free()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not activities._looking
    activities.make_room()
    assert activities._room == activities._room_at_once == 0  # others go to the queue, past these
    jobs = [event for _, event in activities._memory.take_local()]
    activities.recorded(RUN, jobs[:4], [])
    while activities.start_waiting():
        pass
    assert len(runner.started) == 15
    activities.cancel([RUN])
    assert not activities._has_enough_results()


async def test_nothing_that_gives_much_is_started_while_other_pipes_have_much_in_hand() -> None:
    runner, much = Runner(free=5), True
    activities, tasks = activities_on(runner, lambda: much), placed(4)
    for task in (tasks[0], tasks[2]):
        task.name = "large"
        task.body = bytes(LARGE_BYTES + 1)
    activities._large_types.add("large")
    activities._large_bytes = 2 * (LARGE_BYTES + 1)
    activities.recorded(RUN, [], tasks)
    activities.accept(tasks)
    assert activities.start_waiting()
    assert runner.started == [1, 3]  # what is small waits for nobody
    assert activities._large_bytes == 2 * (LARGE_BYTES + 1)
    assert not activities.start_waiting()
    activities.slot_free()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not activities._looking  # nothing asks in vain, again and again
    much = False
    activities.start_waiting()
    assert runner.started == [1, 3, 0, 2]
    assert activities._large_bytes == 0


def test_only_arguments_that_wait_here_count() -> None:
    runner = Runner(free=0)
    activities, tasks = accepted(runner, 3)
    runner.hosts = runner.ends_at_once = lambda _: True
    command = (kinds.ACTIVITY, 5, 0, "act", b"{}", bytes(PLACED_BYTES_MAX))
    activities.make_room()
    activities._room_at_once = 0
    assert activities.place(command, 64) is None  # it goes to the queue
    assert activities._large_bytes == 0
    activities._room = 1
    assert activities.place(command, 64) is not None
    assert activities._large_bytes == PLACED_BYTES_MAX
    tasks[0].body = bytes(LARGE_BYTES + 1)
    activities.make_room()  # that one was not committed
    assert activities._large_bytes == LARGE_BYTES + 1


async def test_a_type_that_has_given_a_large_result_is_known_to_all_pipes() -> None:
    activities, tasks = accepted(Large(free=5), 1)
    assert activities.start_waiting()
    assert activities._context.large_turn.large_types == {tasks[0].name}
    later = placed(1)
    later[0].name = "later"
    activities.recorded(RUN, [], later)
    result = (kinds.ACTIVITY_COMPLETED, 0, 1, "", b"", bytes(LARGE_BYTES + 1))
    activities._ended(later[0], Outcome("completed", result))
    assert activities._context.large_turn.large_types == {tasks[0].name, "later"}


async def test_the_results_of_a_run_whose_task_has_failed_hold_up_nobody() -> None:
    runner = Large(free=5)
    activities, tasks = accepted(runner, 2)
    assert activities.start_waiting()
    assert activities.result_bytes == RESULTS_BYTES_MAX
    assert not activities.start_waiting()
    activities._memory.postpone(RUN, 60.0)
    assert activities.result_bytes == 0
    activities.start_waiting()
    assert runner.started == [tasks[0].seq, tasks[1].seq]
