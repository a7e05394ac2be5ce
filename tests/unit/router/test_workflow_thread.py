"""The thread of the workflows: what runs there, and what is left behind."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator

import pytest

from hotmesh.router import workflow_thread
from hotmesh.router.watchdog import Watchdog
from hotmesh.router.workflow_thread import StuckError, WorkflowThread

LIMIT_SECONDS = 0.05

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


@pytest.fixture
def thread() -> Iterator[WorkflowThread]:
    thread = WorkflowThread(LIMIT_SECONDS)
    variable.set("of whoever starts it")
    thread.start()
    yield thread
    thread.stop()


def activation(watchdog: Watchdog, code: Callable[[], None]) -> Callable[[], None]:
    """A piece of work with one activation in it."""
    return lambda: watchdog.watch(code)


async def test_work_runs_in_another_thread_with_the_callers_context(
    thread: WorkflowThread,
) -> None:
    ident, found = await thread.run(lambda: (threading.get_ident(), variable.get()))
    assert ident != threading.get_ident()
    assert found == "of whoever starts it"


async def test_what_work_raises_is_raised_where_it_is_awaited(thread: WorkflowThread) -> None:
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    assert await thread.run(lambda: "goes on") == "goes on"


async def test_quick_work_takes_no_turn_of_the_loop(
    thread: WorkflowThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_thread, "CALL_SECONDS", 3600)
    turned: list[bool] = []
    asyncio.get_running_loop().call_soon(turned.append, True)
    assert await thread.run(lambda: "at once") == "at once"
    assert not turned


async def test_the_loop_turns_while_work_takes_long(thread: WorkflowThread) -> None:
    gate = threading.Event()
    asyncio.get_running_loop().call_soon(gate.set)
    assert await thread.run(gate.wait)


async def test_the_loop_does_not_stand_still_behind_the_work_of_others(
    thread: WorkflowThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, began = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        gate.wait()

    first = asyncio.create_task(thread.run(work))
    await asyncio.to_thread(began.wait)
    monkeypatch.setattr(workflow_thread, "CALL_SECONDS", 3600)
    asyncio.get_running_loop().call_soon(gate.set)
    assert await thread.run(lambda: "after the first") == "after the first"
    await first


async def test_debugging_needs_the_callers_thread() -> None:
    thread = WorkflowThread(0, inline=True)
    thread.start()
    assert await thread.run(threading.get_ident) == threading.get_ident()
    thread.stop()


async def test_code_that_does_not_come_back_is_left_behind(thread: WorkflowThread) -> None:
    gate, came_back = threading.Event(), threading.Event()
    watchdog = thread.watchdog

    def work() -> None:
        watchdog.watch(lambda: gate.wait() and None)
        came_back.set()

    waiting = [asyncio.create_task(thread.run(work)), asyncio.create_task(thread.run(lambda: 2))]
    try:
        with pytest.raises(StuckError, match=r"gate\.wait") as caught:
            await waiting[0]
        assert await waiting[1] == 2
        thread.stuck[b"run"] = caught.value.thread
        assert thread.still_stuck(b"run") is not None
    finally:
        gate.set()
    await asyncio.to_thread(caught.value.thread.join)
    assert not came_back.is_set()
    assert thread.still_stuck(b"run") is None
    assert await thread.run(lambda: 3) == 3


async def test_code_that_can_be_interrupted_keeps_its_thread(thread: WorkflowThread) -> None:
    before = await thread.run(threading.get_ident)
    ended: list[BaseException] = []

    def busy() -> None:
        try:
            while True:
                pass
        except BaseException as error:
            ended.append(error)

    await thread.run(activation(thread.watchdog, busy))
    assert len(ended) == 1
    assert await thread.run(threading.get_ident) == before


async def test_cleaning_up_that_gets_stuck_holds_up_nobody(thread: WorkflowThread) -> None:
    gate = threading.Event()
    try:
        thread.post(lambda: gate.wait() and None)
        assert await thread.run(lambda: 1) == 1
    finally:
        gate.set()


async def test_who_is_cancelled_waits_for_the_code_that_runs_for_it(
    thread: WorkflowThread,
) -> None:
    began, gate = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        gate.wait()

    waiting = asyncio.create_task(thread.run(work))
    await asyncio.to_thread(began.wait)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
