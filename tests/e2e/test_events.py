"""What workflows emit reaches subscribers over every bus."""

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from hotmesh import events, workflow
from hotmesh.client import Client
from hotmesh.events import Event, NatsBus
from hotmesh.exceptions import BackendUnavailableError, HotMeshError, PayloadTooLargeError
from hotmesh.worker import Worker
from servers import NatsServer

WAIT_S = 20


async def emits(count: int) -> None:
    for number in range(count):
        workflow.emit({f"count.{number}": {"number": number}, "same": "text"})


async def run_emitter(url: str, events_url: str | None, subscription: Any, count: int) -> list[Any]:
    """Run a workflow that emits, and read what arrives until its last event."""
    async with (
        await Client.connect(url) as client,
        Worker(client, task_queue="q", workflows=[emits], events_url=events_url),
    ):
        await client.execute_workflow("emits", count, id="e", task_queue="q")
        async with asyncio.timeout(WAIT_S):
            return [await anext(subscription) for _ in range(2 * count)]


def expected(count: int) -> list[Event]:
    return sorted(
        [Event(f"count.{number}", {"number": number}) for number in range(count)]
        + [Event("same", "text")] * count,
        key=lambda event: event.topic,
    )


async def test_events_of_a_workflow_over_the_database(database_url: str) -> None:
    async with await Client.connect(database_url) as client:
        subscription = await events.subscribe(client, ">")
        heard = await run_emitter(database_url, None, subscription, 20)
        assert sorted(heard, key=lambda event: event.topic) == expected(20)
        await subscription.unsubscribe()


async def test_events_of_a_workflow_over_nats(sqlite_url: str, nats_server: NatsServer) -> None:
    async with await Client.connect(sqlite_url) as client:
        subscription = await events.subscribe(client, ">", events_url=nats_server.url)
        heard = await run_emitter(sqlite_url, nats_server.url, subscription, 20)
        assert sorted(heard, key=lambda event: event.topic) == expected(20)
        await subscription.unsubscribe()


async def test_nats_selects_and_separates(nats_server: NatsServer) -> None:
    sender = NatsBus(nats_server.url, "a b.c")
    receiver = NatsBus(nats_server.url, "a b.c")
    stranger = NatsBus(nats_server.url, "other")
    chosen = await receiver.subscribe("my.*")
    everything = await receiver.subscribe(">")
    strange = await stranger.subscribe(">")
    too_big = b'"%b"' % (b"x" * 8000)
    with pytest.raises(PayloadTooLargeError):
        await sender.publish([("my.dog", b'"/s"'), ("my", b"2"), ("my.é", b"[]"), ("b", too_big)])
    async with asyncio.timeout(WAIT_S):
        assert [await anext(everything) for _ in range(3)] == [
            Event("my.dog", "/s"),
            Event("my", 2),
            Event("my.é", []),
        ]
        assert [await anext(chosen) for _ in range(2)] == [Event("my.dog", "/s"), Event("my.é", [])]
    for bus in (sender, receiver, stranger):
        await bus.close()
        await bus.close()
    assert [event async for event in strange] == []


async def test_a_bus_that_is_not_there_is_named_without_its_password() -> None:
    bus = NatsBus("nats://user:secret@127.0.0.1:1", "ns")
    with pytest.raises(
        BackendUnavailableError, match=r"nats://user:\*\*\*@127\.0\.0\.1:1 can't be reached"
    ) as e:
        await bus.publish([("t", b"1")])
    assert "secret" not in str(e.value)
    await bus.close()


@pytest.mark.parametrize("name", ["postgres_url", "redis_url"])
async def test_events_travel_between_processes(name: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(name)
    program = (
        "import asyncio\n"
        "from hotmesh.client import Client\n"
        "from hotmesh.events import bus_for\n"
        "async def main():\n"
        f"    async with await Client.connect({url!r}) as client:\n"
        "        bus = bus_for(None, client.backend, client.namespace)\n"
        "        await bus.publish([('from.afar', b'{\"n\":1}')])\n"
        "asyncio.run(main())\n"
    )
    async with (
        await Client.connect(url) as client,
        await events.subscribe(client, "from.*") as subscription,
    ):
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True)
        async with asyncio.timeout(WAIT_S):
            assert await anext(subscription) == Event("from.afar", {"n": 1})


async def emits_what_no_bus_carries() -> list[str]:
    refused: list[str] = []
    for topic, data in (("no space", 1), ("", 1), ("big", "x" * 8000), ("odd", object())):
        try:
            workflow.emit({"before": 1, topic: data})
        except HotMeshError as error:
            refused.append(type(error).__name__)
    workflow.emit({"fine": True})
    return refused


async def test_what_no_bus_carries_is_refused_where_it_is_emitted(sqlite_url: str) -> None:
    async with (
        await Client.connect(sqlite_url) as client,
        await events.subscribe(client, ">") as subscription,
        Worker(client, task_queue="q", workflows=[emits_what_no_bus_carries]),
    ):
        refused = await client.execute_workflow("emits_what_no_bus_carries", id="e", task_queue="q")
        async with asyncio.timeout(WAIT_S):
            assert await anext(subscription) == Event("fine", True)
    assert refused == [
        "InvalidArgumentError",
        "InvalidArgumentError",
        "PayloadTooLargeError",
        "InvalidArgumentError",
    ]
