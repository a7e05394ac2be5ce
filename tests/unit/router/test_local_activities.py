"""Activities that wait in a pipe for a slot of the runner."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from hotmesh.core import kinds
from hotmesh.engine.activity_task import ActivityTask, TaskOrigin
from hotmesh.router.clock import BackendClock
from hotmesh.router.local_activities import LocalActivities
from hotmesh.router.memory import PipeMemory
from hotmesh.router.pace import AverageCost
from hotmesh.router.pipe_context import PipeContext


class Runner:
    """Takes what it is given, as long as it has slots."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.started: list[int] = []

    def start(self, task: ActivityTask, done: object) -> None:
        del done
        self.started.append(task.seq)
        self.free -= 1


def placed(count: int) -> list[ActivityTask]:
    return [
        ActivityTask(b"r" * 16, seq, 64, "act", {}, b"", 1, TaskOrigin("n", "w", "t", "q"), True)
        for seq in range(count)
    ]


def activities_on(runner: Runner) -> LocalActivities:
    context = SimpleNamespace(
        runner=runner, clock=BackendClock(), cost=AverageCost(), eager=True, task_queue="q"
    )
    return LocalActivities(
        cast("PipeContext", cast("Any", context)), PipeMemory(), set(), lambda: None
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
