"""What is stored of a router or of the clock and can't be, met by a router that joins alone.

A moment far ahead must not be waited for, nor become the store's time.
"""

import asyncio
import sqlite3
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import redis

from conformance.mesh import NAMESPACE, SHORT_LEASE_MS, Mesh, until
from hotmesh.backends.redis.names import namespace_key
from hotmesh.exceptions import BackendError
from hotmesh.limits import CLOCK_SHIFT_MS_MAX, LEASE_MS_MAX

YEAR_MS = 366 * 24 * 3_600_000
SOON_MS = 20_000
"""More than a test takes."""

LARGEST = 2**62


@pytest.fixture
def database_url(stored_url: str) -> str:
    """Places that a test can damage."""
    return stored_url


async def put(url: str, table: str, column: str, value: int) -> None:
    """Write a number into all rows of a table; on Redis, into the scores or the value of a key."""
    if url.startswith("postgresql:"):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(f"update hotmesh.{table} set {column} = $1", value)
        finally:
            await connection.close()
    elif url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)) as database:
            database.execute(f"update {table} set {column} = ?", (value,))
            database.commit()
    else:
        await asyncio.to_thread(_put_in_redis, url, column, value)


def _put_in_redis(url: str, column: str, value: int) -> None:
    key = namespace_key(parse_qs(urlsplit(url).query)["prefix"][0], NAMESPACE)
    with redis.Redis.from_url(url.partition("?")[0]) as server:
        if column == "shift_ms":
            server.set(key + b"clock_shift", value)
            return
        key += {"seen_ms": b"rollcall", "lease_until_ms": b"leases"}[column]
        server.zadd(key, dict.fromkeys(server.zrange(key, 0, -1), value))


async def wholly(url: str, table: str, column: str, ahead_ms: int, now_ms: int) -> None:
    """Have a time be far ahead: by so much, or, if that is the largest number, by all there is."""
    await put(url, table, column, LARGEST if ahead_ms == LARGEST else now_ms + ahead_ms)


@pytest.mark.parametrize("ahead_ms", [2 * LEASE_MS_MAX, YEAR_MS, LARGEST])
async def test_a_router_that_was_seen_far_ahead_does_not_move_the_time(
    mesh: Mesh, database_url: str, ahead_ms: int
) -> None:
    gone = await mesh.join(lease_ms=SHORT_LEASE_MS)
    before = gone.last_beat.now_ms
    await wholly(database_url, "router", "seen_ms", ahead_ms, before)

    heir = await mesh.join()
    for beat in (heir.last_beat, await heir.beat()):
        assert before <= beat.now_ms < before + SOON_MS
        assert beat.shift_ms == 0

    async def has_all() -> bool:
        return len((await heir.beat()).lanes) == 64

    await until(has_all)
    assert (await gone.step()).fenced


@pytest.mark.parametrize("ahead_ms", [2 * LEASE_MS_MAX, YEAR_MS, LARGEST])
async def test_nobody_waits_for_the_end_of_a_lease_that_none_has(
    mesh: Mesh, database_url: str, ahead_ms: int
) -> None:
    gone = await mesh.join(lease_ms=SHORT_LEASE_MS)
    before = gone.last_beat.now_ms
    await wholly(database_url, "router", "lease_until_ms", ahead_ms, before)
    heir = await mesh.join()
    assert len((await heir.beat()).lanes) == 64
    assert before <= heir.last_beat.now_ms < before + SOON_MS
    assert (await gone.step()).fenced


async def test_a_live_router_whose_lease_is_damaged_joins_again(
    mesh: Mesh, database_url: str
) -> None:
    router = await mesh.join()
    await wholly(database_url, "router", "lease_until_ms", YEAR_MS, router.last_beat.now_ms)
    assert (await router.beat()).alive, "its own beat puts it right"
    await mesh.join()
    assert not (await router.step()).fenced


async def test_the_longest_lease_is_none_too_long(mesh: Mesh) -> None:
    router = await mesh.join(lease_ms=LEASE_MS_MAX)
    await mesh.join()
    assert not (await router.step()).fenced


@pytest.mark.parametrize("sign", [1, -1])
async def test_a_shift_of_the_clock_that_can_not_be_is_named(
    mesh: Mesh, database_url: str, sign: int
) -> None:
    table = "clock" if database_url.startswith("postgresql") else "state"
    column = "clock_shift_ms" if database_url.startswith("sqlite") else "shift_ms"
    for value in (CLOCK_SHIFT_MS_MAX + 1, LARGEST):
        await put(database_url, table, column, sign * value)
        with pytest.raises(BackendError, match=r"'state' is damaged|clock(_shift)? is damaged"):
            await mesh.join()
    await put(database_url, table, column, 0)
    assert len((await mesh.join()).lanes) == 64


@pytest.mark.parametrize("kept_s", [-7, LARGEST])
async def test_a_closed_run_is_kept_for_good_where_it_can_not_be_told_how_long(
    mesh: Mesh, database_url: str, kept_s: int
) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order", expire_s=60)
    await router.acknowledge(await router.read_all(1))
    if database_url.startswith("redis"):
        key = namespace_key(parse_qs(urlsplit(database_url).query)["prefix"][0], NAMESPACE)
        with redis.Redis.from_url(database_url.partition("?")[0]) as server:
            server.hset(key + b"run:" + run_id, "x", kept_s)
    else:
        is_sqlite = database_url.startswith("sqlite:")
        await put(database_url, "run", "expire_s", kept_s if is_sqlite else min(kept_s, 2**31 - 1))
    assert not (await router.close_run(run_id, mesh.lane_of("order"))).refused
    for _ in range(3):
        await router.beat()
    (row,) = await mesh.backend.find([(NAMESPACE, "order", run_id)])
    assert row is not None
