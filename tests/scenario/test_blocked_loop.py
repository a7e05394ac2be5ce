"""An activity that blocks its worker's event loop for longer than the lease: it is one attempt, is
named in the log, and holds up nobody else."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.worker import Worker
from support.running import ONCE, QUEUE, SOON, execute, start

LEASE_S = 1.0

entered, gate, may_block = threading.Event(), threading.Event(), threading.Event()
attempts: list[tuple[str, int]] = []


@pytest.fixture(autouse=True)
def _fresh() -> None:
    entered.clear()
    gate.clear()
    may_block.set()
    attempts.clear()


def _note() -> int:
    info = activity.info()
    attempts.append((info.activity_type, info.attempt))
    return info.attempt


@activity.defn
async def blocks(name: str) -> str:
    """Never waits: it runs like a callback of the worker."""
    number = _note()
    entered.set()
    gate.wait()
    return f"{name} {number}"


@activity.defn
async def waits_and_blocks(name: str) -> str:
    """Runs as a task of the event loop."""
    number = _note()
    await asyncio.sleep(0)
    while not may_block.is_set():
        await asyncio.sleep(0.001)
    entered.set()
    gate.wait()
    return f"{name} {number}"


@activity.defn
async def quick(name: str) -> str:
    return f"{name} {_note()}"


@workflow.defn
class Holds:
    @workflow.run
    async def run(self, name: str, beats: bool) -> list[str]:
        """What blocks, and beside it what has not begun when it does."""
        options: dict[str, Any] = {"start_to_close_timeout": SOON * 6, "retry_policy": ONCE}
        held = workflow.start_activity(
            name, "held", result_type=str, heartbeat_timeout=SOON * 6 if beats else None, **options
        )
        beside = workflow.start_activity("quick", "beside", result_type=str, **options)
        return list(await asyncio.gather(held, beside))


@workflow.defn
class Innocent:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(0.001)
        return await workflow.execute_activity(
            "quick", "innocent", result_type=str, start_to_close_timeout=SOON, retry_policy=ONCE
        )


@workflow.defn
class Short:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            "fails_first", result_type=str, start_to_close_timeout=SOON / 5
        )


@activity.defn
async def fails_first() -> str:
    if _note() == 1:
        entered.set()
        gate.wait()
    return "second"


@contextlib.asynccontextmanager
async def on_another_loop(
    url: str, make: Callable[[Client], Worker] | None = None, *, wait: bool = True
) -> AsyncIterator[threading.Event]:
    """A worker in a thread, so that what blocks its event loop does not block the test's.

    Who sets the event asks it to stop.
    """
    began, end = threading.Event(), threading.Event()

    async def work() -> None:
        async with await Client.connect(url) as client, (make or worker_of)(client):
            began.set()
            while not end.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        if wait:
            await asyncio.to_thread(began.wait)
        yield end
    finally:
        gate.set()
        end.set()
        await asyncio.to_thread(thread.join)


def worker_of(client: Client) -> Worker:
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=[Holds, Innocent],
        activities=[blocks, waits_and_blocks, quick],
        lease=LEASE_S,
    )


async def in_time(work: Awaitable[Any], leases: float) -> Any:
    return await asyncio.wait_for(work, leases * LEASE_S)


@pytest.mark.parametrize(
    ("name", "beats"), [("blocks", False), ("waits_and_blocks", False), ("waits_and_blocks", True)]
)
async def test_a_blocked_activity_is_one_attempt_and_holds_up_nobody(
    database_url: str, caplog: pytest.LogCaptureFixture, name: str, beats: bool
) -> None:
    caplog.set_level(logging.WARNING, "hotmesh")
    async with await Client.connect(database_url) as client, on_another_loop(database_url):
        handle = await start(client, Holds.run, name, beats)
        await asyncio.to_thread(entered.wait)
        innocent = [asyncio.create_task(execute(client, Innocent.run)) for _ in range(10)]
        async with worker_of(client):
            # Two leases for the lanes, and as much for whoever is slow.
            assert await in_time(asyncio.gather(*innocent), 4) == ["innocent 1"] * 10
            gate.set()
            assert await in_time(handle.result(), 4) == ["held 1", "beside 1"]
    assert attempts.count((name, 1)) == 1
    assert sorted(set(attempts)) == sorted({(name, 1), ("quick", 1)})
    assert f"activity {name!r}" in caplog.text


async def test_a_worker_that_is_alone_goes_on_where_it_was(database_url: str) -> None:
    async with await Client.connect(database_url) as client, on_another_loop(database_url):
        handle = await start(client, Holds.run, "blocks", False)
        await asyncio.to_thread(entered.wait)
        await until_nobody_has_lanes(client)
        gate.set()
        assert await in_time(handle.result(), 6) == ["held 1", "beside 1"]
    assert sorted(attempts) == [("blocks", 1), ("quick", 1)]


@pytest.mark.parametrize("name", ["blocks", "waits_and_blocks"])
async def test_a_worker_that_was_told_to_stop_meanwhile_keeps_its_attempt(
    database_url: str, name: str
) -> None:
    """What it has done under the tenure that is over is stored before it leaves."""

    def slow_to_beat(client: Client) -> Worker:
        """The beat that is under way will say that all is well."""
        backend: Any = client.backend
        beat = backend.beat

        async def slowly(registration: Any) -> Any:
            answer = await beat(registration)
            if registration.beats > 1:
                may_block.set()
            await asyncio.sleep(LEASE_S / 8)
            return answer

        backend.beat = slowly
        return worker_of(client)

    if name == "waits_and_blocks":
        may_block.clear()
    async with (
        await Client.connect(database_url) as client,
        on_another_loop(database_url, slow_to_beat) as end,
    ):
        handle = await start(client, Holds.run, name, False)
        await asyncio.to_thread(entered.wait)
        async with worker_of(client):
            await in_time(execute(client, Innocent.run), 4)
            end.set()
            gate.set()
            assert await in_time(handle.result(), 6) == ["held 1", "beside 1"]
    assert attempts.count((name, 1)) == 1


async def test_a_worker_that_is_blocked_while_it_begins_keeps_its_attempt(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lanes have work before it listens for more."""
    caplog.set_level(logging.WARNING, "hotmesh")

    def slow_to_listen(client: Client) -> Worker:
        backend: Any = client.backend
        listen = backend.listen

        async def late(channel: str, callback: Any) -> None:
            while not entered.is_set():
                await asyncio.sleep(0.01)
            await listen(channel, callback)

        backend.listen = late
        return worker_of(client)

    async with await Client.connect(database_url) as client:
        handle = await start(client, Holds.run, "waits_and_blocks", False)
        async with on_another_loop(database_url, slow_to_listen, wait=False):
            await asyncio.to_thread(entered.wait)
            async with worker_of(client):
                await asyncio.sleep(3 * LEASE_S)
                gate.set()
                assert await in_time(handle.result(), 6) == ["held 1", "beside 1"]
    assert attempts.count(("waits_and_blocks", 2)) == 0


async def until_nobody_has_lanes(client: Client) -> None:
    async with asyncio.timeout(10):
        while any(row.lanes for row in await client.backend.routers(client.namespace)):
            await asyncio.sleep(0.02)


async def test_a_claim_ends_with_the_timeout_of_its_attempt(database_url: str) -> None:
    """What is blocked for longer than it may take is tried again elsewhere."""

    def both(client: Client) -> Worker:
        return Worker(
            client,
            task_queue=QUEUE,
            workflows=[Short],
            activities=[fails_first],
            lease=LEASE_S,
        )

    async with await Client.connect(database_url) as client, on_another_loop(database_url, both):
        handle = await start(client, Short.run)
        await asyncio.to_thread(entered.wait)
        async with both(client):
            assert await in_time(handle.result(), 8) == "second"
    assert attempts == [("fails_first", 1), ("fails_first", 2)]
