"""Real processes, real kills: every workflow ends right, and no step counts twice."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from hotmesh.client import Client
from scenario.checks import Trees, check_nothing_left, check_trees, start_trees
from scenario.cluster import Fleet, WorkerProcess, fleet, highest_attempts
from scenario.fault_app import TASK_QUEUE
from support.running import eventually

pytestmark = pytest.mark.timeout(170)

WORKFLOWS = int(os.environ.get("HOTMESH_FAULT_WORKFLOWS", "20"))
KILLS_MIN = 5
SOAK_KILLS_MIN = 40


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    """A client that outlives every worker."""
    async with await Client.connect(database_url) as connected:
        yield connected


@pytest.fixture
async def workers(database_url: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """No workers yet."""
    async with fleet(database_url, tmp_path / "attempts.log") as found:
        yield found


async def lanes(client: Client) -> list[int]:
    """How many lanes each live router has, fewest first."""
    return sorted(row.lanes for row in await client.backend.routers(client.namespace) if row.alive)


async def lanes_become(client: Client, wanted: list[int]) -> None:
    """Wait until the lanes are spread like this."""

    async def are() -> bool:
        return await lanes(client) == wanted

    await eventually(are, f"lanes spread as {wanted}")


async def pause(worker: WorkerProcess, client: Client) -> None:
    """Stop a worker where it stops nobody else: SQLite's file has one lock for all who write."""
    for number in itertools.count():
        worker.pause()
        write = asyncio.ensure_future(client.backend.queue_id(client.namespace, f"q{number}"))
        done, _ = await asyncio.wait([write], timeout=2.0)
        if done:
            return
        worker.resume()
        await write


async def test_workers_killed_at_random(client: Client, workers: Fleet) -> None:
    """Three workers, each killed and started again all the time."""
    async with workers.restarting(3, seed=WORKFLOWS):
        trees = await start_trees(client, WORKFLOWS)
        await check_trees(client, trees, workers.log)
        while workers.kills < KILLS_MIN:
            trees = await start_trees(client, WORKFLOWS, first=len(trees))
            await check_trees(client, trees, workers.log)
    await workers.settle()
    await check_nothing_left(client)


async def test_paused_worker_changes_nothing(client: Client, workers: Fleet) -> None:
    """A worker stopped beyond its lease, then resumed: its late commits change nothing."""
    paused = await workers.add()
    trees = await start_trees(client, WORKFLOWS)
    await pause(paused, client)
    other = await workers.add()
    await check_trees(client, trees, workers.log)
    paused.resume()
    trees += await start_trees(client, WORKFLOWS, first=WORKFLOWS)
    await check_trees(client, trees, workers.log)
    await lanes_become(client, [32, 32])  # it has joined again
    await other.leave()
    await paused.leave()
    await check_nothing_left(client)


async def test_orphan_is_taken_over_within_two_leases(client: Client, workers: Fleet) -> None:
    """The lanes of a killed worker are another's soon, and their workflows go on."""
    lease = 1.0
    first = await workers.add(lease)
    await workers.add(lease)
    await lanes_become(client, [32, 32])
    trees = await start_trees(client, WORKFLOWS)
    await first.kill()
    killed = time.monotonic()
    await lanes_become(client, [64])
    assert time.monotonic() - killed < 2 * lease
    await check_trees(client, trees, workers.log)


async def test_graceful_shutdown_hands_over_at_once(client: Client, workers: Fleet) -> None:
    """With a lease far longer than the test, only a real hand-over can finish the work."""
    first = await workers.add(lease=300.0)
    trees = await start_trees(client, WORKFLOWS)
    second = await workers.add(lease=300.0)
    await first.leave()
    await lanes_become(client, [64])
    await check_trees(client, trees, workers.log)
    await second.leave()
    await check_nothing_left(client)


async def test_a_single_attempt_is_not_made_again(client: Client, workers: Fleet) -> None:
    """An activity that may be attempted once fails when its worker is killed."""
    first = await workers.add()
    handles = [
        await client.start_workflow("Once", 30.0, id=f"once-{n}", task_queue=TASK_QUEUE)
        for n in range(5)
    ]

    async def all_begun() -> bool:
        return len(highest_attempts(workers.log)) == len(handles)

    await eventually(all_begun, "each activity has begun")
    await first.kill()
    second = await workers.add()
    results = await asyncio.wait_for(asyncio.gather(*(each.result() for each in handles)), 30)
    assert results == ["lost"] * len(handles)
    assert set(highest_attempts(workers.log).values()) == {1}
    await second.leave()
    await check_nothing_left(client)


async def test_lanes_even_out_between_builds(client: Client, workers: Fleet) -> None:
    """Routers of two builds come and go; lanes follow, and no activity runs again for it."""
    old = await workers.add(build_id="old")
    await lanes_become(client, [64])
    trees = await start_trees(client, WORKFLOWS)
    new = await workers.add(build_id="new")
    await lanes_become(client, [32, 32])
    rows = await client.backend.routers(client.namespace)
    assert {build_of(row) for row in rows if row.alive} == {"old", "new"}
    trees += await start_trees(client, WORKFLOWS, first=WORKFLOWS)
    await old.leave()
    await lanes_become(client, [64])
    await check_trees(client, trees, workers.log)
    # Two attempts are what the flaky activity needs; a shutdown may cost another one more.
    assert max(highest_attempts(workers.log).values()) <= 3
    await new.leave()
    await check_nothing_left(client)


def build_of(row: Any) -> str:
    """The build id that a router shows."""
    return orjson.loads(row.info)["build_id"]


@pytest.mark.soak
@pytest.mark.timeout(0)  # the module's limit would hold whatever `--timeout` says
@pytest.mark.parametrize("seed", range(int(os.environ.get("HOTMESH_FAULT_SEEDS", "1"))))
async def test_soak(client: Client, workers: Fleet, seed: int) -> None:
    """Hundreds of workflows at a time, and three workers that are killed all the while."""
    began = time.monotonic()
    trees: Trees = []
    async with workers.restarting(3, seed):
        while workers.kills < SOAK_KILLS_MIN:
            some = await start_trees(client, max(WORKFLOWS, 500), first=len(trees))
            await check_trees(client, some, workers.log, seconds=600.0)
            trees += some
    await workers.settle()
    await check_nothing_left(client)
    print(
        f"{client.backend.name}: {len(trees)} trees, {workers.kills} kills, "
        f"{time.monotonic() - began:.1f} s"
    )
