"""Redis Cluster: namespaces on different masters, and slots that move."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from redis.crc import key_slot

from conformance.mesh import Mesh
from hotmesh.backends.protocol import MailItem, MessageKind, SendItem, WaitItem
from hotmesh.backends.redis import RedisBackend
from hotmesh.exceptions import BackendError, BackendUnavailableError
from servers import RedisCluster

SLOTS_PER_MASTER = 16_384 / 3


@pytest.fixture
async def backend(redis_cluster_url: str) -> AsyncIterator[RedisBackend]:
    backend = RedisBackend(redis_cluster_url)
    await backend.connect()
    yield backend
    await backend.close()


def slot_of(url: str, namespace: str) -> int:
    return key_slot(f"{{{url.partition('prefix=')[2]}:{namespace}}}:".encode())


def namespaces_apart(url: str) -> list[str]:
    """One namespace on each master."""
    found: dict[int, str] = {}
    for number in itertools.count():
        namespace = f"space-{number}"
        found.setdefault(int(slot_of(url, namespace) // SLOTS_PER_MASTER), namespace)
        if len(found) == 3:
            return list(found.values())
    raise AssertionError


async def mesh_in(backend: RedisBackend, namespace: str) -> Mesh:
    return Mesh(backend, await backend.queue_id(namespace, "work"))


async def test_every_master_runs_workflows(backend: RedisBackend, redis_cluster_url: str) -> None:
    for namespace in namespaces_apart(redis_cluster_url):
        mesh = await mesh_in(backend, namespace)
        router = await mesh.join(namespace=namespace)
        run_id = await mesh.start("order", namespace=namespace)
        (row,) = await router.read_all(1)
        await router.close_run(run_id, row.lane, ack_lane=[row.lane], ack_id=[row.id])
        assert list(await backend.results(namespace, [run_id])) == [(run_id, 2, b"r")]
        assert [row.router_id for row in await backend.routers(namespace)] == [router.router_id]
        await mesh.close()


async def test_a_batch_of_many_namespaces_keeps_its_order(
    backend: RedisBackend, redis_cluster_url: str
) -> None:
    namespaces = namespaces_apart(redis_cluster_url)
    meshes = [await mesh_in(backend, namespace) for namespace in namespaces]
    items = [
        mesh.start_item(f"order-{number}", namespace=namespace)
        for number in range(3)
        for mesh, namespace in zip(meshes, namespaces, strict=True)
    ]
    assert list(await backend.start(items)) == [(True, item.run_id, 1) for item in items]
    keys = [(item.namespace, item.workflow_id, b"") for item in items]
    assert [row and row.run_id for row in await backend.find(keys)] == [i.run_id for i in items]


async def test_a_step_reaches_other_namespaces(
    backend: RedisBackend, redis_cluster_url: str
) -> None:
    here, there, _ = namespaces_apart(redis_cluster_url)
    home, away = await mesh_in(backend, here), await mesh_in(backend, there)
    router = await home.join(namespace=here)
    reader = await away.join(namespace=there)
    parent = await away.start("parent", namespace=there)
    far = away.start_item("child", namespace=there)
    near = home.start_item("child", namespace=here)
    lane = away.lane_of("parent")
    await reader.commit(waits=[WaitItem(there, "key", lane, parent, b"mail:")])
    event = MessageKind.EVENT
    reply = await router.commit(
        room=10,
        starts=[far, near],
        sends=[
            SendItem(here, "child", b"", event, b"to near", False),
            SendItem(there, "child", b"", event, b"to far", False),
            SendItem(there, "nobody", b"", event, b"lost", False),
        ],
        mails=[MailItem(there, "key", b"x")],
        message_lane=[home.lane_of("child")],
        message_run=[near.run_id],
        message_kind=[MessageKind.RESULT],
        message_frame=[b"near result"],
    )
    assert list(reply.start_outcomes) == [(True, far.run_id, 1), (True, near.run_id, 1)]
    assert [(sent.delivered, sent.run_id) for sent in reply.send_outcomes] == [
        (True, near.run_id),
        (True, far.run_id),
        (False, b""),
    ]
    assert list(reply.mail_lanes) == [lane]
    assert [row[3] for row in reply.messages] == [b"start", b"near result", b"to near"]
    frames = await reader.frames(4)
    assert sorted(frames) == [b"mail:x", b"start", b"start", b"to far"]
    with pytest.raises(BackendError, match="can't wait for mail of another namespace"):
        await router.step(waits=[WaitItem(there, "key", router.lanes[0], parent, b"")])
    await home.close()
    await away.close()


async def test_a_slot_that_moves_is_followed(
    backend: RedisBackend, redis_cluster_url: str, redis_cluster: RedisCluster
) -> None:
    namespace = namespaces_apart(redis_cluster_url)[0]
    slot = slot_of(redis_cluster_url, namespace)
    old = int(slot // SLOTS_PER_MASTER)
    new = (old + 1) % 3
    assert list(await backend.find([(namespace, "order", b"")])) == [None]
    move_slot(redis_cluster, slot, new)
    try:
        mesh = await mesh_in(backend, namespace)
        run_id = await mesh.start("order", namespace=namespace)
        (row,) = await backend.find([(namespace, "order", b"")])
        assert row is not None
        assert row.run_id == run_id
        assert slot_keys(redis_cluster, new, slot) > 0
        assert slot_keys(redis_cluster, old, slot) == 0
    finally:
        for node in redis_cluster.nodes:
            node.call("FLUSHALL")
        move_slot(redis_cluster, slot, old)


async def test_a_namespace_pauses_while_its_slot_is_being_moved(
    backend: RedisBackend, redis_cluster_url: str, redis_cluster: RedisCluster
) -> None:
    namespace = namespaces_apart(redis_cluster_url)[1]
    slot = slot_of(redis_cluster_url, namespace)
    source = int(slot // SLOTS_PER_MASTER)
    target = (source + 1) % 3
    mesh = await mesh_in(backend, namespace)
    await mesh.start("order", namespace=namespace)
    nodes = redis_cluster.nodes
    nodes[target].call("CLUSTER", "SETSLOT", slot, "IMPORTING", node_id(redis_cluster, source))
    nodes[source].call("CLUSTER", "SETSLOT", slot, "MIGRATING", node_id(redis_cluster, target))
    starting = asyncio.create_task(mesh.start("bill", namespace=namespace))
    try:
        with pytest.raises(BackendUnavailableError, match="redirections"):
            await backend.mail([MailItem(namespace, "key", b"x")])
        assert not starting.done()
        assert slot_keys(redis_cluster, target, slot) == 0
    finally:
        for index in (source, target):
            nodes[index].call("CLUSTER", "SETSLOT", slot, "STABLE")
    await starting


def node_id(cluster: RedisCluster, node: int) -> str:
    return cluster.nodes[node].call("CLUSTER", "MYID").split(b"\r\n")[1].decode()


def slot_keys(cluster: RedisCluster, node: int, slot: int) -> int:
    return int(cluster.nodes[node].call("CLUSTER", "COUNTKEYSINSLOT", slot).strip(b":\r\n"))


def move_slot(cluster: RedisCluster, slot: int, target: int) -> None:
    """Give an empty slot to another master; the new owner hears of it first."""
    order = [target, *(index for index in range(3) if index != target)]
    for index in order:
        answer = cluster.nodes[index].call(
            "CLUSTER", "SETSLOT", slot, "NODE", node_id(cluster, target)
        )
        assert answer.startswith(b"+OK"), answer


async def test_hints_reach_listeners_on_other_nodes(
    backend: RedisBackend, redis_cluster: RedisCluster, redis_cluster_url: str
) -> None:
    port = redis_cluster.nodes[0].port
    other = RedisBackend(redis_cluster_url.replace(f":{port}/", f":{redis_cluster.nodes[2].port}/"))
    await other.connect()
    try:
        heard: asyncio.Queue[str | None] = asyncio.Queue()
        await other.listen("tasks:1", heard.put_nowait)
        await backend.notify([("tasks:1", "one"), ("tasks:1", "two")])
        async with asyncio.timeout(20):
            assert [await heard.get(), await heard.get()] == ["one", "two"]
    finally:
        await other.close()
