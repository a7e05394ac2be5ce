"""The database's clock is set forward and back while workflows wait: they notice nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import timedelta

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.common import RetryPolicy
from support.jumps import JumpingClock
from support.running import SOON, start, working

HOUR_MS = 3_600_000
NAP_S = 1.0
NEVER = timedelta(minutes=20)
"""Longer than a test takes, and not as long as the clock jumps."""
LATE_S = 4.0
"""How late things may be: a beat, and a machine that is busy."""


@pytest.fixture
def clock(database_url: str, monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    """The clock of each database; made before the client, which it changes."""
    return JumpingClock(database_url, monkeypatch)


@pytest.fixture
async def any_client(clock: JumpingClock, any_client: Client) -> Client:
    """A client of each database, on such a clock."""
    del clock
    return any_client


@workflow.defn
class Naps:
    """Sleeps twice; the time of day between."""

    @workflow.run
    async def run(self, ahead: float) -> float:
        await workflow.sleep(NAP_S)
        woken = workflow.time()
        await workflow.sleep(ahead)
        return woken


@workflow.defn
class Waits:
    """Never gets to a timer, a timeout or a second attempt that the clock alone makes due."""

    @workflow.run
    async def run(self) -> list[int]:
        with contextlib.suppress(TimeoutError):
            await workflow.wait_condition(lambda: False, timeout=NAP_S)
        return [
            await workflow.execute_activity(
                name,
                schedule_to_close_timeout=NEVER,
                retry_policy=RetryPolicy(
                    initial_interval=timedelta(seconds=NAP_S), maximum_attempts=2
                ),
                heartbeat_timeout=SOON if name == "beats" else None,
            )
            for name in ("fails_once", "beats")
        ]


BEGUN: list[float] = []


@activity.defn
async def fails_once() -> int:
    """Succeeds with its second attempt."""
    BEGUN.append(time.monotonic())
    if activity.info().attempt == 1:
        raise RuntimeError("once")
    return activity.info().attempt


@activity.defn
async def beats() -> int:
    """Holds a claim for a while."""
    for _ in range(10):
        activity.heartbeat()
        await asyncio.sleep(0.1)
    return activity.info().attempt


@pytest.mark.parametrize(
    ("by_ms", "again"),
    [(HOUR_MS, False), (-HOUR_MS, False), (HOUR_MS, True)],
    ids=["forward", "back", "forward and back"],
)
async def test_nothing_is_early_and_little_is_late(
    clock: JumpingClock, any_client: Client, by_ms: int, again: bool
) -> None:
    BEGUN.clear()
    client = any_client
    async with working(client, Naps, Waits, activities=[fails_once, beats]):
        began, wall = time.monotonic(), time.time()
        handles = [await start(client, Naps, NAP_S) for _ in range(5)]
        waits = await start(client, Waits)
        sleeper = await start(client, Naps, NEVER.total_seconds())
        await asyncio.sleep(0.3)
        await clock.jump(by_ms)
        # Other work, so that the routers look at the clock.
        handles += [await start(client, Naps, NAP_S) for _ in range(5)]
        if again:
            await asyncio.sleep(0.5)
            await clock.jump(-by_ms)

        woken = await asyncio.gather(*[handle.result() for handle in handles[:5]])
        assert 2 * NAP_S <= time.monotonic() - began < 2 * NAP_S + LATE_S
        if by_ms > 0 and not again:  # the time of day follows, as far as it does not go back
            expected = wall + NAP_S + by_ms / 1000
            assert all(expected - 0.2 <= each < expected + LATE_S for each in woken)
        assert await waits.result() == [2, 1]
        first, second = BEGUN
        assert NAP_S <= second - first < NAP_S + LATE_S
        assert (await sleeper.describe()).status.name == "RUNNING"
        routers = await client.backend.routers(client.namespace)
        assert [each.alive for each in routers] == [True]
        await sleeper.terminate()
