"""Workers of one task queue that host different types: everything finds who can run it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowFailureError
from hotmesh.common import RawValue
from hotmesh.exceptions import RPCError, TerminatedError, TimeoutError  # noqa: A004 - the failure
from support.running import SOON, execute, failure_of, start, timers, working


@activity.defn
async def first() -> str:
    return "first"


@activity.defn
async def second() -> str:
    return "second"


@workflow.defn
class First:
    """Hosted where its activity is not."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(second, start_to_close_timeout=SOON)


@workflow.defn
class Second:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(first, start_to_close_timeout=SOON)


@workflow.defn
class Chain:
    """Goes through both types by children and continuations."""

    @workflow.run
    async def run(self) -> list[str]:
        return await asyncio.gather(
            *(workflow.execute_child_workflow(kind, id=workflow.uuid4().hex) for kind in _BOTH)
        )


@workflow.defn
class ContinuesAsFirst:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(0.01)
        workflow.continue_as_new(workflow="First")


_BOTH = ("First", "Second", "ContinuesAsFirst")


@workflow.defn
class Ledger:
    """Takes entries until it has enough, then says them in order."""

    def __init__(self) -> None:
        self.entries: list[int] = []

    @workflow.run
    async def run(self, count: int) -> list[int]:
        await workflow.wait_condition(lambda: len(self.entries) >= count)
        return self.entries

    @workflow.signal
    def enter(self, number: int) -> None:
        self.entries.append(number)

    @workflow.update
    def enter_now(self, number: int) -> int:
        self.entries.append(number)
        return len(self.entries)

    @workflow.query
    def size(self) -> int:
        return len(self.entries)


@workflow.defn(dynamic=True)
class Anything:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> str:
        del args
        return f"any {workflow.info().workflow_type}"


async def test_each_run_and_activity_goes_to_the_worker_that_hosts_it(any_client: Client) -> None:
    async with (
        working(any_client, First, activities=[first]),
        working(any_client, Second, activities=[second]),
    ):
        handles = [await start(any_client, kind.run) for kind in (First, Second) * 12]
        async with asyncio.timeout(30):
            results = await asyncio.gather(*(handle.result() for handle in handles))
    assert results == ["second", "first"] * 12


async def test_children_and_continuations_find_their_workers(any_client: Client) -> None:
    async with (
        working(any_client, First, Chain, activities=[first]),
        working(any_client, Second, ContinuesAsFirst, activities=[second]),
    ):
        async with asyncio.timeout(30):
            chains = await asyncio.gather(*(execute(any_client, Chain.run) for _ in range(6)))
    assert chains == [["second", "first", "second"]] * 6


async def test_what_is_said_to_a_run_reaches_it_in_order_before_and_after_it_moves(
    any_client: Client,
) -> None:
    """Signals, updates and queries while a new worker adds the type; queries after the end."""
    count = 40
    async with working(any_client, First, activities=[second]):
        handles = [await start(any_client, Ledger.run, count) for _ in range(3)]
        for number in range(count // 2):
            for handle in handles:
                await handle.signal(Ledger.enter, number)
        async with working(any_client, Ledger):
            for number in range(count // 2, count - 1):
                for handle in handles:
                    await handle.signal(Ledger.enter, number)
            for handle in handles:
                assert await handle.execute_update(Ledger.enter_now, count - 1) == count
            async with asyncio.timeout(30):
                for handle in handles:
                    assert await handle.result() == list(range(count))
                    assert await handle.query(Ledger.size) == count
                    assert await handle.query(Ledger.size) == count


async def test_a_type_that_nobody_hosts_waits_until_it_is_added(any_client: Client) -> None:
    async with working(any_client, First, activities=[second]) as worker:
        handles = [await start(any_client, Second.run) for _ in range(5)]
        assert await execute(any_client, First.run) == "second"
        worker.add_workflow(Second)
        worker.add_activity(first)
        async with asyncio.timeout(30):
            assert [await handle.result() for handle in handles] == ["first"] * 5


async def test_what_nobody_hosts_can_be_terminated_and_timed_out(any_client: Client) -> None:
    """The end of a run takes no code of it."""
    async with working(any_client, First, activities=[second]):
        ended = await start(any_client, "Nobody's")
        late = await start(any_client, "Nobody's", run_timeout=timedelta(seconds=0.7))
        assert await execute(any_client, First.run) == "second"
        await ended.terminate("not wanted")
        async with asyncio.timeout(30):
            assert isinstance(await failure_of(ended.result()), TerminatedError)
            assert isinstance(await failure_of(late.result()), TimeoutError)
        with pytest.raises(WorkflowFailureError):
            await (await start(any_client, "Nobody's", run_timeout=timedelta(seconds=0.1))).result()


async def test_runs_of_a_worker_that_left_wait_for_one_that_hosts_them(any_client: Client) -> None:
    """Also those that were in the midst of something; the others take them for nothing."""
    async with working(any_client, First, activities=[second]):
        async with working(any_client, Ledger):
            handle = await start(any_client, Ledger.run, 2)
            await handle.signal(Ledger.enter, 1)
            assert await handle.query(Ledger.size) == 1
        await handle.signal(Ledger.enter, 2)
        assert await execute(any_client, First.run) == "second"
        async with working(any_client, Ledger, activities=[first]):
            async with asyncio.timeout(30):
                assert await handle.result() == [1, 2]


async def test_a_query_for_a_closed_run_that_nobody_hosts_says_so_until_somebody_does(
    any_client: Client,
) -> None:
    async with working(any_client, First):
        async with working(any_client, Ledger):
            handle = await start(any_client, Ledger.run, 0)
            assert await handle.result() == []
        with pytest.raises(RPCError, match="hosts its type 'Ledger'"):
            await handle.query("size", rpc_timeout=timedelta(seconds=0.5))
        asked = asyncio.create_task(handle.query("size", rpc_timeout=SOON))
        await asyncio.sleep(0.1)  # it is on its way to where nobody is
        async with working(any_client, Ledger):
            assert await asked == 0


async def test_a_dynamic_workflow_takes_whatever_nobody_else_hosts(any_client: Client) -> None:
    async with working(any_client, First, activities=[second]):
        handles = [await start(any_client, "Unheard of") for _ in range(4)]
        async with working(any_client, Anything):
            async with asyncio.timeout(30):
                assert [await each.result() for each in handles] == ["any Unheard of"] * 4


@workflow.defn
class Waits:
    """Has timers that it does not wait for."""

    def __init__(self) -> None:
        self.is_over = False

    @workflow.run
    async def run(self) -> str:
        timer = asyncio.create_task(asyncio.sleep(3_600))
        call = workflow.start_activity(
            "nowhere", task_queue="nobody's", schedule_to_close_timeout=timedelta(hours=1)
        )
        await workflow.wait_condition(lambda: self.is_over)
        timer.cancel()
        call.cancel()
        return "over"

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def has_begun(self) -> bool:
        return True


@pytest.mark.parametrize("ends", ["by itself", "by termination"])
async def test_a_run_that_moved_leaves_no_timers_where_it_was(
    any_client: Client, ends: str
) -> None:
    timeout = timedelta(hours=1)
    async with working(any_client, Waits):
        handle = await start(any_client, Waits.run, run_timeout=timeout)
        assert await handle.query(Waits.has_begun)
        assert len(await timers(any_client)) == 3
    async with working(any_client, First, activities=[second]):
        await handle.signal("unheard of")  # it is looked at, and moved
        assert await execute(any_client, First.run) == "second"
        async with working(any_client, Waits):
            assert await handle.query(Waits.has_begun, rpc_timeout=SOON)
            if ends == "by itself":
                await handle.signal(Waits.end)
                assert await handle.result() == "over"
            else:
                await handle.terminate()
                assert isinstance(await failure_of(handle.result()), TerminatedError)
        assert await timers(any_client) == []


async def test_a_run_that_is_called_home_leaves_no_timers_where_it_was(any_client: Client) -> None:
    """Nobody reads a side queue without open runs."""
    async with working(any_client, First, activities=[second]):
        handle = await start(any_client, Waits.run)
        assert await execute(any_client, First.run) == "second"
        async with working(any_client, Waits):
            assert await handle.query(Waits.has_begun, rpc_timeout=SOON)
            assert len(await timers(any_client)) == 2
        await handle.terminate()
        async with asyncio.timeout(30):
            assert isinstance(await failure_of(handle.result()), TerminatedError)
        assert await timers(any_client) == []
