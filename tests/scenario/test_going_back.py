"""The database goes back a moment: what it has lost is lost, and everything else goes on."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, RPCError, RPCStatusCode, WorkflowHandle
from servers import PostgresServer, RedisServer
from support.copies import Copied, CopiedFile, CopiedServer
from support.running import QUEUE, SOON, start, working

pytestmark = pytest.mark.timeout(120)

PATIENCE = timedelta(seconds=30)
FEW = 20


@activity.defn
async def double(number: int) -> int:
    """Waits, so that it is going on when the database goes back."""
    await asyncio.sleep(0.01)
    return 2 * number


class Gate:
    """Lets activities begin, and end when the test says so."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.open = asyncio.Event()

    @activity.defn
    async def pass_gate(self) -> None:
        """Begin, and wait to be let through."""
        self.begun.set()
        await self.open.wait()


@workflow.defn
class Sums:
    """Many transitions."""

    @workflow.run
    async def run(self, count: int) -> int:
        total = 0
        for number in range(count):
            total += await workflow.execute_activity(double, number, start_to_close_timeout=SOON)
        return total


@workflow.defn
class Gathers:
    """What it was sent, until it is told to stop."""

    def __init__(self) -> None:
        self.got: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: "stop" in self.got)
        return self.got

    @workflow.signal
    async def add(self, text: str) -> None:
        self.got.append(text)

    @workflow.update
    async def count(self) -> int:
        return len(self.got)


@workflow.defn
class Waits:
    """Has local work for a while."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("pass_gate", start_to_close_timeout=PATIENCE)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, Copied]]:
    """The URL of each kind of database, and the means to let it go back."""
    if request.param == "sqlite":
        path = Path(request.getfixturevalue("sqlite_url").removeprefix("sqlite:///"))
        yield f"sqlite:///{path}", CopiedFile(path)
        return
    server: Any = request.getfixturevalue(f"restartable_{request.param}")
    url = request.getfixturevalue(f"restartable_{request.param}_url")
    if isinstance(server, PostgresServer):
        yield url, CopiedServer(server, server.directory / "data")
    else:
        assert isinstance(server, RedisServer)
        yield url, CopiedServer(server, server.directory / "appendonlydir")


async def result_of(handle: WorkflowHandle[Any, Any]) -> Any:
    """The result, in the time that a healthy worker needs."""
    async with asyncio.timeout(PATIENCE.total_seconds()):
        return await handle.result()


async def test_idle_workers_go_on(
    place: tuple[str, Copied], caplog: pytest.LogCaptureFixture
) -> None:
    """New work is done, runs that lost their newest transitions go on without them."""
    url, copied = place
    gate = Gate()
    async with (
        await Client.connect(url) as client,
        working(client, Sums, Gathers, Waits, activities=[double, gate.pass_gate]),
    ):
        assert await result_of(await start(client, Sums, 3)) == 6
        old = [await start(client, Gathers) for _ in range(FEW)]
        for handle in old:
            await handle.signal(Gathers.add, "kept")
            assert await handle.execute_update(Gathers.count) == 1
        await asyncio.to_thread(copied.copy)

        for handle in old:
            await handle.signal(Gathers.add, "lost")
            assert await handle.execute_update(Gathers.count) == 2
        await asyncio.gather(*[result_of(await start(client, Sums, 2)) for _ in range(5 * FEW)])
        lost = await start(client, Waits, id="lost")
        waiting = asyncio.ensure_future(result_of(lost))
        await gate.begun.wait()
        caplog.clear()
        caplog.set_level(logging.WARNING)
        await asyncio.to_thread(copied.go_back)

        gate.open.set()
        new = [await start(client, Sums, 3) for _ in range(5 * FEW)]
        assert await asyncio.gather(*map(result_of, new)) == [6] * (5 * FEW)
        for handle in old:
            await handle.signal(Gathers.add, "stop")
        assert await asyncio.gather(*map(result_of, old)) == [["kept", "stop"]] * FEW
        with pytest.raises(RPCError) as caught:
            await waiting
        assert caught.value.status == RPCStatusCode.NOT_FOUND
        again = await start(client, Waits, id="lost")
        await result_of(again)
        assert lost.result_run_id != again.result_run_id
        named = [each for each in caplog.messages if str(lost.result_run_id) in each]
        assert len(named) == 1, named


async def test_work_in_hand_goes_on(place: tuple[str, Copied]) -> None:
    """Runs in the midst of their transitions end with the right result, or are not found."""
    url, copied = place
    async with (
        await Client.connect(url) as client,
        working(client, Sums, activities=[double]),
    ):
        old = [await start(client, Sums, 80) for _ in range(FEW)]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(copied.copy)
        lost = [await start(client, Sums, 80) for _ in range(FEW)]
        waiting = [asyncio.ensure_future(result_of(handle)) for handle in lost]
        await asyncio.sleep(0.2)
        await asyncio.to_thread(copied.go_back)

        assert await asyncio.gather(*map(result_of, old)) == [80 * 79] * FEW
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, RPCError) for end in ends), ends
        listed = [each async for each in client.list_workflows()]
        assert {each.run_id for each in listed} == {handle.result_run_id for handle in old}


async def test_a_task_queue_that_is_lost_is_made_again(place: tuple[str, Copied]) -> None:
    """Its workers do not get another's work, and another's do not get theirs."""
    url, copied = place
    async with await Client.connect(url) as client:
        await start(client, Sums, 1, task_queue="early")
        await asyncio.to_thread(copied.copy)
        async with working(client, Sums, activities=[double]):
            assert await result_of(await start(client, Sums, 3)) == 6
            await asyncio.to_thread(copied.go_back)
            async with await Client.connect(url) as other:
                await other.backend.queue_id(other.namespace, "late")
            handles = [await start(client, Sums, 3) for _ in range(FEW)]
            assert await asyncio.gather(*map(result_of, handles)) == [6] * FEW
            described = await handles[0].describe()
            assert described.task_queue == QUEUE


async def test_a_file_whose_content_is_restored_is_noticed(sqlite_url: str) -> None:
    """The file stays the same: only the count of beats tells."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    copied = CopiedFile(path)
    async with (
        await Client.connect(sqlite_url) as client,
        working(client, Sums, activities=[double]),
    ):
        assert await result_of(await start(client, Sums, 3)) == 6
        await asyncio.to_thread(copied.copy)
        seen = await client.backend.routers(client.namespace)
        while await client.backend.routers(client.namespace) == seen:  # until the next beat
            await asyncio.sleep(0.05)
        await asyncio.gather(*[result_of(await start(client, Sums, 2)) for _ in range(5 * FEW)])
        await asyncio.to_thread(restore_content, path)
        handles = [await start(client, Sums, 3) for _ in range(FEW)]
        assert await asyncio.gather(*map(result_of, handles)) == [6] * FEW


def restore_content(path: Path) -> None:
    """As the shell's `.restore` does: pages are copied, in a transaction."""
    source = sqlite3.connect(path.with_name(f"{path.name}-copy"))
    target = sqlite3.connect(path, timeout=10)
    source.backup(target)
    source.close()
    target.close()
