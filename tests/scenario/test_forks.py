"""A child of a process that has something open works, or is told so at once: it never hangs."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hotmesh import events, workflow
from hotmesh.client import Client
from hotmesh.worker import Worker
from servers import NatsServer
from support.running import execute, start, working

CHILD_S = 15.0


@workflow.defn
class Greets:
    @workflow.run
    async def run(self) -> str:
        return "hello"


async def in_child(work: Callable[[], Awaitable[Any]]) -> str:
    """What work returns in a forked child, or the name of the error that it raises there."""
    here, there = multiprocessing.Pipe()

    def run() -> None:
        try:
            there.send(str(asyncio.run(settled(work))))
        except BaseException as error:
            there.send(type(error).__name__)

    child = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    child.start()
    try:
        if not await asyncio.to_thread(here.poll, CHILD_S):
            return "hangs"
        return here.recv()
    finally:
        child.kill()
        await asyncio.to_thread(child.join)


async def settled(work: Callable[[], Awaitable[Any]]) -> Any:
    """The result of work."""
    return await work()


async def greeted_anew(url: str) -> str:
    """A client and a worker of the child's own."""
    async with await Client.connect(url) as client, working(client, Greets, task_queue="child"):
        return await execute(client, Greets.run, task_queue="child")


async def test_a_child_of_a_process_at_work_opens_its_own(database_url: str) -> None:
    async with await Client.connect(database_url) as client, working(client, Greets):
        assert await execute(client, Greets.run) == "hello"
        expected = "ForkedError" if database_url.startswith("sqlite") else "hello"
        assert await in_child(lambda: greeted_anew(database_url)) == expected
        assert await execute(client, Greets.run) == "hello"


async def test_a_child_opens_what_the_parent_has_closed(database_url: str) -> None:
    async with await Client.connect(database_url) as client, working(client, Greets):
        await execute(client, Greets.run)
    assert await in_child(lambda: greeted_anew(database_url)) == "hello"


async def test_a_child_opens_other_files(sqlite_url: str, tmp_path: Path) -> None:
    async with await Client.connect(sqlite_url) as client, working(client, Greets):
        for url in (f"sqlite:///{tmp_path}/other.db", "sqlite://"):
            assert await in_child(lambda url=url: greeted_anew(url)) == "hello"
        link = tmp_path / "link.db"
        link.symlink_to(sqlite_url.removeprefix("sqlite:///"))
        assert await in_child(lambda: greeted_anew(f"sqlite:///{link}")) == "ForkedError"


async def test_what_the_parent_has_open_is_refused(database_url: str) -> None:
    client = await Client.connect(database_url)
    async with working(client, Greets) as worker:
        handle = await start(client, Greets.run)
        await handle.result()
        backend = client.backend
        for use in (
            lambda: start(client, Greets.run),
            handle.result,
            handle.describe,
            client.close,
            worker.shutdown,
            worker.run,
            lambda: backend.queue_id("default", "another"),
            lambda: backend.results("default", [os.urandom(16)]),
            lambda: backend.journal("default", os.urandom(16)),
            lambda: client.connection.results("default").wait(os.urandom(16)),
            lambda: Worker(client, task_queue="child", workflows=[Greets]).run(),
        ):
            assert await in_child(use) == "ForkedError"
        assert await execute(client, Greets.run) == "hello"
    await client.close()


async def test_what_was_made_and_not_used_is_each_childs_own(database_url: str) -> None:
    """As a server does that loads a program before it forks."""
    client = await Client.connect(database_url, lazy=True)

    async def use() -> str:
        async with working(client, Greets, task_queue="child"):
            return f"{client.identity.startswith(str(os.getpid()))}"

    for _ in range(2):
        assert await in_child(use) == "True"
    async with working(client, Greets):
        assert await execute(client, Greets.run) == "hello"
    await client.close()


async def test_an_event_bus_that_is_open_is_refused(
    sqlite_url: str, nats_server: NatsServer
) -> None:
    async with await Client.connect(sqlite_url) as client:
        bus = events.bus_for(nats_server.url, client.backend, "default")
        await bus.publish([("topic", b"1")])
        assert await in_child(lambda: bus.publish([("topic", b"1")])) == "ForkedError"
        await bus.publish([("topic", b"1")])
        await bus.close()


async def test_many_forks_of_a_busy_process(sqlite_url: str, tmp_path: Path) -> None:
    """Whatever its database's threads are just doing: a child finds SQLite's own locks free."""
    async with await Client.connect(sqlite_url) as client, working(client, Greets):
        busy = asyncio.create_task(keep_busy(client))
        for number in range(10):
            url = f"sqlite:///{tmp_path}/{number}.db"
            assert await in_child(lambda url=url: touched(url)) == "0"
        busy.cancel()


async def keep_busy(client: Client) -> None:
    """Start workflows as fast as it goes."""
    while True:
        await asyncio.gather(*(start(client, Greets.run) for _ in range(20)))


async def touched(url: str) -> int:
    """Open a database and read it."""
    async with await Client.connect(url) as client:
        return len([each async for each in client.list_workflows()])
