"""Queries: answers about open and closed workflows that change nothing."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from hotmesh.common import QueryRejectCondition, RawValue
from hotmesh.exceptions import ApplicationError, RPCError, RPCStatusCode
from support.running import failure_of, start, working


@workflow.defn
class Counter:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self, until: int) -> int:
        workflow.set_query_handler("installed", lambda: f"installed {self.count}")
        await workflow.wait_condition(lambda: self.count >= until)
        if until < 0:
            raise ApplicationError("negative")
        return self.count

    @workflow.signal
    def add(self, number: int) -> None:
        self.count += number

    @workflow.query
    def current(self) -> int:
        return self.count

    @workflow.query(name="sum")
    def plus(self, first: int, second: int = 0) -> int:
        return self.count + first + second

    @workflow.query
    def broken(self) -> None:
        raise ValueError("no answer")

    @workflow.query
    def changes(self) -> None:
        workflow.start_activity("x", start_to_close_timeout=timedelta(seconds=1))

    @workflow.query(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return [name, len(args)]


@workflow.defn
class Bare:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def known(self) -> int:
        return 1


async def test_a_query_sees_the_signals_sent_before_it(any_client: Client) -> None:
    async with working(any_client, Counter):
        handle = await start(any_client, Counter.run, 100)
        for expected in (1, 2, 3):
            await handle.signal(Counter.add, 1)
            assert await handle.query(Counter.current) == expected


async def test_a_query_takes_arguments_and_defaults(client: Client) -> None:
    async with working(client, Counter):
        handle = await start(client, Counter.run, 100)
        assert await handle.query("sum", 1) == 1
        assert await handle.query("sum", args=[1, 2]) == 3


async def test_installed_and_dynamic_queries_answer(client: Client) -> None:
    async with working(client, Counter):
        handle = await start(client, Counter.run, 100)
        await handle.signal(Counter.add, 1)
        assert await handle.query("installed") == "installed 1"
        assert await handle.query("whatever", args=["a", "b"]) == ["whatever", 2]


async def test_a_closed_workflow_still_answers(any_client: Client) -> None:
    async with working(any_client, Counter):
        handle = await start(any_client, Counter.run, 1)
        await handle.signal(Counter.add, 5)
        assert await handle.result() == 5
        assert await handle.query(Counter.current) == 5
    async with working(any_client, Counter):
        assert await handle.query(Counter.current) == 5


async def test_an_unknown_query_names_the_known_ones(client: Client) -> None:
    async with working(client, Bare):
        handle = await start(client, Bare.run)
        with pytest.raises(WorkflowQueryFailedError) as caught:
            await handle.query("unknown")
    assert str(caught.value) == (
        "Query handler for 'unknown' expected but not found, known queries: "
        "[__enhanced_stack_trace __stack_trace __temporal_workflow_metadata known]"
    )


async def test_an_error_in_a_query_reaches_only_its_caller(client: Client) -> None:
    async with working(client, Counter):
        handle = await start(client, Counter.run, 1)
        with pytest.raises(WorkflowQueryFailedError, match="no answer"):
            await handle.query(Counter.broken)
        await handle.signal(Counter.add, 1)
        assert await handle.result() == 1


async def test_a_query_may_not_change_the_workflow(client: Client) -> None:
    async with working(client, Counter):
        handle = await start(client, Counter.run, 1)
        with pytest.raises(
            WorkflowQueryFailedError, match="While in read-only function, action attempted"
        ):
            await handle.query(Counter.changes)
        await handle.signal(Counter.add, 1)
        assert await handle.result() == 1


async def test_a_wrong_argument_count_is_named(client: Client) -> None:
    async with working(client, Counter):
        handle = await start(client, Counter.run, 1)
        with pytest.raises(
            WorkflowQueryFailedError, match=r"query 'sum' takes .* but 3 were given"
        ):
            await handle.query("sum", args=[1, 2, 3])


@pytest.mark.parametrize(
    ("condition", "until", "status"),
    [
        (QueryRejectCondition.NOT_OPEN, 0, WorkflowExecutionStatus.COMPLETED),
        (QueryRejectCondition.NOT_COMPLETED_CLEANLY, -1, WorkflowExecutionStatus.FAILED),
    ],
)
async def test_a_reject_condition_rejects(
    any_client: Client, condition: QueryRejectCondition, until: int, status: WorkflowExecutionStatus
) -> None:
    async with working(any_client, Counter):
        handle = await start(any_client, Counter.run, until)
        if until < 0:
            await failure_of(handle.result())
        else:
            await handle.result()
        with pytest.raises(WorkflowQueryRejectedError) as caught:
            await handle.query(Counter.current, reject_condition=condition)
    assert caught.value.status == status


async def test_a_reject_condition_that_does_not_hold_lets_the_query_pass(client: Client) -> None:
    async with working(client, Counter):
        handle = await start(client, Counter.run, 1)
        for condition in QueryRejectCondition:
            assert await handle.query(Counter.current, reject_condition=condition) == 0
        await handle.signal(Counter.add, 1)
        await handle.result()
        clean = QueryRejectCondition.NOT_COMPLETED_CLEANLY
        assert await handle.query(Counter.current, reject_condition=clean) == 1


async def test_a_query_of_an_unknown_workflow_says_so(client: Client) -> None:
    with pytest.raises(RPCError, match="not found") as caught:
        await client.get_workflow_handle("nobody").query("current")
    assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_a_query_without_a_worker_ends_in_time(client: Client) -> None:
    handle = await start(client, Counter.run, 1)
    with pytest.raises(RPCError, match="No worker is running") as caught:
        await handle.query(Counter.current, rpc_timeout=timedelta(milliseconds=50))
    assert caught.value.status == RPCStatusCode.DEADLINE_EXCEEDED


async def test_the_stack_trace_shows_where_the_workflow_waits(client: Client) -> None:
    async with working(client, Bare):
        handle = await start(client, Bare.run)
        trace = await handle.query("__stack_trace")
    assert "await workflow.wait_condition(lambda: False)" in trace


async def test_the_metadata_names_the_handlers(client: Client) -> None:
    async with working(client, Bare):
        handle = await start(client, Bare.run)
        metadata = await handle.query("__temporal_workflow_metadata")
    assert metadata["definition"]["type"] == "Bare"
    assert [each["name"] for each in metadata["definition"]["queryDefinitions"]] == ["known"]


async def test_a_query_leaves_no_trace_in_the_history(client: Client) -> None:
    async with working(client, Counter):
        handle = await start(client, Counter.run, 1)
        assert await handle.query(Counter.current) == 0
        before = (await handle.describe()).history_length
        assert await handle.query(Counter.current) == 0
        assert (await handle.describe()).history_length == before


async def test_queries_with_large_answers_are_all_answered(
    any_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotmesh.engine.handlers.BATCH_BYTES_MAX", 3)
    handle = await start(any_client, Counter.run, 3)
    await handle.signal(Counter.add, 1)
    asked = [asyncio.create_task(handle.query("sum", number)) for number in range(20)]
    async with working(any_client, Counter):
        assert sorted(await asyncio.gather(*asked)) == list(range(1, 21))
        await handle.signal(Counter.add, 2)
        assert await handle.result() == 3
        closed = await asyncio.gather(*(handle.query("sum", number) for number in range(20)))
        assert closed == list(range(3, 23))
