"""Timers: returned within the horizon, dropped, and found again by a new owner."""

import pytest

from conformance.mesh import NAMESPACE, SHORT_LEASE_MS, Mesh, Router, until
from hotmesh.backends.protocol import TimerRow


async def add_timers(router: Router, *timers: TimerRow) -> None:
    await router.commit(
        timer_lane=[timer.lane for timer in timers],
        timer_due=[timer.due_ms for timer in timers],
        timer_run=[timer.run_id for timer in timers],
        timer_key=[timer.key for timer in timers],
    )


async def drop_timers(router: Router, *timers: TimerRow) -> None:
    await router.commit(
        drop_timer_lane=[timer.lane for timer in timers],
        drop_timer_due=[timer.due_ms for timer in timers],
        drop_timer_run=[timer.run_id for timer in timers],
        drop_timer_key=[timer.key for timer in timers],
    )


async def timer_of(mesh: Mesh, router: Router, due_in_ms: int, key: int = 4) -> TimerRow:
    """A timer of a new run."""
    workflow_id = f"order-{key}"
    run_id = await mesh.start(workflow_id)
    now = (await router.commit()).now_ms
    return TimerRow(mesh.lane_of(workflow_id), now + due_in_ms, run_id, key)


async def test_timers_within_the_horizon_are_returned(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=10_000)
    past = await timer_of(mesh, router, -5_000, 4)
    soon = await timer_of(mesh, router, 100, 8)
    far = await timer_of(mesh, router, 3_600_000, 12)
    await add_timers(router, past, soon, far)
    heir = await rejoin(mesh, router)
    assert await heir.timers(2) == {past, soon}


async def test_a_session_that_forgot_sees_its_timers_again(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=10_000)
    await router.commit(room=10)
    timer = await timer_of(mesh, router, 2_000)
    await add_timers(router, timer)
    assert await router.timers(1) == {timer}
    router.seen_timers.clear()
    router.session.forget([timer.lane])
    assert await router.timers(1) == {timer}


async def test_a_timer_is_returned_before_it_is_due_when_its_time_comes_near(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=2_000)
    timer = await timer_of(mesh, router, 2_400)
    await add_timers(router, timer)
    assert router.seen_timers == set()
    assert await router.timers(1) == {timer}
    now = (await router.commit()).now_ms
    assert now < timer.due_ms


async def test_the_same_timer_twice_is_one(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=10_000)
    timer = await timer_of(mesh, router, 100)
    await add_timers(router, timer, timer)
    await add_timers(router, timer)
    await drop_timers(router, timer)
    heir = await rejoin(mesh, router)
    await heir.commit(room=10)
    assert heir.seen_timers == set()


async def test_a_run_may_have_several_timers_due_at_once(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=10_000)
    first = await timer_of(mesh, router, 100)
    timers = {first, *(first._replace(key=key) for key in (8, 9, -1, -2, 2**40))}
    await add_timers(router, *timers)
    heir = await rejoin(mesh, router)
    assert await heir.timers(6) == timers
    await drop_timers(heir, first)
    heir = await rejoin(mesh, heir)
    assert await heir.timers(5) == timers - {first}


async def test_a_dropped_timer_is_gone(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=10_000)
    kept = await timer_of(mesh, router, 100, 4)
    dropped = await timer_of(mesh, router, 100, 8)
    await add_timers(router, kept, dropped)
    await drop_timers(router, dropped)
    await drop_timers(router, dropped)
    heir = await rejoin(mesh, router)
    assert await heir.timers(1) == {kept}


async def test_a_new_owner_finds_the_timers_of_a_dead_one(mesh: Mesh) -> None:
    dying = await mesh.join(lease_ms=SHORT_LEASE_MS)
    timer = await timer_of(mesh, dying, 100)
    await add_timers(dying, timer)
    heir = await mesh.join()

    async def inherited() -> bool:
        return len((await heir.beat()).lanes) == 64

    await until(inherited)
    assert await heir.timers(1) == {timer}


@pytest.mark.parametrize("count", [1_000])
async def test_many_timers_are_all_returned(mesh: Mesh, count: int) -> None:
    router = await mesh.join(horizon_ms=10_000)
    first = await timer_of(mesh, router, 100)
    timers = [first._replace(key=key, due_ms=first.due_ms + key % 7) for key in range(4, count + 4)]
    await add_timers(router, *timers[: count // 2])
    await add_timers(router, *timers[count // 2 :])
    heir = await rejoin(mesh, router)
    assert await heir.timers(count) == set(timers)


async def rejoin(mesh: Mesh, router: Router) -> Router:
    """The same queue in the hands of a new router with a fresh session."""
    await mesh.backend.leave(NAMESPACE, router.router_id)
    heir = await mesh.join(horizon_ms=10_000)
    assert len(heir.lanes) == 64
    return heir
