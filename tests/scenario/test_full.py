"""A database that is full: everything waits, the log stays readable, and work goes on later."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.backends.registry import backend_for
from hotmesh.backends.sqlite import connection
from hotmesh.client import Client
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.limits import SHUTDOWN_S
from hotmesh.worker import Worker
from servers import RedisServer
from support.running import QUEUE, execute, working

FULL_S = 2.5
"""How long it is full: some warnings' time."""


@workflow.defn
class Measures:
    @workflow.run
    async def run(self, text: str) -> int:
        return len(text)


async def limit_pages(client: Client, pages: int) -> None:
    """Let the file have so many pages at most (as many as it has, if it has more)."""
    store: Any = client.backend
    await store._store.write(lambda tx: tx.all(f"PRAGMA max_page_count = {pages}"))


@contextlib.asynccontextmanager
async def full_file(client: Client) -> AsyncIterator[None]:
    """Its file can't grow."""
    await limit_pages(client, 1)
    yield
    await limit_pages(client, 1_000_000)


@contextlib.asynccontextmanager
async def full_redis(server: RedisServer) -> AsyncIterator[None]:
    """The server takes nothing more into its memory."""
    server.call("CONFIG", "SET", "maxmemory", "1mb")
    yield
    server.call("CONFIG", "SET", "maxmemory", "0")


@pytest.fixture(params=["sqlite", "redis"])
def place(
    request: pytest.FixtureRequest,
) -> tuple[str, Callable[[Client], contextlib.AbstractAsyncContextManager[None]]]:
    """Where it is, and how it is made full."""
    if request.param == "sqlite":
        return request.getfixturevalue("sqlite_url"), full_file
    server: RedisServer = request.getfixturevalue("restartable_redis")
    return request.getfixturevalue("restartable_redis_url"), lambda _: full_redis(server)


async def test_work_goes_on_when_there_is_room_again(
    place: tuple[str, Callable[[Client], contextlib.AbstractAsyncContextManager[None]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    url, full = place
    text = "x" * 5_000
    async with await Client.connect(url) as client, working(client, Measures, lease=1.0):
        assert await execute(client, Measures.run, text) == len(text)
        with caplog.at_level(logging.WARNING, "hotmesh"):
            async with full(client):
                waiting = [
                    asyncio.create_task(execute(client, Measures.run, text)) for _ in range(20)
                ]
                await asyncio.sleep(FULL_S)
                told = [each for each in caplog.records if each.levelno >= logging.WARNING]
            assert await asyncio.gather(*waiting) == [len(text)] * 20
    assert len(told) <= FULL_S + 1
    assert all("full" in each.message or "maxmemory" in each.message for each in told)


async def test_a_file_that_can_not_be_made_for_want_of_room_is_waited_for(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = connection._open

    def small(path: str) -> sqlite3.Connection:
        found = opened(path)
        found.execute("PRAGMA max_page_count = 2").close()
        return found

    monkeypatch.setattr(connection, "_open", small)
    with pytest.raises(BackendUnavailableError, match="full"):
        await backend_for(sqlite_url).connect()
    client = await Client.connect(sqlite_url, lazy=True)
    worker = asyncio.create_task(Worker(client, task_queue=QUEUE, workflows=[Measures]).run())
    await asyncio.sleep(0.1)
    assert not worker.done()
    monkeypatch.undo()
    assert await execute(client, Measures.run, "abc") == 3
    worker.cancel()
    await asyncio.wait([worker])
    await client.close()


async def test_a_worker_ends_in_time_though_its_file_is_locked(sqlite_url: str) -> None:
    """Another process was stopped while it wrote."""
    client = await Client.connect(sqlite_url)
    worker = Worker(client, task_queue=QUEUE, workflows=[Measures])
    async with worker:
        await execute(client, Measures.run, "abc")
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(0.2)
            began = time.monotonic()
            await worker.shutdown()
            await client.close()
            assert time.monotonic() - began < SHUTDOWN_S
