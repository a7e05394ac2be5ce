"""Code that has made much in one activation is stopped, and goes on as if it had not been."""

import asyncio
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.core import Event, kinds
from hotmesh.exceptions import NondeterminismError
from hotmesh.limits import ANSWER_KEPT_BYTES, BATCH_BYTES_MAX
from unit.engine.driving import (
    Driven,
    answer,
    completed,
    fired,
    kinds_of,
    query,
    signal,
    update,
)

PIECE = BATCH_BYTES_MAX // 4
COUNT = 10


@workflow.defn
class Waits:
    """Updates that wait for a signal, and answer at length."""

    def __init__(self) -> None:
        self.is_open = False
        self.late = 0
        self.seen: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.seen) == COUNT)
        return self.seen

    @workflow.signal
    def go(self) -> None:
        self.is_open = True

    @workflow.signal
    def come_late(self) -> None:
        self.late += 1

    @workflow.update
    async def take(self, number: int) -> str:
        await workflow.wait_condition(lambda: self.is_open)
        self.seen.append([number, self.late, workflow.now().isoformat()])
        return str(number) * PIECE

    @workflow.query
    def count(self) -> int:
        return len(self.seen)


@workflow.defn
class WaitsOtherwise:
    """What the code of the same workflow is later."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def go(self) -> None:
        """Nothing follows."""

    @workflow.update
    async def take(self, number: int) -> str:
        await workflow.sleep(number)
        return "later"


@workflow.defn
class Answers:
    """Answers at once."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    def take(self, size: int) -> str:
        return "x" * size


def waiting(core: ModuleType) -> Driven:
    run = Driven(Waits, core=core)
    run.start()
    run.give(*(update("take", number, id=f"u-{number}") for number in range(COUNT)))
    return run


def stands(run: Driven) -> bool:
    """Whether a replay stands where the run stands, stopped or not."""
    again = run.replayed()
    found = (again.instance.held_up, again.instance.closed, again.instance.seq)
    again.instance.dismantle()
    return found == (run.instance.held_up, run.instance.closed, run.instance.seq)


def completions(commands: list[Event]) -> list[bytes]:
    return [each[4] for each in commands if each[0] == kinds.UPDATE_COMPLETED]


def test_updates_that_end_in_one_activation_are_spread(core: ModuleType) -> None:
    run = waiting(core)
    made = [run.give(signal("go"), at=1)]
    assert run.ledger.local == 1  # whoever takes the run over finds it
    while run.instance.held_up:
        again = run.replayed()
        assert again.instance.held_up
        made.append(run.give(at=len(made) + 1))
        assert kinds_of(again.instance.activate(run.now_ms, [])) == kinds_of(made[-1])
        again.instance.dismantle()
    assert [len(completions(each)) for each in made] == [4, 4, 2]
    assert kinds_of(made[0])[-1] == "PAUSED"
    assert kinds_of(made[1])[:: len(made[1]) - 1] == ["RESUMED", "PAUSED"]
    assert kinds_of(made[2])[:: len(made[2]) - 1] == ["RESUMED", "COMPLETE"]
    assert run.ledger.local == 0
    assert [number for number, _, _ in run.outcome()] == list(range(COUNT))
    assert len({when for _, _, when in run.outcome()}) == 1  # time stands still
    assert stands(run)


def test_what_comes_meanwhile_is_seen_behind_it(core: ModuleType) -> None:
    run = waiting(core)
    run.give(signal("go"), query("count"))
    assert run.instance.unanswered == 1  # nobody saw a run in the midst of something
    run.instance.unanswered = 0
    run.give(signal("come_late"), query("count"))
    assert run.instance.unanswered == 1
    run.instance.unanswered = 0
    run.give(query("count"))
    assert answer(run.replies[b"asked"]) == COUNT
    assert [late for _, late, _ in run.outcome()] == [0] * COUNT
    assert stands(run)


def test_a_run_that_must_not_end_without_an_event_sees_it_first(core: ModuleType) -> None:
    run = waiting(core)
    run.give(signal("go"))
    run.give()
    run.instance.events_first = True
    run.give(signal("come_late"))
    assert [late for _, late, _ in run.outcome()] == [0] * 8 + [1] * 2
    assert stands(run)


def test_arguments_of_many_activities_and_children_are_spread(core: ModuleType) -> None:
    async def code() -> list[Any]:
        text = "x" * PIECE
        return await asyncio.gather(
            *(workflow.execute_activity("a", text, start_to_close_timeout=5) for _ in range(6)),
            *(workflow.execute_child_workflow("c", text) for _ in range(6)),
        )

    run = Driven(code, core=core)
    made = [run.start()]
    while run.instance.held_up:
        made.append(run.give())
    sizes = [sum(len(each[5]) for each in commands) for commands in made]
    assert len(sizes) == 3
    assert max(sizes) < BATCH_BYTES_MAX + 1000
    assert stands(run)
    assert run.instance.seq == 12


def test_a_transition_that_has_made_little_is_whole(core: ModuleType) -> None:
    async def code() -> list[Any]:
        text = "x" * (PIECE - 1000)
        calls = (workflow.execute_activity("a", text, start_to_close_timeout=5) for _ in range(4))
        return await asyncio.gather(*calls)

    run = Driven(code, core=core)
    assert kinds_of(run.start()) == ["ACTIVITY"] * 4
    assert kinds_of(run.give(*(completed(each, each) for each in range(1, 5)))) == ["COMPLETE"]


def test_nothing_is_stopped_that_would_do_nothing_more(core: ModuleType) -> None:
    async def code() -> str:
        for _ in range(3):
            await workflow.sleep(1)
            await workflow.execute_activity("a", "x" * BATCH_BYTES_MAX, start_to_close_timeout=5)
        return "x" * BATCH_BYTES_MAX

    run = Driven(code, core=core, payload_limit=2 * BATCH_BYTES_MAX)
    run.start()
    for number in range(3):
        assert kinds_of(run.give(fired(2 * number + 1))) == ["ACTIVITY"]
        run.give(completed(2 * number + 2))
    assert kinds_of(run.journal[-1][2]) == ["COMPLETE"]


def test_a_timer_that_was_taken_back_before_it_was_stopped_is_no_trouble(core: ModuleType) -> None:
    async def raced(number: int) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(9), 5 + number)

    async def large() -> None:
        await workflow.execute_activity("a", "x" * BATCH_BYTES_MAX, start_to_close_timeout=5)

    async def ends_early() -> None:
        timer = asyncio.create_task(asyncio.sleep(3))
        await asyncio.sleep(0)
        timer.cancel()

    async def code() -> None:
        await asyncio.gather(ends_early(), raced(1), large(), ends_early(), large(), raced(2))

    run = Driven(code, core=core, payload_limit=2 * BATCH_BYTES_MAX)
    run.start()
    while run.instance.held_up:
        assert stands(run)
        run.give()
    assert stands(run)


def test_code_that_makes_less_than_it_did_is_found_out(core: ModuleType) -> None:
    run = waiting(core)
    run.give(signal("go"))
    with pytest.raises(NondeterminismError):
        run.replayed(WaitsOtherwise)


def test_of_large_outcomes_the_newest_are_kept_for_who_asks_again(core: ModuleType) -> None:
    run = Driven(Answers, core=core)
    run.start()
    sizes = [10, ANSWER_KEPT_BYTES, PIECE, PIECE + 1, PIECE + 2, PIECE + 3]
    first: dict[int, bytes] = {}
    for size in sizes:
        run.give(update("take", size, id=f"u-{size}"))
        first[size] = run.replies[b"completed"]
        assert answer(first[size]) == "x" * size
    for asked in (run, run.replayed()):
        for size in sizes:
            asked.give(update("take", size, id=f"u-{size}"))
            kept = size == 10 or size > PIECE
            assert asked.replies[b"completed"] == (first[size] if kept else b"D")
