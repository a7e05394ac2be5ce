"""Side queues: runs that go to the routers that host their type, and what goes after them."""

import os
import sqlite3
from contextlib import closing
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import asyncpg
import redis

from conformance.mesh import NAMESPACE, TASK_QUEUE, Mesh, Router, new_run_id, until
from hotmesh.backends.protocol import MessageKind, MessageRow, RunRow, RunStatus
from hotmesh.backends.redis.names import namespace_key
from hotmesh.backends.registry import backend_for
from hotmesh.limits import LANES_PER_QUEUE, SMALL_BYTES_MAX
from support.table_flips import damage


async def side_of(mesh: Mesh, workflow_type: str = "Order") -> int:
    """The id of the task queue's side queue for a type."""
    return await mesh.backend.queue_id(NAMESPACE, TASK_QUEUE, workflow_type)


async def side_lane(mesh: Mesh, workflow_id: str = "order") -> int:
    """Where a run of the type "Order" is moved to."""
    return await side_of(mesh) * LANES_PER_QUEUE + mesh.lane_of(workflow_id) % LANES_PER_QUEUE


def move(run_id: bytes, lane: int, target: int) -> dict[str, list[Any]]:
    return {"move_run": [run_id], "move_from": [lane], "move_to": [target]}


def forwarded(row: MessageRow, target: int, kind: int) -> dict[str, list[Any]]:
    """What a router does with a message in hand whose run it moves."""
    return {
        "ack_lane": [row.lane],
        "ack_id": [row.id],
        "message_lane": [target],
        "message_run": [row.run_id],
        "message_kind": [kind],
        "message_frame": [row.frame],
    }


async def found(mesh: Mesh, workflow_id: str = "order") -> RunRow:
    (row,) = await mesh.backend.find([(NAMESPACE, workflow_id, b"")])
    assert row is not None
    return row


async def take_over(router: Router, queue_id: int) -> None:
    """Beat until all lanes of a queue are this router's."""

    async def owned() -> bool:
        await router.beat()
        lanes = [lane for lane in router.lanes if lane // LANES_PER_QUEUE == queue_id]
        return len(lanes) == LANES_PER_QUEUE

    await until(owned)


async def begun(mesh: Mesh) -> tuple[Router, bytes, int, int]:
    """A router without workflows, a run that it has read, the run's lane, and one to move it to."""
    mover = await mesh.join(workflow_types=[])
    run_id = await mesh.start("order")
    home, target = mesh.lane_of("order"), await side_lane(mesh)
    await mover.acknowledge(await mover.read_all(1))
    return mover, run_id, home, target


async def test_a_side_queue_has_an_id_of_its_own_and_its_task_queues_name(mesh: Mesh) -> None:
    side = await side_of(mesh)
    assert side != mesh.queue_id
    assert side == await side_of(mesh)
    assert side != await side_of(mesh, "Other")
    assert await mesh.backend.queue_id(NAMESPACE, TASK_QUEUE) == mesh.queue_id


async def test_side_queues_cost_nothing_before_something_is_moved(mesh: Mesh) -> None:
    await side_of(mesh)
    router = await mesh.join(workflow_types=["Order"])
    assert len(router.lanes) == LANES_PER_QUEUE


async def test_a_moved_run_is_read_by_those_who_host_its_type(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=["Other"])
    run_id = await mesh.start("order")
    (start,) = await mover.read_all(1)
    home, target = mesh.lane_of("order"), await side_lane(mesh)
    await mover.commit(**move(run_id, home, target), **forwarded(start, target, MessageKind.START))
    assert len((await mover.beat()).lanes) == LANES_PER_QUEUE  # it hosts another type

    host = await mesh.join(workflow_types=["Order"])
    assert {lane // LANES_PER_QUEUE for lane in host.lanes} == {await side_of(mesh)}
    (row,) = await host.read_all(1)
    assert row[1:6] == (target, run_id, b"start", "order", "Order")
    assert not row.journaled
    assert (await mesh.send("order", b"go")).lane == target
    assert await host.frames(1) == [b"go"]
    assert await mover.read() == []
    assert (await found(mesh)).task_queue == TASK_QUEUE


async def test_whoever_hosts_any_type_takes_part_in_every_side_queue(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=["Other"])
    run_id = await mesh.start("order")
    await mover.commit(**move(run_id, mesh.lane_of("order"), await side_lane(mesh)))
    some, other = await mesh.join(workflow_types=["Order"]), await mesh.join(workflow_types=None)
    side = await side_of(mesh)

    async def shared() -> bool:
        counts: list[int] = []
        for router in (some, other):
            await router.beat()
            await router.give_surplus_back()
            counts.append(sum(lane // LANES_PER_QUEUE == side for lane in router.lanes))
        return counts == [LANES_PER_QUEUE // 2] * 2

    await until(shared)


async def test_unread_events_go_along_in_their_order(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=[])
    item = mesh.start_item("order", events=[b"one", b"two"])
    await mesh.start_one(item)
    (start,) = await mover.read(room=1)
    await mesh.start("other-order")
    await mesh.send("order", b"three")
    home, target = item.lane, await side_lane(mesh)
    await mover.commit(
        **move(item.run_id, home, target), **forwarded(start, target, MessageKind.START)
    )
    await mesh.send("order", b"four")
    host = await mesh.join(workflow_types=["Order"])
    assert await host.frames(5) == [b"start", b"one", b"two", b"three", b"four"]
    assert [row.frame for row in await mover.read_all(1)] == [b"start"]  # the other run's


async def test_large_events_go_along_too(mesh: Mesh) -> None:
    mover, run_id, home, target = await begun(mesh)
    large = os.urandom(SMALL_BYTES_MAX)
    for frame in (b"one", large, b"three"):
        await mesh.send("order", frame)
    await mover.commit(**move(run_id, home, target))
    host = await mesh.join(workflow_types=["Order"])
    rows = await host.read_all(3)
    assert [row.frame for row in rows] == [b"one", large, b"three"]
    assert {row.lane for row in rows} == {target}
    await host.acknowledge(rows)
    host.session.forget()
    assert await host.read() == []


async def test_a_moved_run_is_refused_its_close_while_an_event_waits(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=[])
    run_id = await mesh.start("order", events=[b"signal"])
    home, target = mesh.lane_of("order"), await side_lane(mesh)
    await mover.read_all(2)
    await mover.commit(**move(run_id, home, target))
    host = await mesh.join(workflow_types=["Order"])
    assert list((await host.close_run(run_id, target)).refused) == [run_id]
    await host.acknowledge(await host.read_all(1))
    assert list((await host.close_run(run_id, target)).refused) == []


async def test_a_start_left_in_the_old_lane_says_that_its_run_is_to_be_looked_up(
    mesh: Mesh,
) -> None:
    mover = await mesh.join(workflow_types=[])
    run_id = await mesh.start("order")
    await mover.commit(**move(run_id, mesh.lane_of("order"), await side_lane(mesh)))
    (row,) = await mover.read_all(1)
    assert row.journaled
    (loaded,) = (await mover.session.load([run_id])).runs
    assert loaded.lane == await side_lane(mesh)


async def test_a_run_elsewhere_or_in_anothers_lane_is_not_moved(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=[])
    run_id = await mesh.start("order")
    home, target = mesh.lane_of("order"), await side_lane(mesh)
    await mover.commit(**move(run_id, home + 1, target))
    assert (await found(mesh)).lane == home
    await mover.commit(**move(run_id, home, target))
    host = await mesh.join(workflow_types=["Order"])
    assert target in host.lanes
    await mover.commit(**move(run_id, target, home))
    assert (await found(mesh)).lane == target
    await mesh.backend.leave(NAMESPACE, host.router_id)
    await mover.commit(**move(run_id, target, home))
    assert (await found(mesh)).lane == home


async def test_a_closed_run_comes_home_and_its_side_queue_ends(mesh: Mesh) -> None:
    mover, run_id, home, target = await begun(mesh)
    await mover.commit(**move(run_id, home, target))
    host = await mesh.join(workflow_types=["Order"])
    await host.close_run(run_id, target)
    row = await found(mesh)
    assert (row.status, row.lane) == (RunStatus.COMPLETED, home)
    query = await mesh.send("order", b"q", kind=MessageKind.RESULT, allow_closed=True)
    assert query.lane == home
    # A closed run stays; its side queue is in use all the same.
    await mover.commit(**move(run_id, home, target))
    assert (await found(mesh)).lane == home
    await take_over(host, await side_of(mesh))


async def test_an_end_is_sent_to_the_task_queues_own_lane(mesh: Mesh) -> None:
    mover, run_id, home, target = await begun(mesh)
    assert (await mesh.send("order", b"end", kind=MessageKind.END)).lane == home
    assert list((await mover.close_run(run_id, home)).refused) == [run_id]
    await mover.acknowledge(await mover.read_all(1))
    await mover.commit(**move(run_id, home, target))
    assert (await mesh.send("order", b"end", kind=MessageKind.END)).lane == home
    assert await mover.frames(1) == [b"end"]


async def test_a_timer_sent_after_its_run_is_found_by_the_lanes_owner(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=[])
    run_id = new_run_id()
    await mesh.start_one(mesh.start_item("order", run_id=run_id))
    home, target = mesh.lane_of("order"), await side_lane(mesh)
    await mover.commit(**move(run_id, home, target))
    host = await mesh.join(workflow_types=["Order"])
    await host.read()  # its timers have been read up to the horizon
    due = (await host.commit(room=500)).now_ms
    await mover.commit(timer_lane=[target], timer_due=[due], timer_run=[run_id], timer_key=[8])
    assert await host.timers(1) == {(target, due, run_id, 8)}


async def test_a_dead_routers_lanes_of_side_queues_are_free(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=[])
    run_id = await mesh.start("order")
    await mover.commit(**move(run_id, mesh.lane_of("order"), await side_lane(mesh)))
    silent = await mesh.join(workflow_types=["Order"], lease_ms=1)
    host = await mesh.join(workflow_types=["Order"])
    await take_over(host, await side_of(mesh))
    assert (await silent.step()).fenced


async def test_what_is_said_to_a_closed_run_goes_home(mesh: Mesh) -> None:
    """Its side queue may be retired: what came there would stay for ever."""
    mover, run_id, home, target = await begun(mesh)
    await mover.commit(**move(run_id, home, target))
    host = await mesh.join(workflow_types=["Order"])
    late = {"message_run": [run_id], "message_kind": [MessageKind.RESULT]}
    await mover.commit(**late, message_lane=[target], message_frame=[b"while open"])
    (row,) = await host.read_all(1)
    assert (row.lane, row.frame) == (target, b"while open")
    await host.acknowledge([row])
    await host.close_run(run_id, target)
    await mover.commit(**late, message_lane=[target], message_frame=[b"late"])
    assert await mesh_messages(mesh) == [home]


async def test_what_is_asked_of_a_closed_run_goes_where_its_code_is(mesh: Mesh) -> None:
    mover, run_id, home, target = await begun(mesh)
    await mover.close_run(run_id, home)
    host = await mesh.join(workflow_types=["Order"])
    asked = {"message_run": [run_id], "message_kind": [MessageKind.RESULT]}
    await mover.commit(
        **move(run_id, home, target), **asked, message_lane=[target], message_frame=[b"query"]
    )
    await take_over(host, await side_of(mesh))
    (row,) = await host.read_all(1)
    assert (row.lane, row.frame) == (target, b"query")


async def mesh_messages(mesh: Mesh) -> list[int]:
    """The lanes in which messages wait, as whoever owns all of them sees it."""
    for row in await mesh.backend.routers(NAMESPACE):
        await mesh.backend.leave(NAMESPACE, row.router_id)
    reader = await mesh.join(workflow_types=["Order"])
    await take_over(reader, await side_of(mesh))
    await take_over(reader, mesh.queue_id)
    return [row.lane for row in await reader.read()]


async def test_damaged_names_of_a_side_queue_are_put_right_by_a_beat(stored_url: str) -> None:
    """By a router that hosts its type: whoever moved runs there does not ask for it again."""
    backend = backend_for(stored_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    try:
        mover, run_id, home, target = await begun(mesh)
        await mover.commit(**move(run_id, home, target))
        host = await mesh.join(workflow_types=["Other", "Order"])

        async def has_all() -> bool:
            beat = await host.beat()
            lanes = [lane for lane in host.lanes if lane // LANES_PER_QUEUE == side]
            return len(lanes) == LANES_PER_QUEUE and not beat.surplus

        side = await side_of(mesh)
        for column in SIDE_NAMES["redis" if stored_url.startswith("redis") else "sql"]:
            await damage_side(stored_url, mesh.queue_id, column)
            assert (await host.beat()).alive
            await until(has_all)
            await mesh.send("order", column.encode())
            rows = await host.read_all(1)
            assert [(row.lane, row.frame) for row in rows] == [(target, column.encode())]
            await host.acknowledge(rows)
    finally:
        await mesh.close()
        await backend.close()


SIDE_NAMES = {"sql": ["id", "namespace", "task_queue", "side"], "redis": ["field", "value"]}


async def damage_side(url: str, queue_id: int, column: str) -> None:
    """Damage what is stored of the task queue's only side queue."""
    value = 7 if column == "id" else "damaged"
    if url.startswith("postgresql:"):
        connection = await asyncpg.connect(url)
        try:
            change = f"update hotmesh.queue set {column} = $1 where side = 'Order' returning 1"
            assert await connection.fetch(change, value)
        finally:
            await connection.close()
    elif url.startswith("sqlite:"):
        column = "name" if column == "task_queue" else column
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as database:
            change = f"update queue set {column} = ? where side = 'Order'"
            with database:
                assert database.execute(change, (value,)).rowcount == 1
    else:
        prefix = parse_qs(urlsplit(url).query)["prefix"][0]
        key = namespace_key(prefix, NAMESPACE) + f"sides:{queue_id}".encode()
        with cast("Any", redis.Redis).from_url(url.partition("?")[0]) as server:
            ((stored, side),) = server.hgetall(key).items()
            if column == "field":
                server.hdel(key, stored)
            server.hset(key, *(("damaged", side) if column == "field" else (stored, "damaged")))


async def test_a_damaged_home_is_put_right_by_the_next_beat(stored_url: str) -> None:
    backend = backend_for(stored_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    try:
        mover, run_id, home, target = await begun(mesh)
        await mover.commit(**move(run_id, home, target))
        table = "side" if stored_url.startswith("redis") else "queue"
        assert await damage(stored_url, (table, "home")) > 0
        host = await mesh.join(workflow_types=["Order"])
        await take_over(host, await side_of(mesh))
        await mesh.send("order", b"go")
        assert await host.frames(1) == [b"go"]
        assert (await mesh.send("order", b"end", kind=MessageKind.END)).lane == home
        assert await mover.frames(1) == [b"end"]
    finally:
        await mesh.close()
        await backend.close()
