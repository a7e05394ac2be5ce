"""Timers and asyncio's own tools, on the workflow's loop."""

import asyncio
import builtins
import logging
import sys
import time
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import Client, WorkflowFailureError
from hotmesh.core import kinds
from hotmesh.exceptions import ApplicationError, TimeoutError, TimeoutType  # noqa: A004 - the SDK's name
from support.running import execute, failure_of, start, task_failure, timers, working


async def sleeps(seconds: float) -> float:
    before = workflow.time()
    await asyncio.sleep(seconds)
    return round(workflow.time() - before, 3)  # a clock of milliseconds, told in floats


async def test_a_sleep_is_never_shorter_than_asked(any_client: Client) -> None:
    async with working(any_client, sleeps):
        began = time.monotonic()
        assert await execute(any_client, "sleeps", 0.2) >= 0.2
        assert time.monotonic() - began >= 0.2


async def test_a_timer_outlives_its_worker(any_client: Client) -> None:
    async with working(any_client, sleeps):
        handle = await start(any_client, "sleeps", 0.2)
        await handle.query("__stack_trace")
    async with working(any_client, sleeps):
        assert await handle.result() >= 0.2


async def test_a_sleep_of_zero_only_yields(client: Client) -> None:
    async def zero() -> list[str]:
        order: list[str] = []

        async def other() -> None:
            order.append("other")

        task = asyncio.create_task(other())
        await workflow.sleep(0)
        order.append("main")
        await task
        return order

    async with working(client, zero):
        handle = await start(client, "zero")
        assert await handle.result() == ["other", "main"]
        history = await handle.fetch_history()
    assert all(
        command[0] != kinds.TIMER
        for transition in history.events
        for command in transition.commands
    )


async def test_a_negative_sleep_is_refused(client: Client) -> None:
    async def negative() -> str:
        try:
            await workflow.sleep(-1)
        except RuntimeError as error:
            return str(error)
        return "slept"

    async with working(client, negative):
        assert await execute(client, "negative") == "Attempted to sleep with a negative duration"


async def test_wait_for_and_timeout_scopes(client: Client) -> None:
    async def scopes() -> list[str]:
        found: list[str] = []
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except builtins.TimeoutError:
            found.append("wait_for")
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except builtins.TimeoutError:
            found.append("timeout")
        try:
            await workflow.wait_condition(lambda: False, timeout=timedelta(milliseconds=10))
        except builtins.TimeoutError:
            found.append("wait_condition")
        return found

    async with working(client, scopes):
        assert await execute(client, "scopes") == ["wait_for", "timeout", "wait_condition"]


async def test_a_condition_that_holds_in_time_drops_its_timer(client: Client) -> None:
    async def in_time() -> str:
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, done.set)
        await workflow.wait_condition(done.is_set, timeout=3600)
        return "in time"

    async with working(client, in_time):
        assert await execute(client, "in_time") == "in time"


async def test_gather_task_groups_and_primitives(any_client: Client) -> None:
    async def primitives() -> dict[str, Any]:
        found: dict[str, Any] = {}
        found["gather"] = await asyncio.gather(after(0.02, "a"), after(0.01, "b"))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(after(0.01, number)) for number in range(3)]
        found["group"] = [task.result() for task in tasks]
        lock, order = asyncio.Lock(), list[int]()

        async def locked(number: int) -> None:
            async with lock:
                await asyncio.sleep(0.001)
                order.append(number)

        await asyncio.gather(*(locked(number) for number in range(3)))
        found["lock"] = order
        queue: asyncio.Queue[int] = asyncio.Queue(1)

        async def produce() -> None:
            for number in range(3):
                await queue.put(number)

        producer = asyncio.create_task(produce())
        found["queue"] = [await queue.get() for _ in range(3)]
        await producer
        gate, running, most = asyncio.Semaphore(2), 0, 0

        async def gated() -> None:
            nonlocal running, most
            async with gate:
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.001)
                running -= 1

        await asyncio.gather(*(gated() for _ in range(5)))
        found["semaphore"] = most
        event = asyncio.Event()
        asyncio.get_running_loop().call_soon(event.set)
        found["event"] = await event.wait()
        return found

    async def after(seconds: float, value: Any) -> Any:
        await asyncio.sleep(seconds)
        return value

    async with working(any_client, primitives):
        assert await execute(any_client, "primitives") == {
            "gather": ["a", "b"],
            "group": [0, 1, 2],
            "lock": [0, 1, 2],
            "queue": [0, 1, 2],
            "semaphore": 2,
            "event": True,
        }


async def test_a_failing_task_group_cancels_the_rest(client: Client) -> None:
    async def group() -> list[str]:
        seen: list[str] = []

        async def waits() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async def fails() -> None:
            await asyncio.sleep(0.001)
            raise ApplicationError("one of many")

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(waits())
                tasks.create_task(fails())
        except* ApplicationError as errors:
            seen.append(str(errors.exceptions[0]))
        return seen

    async with working(client, group):
        assert await execute(client, "group") == ["cancelled", "one of many"]


async def test_wait_and_as_completed_keep_their_order(client: Client) -> None:
    async def ordered() -> list[Any]:
        tasks = [asyncio.create_task(asyncio.sleep(0.01 * n, n)) for n in (3, 1, 2)]
        first, rest = await workflow.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        one = [task.result() for task in first], len(rest)
        done, pending = await workflow.wait(tasks)
        waited = [task.result() for task in done], len(pending)
        again = [asyncio.sleep(0.01 * n, n) for n in (3, 1, 2)]
        return [one, waited, [await each for each in workflow.as_completed(again)]]

    async with working(client, ordered):
        assert await execute(client, "ordered") == [[[1], 2], [[3, 1, 2], 0], [1, 2, 3]]


async def test_as_completed_and_wait_have_timeouts(client: Client) -> None:
    async def timeouts() -> list[Any]:
        never = asyncio.create_task(asyncio.sleep(60))
        done, pending = await workflow.wait([never], timeout=0.001)
        found: list[Any] = [len(done), len(pending)]
        for each in workflow.as_completed([never], timeout=0.001):
            try:
                await each
            except builtins.TimeoutError:
                found.append("timed out")
        never.cancel()
        return found

    async with working(client, timeouts):
        assert await execute(client, "timeouts") == [0, 1, "timed out"]


async def test_a_timer_cancelled_in_its_own_step_is_never_set(client: Client) -> None:
    async def takes_back() -> str:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait_for(asyncio.sleep(0.001), 60)
        return "done"

    async with working(client, takes_back):
        handle = await start(client, "takes_back")
        assert await handle.result() == "done"
        history = await handle.fetch_history()
    timers = [
        command
        for transition in history.events
        for command in transition.commands
        if command[0] == kinds.TIMER
    ]
    assert len(timers) == 2


async def test_a_cancelled_timer_never_fires(client: Client) -> None:
    async def cancels() -> list[str]:
        fired: list[str] = []
        handle = asyncio.get_running_loop().call_later(0.3, fired.append, "too late")
        await asyncio.sleep(0.01)
        handle.cancel()
        await asyncio.sleep(0.35)
        return fired

    async with working(client, cancels):
        assert await execute(client, "cancels") == []


async def test_timers_fire_in_the_order_of_their_times(any_client: Client) -> None:
    async def ordered() -> list[int]:
        order: list[int] = []

        async def after(number: int) -> None:
            await asyncio.sleep(0.02 * number)
            order.append(number)

        await asyncio.gather(*(after(number) for number in (5, 3, 1, 4, 2)))
        return order

    async with working(any_client, ordered):
        assert await execute(any_client, "ordered") == [1, 2, 3, 4, 5]


async def test_what_reaches_outside_the_loop_is_refused(client: Client) -> None:
    async def reaches_out() -> list[str]:
        refused: list[str] = []
        loop = asyncio.get_running_loop()
        try:
            loop.run_in_executor(None, time.time)
        except NotImplementedError:
            refused.append("executor")
        try:
            await asyncio.open_connection("127.0.0.1", 1)
        except NotImplementedError:
            refused.append("connection")
        try:
            loop.call_soon_threadsafe(lambda: None)
        except NotImplementedError:
            refused.append("threadsafe")
        return refused

    async with working(client, reaches_out):
        assert await execute(client, "reaches_out") == ["executor", "connection", "threadsafe"]


async def test_an_uncaught_timeout_fails_the_workflow(client: Client) -> None:
    async def times_out() -> None:
        await workflow.wait_condition(lambda: False, timeout=0.001)

    async with working(client, times_out):
        error = await failure_of(execute(client, "times_out"))
    assert isinstance(error, ApplicationError)
    assert error.type == "TimeoutError"


@pytest.mark.parametrize("option", ["run_timeout", "execution_timeout"])
async def test_a_workflow_that_takes_too_long_is_timed_out(any_client: Client, option: str) -> None:
    async with working(any_client, sleeps):
        error = await failure_of(
            execute(any_client, "sleeps", 60, **{option: timedelta(milliseconds=50)})
        )
    assert isinstance(error, TimeoutError)
    assert error.type == TimeoutType.START_TO_CLOSE


async def test_a_workflow_that_fails_its_tasks_is_timed_out_too(client: Client) -> None:
    async def buggy() -> None:
        raise ValueError("a bug")

    async with working(client, buggy):
        handle = await start(client, "buggy", run_timeout=timedelta(seconds=1))
        await task_failure(handle)
        assert isinstance(await failure_of(handle.result()), TimeoutError)


async def test_start_delay_delays_the_start(any_client: Client) -> None:
    async def quick() -> str:
        return "done"

    async with working(any_client, quick):
        began = time.monotonic()
        handle = await start(any_client, "quick", start_delay=timedelta(milliseconds=200))
        assert await handle.result() == "done"
        assert time.monotonic() - began >= 0.2


async def test_timers_survive_replay_of_every_task(client: Client) -> None:
    async def several() -> int:
        for _ in range(5):
            await asyncio.sleep(0.002)
        return 5

    async with working(client, several, max_cached_workflows=0):
        assert await execute(client, "several") == 5


async def test_what_reaches_outside_says_what_to_do_instead(client: Client) -> None:
    async def reaches_out() -> list[str]:
        said: list[str] = []
        loop = asyncio.get_running_loop()
        for reach in (
            lambda: asyncio.to_thread(time.time),
            lambda: loop.run_in_executor(None, time.time),
            lambda: asyncio.open_connection("127.0.0.1", 1),
            lambda: asyncio.create_subprocess_exec("true"),
            lambda: loop.getaddrinfo("localhost", 1),
        ):
            try:
                await reach()
            except NotImplementedError as error:
                said.append(str(error))
        return said

    async with working(client, reaches_out):
        said = await execute(client, "reaches_out")
    assert len(said) == 5
    assert all("workflow.execute_activity" in each for each in said), said


ENDLESS = [float("inf"), 1e12, 1e300, sys.float_info.max]


@pytest.mark.parametrize("delay", ENDLESS)
async def test_an_endless_delay_ends_when_it_is_cancelled(client: Client, delay: float) -> None:
    async def sleeps() -> list[str]:
        ways = {
            "asyncio.sleep": lambda: asyncio.sleep(delay),
            "workflow.sleep": lambda: workflow.sleep(delay),
            "wait_for": lambda: asyncio.wait_for(asyncio.Event().wait(), delay),
            "condition": lambda: workflow.wait_condition(lambda: False, timeout=delay),
        }
        ended: list[str] = []
        for name, way in ways.items():
            try:
                await asyncio.wait_for(way(), 0.01)
            except builtins.TimeoutError:
                ended.append(name)
        async with asyncio.timeout(delay):
            await asyncio.sleep(0.01)
        return ended

    async with working(client, sleeps, max_cached_workflows=0):
        assert await execute(client, "sleeps") == [
            *("asyncio.sleep", "workflow.sleep", "wait_for", "condition")
        ]


async def test_no_number_is_no_delay(client: Client) -> None:
    async def sleeps() -> str:
        try:
            await asyncio.sleep(float("nan"))
        except ValueError as error:
            return str(error)
        return "slept"

    async with working(client, sleeps):
        assert "NaN" in await execute(client, "sleeps")


@pytest.mark.parametrize("ends", ["terminate", "cancel"])
async def test_the_timer_of_a_delayed_start_goes_when_it_is_due_and_begins_nothing(
    any_client: Client, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "hotmesh")
    async with working(any_client, sleeps):
        handle = await start(any_client, "sleeps", 0.0, start_delay=timedelta(seconds=1))
        await getattr(handle, ends)()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        before = (await handle.describe()).history_length
        async with asyncio.timeout(30):
            while await timers(any_client):
                await asyncio.sleep(0.05)
        assert (await handle.describe()).history_length == before
    assert caplog.messages == []
