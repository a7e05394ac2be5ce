"""The rollcall: lanes shared fairly, silent routers declared dead, lanes given back."""

import asyncio
import math

import pytest

from conformance.mesh import INFO, NAMESPACE, SHORT_LEASE_MS, TASK_QUEUE, Mesh, Router, until
from hotmesh.backends.protocol import Backend
from hotmesh.backends.queue_ids import wanted_queue_id
from hotmesh.limits import LANES_PER_QUEUE


async def settle(routers: list[Router]) -> None:
    """Beat and give back until everyone has a fair share and no lane is free."""

    async def settled() -> bool:
        for router in routers:
            await router.beat()
            await router.give_surplus_back()
        return sum(len(router.lanes) for router in routers) == LANES_PER_QUEUE and not any(
            router.last_beat.surplus for router in routers
        )

    await until(settled)


async def test_the_only_router_owns_every_lane(mesh: Mesh) -> None:
    router = await mesh.join()
    first = mesh.queue_id * LANES_PER_QUEUE
    assert router.last_beat.alive
    assert router.lanes == list(range(first, first + LANES_PER_QUEUE))
    assert (list(router.last_beat.surplus), router.last_beat.routers) == ([], 1)
    assert (await router.beat()).lanes == router.last_beat.lanes


@pytest.mark.parametrize("count", [2, 3])
async def test_lanes_are_shared_fairly_and_never_twice(mesh: Mesh, count: int) -> None:
    routers = [await mesh.join() for _ in range(count)]
    assert [len(router.lanes) for router in routers[1:]] == [0] * (count - 1)
    await settle(routers)
    fair = math.ceil(LANES_PER_QUEUE / count)
    assert all(len(router.lanes) <= fair for router in routers)
    assert all(router.last_beat.routers == count for router in routers)
    owned = [lane for router in routers for lane in router.lanes]
    assert len(set(owned)) == LANES_PER_QUEUE


async def test_a_router_keeps_its_surplus_until_it_gives_it_back(mesh: Mesh) -> None:
    router = await mesh.join()
    newcomer = await mesh.join()
    beat = await router.beat()
    assert (len(beat.lanes), len(beat.surplus), beat.routers) == (64, 32, 2)
    assert set(beat.surplus) < set(beat.lanes)
    assert (await newcomer.beat()).lanes == []
    given = router.lanes[:5]
    await mesh.backend.release(NAMESPACE, router.router_id, given)
    assert list((await newcomer.beat()).lanes) == given
    assert len((await router.beat()).surplus) == 27


async def test_a_router_cannot_release_the_lanes_of_another(mesh: Mesh) -> None:
    router = await mesh.join()
    stranger = await mesh.join()
    await mesh.backend.release(NAMESPACE, stranger.router_id, router.lanes)
    assert (await stranger.beat()).lanes == []
    assert len((await router.beat()).lanes) == 64


async def test_messages_wait_for_the_next_owner_of_their_lane(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    (message,) = await router.read_all(1)
    newcomer = await mesh.join()
    await mesh.backend.release(NAMESPACE, router.router_id, [mesh.lane_of("order")])
    assert list((await newcomer.beat()).lanes) == [mesh.lane_of("order")]
    assert await newcomer.read_all(1) == [message]


async def test_a_router_that_leaves_frees_its_lanes_at_once(mesh: Mesh) -> None:
    router = await mesh.join()
    other = await mesh.join()
    await mesh.backend.leave(NAMESPACE, router.router_id)
    beat = await other.beat()
    assert (len(beat.lanes), beat.routers) == (64, 1)
    reply = await router.step(room=1)
    assert reply.fenced
    alive = [row.router_id for row in await mesh.backend.routers(NAMESPACE) if row.alive]
    assert alive == [other.router_id]


async def test_a_silent_router_is_declared_dead_and_its_lanes_are_taken(mesh: Mesh) -> None:
    silent = await mesh.join(lease_ms=SHORT_LEASE_MS)
    heir = await mesh.join()

    async def inherited() -> bool:
        return len((await heir.beat()).lanes) == 64

    await until(inherited)
    assert heir.last_beat.routers == 1
    assert (await silent.step(room=1)).fenced
    beat = await silent.beat()
    assert (beat.alive, list(beat.lanes)) == (False, [])
    assert not (await silent.beat()).alive


async def test_a_router_that_beats_in_time_stays_alive(mesh: Mesh) -> None:
    router = await mesh.join(lease_ms=2_000)
    observer = await mesh.join(hosts_workflows=False)
    start = router.last_beat.now_ms

    async def outlived_its_first_lease() -> bool:
        assert (await router.beat()).alive
        await observer.beat()
        return router.last_beat.now_ms > start + 2_200

    await until(outlived_its_first_lease)
    assert not (await router.step(room=1)).fenced


async def test_a_router_late_with_its_own_beat_goes_on_if_nobody_noticed(mesh: Mesh) -> None:
    router = await mesh.join(lease_ms=1)
    start = router.last_beat.now_ms

    async def over() -> bool:
        return (await router.commit()).now_ms > start + 50

    await until(over)
    beat = await router.beat()
    assert beat.alive
    assert len(beat.lanes) == 64


async def test_a_router_without_workflows_owns_no_lanes_and_shares_none(mesh: Mesh) -> None:
    worker = await mesh.join(hosts_workflows=False)
    assert (worker.lanes, list(worker.last_beat.surplus)) == ([], [])
    router = await mesh.join()
    assert (len(router.lanes), router.last_beat.routers) == (64, 1)


async def test_queues_do_not_share_lanes(mesh: Mesh) -> None:
    router = await mesh.join()
    queue_id = await mesh.backend.queue_id(NAMESPACE, "other")
    other = await mesh.join(queue_id=queue_id)
    assert len(router.lanes) == len(other.lanes) == 64
    assert not set(router.lanes) & set(other.lanes)
    assert list((await router.beat()).surplus) == []


async def test_a_dead_router_of_another_queue_is_noticed(mesh: Mesh) -> None:
    queue_id = await mesh.backend.queue_id(NAMESPACE, "other")
    silent = await mesh.join(queue_id=queue_id, lease_ms=SHORT_LEASE_MS)
    observer = await mesh.join()

    async def declared_dead() -> bool:
        await observer.beat()
        rows = await mesh.backend.routers(NAMESPACE)
        return not any(row.alive and row.router_id == silent.router_id for row in rows)

    await until(declared_dead)
    assert (await silent.step(room=1)).fenced


async def test_concurrent_joins_never_share_a_lane(mesh: Mesh, other: Backend) -> None:
    homes = [mesh.backend, other, mesh.backend, other]
    routers = list(await asyncio.gather(*(mesh.join(backend=home) for home in homes)))
    owned = [lane for router in routers for lane in router.lanes]
    assert len(owned) == len(set(owned))
    await settle(routers)
    owned = [lane for router in routers for lane in router.lanes]
    assert sorted(owned) == sorted(set(owned))
    assert len(owned) == LANES_PER_QUEUE


async def test_queue_ids_follow_from_their_names(mesh: Mesh) -> None:
    """A database that has lost a queue gives it the same id again, and that id to no other."""
    name = (NAMESPACE, "lost")
    assert await mesh.backend.queue_id(*name) == wanted_queue_id(*name)


async def test_queues_that_want_one_id_get_two(
    mesh: Mesh, other: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotmesh.backends.queue_ids.QUEUE_IDS", 1)
    first = await mesh.backend.queue_id(NAMESPACE, "b")
    second = await mesh.backend.queue_id(NAMESPACE, "c")
    assert {first, second} == {1, 2}
    assert await other.queue_id(NAMESPACE, "c") == second


async def test_a_router_that_knows_more_than_the_store_is_told(mesh: Mesh) -> None:
    router = await mesh.join()
    registration = router.registration
    for beats in (1, 2, 3, 3, 2):  # answers may be lost, and beats may overtake each other
        router.registration = registration._replace(beats=beats)
        assert (await router.beat()).alive
        assert not router.last_beat.went_back
    router.registration = registration._replace(beats=5)
    beat = await router.beat()
    assert (beat.alive, beat.went_back, len(beat.lanes)) == (True, True, 64)
    router.registration = registration._replace(beats=6)
    assert not (await router.beat()).went_back


async def test_a_router_that_the_store_has_never_seen_must_join_again(mesh: Mesh) -> None:
    router = await mesh.join()
    router.registration = router.registration._replace(router_id=b"lost".ljust(16), beats=1)
    assert not (await router.beat()).alive
    assert router.lanes == []


async def test_queue_ids_are_stable_and_different(mesh: Mesh, other: Backend) -> None:
    names = [(NAMESPACE, TASK_QUEUE), (NAMESPACE, "b"), ("elsewhere", TASK_QUEUE)]
    mine = [await mesh.backend.queue_id(*name) for name in names]
    theirs = [await other.queue_id(*name) for name in names]
    assert mine == theirs
    assert len(set(mine)) == 3
    assert all(64 <= queue_id * 64 < 2**31 - 64 for queue_id in mine)


async def test_concurrent_first_uses_of_a_queue_agree(mesh: Mesh, other: Backend) -> None:
    homes = [mesh.backend, other] * 5
    ids = await asyncio.gather(*(home.queue_id(NAMESPACE, "new") for home in homes))
    assert len(set(ids)) == 1


async def test_routers_are_listed_with_what_they_host(mesh: Mesh) -> None:
    router = await mesh.join()
    worker = await mesh.join(hosts_workflows=False)
    queue_id = await mesh.backend.queue_id("elsewhere", TASK_QUEUE)
    await mesh.join(queue_id=queue_id, namespace="elsewhere")
    rows = {row.router_id: row for row in await mesh.backend.routers(NAMESPACE)}
    assert set(rows) == {router.router_id, worker.router_id}
    row = rows[router.router_id]
    assert row[1:5] == (NAMESPACE, mesh.queue_id, TASK_QUEUE, 64)
    assert (row.alive, row.info) == (True, INFO)
    assert row.seen_ms == router.last_beat.now_ms
    assert rows[worker.router_id].lanes == 0


async def test_a_beat_renews_what_is_listed(mesh: Mesh) -> None:
    router = await mesh.join()
    router.registration = router.registration._replace(info=b'{"idle":true}')
    await router.beat()
    (row,) = await mesh.backend.routers(NAMESPACE)
    assert (row.info, row.seen_ms) == (b'{"idle":true}', router.last_beat.now_ms)
