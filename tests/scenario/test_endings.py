"""A worker begins when its database is there, and ends in time whatever its database does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.limits import SHUTDOWN_S
from hotmesh.router import router
from hotmesh.router.router import FAREWELL_SECONDS
from hotmesh.worker import Worker
from servers import NatsServer
from support.proxy import Proxy
from support.running import QUEUE, SOON, execute, start


@activity.defn
async def greet(name: str) -> str:
    return f"Hello, {name}!"


@workflow.defn
class Greets:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(greet, "you", start_to_close_timeout=SOON)


@workflow.defn
class Emits:
    @workflow.run
    async def run(self) -> None:
        workflow.emit({"topic": 1})


@pytest.fixture(params=["postgres", "redis"])
async def proxy(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Proxy]:
    """In front of an empty place; only the last batches get less time than users give them."""
    monkeypatch.setattr(router, "FAREWELL_SECONDS", 0.5)
    async with Proxy(request.getfixturevalue(f"{request.param}_url")).running() as running:
        yield running


def in_front_of(server: NatsServer) -> contextlib.AbstractAsyncContextManager[Proxy]:
    """A proxy that listens."""
    return Proxy(server.url).running()


async def test_a_worker_ends_in_time_though_its_database_is_silent(proxy: Proxy) -> None:
    async with await Client.connect(proxy.direct_url) as other:
        client = await Client.connect(proxy.url)
        worker = Worker(client, task_queue=QUEUE, workflows=[Greets], activities=[greet])
        async with worker:
            assert await execute(client, Greets.run) == "Hello, you!"
            proxy.stall()
            await start(other, Greets.run)
            began = time.monotonic()
            await worker.shutdown()
            assert time.monotonic() - began < SHUTDOWN_S - FAREWELL_SECONDS
        began = time.monotonic()
        await client.close()
        assert time.monotonic() - began < SHUTDOWN_S / 2


async def test_a_worker_that_is_still_joining_ends_in_time(proxy: Proxy) -> None:
    client = await Client.connect(proxy.url, lazy=True)
    proxy.stall()
    worker = Worker(client, task_queue=QUEUE, workflows=[Greets])
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.1)
    began = time.monotonic()
    await worker.shutdown()
    assert time.monotonic() - began < SHUTDOWN_S / 2
    await running
    await client.close()


async def test_a_worker_whose_beginning_is_given_up_is_gone(proxy: Proxy) -> None:
    async with await Client.connect(proxy.url) as client:
        proxy.refuse()
        worker = Worker(client, task_queue=QUEUE, workflows=[Greets])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3), worker:
                pass
        names = {task.get_name() for task in asyncio.all_tasks()}
        assert not [name for name in names if name.startswith(("hotmesh-worker", "hotmesh-router"))]
        proxy.serve()


async def test_a_worker_begins_once_its_database_is_there(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy.refuse()
    client = await Client.connect(proxy.url, lazy=True)
    with caplog.at_level(logging.WARNING, "hotmesh"):
        worker = Worker(client, task_queue=QUEUE, workflows=[Greets], activities=[greet])
        running = asyncio.create_task(worker.run())
        while "waits for its database" not in caplog.text:
            await asyncio.sleep(0.01)
        assert not running.done()
        proxy.serve()
        assert await execute(client, Greets.run) == "Hello, you!"
    await worker.shutdown()
    await running
    await client.close()


async def test_a_worker_goes_on_that_lost_its_database_while_it_began(proxy: Proxy) -> None:
    client = await Client.connect(proxy.url)
    proxy.refuse()
    worker = Worker(client, task_queue=QUEUE, workflows=[Greets], activities=[greet])
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.2)
    proxy.serve()
    assert await execute(client, Greets.run) == "Hello, you!"
    await worker.shutdown()
    await running
    await client.close()


@pytest.mark.parametrize("how", ["down", "silent"])
async def test_a_worker_ends_in_time_and_well_though_its_event_bus_is_away(
    sqlite_url: str, nats_server: NatsServer, how: str
) -> None:
    async with in_front_of(nats_server) as bus, await Client.connect(sqlite_url) as client:
        worker = Worker(client, task_queue=QUEUE, workflows=[Emits], events_url=bus.url)
        async with worker:
            await execute(client, Emits.run)
            if how == "down":
                bus.refuse()
            else:
                bus.stall()
            for _ in range(3):
                await execute(client, Emits.run)
            began = time.monotonic()
            await worker.shutdown()
            assert time.monotonic() - began < SHUTDOWN_S / 2


@pytest.mark.parametrize("how", ["down", "silent"])
async def test_a_worker_ends_in_time_whose_event_bus_was_never_there(
    sqlite_url: str, nats_server: NatsServer, how: str
) -> None:
    async with in_front_of(nats_server) as bus, await Client.connect(sqlite_url) as client:
        if how == "down":
            bus.refuse()
        else:
            bus.stall()
        worker = Worker(client, task_queue=QUEUE, workflows=[Emits], events_url=bus.url)
        async with worker:
            await execute(client, Emits.run)
            began = time.monotonic()
            await worker.shutdown()
            assert time.monotonic() - began < SHUTDOWN_S / 2
