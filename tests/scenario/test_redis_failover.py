"""A Redis that is found by sentinels, or is one of several: after a failover the new master is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from conformance.mesh import Mesh
from hotmesh.backends.protocol import Backend
from hotmesh.backends.registry import backend_for
from hotmesh.exceptions import BackendAccessError, BackendUnavailableError
from servers import RedisCluster, RedisServer
from support.processes import wait_until
from support.redis import RedisReplica, RedisSentinel

WAIT_S = 20.0


@pytest.fixture
def master() -> Iterator[RedisServer]:
    """A server of this test's own."""
    with contextlib.closing(RedisServer()) as server:
        server.start()
        yield server


@pytest.fixture
def replica(master: RedisServer) -> Iterator[RedisReplica]:
    """Its replica, with a copy of all there is."""
    with contextlib.closing(RedisReplica(master)) as server:
        server.start()
        wait_until(lambda: b"master_link_status:up" in server.call("INFO"), WAIT_S, "no copy")
        yield server


@pytest.fixture
def sentinel(master: RedisServer, replica: RedisReplica) -> Iterator[RedisSentinel]:
    """A sentinel that knows both."""
    with contextlib.closing(RedisSentinel(master)) as server:
        server.start()
        known = b"%d" % replica.port
        wait_until(
            lambda: known in server.call("SENTINEL", "REPLICAS", server.service),
            WAIT_S,
            "no replica",
        )
        yield server


async def started(backend: Backend, workflow_id: str) -> None:
    """Start a workflow as soon as the backend lets us."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with contextlib.suppress(BackendUnavailableError):
                mesh = await Mesh.over(backend)
                await mesh.start(workflow_id)
                return
            await asyncio.sleep(0.05)


async def test_sentinels_know_the_master(
    sentinel: RedisSentinel, master: RedisServer, replica: RedisReplica
) -> None:
    url = sentinel.url.replace("//", "//127.0.0.1:1,")  # one that is down, and one that answers
    backend = backend_for(url)
    await backend.connect()
    await started(backend, "before")
    await asyncio.to_thread(master.kill9)
    await asyncio.to_thread(
        wait_until, lambda: b"role:master" in replica.call("INFO"), WAIT_S, "no failover"
    )
    await started(backend, "after")
    await backend.close()


async def test_an_unknown_service_is_refused_by_name(sentinel: RedisSentinel) -> None:
    backend = backend_for(sentinel.url.replace("/mine/", "/other/"))
    with pytest.raises(BackendAccessError, match="no service 'other'"):
        await backend.connect()


async def test_of_several_servers_the_master_is_found(
    master: RedisServer, replica: RedisReplica
) -> None:
    backend = backend_for(f"redis://127.0.0.1:{replica.port},127.0.0.1:{master.port}/0")
    await backend.connect()
    await started(backend, "before")
    await asyncio.to_thread(master.kill9)
    replica.call("REPLICAOF", "NO", "ONE")
    await started(backend, "after")
    await backend.close()


async def test_a_cluster_is_found_by_any_of_its_nodes(
    redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    ports = [1, redis_cluster.nodes[1].port]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    backend = backend_for(f"redis://{hosts}/0?{redis_cluster_url.partition('?')[2]}")
    await backend.connect()
    await started(backend, "one")
    await backend.close()
