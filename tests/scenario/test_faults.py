"""Real processes, real kills: every workflow ends right, and no step counts twice."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hotmesh.client import Client, WorkflowHandle
from hotmesh.engine import wire
from scenario.cluster import RestartingWorkers, WorkerProcess, attempts, highest_attempts
from scenario.fault_app import ATTEMPTS_MAX, TASK_QUEUE, expected
from scenario.leftovers import doubled_jobs, unread

pytestmark = pytest.mark.timeout(170)

WORKFLOWS = int(os.environ.get("HOTMESH_FAULT_WORKFLOWS", "60"))


async def start_trees(client: Client, count: int) -> list[WorkflowHandle]:
    """Start the trees and poke each twice."""
    handles = await asyncio.gather(
        *(
            client.start_workflow("Tree", value, id=f"tree-{value}", task_queue=TASK_QUEUE)
            for value in range(count)
        )
    )
    await asyncio.gather(*(handle.signal("poke", 2) for handle in handles))
    await asyncio.gather(*(handle.signal("poke", 1) for handle in handles))
    return handles


async def check(client: Client, handles: list[WorkflowHandle], log: Path) -> None:
    """Every result right, no step twice, no attempt twice, nothing left."""
    results = await asyncio.wait_for(asyncio.gather(*(h.result() for h in handles)), 120)
    assert results == [expected(value) for value in range(len(handles))]
    twice = {line: count for line, count in attempts(log).items() if count > 1}
    assert not twice
    assert max(highest_attempts(log).values()) <= ATTEMPTS_MAX
    for handle in handles:
        run_id = handle.first_execution_run_id or handle.result_run_id
        assert run_id is not None
        assert await doubled_jobs(client.backend, wire.run_id_bytes(run_id)) == []


async def check_nothing_left(client: Client) -> None:
    """Nothing is left in stream, timers, tasks."""
    deadline = time.monotonic() + 10
    while True:
        left = await unread(client.backend, client.namespace, TASK_QUEUE)
        if left == {"lanes": 64, "messages": 0, "timers": 0, "tasks": 0}:
            return
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.2)  # the last worker's lease has to run out


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    """A client in a namespace of its own."""
    async with await Client.connect(url) as client:
        yield client


async def settle(url: str, log: Path) -> None:
    """A last worker, left alone, hands everything back when it is told to go."""
    worker = await WorkerProcess.start(url, log)
    assert "left" in await worker.terminate()


async def test_workers_killed_at_random(database_url: str, tmp_path: Path) -> None:
    """Three workers, each killed and started again all the time."""
    log = tmp_path / "attempts.log"
    async with connected(database_url) as client:
        async with RestartingWorkers(database_url, log, 3, seed=WORKFLOWS) as workers:
            handles = await start_trees(client, WORKFLOWS)
            await check(client, handles, log)
            while workers.kills < 3:
                await asyncio.sleep(0.05)
        await settle(database_url, log)
        await check_nothing_left(client)


async def test_paused_worker_changes_nothing(database_url: str, tmp_path: Path) -> None:
    """A worker stopped beyond its lease, then resumed: its late commits change nothing."""
    log = tmp_path / "attempts.log"
    async with connected(database_url) as client:
        first = await WorkerProcess.start(database_url, log)
        handles = await start_trees(client, 30)
        await asyncio.sleep(0.1)
        first.send(signal.SIGSTOP)
        second = await WorkerProcess.start(database_url, log)
        try:
            await check(client, handles, log)
            first.send(signal.SIGCONT)
            again = [
                await client.start_workflow("Leaf", n, id=f"leaf-{n}", task_queue=TASK_QUEUE)
                for n in range(20)
            ]
            assert await asyncio.gather(*(h.result() for h in again)) == [n * 2 for n in range(20)]
            await check(client, handles, log)
        finally:
            first.send(signal.SIGCONT)
            await second.terminate()
            await first.terminate()
        await check_nothing_left(client)


async def test_orphan_is_taken_over(database_url: str, tmp_path: Path) -> None:
    """A killed worker's workflow goes on elsewhere within two leases."""
    log = tmp_path / "attempts.log"
    lease = 1.5
    async with connected(database_url) as client:
        first = await WorkerProcess.start(database_url, log, lease)
        handles = await start_trees(client, 5)
        second = await WorkerProcess.start(database_url, log, lease)
        await first.kill()
        killed = time.monotonic()
        await check(client, handles, log)
        # Beyond two leases there is the work itself, on a busy machine.
        assert time.monotonic() - killed < 2 * lease + 5
        await second.terminate()


async def test_graceful_shutdown_hands_over_at_once(database_url: str, tmp_path: Path) -> None:
    """With a lease far longer than the test, only a real hand-over can finish the work."""
    log = tmp_path / "attempts.log"
    async with connected(database_url) as client:
        first = await WorkerProcess.start(database_url, log, 300.0)
        handles = await start_trees(client, 20)
        second = await WorkerProcess.start(database_url, log, 300.0)
        assert "left" in await first.terminate()
        await check(client, handles, log)
        await second.terminate()
        await check_nothing_left(client)


async def run_while(
    url: str, log: Path, disturb: Callable[[], Awaitable[None]], count: int = 40
) -> None:
    """Two workers and a client at work while something disturbs the database."""
    async with connected(url) as client:
        workers = [await WorkerProcess.start(url, log, 2.0) for _ in range(2)]
        handles = await start_trees(client, count)
        await disturb()
        await check(client, handles, log)
        for worker in workers:
            await worker.terminate()
        await check_nothing_left(client)


@pytest.mark.parametrize("hard", [False, True], ids=["restart", "kill9"])
async def test_postgres_restarts(
    restartable_postgres_url: str, restartable_postgres, tmp_path: Path, hard: bool
) -> None:
    """The server goes away twice in mid-run."""

    async def disturb() -> None:
        for _ in range(2):
            await asyncio.to_thread(restartable_postgres.restart, kill9=hard)
            await asyncio.sleep(0.5)

    await run_while(restartable_postgres_url, tmp_path / "attempts.log", disturb)


@pytest.mark.parametrize("hard", [False, True], ids=["restart", "kill9"])
async def test_redis_restarts(
    restartable_redis_url: str, restartable_redis, tmp_path: Path, hard: bool
) -> None:
    """The server goes away twice in mid-run; its append-only file is all that is left."""

    async def disturb() -> None:
        for _ in range(2):
            await asyncio.to_thread(restartable_redis.restart, kill9=hard)
            await asyncio.sleep(0.5)

    await run_while(restartable_redis_url, tmp_path / "attempts.log", disturb)


async def test_postgres_connections_cut(postgres_url: str, tmp_path: Path) -> None:
    """Every connection is terminated, again and again."""
    import asyncpg

    async def disturb() -> None:
        admin = await asyncpg.connect(postgres_url)
        try:
            for _ in range(6):
                await asyncio.sleep(0.15)
                await admin.fetch(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where pid <> pg_backend_pid() and datname = current_database()"
                )
        finally:
            await admin.close()

    await run_while(postgres_url, tmp_path / "attempts.log", disturb)


async def test_redis_connections_cut(redis_url: str, tmp_path: Path) -> None:
    """Every connection is killed, again and again."""
    import redis.asyncio

    async def disturb() -> None:
        admin = redis.asyncio.from_url(redis_url.split("?")[0])
        try:
            for _ in range(6):
                await asyncio.sleep(0.15)
                for kind in ("normal", "pubsub"):
                    await admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        finally:
            await admin.aclose()

    await run_while(redis_url, tmp_path / "attempts.log", disturb)


async def test_lanes_even_out(database_url: str, tmp_path: Path) -> None:
    """Routers come and go; lanes follow, and no activity runs again for it."""
    log = tmp_path / "attempts.log"

    async def lanes() -> list[int]:
        rows = await client.backend.routers(client.namespace)
        return sorted(row.lanes for row in rows if row.alive)

    async def until(wanted: list[int]) -> None:
        deadline = time.monotonic() + 15
        while await lanes() != wanted:
            assert time.monotonic() < deadline, await lanes()
            await asyncio.sleep(0.05)

    async with connected(database_url) as client:
        one = await WorkerProcess.start(database_url, log)
        await until([64])
        handles = await start_trees(client, 20)
        two = await WorkerProcess.start(database_url, log)
        await until([32, 32])
        await check(client, handles, log)
        assert set(highest_attempts(log).values()) <= {1, 2}
        await one.terminate()
        await until([64])
        handle = await client.start_workflow(
            "Leaf", 1, id=str(uuid.uuid4()), task_queue=TASK_QUEUE
        )
        assert await handle.result() == 2
        await two.terminate()
