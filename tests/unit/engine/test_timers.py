"""The loop of a run: a fixed order, durable timers, and nothing that reaches outside."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from math import inf, nan
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.core import kinds
from hotmesh.engine.refusing_loop import RefusingLoop
from hotmesh.exceptions import InvalidArgumentError
from unit.engine.driving import START_MS, Driven, completed, fired, kinds_of, shown, signal


def test_a_sleep_is_a_timer_that_is_due_by_the_runs_time(core: ModuleType) -> None:
    async def code() -> float:
        began = workflow.time()
        await workflow.sleep(timedelta(minutes=1))
        return workflow.time() - began

    run = Driven(code, core=core)
    assert run.start() == [(kinds.TIMER, 1, START_MS + 60_000, "", b"", b"")]
    run.give(fired(1), at=61)
    assert run.outcome() == 61
    assert run.replayed().instance.closed


@pytest.mark.parametrize(("seconds", "ms"), [(0.0001, 1), (1.0006, 1001), (2, 2000)])
def test_a_timer_is_exact_to_the_millisecond_and_never_of_none(seconds: float, ms: int) -> None:
    async def code() -> None:
        await asyncio.sleep(seconds)

    (command,) = Driven(code).start()
    assert command[2] == START_MS + ms


def test_no_time_at_all_is_no_timer() -> None:
    seen: list[str] = []

    async def code() -> None:
        async def other() -> None:
            seen.append("other")

        task = asyncio.create_task(other())
        await workflow.sleep(0)
        seen.append("main")
        await task
        asyncio.get_running_loop().call_at(workflow.time() - 5, seen.append, "at once")
        await asyncio.sleep(0)

    assert kinds_of(Driven(code).start()) == ["COMPLETE"]
    assert seen == ["other", "main", "at once"]


def test_a_negative_time_is_refused() -> None:
    async def code() -> None:
        with pytest.raises(RuntimeError, match="negative duration"):
            await workflow.sleep(-1)

    Driven(code).start()


@pytest.mark.parametrize("seconds", [inf, 1e12])
def test_a_time_without_end_asks_for_no_timer_and_can_be_cancelled(seconds: float) -> None:
    async def code() -> str:
        task = asyncio.create_task(asyncio.sleep(seconds))
        await workflow.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return "cancelled"

    run = Driven(code)
    (timer,) = run.start()
    assert kinds_of(run.give(fired(timer[1]), at=1)) == ["COMPLETE"]
    assert run.outcome() == "cancelled"


def test_what_is_no_number_of_seconds_is_refused() -> None:
    async def code() -> None:
        with pytest.raises(InvalidArgumentError, match="NaN"):
            asyncio.get_running_loop().call_later(nan, print)

    Driven(code).start()


def test_timers_that_fire_together_go_in_the_order_given() -> None:
    seen: list[int] = []

    async def code() -> None:
        async def sleep(number: int) -> None:
            await workflow.sleep(number)
            seen.append(number)

        await asyncio.gather(*(sleep(number) for number in (3, 1, 2)))

    run = Driven(code)
    assert [each[1] for each in run.start()] == [1, 2, 3]
    run.give(fired(2), fired(3), fired(1), at=3)
    assert seen == [1, 2, 3]


def test_a_timer_that_was_dropped_by_another_job_of_its_activation_does_nothing() -> None:
    """It had fired already when it was cancelled."""

    async def code() -> str:
        try:
            async with asyncio.timeout(5):
                await workflow.execute_activity("act", start_to_close_timeout=1)
        except TimeoutError:
            return "late"
        return "in time"

    run = Driven(code)
    timer, act = run.start()
    commands = run.give(completed(act[1]), fired(timer[1]), at=5)
    assert kinds_of(commands) == ["COMPLETE"]
    assert run.outcome() == "in time"


def test_a_timer_that_is_dropped_is_not_asked_for_any_more() -> None:
    async def code() -> None:
        handle = asyncio.get_running_loop().call_later(5, print)
        assert not handle.cancelled()
        assert handle.when() == workflow.time() + 5
        await workflow.sleep(1)
        handle.cancel()
        handle.cancel()
        assert handle.cancelled()
        unsent = asyncio.get_running_loop().call_later(5, print)
        unsent.cancel()
        await workflow.sleep(1)

    run = Driven(code)
    first, second = run.start()
    commands = run.give(fired(second[1]), at=1)
    assert shown(commands) == [("CANCEL_TIMER", first[1], ""), ("TIMER", 4, "")]


def test_a_dropped_callback_is_never_called() -> None:
    async def code() -> None:
        handle = asyncio.get_running_loop().call_soon(pytest.fail)
        handle.cancel()
        assert handle.cancelled()
        await asyncio.sleep(0)

    Driven(code).start()


def test_callbacks_run_first_in_first_out_each_with_its_own_context() -> None:
    seen: list[int] = []

    async def code() -> None:
        loop = asyncio.get_running_loop()
        for number in range(5):
            loop.call_soon(seen.append, number)
        loop.call_later(0, seen.append, 5)
        await asyncio.sleep(0)

    Driven(code).start()
    assert seen == list(range(6))


def test_the_loop_says_what_it_is() -> None:
    async def code() -> None:
        loop = asyncio.get_running_loop()
        assert loop.is_running()
        assert not loop.is_closed()
        assert loop.get_debug() is False
        assert loop.get_task_factory() is None
        assert loop.time() == workflow.time()
        task = asyncio.create_task(asyncio.sleep(0), name="named")
        assert task.get_name() == "named"
        assert asyncio.current_task() is not None
        await task

    Driven(code).start()
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_tasks_are_named_by_their_number_in_the_run() -> None:
    names: list[str] = []

    async def code() -> None:
        task = asyncio.create_task(asyncio.sleep(0))
        names.append(task.get_name())
        await task

    Driven(code).start()
    Driven(code, run_id=b"x" * 16).start()
    assert names == ["Task-2", "Task-2"]


def test_tasks_that_are_done_are_forgotten() -> None:
    async def code() -> int:
        loop: Any = asyncio.get_running_loop()
        for _ in range(200):
            await asyncio.create_task(asyncio.sleep(0))
        return len(loop._tasks)

    run = Driven(code)
    run.start()
    assert run.outcome() < 40


REFUSED = [name for name in vars(RefusingLoop) if not name.startswith("_")]


@pytest.mark.parametrize("name", REFUSED)
def test_what_reaches_outside_says_what_to_do_instead(name: str) -> None:
    async def code() -> None:
        with pytest.raises(NotImplementedError, match=rf"loop\.{name}\(\) in a workflow: \w+"):
            getattr(asyncio.get_running_loop(), name)()

    Driven(code).start()


def test_a_thread_is_refused_by_its_usual_name() -> None:
    async def code() -> None:
        with pytest.raises(NotImplementedError, match="in an activity"):
            await asyncio.to_thread(print)

    Driven(code).start()


# Conditions


def test_conditions_are_asked_in_order_whenever_the_run_has_moved() -> None:
    seen: list[str] = []
    state = {"a": False, "b": False}

    async def code() -> None:
        async def wait(name: str) -> None:
            await workflow.wait_condition(lambda: state[name])
            seen.append(name)
            state["b"] = True

        workflow.set_signal_handler("a", lambda: state.update(a=True))
        await asyncio.gather(wait("b"), wait("a"))

    run = Driven(code)
    run.start()
    assert seen == []
    run.give(signal("a"))
    assert seen == ["a", "b"]
    assert run.outcome() is None


def test_a_condition_that_holds_already_is_over_at_once() -> None:
    async def code() -> None:
        await workflow.wait_condition(lambda: True)

    assert kinds_of(Driven(code).start()) == ["COMPLETE"]


def test_a_condition_may_have_a_time_limit() -> None:
    async def code() -> str:
        try:
            await workflow.wait_condition(lambda: False, timeout=timedelta(seconds=2))
        except TimeoutError:
            return "late"
        return "in time"

    run = Driven(code)
    (timer,) = run.start()
    assert timer[2] == START_MS + 2000
    run.give(fired(timer[1]), at=2)
    assert run.outcome() == "late"
    assert run.instance.conditions == []


def test_a_condition_that_holds_in_time_drops_its_limit() -> None:
    async def code() -> None:
        heard: list[int] = []
        workflow.set_signal_handler("s", heard.append)
        await workflow.wait_condition(lambda: bool(heard), timeout=2)

    run = Driven(code)
    run.start()
    assert kinds_of(run.give(signal("s", 1))) == ["CANCEL_TIMER", "COMPLETE"]


def test_a_condition_whose_waiter_is_cancelled_is_asked_no_more() -> None:
    asked: list[int] = []

    async def code() -> None:
        task = asyncio.create_task(workflow.wait_condition(lambda: bool(asked.append(1))))
        await workflow.sleep(1)
        task.cancel()
        await workflow.sleep(1)
        asked.clear()
        await workflow.sleep(1)

    run = Driven(code)
    run.start()
    for seq in (1, 2, 3):
        run.give(fired(seq), at=seq)
    assert asked == []
    assert run.outcome() is None


def test_a_condition_that_raises_fails_the_task() -> None:
    async def code() -> None:
        await workflow.wait_condition(lambda: 1 // 0 == 0)

    with pytest.raises(ZeroDivisionError):
        Driven(code).start()
