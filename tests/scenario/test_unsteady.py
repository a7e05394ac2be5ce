"""Calls that fail at random instants, in one process: thousands of faults in seconds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, cast

import pytest

from hotmesh.backends.sqlite import SqliteBackend
from hotmesh.client import Client
from hotmesh.client._connection import Connection
from scenario import fault_app
from scenario.checks import Trees, check_nothing_left, check_trees, start_trees
from scenario.fault_app import worker_of
from scenario.unsteady import Faults, UnsteadyBackend

SEEDS = int(os.environ.get("HOTMESH_FAULT_SEEDS", "2"))
MANY = [0, *(pytest.param(seed, marks=pytest.mark.full) for seed in range(1, SEEDS))]
TREES = 10
LEASE_S = 1.0


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of warnings are expected here."""
    logger = logging.getLogger("hotmesh")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the attempts are noted."""
    path = tmp_path / "attempts.log"
    monkeypatch.setattr(fault_app, "log_path", path)
    return path


class Mesh:
    """Clients and workers of one process on its database in memory, each with its own faults."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._namespace = uuid.uuid4().hex
        self._workers = contextlib.AsyncExitStack()
        self._connections = contextlib.AsyncExitStack()
        self.faults: list[Faults] = []
        self.client = self._new_client()

    def _new_client(self) -> Client:
        faults = Faults(self._seed * 100 + len(self.faults))
        self.faults.append(faults)
        connection = Connection(cast("Any", UnsteadyBackend(SqliteBackend("sqlite://"), faults)))
        self._connections.push_async_callback(connection.close)
        return Client(connection, namespace=self._namespace)

    async def __aenter__(self) -> Self:
        await self.client.connection.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.calm()
        await self._workers.aclose()
        await self._connections.aclose()

    async def add_worker(self, lease: float = LEASE_S) -> Faults:
        """One more worker with a connection of its own; it has joined when this returns."""
        client = self._new_client()
        await client.connection.open()
        await self._workers.enter_async_context(worker_of(client, lease))
        return self.faults[-1]

    def disturb(self, rate: float) -> None:
        """Let this share of all calls fail."""
        for each in self.faults:
            each.rate = rate

    def calm(self) -> None:
        """Let every call succeed."""
        self.disturb(0.0)
        for each in self.faults:
            each.thaw()

    async def settle(self) -> None:
        """Shut all workers down: nothing may be left."""
        self.calm()
        await self._workers.aclose()
        await check_nothing_left(self.client)


@pytest.mark.parametrize("rate", [pytest.param(0.1, marks=pytest.mark.full), 0.3])
@pytest.mark.parametrize("seed", MANY)
async def test_calls_fail_at_random(log: Path, seed: int, rate: float) -> None:
    """Two workers and a client, none of whose calls can be relied upon."""
    async with Mesh(seed) as mesh:
        for _ in range(2):
            await mesh.add_worker(5.0)
        mesh.disturb(rate)
        for first in range(0, TREES * 3, TREES):
            trees = await start_trees(mesh.client, TREES, first)
            await check_trees(mesh.client, trees, log)
        assert sum(each.count for each in mesh.faults) > 5
        await mesh.settle()


@pytest.mark.parametrize("rate", [pytest.param(0.0, marks=pytest.mark.full), 0.1])
@pytest.mark.parametrize("seed", MANY)
async def test_workers_freeze_beyond_their_lease(log: Path, seed: int, rate: float) -> None:
    """Workers whose calls and answers arrive only after others have taken their work."""
    chance = random.Random(seed)
    async with Mesh(seed) as mesh:
        workers = [await mesh.add_worker() for _ in range(3)]
        mesh.disturb(rate)
        trees: Trees = []
        for _ in range(2):
            trees += await start_trees(mesh.client, TREES, first=len(trees))
            await asyncio.sleep(chance.uniform(0.0, 0.1))
            victim = chance.choice(workers)
            victim.freeze()
            trees += await start_trees(mesh.client, TREES, first=len(trees))
            await check_trees(mesh.client, trees, log)
            victim.thaw()
        await check_trees(mesh.client, trees, log)
        await mesh.settle()


async def test_everything_fails_for_a_while(log: Path) -> None:
    """No call succeeds for longer than the lease; then all goes on."""
    async with Mesh(0) as mesh:
        for _ in range(2):
            await mesh.add_worker()
        trees = await start_trees(mesh.client, TREES)
        mesh.disturb(2.0)
        await asyncio.sleep(LEASE_S * 2)
        mesh.calm()
        await check_trees(mesh.client, trees, log)
        await mesh.settle()
