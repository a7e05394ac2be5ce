"""Connections that neither break nor answer: they are given up, and everything goes on."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hotmesh import workflow
from hotmesh.backends.postgres import link, listener
from hotmesh.backends.protocol import RouterRow
from hotmesh.backends.redis import hints
from hotmesh.backends.redis import url as redis_url_module
from hotmesh.client import Client
from support.proxy import Proxy
from support.running import eventually, start, working

PATIENCE_S = 0.5
LEASE_S = 3.0


@workflow.defn
class Waits:
    def __init__(self) -> None:
        self.told = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.told != "")
        return self.told

    @workflow.signal
    def tell(self, what: str) -> None:
        self.told = what


@pytest.fixture(params=["postgres", "pooled_postgres", "redis"])
async def proxy(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Proxy]:
    """In front of an empty place; the backends are as impatient as a test."""
    for module, name in (
        (link, "CALL_S"),
        (listener, "QUIET_S"),
        (listener, "TELL_S"),
        (redis_url_module, "CALL_TIMEOUT_S"),
        (hints, "QUIET_S"),
    ):
        monkeypatch.setattr(module, name, PATIENCE_S)
    url = request.getfixturevalue(f"{request.param.removeprefix('pooled_')}_url")
    if request.param.startswith("pooled_"):
        url += "?pooler=1"
    async with Proxy(url).running() as running:
        yield running


async def test_silent_connections_are_given_up(proxy: Proxy) -> None:
    """Of a client and a worker at work, idle, and on their way out."""
    async with await Client.connect(proxy.url) as client:
        async with working(client, Waits):
            handle = await start(client, Waits.run)
            proxy.silence()
            await handle.signal(Waits.tell, "once more")
            assert await handle.result() == "once more"
            proxy.silence()
        proxy.silence()


async def test_a_listener_that_hears_nothing_listens_anew(proxy: Proxy) -> None:
    """Nothing else is said on its connection, so that only asking tells."""
    async with await Client.connect(proxy.url) as client:
        anew = asyncio.Event()

        def heard(payload: str | None) -> None:
            if payload is None:  # on a new connection: hints may have been missed
                anew.set()

        await client.backend.listen("channel", heard)
        proxy.silence()
        anew.clear()
        await asyncio.wait_for(anew.wait(), 20)


async def test_a_lease_outlives_a_silent_connection(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A beat without an answer is made again on another connection, long before calls end."""
    for module, name in ((link, "CALL_S"), (redis_url_module, "CALL_TIMEOUT_S")):
        monkeypatch.setattr(module, name, 30.0)
    async with (
        await Client.connect(proxy.direct_url) as other,
        await Client.connect(proxy.url) as client,
        working(other, Waits, lease=LEASE_S),
        working(client, Waits, lease=LEASE_S),
    ):
        before = {row.router_id: row for row in await routers(other)}
        proxy.silence()

        async def all_seen() -> bool:
            """Every router that was there has renewed its lease after it would have ended."""
            seen = {row.router_id: row.seen_ms for row in await routers(other)}
            limit_ms = LEASE_S * 1000
            return all(seen.get(each, 0) - row.seen_ms > limit_ms for each, row in before.items())

        await eventually(all_seen, "both routers have kept their leases")


async def routers(client: Client) -> list[RouterRow]:
    """Those that are alive."""
    return [row for row in await client.backend.routers(client.namespace) if row.alive]
