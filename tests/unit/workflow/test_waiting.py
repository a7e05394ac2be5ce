"""wait and as_completed of workflow code: in the order given, with durable timers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.exceptions import ActivityError, ApplicationError
from unit.engine.driving import Driven, completed, failed, fired, kinds_of


def act(number: int = 0) -> workflow.ActivityHandle:
    return workflow.start_activity("act", number, start_to_close_timeout=1)


def waiting(**options: Any) -> Driven:
    """A run that waits for three activities, and returns who is done and who is not."""

    async def code() -> list[list[int]]:
        handles = [act(number) for number in range(3)]
        parts = await workflow.wait([*handles, handles[0]], **options)
        return [[handles.index(each) for each in part] for part in parts]

    run = Driven(code)
    run.start()
    return run


def test_all_are_waited_for_and_told_in_the_order_given() -> None:
    run = waiting()
    run.give(completed(3))
    run.give(completed(1))
    assert run.is_open
    run.give(completed(2))
    assert run.outcome() == [[0, 1, 2], []]


def test_the_first_one_may_be_enough() -> None:
    run = waiting(return_when=asyncio.FIRST_COMPLETED)
    run.give(completed(2))
    assert run.outcome() == [[1], [0, 2]]


def test_the_first_failure_may_be_enough() -> None:
    run = waiting(return_when=asyncio.FIRST_EXCEPTION)
    run.give(completed(3))
    assert run.is_open
    run.give(failed(2, ApplicationError("x")))
    assert run.outcome() == [[1, 2], [0]]


def test_what_does_not_make_it_in_time_is_told() -> None:
    run = waiting(timeout=5)
    run.give(completed(1))
    run.give(fired(4), at=5)
    assert run.outcome() == [[0], [1, 2]]


def test_what_is_done_already_is_not_waited_for() -> None:
    async def code() -> int:
        task = asyncio.create_task(asyncio.sleep(0))
        await task
        done, _ = await workflow.wait([task])
        return len(done)

    run = Driven(code)
    assert kinds_of(run.start()) == ["COMPLETE"]


def test_what_can_not_be_waited_for_is_refused() -> None:
    async def code() -> None:
        with pytest.raises(ValueError, match="empty"):
            await workflow.wait([])
        coroutine = asyncio.sleep(0)
        with pytest.raises(TypeError, match="coroutines is forbidden"):
            await workflow.wait([coroutine])
        coroutine.close()
        with pytest.raises(ValueError, match="Invalid return_when"):
            await workflow.wait([asyncio.create_task(asyncio.sleep(0))], return_when="never")

    assert kinds_of(Driven(code).start()) == ["COMPLETE"]


def completing(timeout: float | None = None) -> Driven:
    async def code() -> list[Any]:
        seen: list[Any] = []
        handles = [act(number) for number in range(3)]
        for each in workflow.as_completed([*handles, handles[0]], timeout=timeout):
            try:
                seen.append(await each)
            except ActivityError:
                seen.append("failed")
            except TimeoutError:
                seen.append("late")
        return seen

    run = Driven(code)
    run.start()
    return run


def test_results_come_as_they_are_completed() -> None:
    run = completing()
    run.give(completed(2, "b"), completed(3, "c"))
    run.give(failed(1, ApplicationError("x")))
    assert run.outcome() == ["b", "c", "failed"]


def test_one_time_limit_is_for_all_of_them() -> None:
    run = completing(5)
    run.give(completed(2, "b"))
    run.give(fired(4), at=5)
    assert run.outcome() == ["b", "late", "late"]


def test_a_time_limit_that_is_not_needed_is_dropped() -> None:
    run = completing(5)
    commands = run.give(completed(2, "b"), completed(3, "c"), completed(1, "a"))
    assert kinds_of(commands) == ["CANCEL_TIMER", "COMPLETE"]
    assert run.outcome() == ["b", "c", "a"]


def test_coroutines_become_tasks_in_the_order_given() -> None:
    async def code() -> list[int]:
        async def one(number: int) -> int:
            await asyncio.sleep(0)
            return number

        return [await each for each in workflow.as_completed(one(n) for n in range(5))]

    run = Driven(code)
    run.start()
    assert run.outcome() == [0, 1, 2, 3, 4]


def test_nothing_to_complete_is_nothing() -> None:
    async def code() -> list[Any]:
        return [await each for each in workflow.as_completed([], timeout=5)]

    run = Driven(code)
    assert kinds_of(run.start()) == ["COMPLETE"]
