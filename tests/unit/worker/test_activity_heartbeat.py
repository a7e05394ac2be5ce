"""Heartbeats: throttling, last value wins, what the next attempt finds."""

from __future__ import annotations

import asyncio
from typing import Any

from hotmesh import activity
from hotmesh.converter import encode_failure, encode_values
from hotmesh.worker._activity_running import pack_state, state_failure
from unit.worker.activity_harness import RUN_ID, Harness, seconds


class Steps:
    """An activity that beats when the test says so."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    async def work(self) -> str:
        while (details := await self.queue.get()) is not None:
            activity.heartbeat(*details)
        return "done"

    async def beat(self, *details: Any) -> None:
        """Let the activity beat, and its heartbeat arrive."""
        self.queue.put_nowait(details)
        for _ in range(4):
            await asyncio.sleep(0)


async def test_the_first_heartbeat_goes_at_once_the_others_wait_and_the_last_wins() -> None:
    steps = Steps()
    harness = Harness(steps.work)
    outcome = harness.start(harness.task("work", hb=1_000))
    await asyncio.sleep(0)
    await steps.beat(1)
    assert harness.last_beat() == [1]
    await steps.beat(2)
    await steps.beat(3, "three")
    assert len(harness.beats) == 1
    harness.advance(799)
    assert len(harness.beats) == 1
    harness.advance(1)
    assert len(harness.beats) == 2
    assert harness.last_beat() == [3, "three"]
    harness.advance(100)  # Nothing new to send.
    assert len(harness.beats) == 2
    steps.queue.put_nowait(None)
    assert harness.result(await outcome) == "done"


async def test_the_interval_is_capped_and_has_a_default() -> None:
    steps = Steps()
    harness = Harness(
        steps.work,
        max_heartbeat_throttle_interval=seconds(2),
        default_heartbeat_throttle_interval=seconds(1),
    )
    for options, interval_ms in (({"hb": 50_000}, 2_000), ({}, 1_000)):
        outcome = harness.start(harness.task("work", **options))
        await asyncio.sleep(0)
        await steps.beat("first")
        await steps.beat("second")
        harness.advance(interval_ms - 1)
        assert harness.last_beat() == ["first"]
        harness.advance(1)
        assert harness.last_beat() == ["second"]
        steps.queue.put_nowait(None)
        await outcome


async def test_a_state_that_is_sent_keeps_the_last_failure() -> None:
    steps = Steps()
    harness = Harness(steps.work)
    failure = encode_failure(harness.converter, ValueError("before"))
    outcome = harness.start(harness.task("work", state=pack_state(b"", failure)))
    await asyncio.sleep(0)
    await steps.beat("now")
    assert state_failure(harness.beats[0]) == failure
    steps.queue.put_nowait(None)
    await outcome


async def test_details_that_were_held_back_reach_the_next_attempt() -> None:
    async def progress() -> list[Any]:
        before = list(activity.info().heartbeat_details)
        if before:
            return before
        activity.heartbeat(1)
        await asyncio.sleep(0)
        activity.heartbeat(2)
        raise RuntimeError("broke down")

    harness = Harness(progress)
    outcome = await harness.run("progress")
    assert outcome.kind == "retry"
    assert harness.result(await harness.run("progress", attempt=2, state=outcome.state)) == [2]


async def test_details_of_an_earlier_attempt_survive_a_silent_one() -> None:
    async def silent() -> None:
        raise RuntimeError("at once")

    harness = Harness(silent)
    body = encode_values(harness.converter, ["kept"], "details")
    outcome = await harness.run("silent", state=pack_state(body, b""))
    assert harness.details(outcome.state) == ["kept"]


async def test_mutable_details_are_taken_as_they_were_at_the_heartbeat() -> None:
    async def mutate() -> None:
        details = [1]
        activity.heartbeat(details)
        details.append(2)
        raise RuntimeError("after")

    harness = Harness(mutate)
    outcome = await harness.run("mutate")
    assert harness.details(outcome.state) == [[1]]


async def test_details_that_cannot_be_stored_cancel_the_activity_with_their_error() -> None:
    async def odd() -> None:
        activity.heartbeat(object())
        await asyncio.Event().wait()

    harness = Harness(odd)
    outcome = await harness.run("odd")
    error = harness.failure(outcome)
    assert outcome.kind == "retry"
    assert error.type == "ConversionError"
    assert "heartbeat details of activity 'odd'" in error.message


async def test_damaged_details_of_an_earlier_attempt_are_a_final_failure() -> None:
    async def look() -> None:
        activity.info()

    harness = Harness(look)
    outcome = await harness.run("look", state=pack_state(b"?", b""))
    assert outcome.kind == "failed"
    assert "heartbeat details of activity 'look'" in harness.failure(outcome).message


async def test_a_heartbeat_after_the_outcome_is_dropped() -> None:
    contexts: list[Any] = []

    async def leaves_something_running() -> None:
        async def beat_later() -> None:
            await activity.wait_for_worker_shutdown()
            activity.heartbeat("too late")

        contexts.append(asyncio.ensure_future(beat_later()))

    harness = Harness(leaves_something_running)
    await harness.run("leaves_something_running")
    await asyncio.sleep(0)
    await harness.runner.shutdown()
    await contexts[0]
    assert harness.beats == []
    assert harness.runner.running() == []
    harness.runner.cancel((RUN_ID, 1, 1), "not_found")
