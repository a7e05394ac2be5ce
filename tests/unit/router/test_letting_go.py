"""A large value is let go of before the next one is taken in hand or made."""

import asyncio
import tracemalloc
from datetime import timedelta
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import ANY_SIZE, RunStatus, Session, Step, StepReply
from hotmesh.core import Event, kinds
from hotmesh.engine.activity_task import ActivityTask, Outcome, TaskOrigin
from hotmesh.limits import LARGE_TURN_BYTES, RESULTS_BYTES_MAX
from hotmesh.router.large_turn import LargeTurn
from hotmesh.router.pipe import Pipe
from unit.engine.driving import values
from unit.router.miniature import Miniature, Place, Runner, Time
from unit.router.test_step_size import LANE, Store, kept, pipe_of, turn_until_idle

RUN, ANOTHER = b"\1" * 16, b"\2" * 16


@workflow.defn(name="returns")
class Returns:
    """Returns what an activity returns."""

    @workflow.run
    async def run(self) -> str:
        found: str = await workflow.execute_activity(
            "large", result_type=str, start_to_close_timeout=timedelta(minutes=1)
        )
        return found


class Large(Runner):
    """Activities that end at once, with a large result; notes what is in memory when they begin."""

    def __init__(self) -> None:
        super().__init__("large")
        self.before: list[int] = []

    def ends_at_once(self, name: str) -> bool:
        del name
        return True

    def start(self, task: ActivityTask, done: Any) -> Event | None:
        super().start(task, done)
        self.before.append(tracemalloc.get_traced_memory()[0])
        body = values("x" * RESULTS_BYTES_MAX)
        return (kinds.ACTIVITY_COMPLETED, task.seq, task.attempt, "", b"", body)


class Elsewhere(Place):
    """A store that takes no memory of the router's process."""

    def _apply(self, step: Step) -> StepReply:
        reply = super()._apply(step)
        self.steps.clear()
        for run in self.runs.values():
            run.journal, run.result = [b""] * len(run.journal), b""
        return reply


async def test_nothing_of_a_large_result_is_left_when_the_next_one_is_made(
    time: Time, core: ModuleType
) -> None:
    runner, place = Large(), Elsewhere(time)
    options = {"payload_limit": 2 * RESULTS_BYTES_MAX}
    mini = Miniature(place, time, core, Returns, runner=runner, options=options)
    for number, run_id in enumerate((RUN, ANOTHER, b"\3" * 16)):
        place.begin("returns", run_id=run_id, workflow_id=f"w-{number}")
    tracemalloc.start()
    try:
        await mini.settle()
    finally:
        tracemalloc.stop()
    assert {run.status for run in place.runs.values()} == {RunStatus.COMPLETED}
    first, second, third = runner.before
    assert max(second, third) - first < RESULTS_BYTES_MAX // 8


async def test_nothing_large_is_made_while_something_large_is_written() -> None:
    """Another pipe's activity may give a slot back just then."""
    store, runner = Store(1), Runner("large", "small")
    pipe = pipe_of(runner=runner)
    await turn_until_idle(pipe, store)
    started: list[list[str]] = []
    answer = store.step

    async def step(step: Step) -> StepReply:
        pipe.slot_free()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        started.append(list(runner.started))
        return await answer(step)

    store.step = step  # type: ignore[method-assign]
    pipe._context.large_turn.large_types.add("large")
    waiting = [task_of(ANOTHER, seq, name) for seq, name in ((1, "large"), (2, "small"))]
    pipe._activities.recorded(ANOTHER, [], waiting)
    pipe._activities.accept(waiting)
    task = task_of(RUN, 1, "act")
    result = (kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", bytes(RESULTS_BYTES_MAX))
    pipe._activities.recorded(RUN, [], [task])
    pipe._activities._ended(task, Outcome("completed", result))
    await pipe._turn(cast("Session", cast("Any", store)))
    assert started == [["small"]]
    assert list(runner.started) == ["small", "large"]


def task_of(run_id: bytes, seq: int, name: str, body: bytes = b"") -> ActivityTask:
    origin = TaskOrigin("n", "w", "t", "q")
    return ActivityTask(run_id, seq, LANE, name, {}, body, 1, origin, True)


def arguments_that_were_taken(pipe: Pipe) -> None:
    """An activity has ended that was given much."""
    task = task_of(RUN, 1, "act", bytes(LARGE_TURN_BYTES + 1))
    event = (kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", b"")
    pipe._memory.effects.ended.append((task, event))


def a_run_that_has_ended(pipe: Pipe) -> None:
    """A run closes whose code held much."""
    kept(pipe._memory, 1, LARGE_TURN_BYTES + 1)
    pipe._memory.effects.closed.append(RUN)


@pytest.mark.parametrize("leaves", [arguments_that_were_taken, a_run_that_has_ended])
async def test_what_leaves_with_the_next_step_is_in_hand_until_then(leaves: Any) -> None:
    turn = LargeTurn()
    store, pipe = Store(), pipe_of(large_turn=turn)
    pipe._context.notifier = cast("Any", SimpleNamespace(done=lambda _: None))
    turn.ask(pipe, lambda: None)
    turn.ask("another", lambda: None)
    assert turn.use(pipe)
    leaves(pipe)
    pipe._let_go_of_turn()
    assert turn.has(pipe)
    await pipe._turn(cast("Session", cast("Any", store)))
    assert pipe._awake  # it reads again at once
    await pipe._turn(cast("Session", cast("Any", store)))
    assert store.sizes == [LARGE_TURN_BYTES, ANY_SIZE]
    pipe._let_go_of_turn()
    assert turn.has("another")
