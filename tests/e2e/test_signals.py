"""Signals: handled in order, never lost, by handlers of every kind."""

import asyncio
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import Client
from hotmesh.common import RawValue
from hotmesh.core import kinds
from hotmesh.exceptions import ApplicationError, RPCError, RPCStatusCode, TerminatedError
from support.running import execute, failure_of, start, task_failure, working


@workflow.defn
class Collects:
    """Keeps what its signals bring, until it has as many as asked for."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self, count: int) -> list[Any]:
        self.got.append("main")
        await workflow.wait_condition(lambda: len(self.got) > count)
        return self.got

    @workflow.signal
    def put(self, value: Any) -> None:
        self.got.append(value)

    @workflow.signal(name="put-two")
    def put_two(self, first: int, second: int) -> None:
        self.got.append((first, second))

    @workflow.signal
    async def put_slowly(self, value: Any) -> None:
        await asyncio.sleep(0.01)
        self.got.append(value)

    @workflow.signal(dynamic=True)
    def put_any(self, name: str, args: Sequence[RawValue]) -> None:
        values = [workflow.payload_converter().from_payload(each.payload) for each in args]
        self.got.append([name, *values])


async def test_signals_are_handled_in_the_order_sent(any_client: Client) -> None:
    async with working(any_client, Collects):
        handle = await start(any_client, Collects.run, 20)
        for number in range(20):
            await handle.signal(Collects.put, number)
        assert [each for each in await handle.result() if each != "main"] == list(range(20))


async def test_a_signal_may_take_several_arguments_and_a_name_of_its_own(client: Client) -> None:
    async with working(client, Collects):
        handle = await start(client, Collects.run, 1)
        await handle.signal("put-two", args=[1, 2])
        assert [1, 2] in await handle.result()


async def test_an_async_signal_handler_may_wait(client: Client) -> None:
    async with working(client, Collects):
        handle = await start(client, Collects.run, 1)
        await handle.signal(Collects.put_slowly, "late")
        assert await handle.result() == ["main", "late"]


async def test_the_dynamic_handler_gets_what_no_other_takes(client: Client) -> None:
    async with working(client, Collects):
        handle = await start(client, Collects.run, 1)
        await handle.signal("unheard", args=["a", 1])
        assert ["unheard", "a", 1] in await handle.result()


async def test_signals_of_the_first_task_are_handled_before_the_main_coroutine(
    any_client: Client,
) -> None:
    handle = await start(any_client, Collects.run, 2)
    await handle.signal(Collects.put, 1)
    await handle.signal(Collects.put, 2)
    async with working(any_client, Collects):
        assert await handle.result() == [1, 2, "main"]


async def test_signal_with_start_starts_and_signals(any_client: Client) -> None:
    async with working(any_client, Collects):
        for value in ("first", "second"):
            handle = await start(
                any_client,
                Collects.run,
                2,
                id="with-start",
                start_signal="put",
                start_signal_args=[value],
            )
        assert [each for each in await handle.result() if each != "main"] == ["first", "second"]


async def test_a_signal_to_an_unknown_workflow_says_so(any_client: Client) -> None:
    with pytest.raises(RPCError, match="not found") as caught:
        await any_client.get_workflow_handle("nobody").signal("put", 1)
    assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_a_signal_to_a_closed_workflow_says_so(any_client: Client) -> None:
    async with working(any_client, Collects):
        handle = await start(any_client, Collects.run, 0)
        await handle.result()
        with pytest.raises(RPCError, match="already completed") as caught:
            await handle.signal(Collects.put, 1)
    assert caught.value.status == RPCStatusCode.NOT_FOUND


@workflow.defn
class InstallsHandlers:
    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await asyncio.sleep(0.01)
        workflow.set_signal_handler("later", lambda value: self.got.append(value))
        await workflow.wait_condition(lambda: len(self.got) >= 3)
        assert workflow.get_signal_handler("later") is not None

        def on_any(name: str, args: Sequence[RawValue]) -> None:
            self.got.append(name)

        workflow.set_dynamic_signal_handler(on_any)
        await workflow.wait_condition(lambda: len(self.got) >= 4)
        return self.got


async def test_signals_without_a_handler_wait_for_one(client: Client) -> None:
    handle = await start(client, InstallsHandlers.run)
    await handle.signal("other", "x")
    for value in (1, 2, 3):
        await handle.signal("later", value)
    async with working(client, InstallsHandlers):
        assert await handle.result() == [1, 2, 3, "other"]


@workflow.defn
class Typed:
    def __init__(self) -> None:
        self.got: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: len(self.got) > 0)
        return self.got

    @workflow.signal
    def put(self, value: int) -> None:
        self.got.append(value)


async def test_a_signal_that_cannot_be_read_is_dropped(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(client, Typed):
        handle = await start(client, Typed.run)
        await handle.signal("put", "not a number")
        await handle.signal("put", args=[1, 2, 3])
        await handle.signal("put", 5)
        assert await handle.result() == [5]
    assert "Failed deserializing signal input for put" in caplog.text


@workflow.defn
class FailsInHandler:
    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: False)
        return "never"

    @workflow.signal
    async def fail(self, how: str) -> None:
        if how == "failure":
            raise ApplicationError("from a signal", type="Signalled")
        raise RuntimeError("a bug in a signal")


async def test_a_failure_in_a_signal_handler_fails_the_workflow(client: Client) -> None:
    async with working(client, FailsInHandler):
        handle = await start(client, FailsInHandler.run)
        await handle.signal(FailsInHandler.fail, "failure")
        error = await failure_of(handle.result())
    assert isinstance(error, ApplicationError)
    assert error.type == "Signalled"


async def test_another_exception_in_a_signal_handler_fails_only_the_task(client: Client) -> None:
    async with working(client, FailsInHandler):
        handle = await start(client, FailsInHandler.run)
        await handle.signal(FailsInHandler.fail, "bug")
        assert (await task_failure(handle))["message"] == "a bug in a signal"
        await handle.terminate()


@workflow.defn
class LeavesHandlers:
    def __init__(self) -> None:
        self.begun = False

    @workflow.run
    async def run(self, wait: bool) -> str:
        await workflow.wait_condition(lambda: self.begun)
        if wait:
            await workflow.wait_condition(workflow.all_handlers_finished)
        return "done"

    @workflow.signal
    async def slow(self) -> None:
        self.begun = True
        await asyncio.sleep(0.02)

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def abandoned(self) -> None:
        self.begun = True
        await asyncio.sleep(0.02)


async def test_a_run_that_leaves_a_signal_handler_behind_warns(client: Client) -> None:
    async with working(client, LeavesHandlers):
        handle = await start(client, LeavesHandlers.run, False)
        await handle.signal(LeavesHandlers.slow)
        with pytest.warns(workflow.UnfinishedSignalHandlersWarning, match=r"\[TMPRL1102\]"):
            await handle.result()


@pytest.mark.parametrize(("signal", "wait"), [("abandoned", False), ("slow", True)])
async def test_a_run_that_may_leave_or_waits_for_its_handlers_does_not_warn(
    client: Client, signal: str, wait: bool
) -> None:
    async with working(client, LeavesHandlers):
        handle = await start(client, LeavesHandlers.run, wait)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await handle.signal(signal)
            assert await handle.result() == "done"


async def test_many_signals_to_many_workflows_all_arrive(any_client: Client) -> None:
    async with working(any_client, Collects):
        handles = [await start(any_client, Collects.run, 10) for _ in range(10)]
        await asyncio.gather(
            *(handle.signal(Collects.put, number) for number in range(10) for handle in handles)
        )
        results = await asyncio.gather(*(handle.result() for handle in handles))
    for result in results:
        assert sorted(each for each in result if each != "main") == list(range(10))


async def test_a_workflow_may_be_signalled_before_any_worker_runs(client: Client) -> None:
    await start(client, Collects.run, 1, id="early")
    await client.get_workflow_handle("early").signal(Collects.put, "x")
    async with working(client, Collects):
        assert await client.get_workflow_handle("early").result() == ["x", "main"]


async def test_signals_survive_replay_of_every_task(client: Client) -> None:
    async with working(client, Collects, max_cached_workflows=0):
        handle = await start(client, Collects.run, 5)
        for number in range(4):
            await handle.signal(Collects.put, number)
        await handle.signal(Collects.put_slowly, 4)
        assert [each for each in await handle.result() if each != "main"] == list(range(5))
        assert await execute(client, Collects.run, 0) == ["main"]


@workflow.defn
class EndsWithTheFirst:
    """Ends with the first signal, and tells how many came with it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: bool(self.sizes))
        return len(self.sizes)

    @workflow.signal
    def take(self, data: bytes) -> None:
        self.sizes.append(len(data))


async def test_a_run_ends_however_large_the_signals_are_that_wait_for_it(
    any_client: Client,
) -> None:
    handle = await start(any_client, EndsWithTheFirst.run)
    for _ in range(9):  # more than one activation takes, and one step reads
        await handle.signal(EndsWithTheFirst.take, bytes(1_000_000))
    async with working(any_client, EndsWithTheFirst):
        assert await asyncio.wait_for(handle.result(), 20) == 9


MANY = 1_200
"""More than a router reads in two steps."""


@pytest.mark.parametrize("ends", ["by its code", "terminated"])
async def test_a_run_ends_though_many_signals_wait_for_it(
    any_client: Client, ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are in its journal, all of them, and nobody is alarmed."""
    handle = await start(any_client, Collects.run, 0)
    for first in range(0, MANY, 100):
        await asyncio.gather(*[handle.signal(Collects.put, first + n) for n in range(100)])
    if ends == "terminated":
        await handle.terminate()
    async with working(any_client, Collects):
        if ends == "terminated":
            assert isinstance(await failure_of(handle.result()), TerminatedError)
        else:
            await handle.result()
    history = await handle.fetch_history()
    jobs = [job for transition in history.events for job in transition.jobs]
    assert sum(job[0] == kinds.SIGNAL for job in jobs) == MANY
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
