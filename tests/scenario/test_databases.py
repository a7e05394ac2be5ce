"""The database goes away in mid-run: restarted, killed, its connections cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import redis.asyncio

from hotmesh.client import Client
from scenario.checks import Trees, check_nothing_left, check_trees, results_of, start_trees
from scenario.cluster import Fleet, fleet
from servers import PostgresServer, RedisCluster, RedisServer

pytestmark = pytest.mark.timeout(170)

WORKFLOWS = int(os.environ.get("HOTMESH_FAULT_WORKFLOWS", "15"))
HARD = pytest.mark.parametrize("hard", [False, True], ids=["restart", "kill9"])


@contextlib.asynccontextmanager
async def at_work(url: str, directory: Path) -> AsyncIterator[tuple[Client, Trees, Fleet]]:
    """Two workers, and a client that waits for results all the while.

    Everything must be right in the end, and nothing be left.
    """
    log = directory / "attempts.log"
    async with await Client.connect(url) as client, fleet(url, log) as workers:
        hands = [await workers.add() for _ in range(2)]
        trees = await start_trees(client, WORKFLOWS)
        waiting = asyncio.ensure_future(results_of(client, [*trees], 40.0))
        yield client, trees, workers
        await waiting
        await check_trees(client, trees, log)
        for worker in hands:
            await worker.leave()
        await check_nothing_left(client)


async def go_on(client: Client, trees: Trees) -> None:
    """More of the same, so that the next fault meets work as well."""
    trees += await start_trees(client, WORKFLOWS, first=len(trees))


@HARD
async def test_postgres_restarts_twice(
    restartable_postgres_url: str, restartable_postgres: PostgresServer, tmp_path: Path, hard: bool
) -> None:
    """The server goes away twice in mid-run."""
    async with at_work(restartable_postgres_url, tmp_path) as (client, trees, _):
        for _ in range(2):
            await asyncio.to_thread(restartable_postgres.restart, kill9=hard)
            await go_on(client, trees)


@HARD
async def test_redis_restarts_twice(
    restartable_redis_url: str, restartable_redis: RedisServer, tmp_path: Path, hard: bool
) -> None:
    """The server goes away twice in mid-run; its append-only file is all that is left."""
    async with at_work(restartable_redis_url, tmp_path) as (client, trees, _):
        for _ in range(2):
            await asyncio.to_thread(restartable_redis.restart, kill9=hard)
            await go_on(client, trees)


async def test_postgres_connections_are_cut(postgres_url: str, tmp_path: Path) -> None:
    """Every connection is terminated, again and again."""
    async with at_work(postgres_url, tmp_path) as (client, trees, _):
        admin = await asyncpg.connect(postgres_url)
        for _ in range(4):
            await admin.fetch(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where pid <> pg_backend_pid() and datname = current_database()"
            )
            await go_on(client, trees)
        await admin.close()


async def test_redis_connections_are_cut(redis_url: str, tmp_path: Path) -> None:
    """Every connection is killed and every script forgotten, again and again."""
    async with at_work(redis_url, tmp_path) as (client, trees, _):
        admin = redis.asyncio.from_url(redis_url.split("?")[0])
        for _ in range(4):
            for kind in ("normal", "pubsub"):
                await admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            await admin.script_flush()
            await go_on(client, trees)
        await admin.aclose()


async def test_redis_cluster(redis_cluster_url: str, tmp_path: Path) -> None:
    """Three masters: every batch finds its own."""
    async with at_work(redis_cluster_url, tmp_path) as (client, trees, _):
        await go_on(client, trees)


async def test_redis_cluster_loses_a_master(
    redis_cluster_url: str, redis_cluster: RedisCluster, tmp_path: Path
) -> None:
    """Each master is killed in mid-run and comes back, so that the namespace's own is hit."""
    async with at_work(redis_cluster_url, tmp_path) as (client, trees, _):
        for node in redis_cluster.nodes:
            await asyncio.to_thread(node.restart, kill9=True)
        await go_on(client, trees)
