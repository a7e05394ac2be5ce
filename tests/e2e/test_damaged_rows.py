"""Every stored column of a run, damaged while the run is in flight: the neighbours finish."""

import asyncio
import logging
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from hotmesh import activity, meshflow, workflow
from hotmesh.client import Client, WorkflowExecutionStatus, WorkflowHandle
from hotmesh.client._check import check
from hotmesh.common import RetryPolicy
from hotmesh.engine import wire
from hotmesh.exceptions import RPCError, RPCStatusCode
from support.flips import Column, columns_of, flip
from support.flips import Victim as Damage
from support.neighbours import NEIGHBOURS, Neighbour, neighbours_finish
from support.running import SOON, eventually, start, working

LOOK_PAUSE_S = 0.5

NAMED = {
    *(("stream", column) for column in ("lane", "id", "run_id", "frame")),
    *(("task", column) for column in ("run_id", "queue_id", "activity_type", "due_ms")),
    *(("lane", "run"), ("task", "q"), ("task", "k")),
    *(("run", "workflow_type"), ("run", "t")),
}
"""Columns whose damage takes a message or task out of its run's reach, or gives the run a type that
nobody hosts: nobody reads the row as the run's, so that its record may say nothing. The run waits,
and `hotmesh check` names it, or the row by what is found in place of the run's id."""

Handle = WorkflowHandle[Any, Any]


@activity.defn
async def at_second_try() -> str:
    if activity.info().attempt < 2:
        raise RuntimeError("once more")
    return "tried"


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
    kinds = [False] if database_url.startswith("postgresql") else [True, False]
    damages: list[tuple[Column, bool]] = [(each, alien) for each in columns for alien in kinds]
    async with working(any_client, Victim, activities=[at_second_try], max_cached_workflows=0):
        handles = [await start(any_client, Victim.run) for _ in damages]
        for handle in handles:
            await eventually(partial(_has_retry, handle), "it waits for its retry")
    described = [await handle.describe() for handle in handles]
    for handle in handles:
        await handle.signal("go")
    found_ids = await flip(
        database_url,
        [
            Damage(*damage, wire.run_id_bytes(handle.result_run_id), handle.id, about.raw_info.lane)
            for damage, handle, about in zip(damages, handles, described, strict=True)
        ],
    )
    victims = list(zip(damages, handles, map(wire.run_id_text, found_ids), strict=True))
    async with working(
        any_client, Victim, Neighbour, activities=[at_second_try], max_cached_workflows=0
    ) as worker:
        await neighbours_finish(any_client)
        assert worker.is_running
        for (column, alien), handle, _ in victims:
            if column not in NAMED:
                what = f"{column} is told, {alien=}"
                await eventually(partial(_is_told_or_over, handle), what, 20.0)

        async def silent() -> list[tuple[Column, bool]]:
            """Damages that neither a run's record nor `check` tells of."""
            quiet = [each for each in victims if not await _is_told_or_over(each[1])]
            problems = await check(any_client.connection.backend, "default", LOOK_PAUSE_S)
            named = {each.run_id for each in problems}
            return [
                damage
                for damage, handle, found_id in quiet
                if not named & {handle.result_run_id, found_id}
            ]

        quiet: list[tuple[Column, bool]] = []

        async def nothing_is_silent() -> bool:
            quiet[:] = await silent()
            return not quiet

        try:
            await eventually(nothing_is_silent, "all damage is told or named", 20.0)
        except AssertionError as error:
            error.add_note(f"silent: {quiet}")
            raise
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
