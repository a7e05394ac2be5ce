"""Every stored column of a run, damaged while the run is in flight: the neighbours finish."""

import asyncio
import logging
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from hotmesh import activity, meshflow, workflow
from hotmesh.client import Client, WorkflowExecutionStatus, WorkflowHandle
from hotmesh.common import RetryPolicy
from hotmesh.engine import wire
from hotmesh.exceptions import RPCError, RPCStatusCode
from support.flips import columns_of, flip
from support.running import SOON, eventually, start, working

NEIGHBOURS = 40

MOVED = {
    *(("stream", column) for column in ("lane", "id", "run_id", "frame")),
    *(("task", column) for column in ("run_id", "queue_id", "activity_type", "due_ms")),
    *(("lane", "run"), ("task", "q"), ("task", "k")),
    *(("run", "workflow_type"), ("run", "t")),
}
"""Columns whose damage takes a message or task out of its run's reach, or gives the run a type that
nobody hosts: nobody reads the row as the run's, so that nobody can tell. The run waits."""

Handle = WorkflowHandle[Any, Any]


@activity.defn
async def at_second_try() -> str:
    if activity.info().attempt < 2:
        raise RuntimeError("once more")
    return "tried"


@workflow.defn
class Neighbour:
    @workflow.run
    async def run(self) -> str:
        return "fine"


@workflow.defn
class Victim:
    def __init__(self) -> None:
        self.going = False

    @workflow.signal
    def go(self) -> None:
        self.going = True

    @workflow.run
    async def run(self) -> str:
        workflow.upsert_search_attributes({"kind": ["victim"]})
        self.waits = [
            asyncio.ensure_future(self.wait_for_mail()),
            asyncio.ensure_future(asyncio.sleep(3600)),
        ]
        tried = workflow.start_activity(
            at_second_try,
            start_to_close_timeout=SOON,
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1)),
        )
        await workflow.wait_condition(lambda: self.going)
        return await tried

    async def wait_for_mail(self) -> None:
        await meshflow.workflow.wait_for(workflow.info().workflow_id)


async def test_a_damaged_row_hurts_its_own_run_only(
    any_client: Client, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    columns = await columns_of(database_url)
    async with working(any_client, Victim, activities=[at_second_try], max_cached_workflows=0):
        handles = [await start(any_client, Victim.run) for _ in columns]
        for handle in handles:
            await eventually(partial(_has_retry, handle), "it waits for its retry")
    described = [await handle.describe() for handle in handles]
    for handle in handles:
        await handle.signal("go")
    await flip(
        database_url,
        [
            (column, wire.run_id_bytes(handle.result_run_id), handle.id, about.raw_info.lane)
            for column, handle, about in zip(columns, handles, described, strict=True)
        ],
    )
    async with working(
        any_client, Victim, Neighbour, activities=[at_second_try], max_cached_workflows=0
    ) as worker:
        neighbours = [await start(any_client, Neighbour.run) for _ in range(NEIGHBOURS)]
        async with asyncio.timeout(2 * SOON.total_seconds()):
            for neighbour in neighbours:
                assert await neighbour.result() == "fine"
        assert worker.is_running
        for column, handle in zip(columns, handles, strict=True):
            if column not in MOVED:
                await eventually(partial(_is_told_or_over, handle), f"{column} is told", 20.0)
        assert worker.is_running
        rows = [row async for row in any_client.list_workflows()]
        assert len(rows) > NEIGHBOURS
        found = [row async for row in any_client.list_workflows("kind = 'victim'")]
        assert len(found) > len(columns) / 2
    broken = [each.getMessage() for each in caplog.records if each.levelno >= logging.CRITICAL]
    assert broken == []


async def _has_retry(handle: Handle) -> bool:
    return (await handle.describe()).raw_info.transitions >= 2


async def _is_told_or_over(handle: Handle) -> bool:
    """Whether the run is over, its record says what is damaged, or its id names nothing."""
    try:
        about = await handle.describe()
    except RPCError as error:
        return error.status == RPCStatusCode.NOT_FOUND
    told = {"hotmesh.task_failure", "hotmesh.lost"}.intersection(about.record)
    return about.status != WorkflowExecutionStatus.RUNNING or bool(told)
