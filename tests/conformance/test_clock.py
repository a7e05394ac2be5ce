"""The store's time, while its wall clock is set forward and back."""

import pytest

from conformance.mesh import NAMESPACE, Mesh, Router
from hotmesh.backends.protocol import TaskRow
from support.jumps import JumpingClock

HOUR_MS = 3_600_000
HALF_HOUR_MS = HOUR_MS // 2
SOON_MS = 20_000
"""More than a test takes."""


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Places whose clock a test can set."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def clock(database_url: str, monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    """Made before the backend, which it changes."""
    return JumpingClock(database_url, monkeypatch)


@pytest.fixture
async def mesh(clock: JumpingClock, mesh: Mesh) -> Mesh:
    """A mesh on such a clock."""
    del clock
    return mesh


async def time_of(router: Router) -> int:
    """The store's time."""
    return (await router.commit()).now_ms


async def test_a_clock_set_back_is_made_up_for(mesh: Mesh, clock: JumpingClock) -> None:
    router = await mesh.join()
    before = router.last_beat.now_ms
    await clock.jump(-HOUR_MS)
    assert await time_of(router) < before
    beat = await router.beat()
    assert before <= beat.now_ms < before + SOON_MS
    assert HOUR_MS - SOON_MS < beat.shift_ms <= HOUR_MS
    assert before <= await time_of(router) < before + SOON_MS
    assert (await router.beat()).shift_ms == beat.shift_ms


async def test_a_clock_set_back_after_the_last_router_stood_down(
    mesh: Mesh, clock: JumpingClock
) -> None:
    """Its claims would last longer by the jump."""
    router = await mesh.join()
    before = router.last_beat.now_ms
    await router.backend.stand_down(NAMESPACE, router.router_id, SOON_MS, [])
    await clock.jump(-HOUR_MS)
    heir = await mesh.join()
    assert before <= heir.last_beat.now_ms < before + SOON_MS
    await clock.jump(HOUR_MS)
    heir.registration = heir.registration._replace(
        jump_ms=HOUR_MS, jump_shift_ms=heir.last_beat.shift_ms
    )
    await heir.beat()
    assert before <= (await heir.beat()).now_ms < before + SOON_MS


async def test_a_dead_router_that_was_ahead_moves_the_time_for_a_beat_only(
    mesh: Mesh, clock: JumpingClock
) -> None:
    """It knew the clock only while that was ahead, and is never heard of again."""
    router = await mesh.join(lease_ms=HOUR_MS)
    before = await time_of(router)
    await clock.jump(HALF_HOUR_MS)
    await mesh.join(lease_ms=50)
    await clock.jump(-HALF_HOUR_MS)
    held = await router.beat()
    assert held.shift_ms > HALF_HOUR_MS - SOON_MS, "who has claims of it knows no other time"
    seen, unchanged = router.registration, router.registration._replace(jump_ms=0)
    router.registration = seen._replace(jump_ms=held.shift_ms, jump_shift_ms=held.shift_ms)
    assert (await router.beat()).shift_ms == 0
    for _ in range(3):
        router.registration = unchanged
        beat = await router.beat()
        assert beat.shift_ms == 0
        assert before <= beat.now_ms < before + SOON_MS


async def test_a_small_correction_is_followed(mesh: Mesh, clock: JumpingClock) -> None:
    router = await mesh.join()
    await clock.jump(-500)
    assert (await router.beat()).shift_ms == 0


async def test_a_jump_forward_is_taken_out_once(mesh: Mesh, clock: JumpingClock) -> None:
    router, other = await mesh.join(lease_ms=SOON_MS), await mesh.join(lease_ms=SOON_MS)
    before = await time_of(router)
    await clock.jump(HOUR_MS)
    router.registration = router.registration._replace(latest_ms=before)
    assert (await router.beat()).now_ms >= before + HOUR_MS
    assert not (await other.step()).fenced, "a lease outlives the jump"

    settled = router.registration._replace(jump_ms=HOUR_MS)
    router.registration = settled
    for each in (router, other, router):  # both have seen it, and the first says so twice
        each.registration = settled._replace(router_id=each.router_id)
        beat = await each.beat()
        assert beat.alive
        assert before <= beat.now_ms < before + SOON_MS
        assert beat.shift_ms == -HOUR_MS
    assert not (await other.step()).fenced
    rows = await mesh.backend.routers(NAMESPACE)
    assert all(abs(row.seen_ms - before - HOUR_MS) < SOON_MS for row in rows), "the wall clock's"


async def test_a_dead_router_is_buried_after_a_jump(mesh: Mesh, clock: JumpingClock) -> None:
    await mesh.join(lease_ms=50)
    await clock.jump(-HOUR_MS)
    heir = await mesh.join()
    while len(heir.lanes) < 64:
        await heir.beat()


async def test_tasks_are_not_claimed_before_their_time(mesh: Mesh, clock: JumpingClock) -> None:
    router = await mesh.join()
    await mesh.add_task(router, workflow_id="delayed", delay_ms=SOON_MS)
    await mesh.add_task(router, workflow_id="claimed")
    await router.claim()
    now = await time_of(router)
    await clock.jump(HOUR_MS)
    assert list((await router.work(room=10, latest_ms=now)).tasks) == []
    found = [TaskRow(*row) for row in (await router.work(room=10)).tasks]
    assert sorted(row.lost for row in found) == [False, True]


async def test_runs_start_and_close_by_the_wall_clock(mesh: Mesh, clock: JumpingClock) -> None:
    router = await mesh.join()
    before = await time_of(router)
    await clock.jump(-HOUR_MS)
    await router.beat()
    run_id = await mesh.start("order")
    await router.close_run(run_id, mesh.lane_of("order"))
    (row,) = await mesh.backend.find([(NAMESPACE, "order", run_id)])
    assert row is not None
    for moment in (row.started_ms, row.closed_ms):
        assert abs(moment - before + HOUR_MS) < SOON_MS
    assert await mesh.backend.prune(NAMESPACE, 60_000) == 0
