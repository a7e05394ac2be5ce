"""Numbers as hashes: the same in every replay, spread over the runs, no other loop's."""

import asyncio
import contextvars
import gc
import sys
from collections.abc import Coroutine
from typing import Any
from unittest import mock

import pytest

from hotmesh.engine import ordered
from hotmesh.engine.loop import TimerHandle, WorkflowLoop
from hotmesh.exceptions import NondeterminismError


class Host:
    now_ms = 0

    def __init__(self) -> None:
        self.timers = 0

    def start_timer(self, handle: TimerHandle, delay_ms: int) -> None:
        del delay_ms
        self.timers += 1
        handle.number = self.timers

    def cancel_timer(self, handle: TimerHandle) -> None:
        del handle

    def on_loop_error(self, context: dict[str, Any]) -> None:
        raise AssertionError(context)


def run(coroutine: Coroutine[Any, Any, Any], first_number: int = 0) -> Any:
    """What a coroutine that waits for nothing outside returns, on a loop of a run."""
    loop = WorkflowLoop(Host(), first_number)
    token = loop.enter()
    try:
        task = loop.begin(coroutine)
        while loop.ready:
            batch, loop.ready = loop.ready, []
            for handle in batch:
                handle.context.run(handle.callback, *handle.args)
    finally:
        loop.leave(token)
    return task.result()


async def one(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def test_everything_is_numbered_in_the_order_it_is_made() -> None:
    async def makes() -> list[int]:
        loop = asyncio.get_running_loop()
        task, future = asyncio.create_task(one(1)), loop.create_future()
        gathering = asyncio.gather(task)
        timers = [loop.call_later(1, print), loop.call_later(1, print)]
        await gathering
        return [hash(each) for each in (asyncio.current_task(), task, future, gathering, *timers)]

    assert run(makes(), 100) == [101, 102, 103, 104, 1, 2]
    assert run(makes(), 7000) == [7001, 7002, 7003, 7004, 1, 2]


async def test_other_loops_have_what_asyncio_gives_them() -> None:
    gathering = asyncio.gather(one(1), one(2))
    assert hash(gathering) == object.__hash__(gathering)
    task = asyncio.create_task(one(3))
    assert hash(task) == object.__hash__(task)
    assert asyncio.all_tasks() >= {task, asyncio.current_task()}
    found = {await each for each in asyncio.as_completed([one(4), one(5)])}
    assert (await gathering, await task, found) == ([1, 2], 3, {4, 5})


def test_a_mock_of_a_loop_is_no_run() -> None:
    """Tests of others hand asyncio loops that have every attribute."""
    assert asyncio.all_tasks(mock.Mock()) == set()


def test_a_callback_runs_in_the_context_that_it_was_given_an_empty_one_too() -> None:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    empty = contextvars.Context()
    loop = WorkflowLoop(Host())
    var.set(1)
    handles = [loop.call_soon(print, context=empty), loop.call_later(1, print, context=empty)]
    assert [each.context is empty for each in handles] == [True, True]


def test_tasks_take_what_asyncios_take_and_nothing_else() -> None:
    async def names() -> list[str]:
        return [asyncio.create_task(one(0), name=name).get_name() for name in ("", "x")]

    async def misspells() -> None:
        coroutine = one(0)
        try:
            asyncio.get_running_loop().create_task(coroutine, nmae="x")  # type: ignore[call-arg]
        finally:
            coroutine.close()

    assert run(names()) == ["", "x"]
    with pytest.raises(TypeError, match="argument"):
        run(misspells())


def test_a_task_may_start_at_once_where_asyncio_can_do_that() -> None:
    seen: list[str] = []

    async def says(what: str) -> str:
        seen.append(what)
        return what

    async def main() -> list[str]:
        first = says("first")
        try:
            loop = asyncio.get_running_loop()
            task = loop.create_task(first, eager_start=True)  # type: ignore[call-arg]
            seen.append("then")
            return [await task, *seen]
        finally:
            first.close()

    if sys.version_info >= (3, 12):
        assert run(main()) == ["first", "first", "then"]
    else:
        with pytest.raises(TypeError, match="argument"):
            run(main())
        assert seen == []


async def test_coroutines_are_taken_in_the_order_given() -> None:
    async def takes() -> list[int]:
        kept: list[Any] = []
        given: list[Any] = []
        for number in range(40):
            kept.append(bytearray(number * 13 % 300))
            given.append(one(number))
        return [await each for each in asyncio.as_completed(given)]

    assert run(takes()) == list(range(40))


async def test_as_completed_imported_by_name_before_is_refused_where_it_makes_tasks() -> None:
    by_name = ordered._as_completed  # pyright: ignore[reportPrivateUsage]

    async def takes(given: list[Any]) -> list[int]:
        return [await each for each in by_name(given)]

    async def takes_tasks() -> list[int]:
        return await takes([asyncio.create_task(one(number)) for number in range(9)])

    given = [one(1), one(2)]
    with pytest.raises(NondeterminismError, match=r"call workflow\.as_completed"):
        run(takes(given))
    for coroutine in given:
        coroutine.close()
    assert run(takes_tasks()) == list(range(9))


async def test_all_tasks_of_a_run_are_its_own() -> None:
    outer = asyncio.current_task()

    async def looks() -> list[Any]:
        tasks = [asyncio.create_task(one(number)) for number in range(3)]
        found = asyncio.all_tasks()
        assert found == {asyncio.current_task(), *tasks}
        return [await task for task in tasks]

    assert run(looks()) == [0, 1, 2]
    assert outer in asyncio.all_tasks()


async def test_the_tasks_of_many_runs_do_not_share_their_hashes() -> None:
    loops = [WorkflowLoop(Host(), number * 1_000_003) for number in range(50)]
    tasks = [loop.begin(one(number)) for number, loop in enumerate(loops)]
    assert len({hash(task) for task in tasks}) == len(tasks)
    for task in tasks:
        task.get_coro().close()  # type: ignore[union-attr]
    del tasks
    gc.collect()


@pytest.mark.parametrize("first_number", [0, 1 << 40])
def test_tasks_are_named_by_the_runs_own_count(first_number: int) -> None:
    """Those of asyncio count the process's tasks: another name in every replay."""

    async def named() -> str:
        task = asyncio.current_task()
        assert task is not None
        return task.get_name()

    async def main() -> list[str]:
        return [await named(), *await asyncio.gather(named(), named())]

    assert run(main(), first_number) == ["Task-1", "Task-2", "Task-3"]
