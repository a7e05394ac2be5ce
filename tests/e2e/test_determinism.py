"""Replay: what stays the same, what may change, and what happens when the code does."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowExecutionStatus
from hotmesh.exceptions import ApplicationError
from support.running import (
    SOON,
    at_module_level,
    eventually,
    execute,
    failure_of,
    start,
    task_failure,
    working,
)


@activity.defn
async def echo(value: Any) -> Any:
    return value


@workflow.defn
class Draws:
    """Draws randomness and times across several tasks."""

    @workflow.run
    async def run(self) -> list[Any]:
        drawn: list[Any] = []
        for _ in range(3):
            drawn += [
                workflow.random().random(),
                str(workflow.uuid4()),
                str(workflow.uuid7()),
                workflow.new_random().random(),
            ]
            before = workflow.now(), workflow.time(), workflow.time_ns()
            await workflow.execute_activity(echo, 1, start_to_close_timeout=SOON)
            assert before <= (workflow.now(), workflow.time(), workflow.time_ns())
            await workflow.sleep(0.001)
        self.drawn = drawn
        await workflow.wait_condition(lambda: False)
        return drawn

    @workflow.query
    def seen(self) -> list[Any]:
        return getattr(self, "drawn", [])


async def test_randomness_is_the_same_in_every_replay(any_client: Client) -> None:
    async with working(any_client, Draws, activities=[echo], max_cached_workflows=0):
        handle = await start(any_client, Draws.run)
        first: list[Any] = []
        while not first:
            first = await handle.query(Draws.seen)
    async with working(any_client, Draws, activities=[echo]):
        assert await handle.query(Draws.seen) == first
    assert len(set(first)) == len(first)


async def test_randomness_differs_between_workflows(client: Client) -> None:
    async def draws() -> list[Any]:
        return [workflow.random().random(), str(workflow.uuid4()), str(workflow.uuid7())]

    async with working(client, draws):
        one, two = await execute(client, "draws"), await execute(client, "draws")
    assert not set(one) & set(two)


async def test_time_stands_still_within_a_task(client: Client) -> None:
    async def looks() -> bool:
        before = workflow.time_ns()
        while time.monotonic_ns() % 5_000_000 > 100_000:
            continue
        return workflow.time_ns() == before

    async with working(client, looks):
        assert await execute(client, "looks") is True


@pytest.mark.parametrize("cached", [1000, 0])
async def test_the_logger_is_silent_in_replay(
    client: Client, caplog: pytest.LogCaptureFixture, cached: int
) -> None:
    replaying: list[bool] = []

    async def logs() -> None:
        for number in range(3):
            workflow.logger.info("step %d", number)
            replaying.append(workflow.unsafe.is_replaying())
            await workflow.sleep(0.001)

    with caplog.at_level(logging.INFO, logger="hotmesh.workflow"):
        async with working(client, logs, max_cached_workflows=cached):
            handle = await start(client, "logs")
            await handle.result()
    records = [record for record in caplog.records if record.name == "hotmesh.workflow"]
    assert [record.getMessage().partition(" (")[0] for record in records] == [
        "step 0",
        "step 1",
        "step 2",
    ]
    assert all(getattr(record, "workflow_id", None) == handle.id for record in records)
    assert any(replaying) == (cached == 0)


# Patches


def release(version: int) -> Any:
    """One workflow type as three releases of its program know it."""

    @workflow.defn(name="Released")
    class Released:
        def __init__(self) -> None:
            self.steps = 0
            self.ready = False

        @workflow.run
        @at_module_level
        async def run(self) -> list[Any]:
            took: list[Any] = [
                await workflow.execute_activity(echo, "begin", start_to_close_timeout=SOON)
            ]
            await workflow.wait_condition(lambda: self.steps > 0)
            for _ in range(2):
                if version == 1 or (version == 2 and not workflow.patched("change")):
                    took.append(
                        await workflow.execute_activity(echo, "old", start_to_close_timeout=SOON)
                    )
                else:
                    if version == 3:
                        workflow.deprecate_patch("change")
                    await workflow.sleep(0.001)
                    took.append("new")
            self.ready = True
            await workflow.wait_condition(lambda: self.steps > 1)
            return took

        @workflow.signal
        def step(self) -> None:
            self.steps += 1

        @workflow.query
        def is_ready(self) -> bool:
            return self.ready

    return Released


@pytest.mark.parametrize("cached", [1000, 0])
async def test_patched_is_true_for_runs_that_reach_it_first_under_the_new_code(
    client: Client, cached: int
) -> None:
    async with working(client, release(2), activities=[echo], max_cached_workflows=cached):
        handle = await start(client, "Released")
        for _ in range(2):
            await handle.signal("step")
        assert await handle.result() == ["begin", "new", "new"]


async def test_patched_stays_false_for_runs_that_took_the_old_branch(client: Client) -> None:
    async with working(client, release(1), activities=[echo]):
        handle = await start(client, "Released")
        await handle.signal("step")
        await eventually(lambda: handle.query("is_ready"), "both old steps are taken")
    async with working(client, release(2), activities=[echo]):
        assert await handle.query("is_ready")
        await handle.signal("step")
        assert await handle.result() == ["begin", "old", "old"]


async def test_a_patch_may_be_deprecated_and_removed(client: Client) -> None:
    async with working(client, release(2), activities=[echo]):
        handle = await start(client, "Released")
        await handle.signal("step")
        await eventually(lambda: handle.query("is_ready"), "both new steps are taken")
    async with working(client, release(3), activities=[echo]):
        await handle.signal("step")
        assert await handle.result() == ["begin", "new", "new"]


# Changed code


def shaped(change: str) -> Any:
    """One workflow type, as written and as changed."""

    @workflow.defn(name="Shaped")
    class Shaped:
        def __init__(self) -> None:
            self.open = True

        @workflow.run
        @at_module_level
        async def run(self) -> str:
            if change == "extra first":
                await workflow.sleep(0.001)
            kind = "other" if change == "other activity" else "echo"
            await workflow.execute_activity(kind, "x", start_to_close_timeout=SOON)
            if change != "less":
                await workflow.sleep(0.001)
            await workflow.wait_condition(lambda: not self.open)
            return "done"

        @workflow.signal
        def end(self) -> None:
            self.open = False

    return Shaped


async def has_history(handle: Any, length: int) -> bool:
    return (await handle.describe()).history_length >= length


@pytest.mark.parametrize(
    ("change", "journal", "code"),
    [
        ("extra first", "ACTIVITY 'echo' (seq 1)", "TIMER '' (seq 1)"),
        ("other activity", "ACTIVITY 'echo' (seq 1)", "ACTIVITY 'other' (seq 1)"),
        ("less", "TIMER '' (seq 2)", "nothing"),
    ],
)
async def test_a_changed_workflow_is_told_its_first_difference_and_heals(
    client: Client, change: str, journal: str, code: str
) -> None:
    async def bystander() -> str:
        return await workflow.execute_activity(echo, "fine", start_to_close_timeout=SOON)

    async with working(client, shaped(""), activities=[echo]):
        handle = await start(client, "Shaped", id="changed")
        await eventually(lambda: has_history(handle, 3), "the timer has fired")
    async with working(client, shaped(change), bystander, activities=[echo]) as worker:
        await handle.signal("end")
        failure = await task_failure(handle)
        assert await execute(client, "bystander") == "fine"
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        worker.add_workflow(shaped(""))
        assert await handle.result() == "done"
    assert failure["type"] == "NondeterminismError"
    assert "[TMPRL1100] Nondeterminism error: workflow 'changed' (Shaped)" in failure["message"]
    assert f"the journal has {journal}, but the code asks for {code}." in failure["message"]


async def test_non_determinism_fails_the_run_where_that_is_asked_for(client: Client) -> None:
    async with working(client, shaped(""), activities=[echo]):
        handle = await start(client, "Shaped")
        await eventually(lambda: has_history(handle, 3), "the timer has fired")
    async with working(
        client,
        shaped("less"),
        activities=[echo],
        workflow_failure_exception_types=[workflow.NondeterminismError],
    ):
        await handle.signal("end")
        error = await failure_of(handle.result())
    assert isinstance(error, ApplicationError)
    assert error.type == "NondeterminismError"


# Code that blocks


def spins() -> None:
    while True:
        pass


def swallows() -> None:
    while True:
        try:
            while True:
                pass
        except Exception:
            continue


def rests() -> None:
    time.sleep(0.3)  # Outside Python: interrupted when it returns.


@pytest.mark.parametrize("block", [spins, swallows, rests])
async def test_a_workflow_that_blocks_the_loop_is_interrupted(
    any_client: Client, block: Callable[[], None]
) -> None:
    blocking = True

    async def blocks() -> str:
        if blocking:
            block()
        return "healed"

    async def bystander() -> str:
        await workflow.sleep(0.001)
        return "fine"

    client = any_client
    async with working(client, blocks, bystander, deadlock_timeout=timedelta(milliseconds=100)):
        handle = await start(client, "blocks")
        assert await execute(client, "bystander") == "fine"
        failure = await task_failure(handle)
        blocking = False
        assert await handle.result() == "healed"
    assert failure["type"] == "DeadlockError"
    assert "[TMPRL1101] Potential deadlock detected" in failure["message"]
    assert "didn't yield within 0.1 second(s)" in failure["message"]
    assert block.__name__ in failure["message"]


async def test_code_that_does_not_come_back_holds_up_nobody(any_client: Client) -> None:
    gate = threading.Event()
    entered: list[bool] = []
    threads: set[int] = set()

    async def stuck() -> str:
        entered.append(gate.is_set())
        gate.wait()  # a call that nothing interrupts
        return "healed"

    async def bystander() -> str:
        threads.add(threading.get_ident())
        await workflow.sleep(0.001)
        return "fine"

    client = any_client
    async with working(client, stuck, bystander, deadlock_timeout=0.1):
        try:
            handle = await start(client, "stuck")
            found = await asyncio.gather(*(execute(client, "bystander") for _ in range(20)))
            failure = await task_failure(handle)
            assert await execute(client, "bystander") == "fine"
        finally:
            gate.set()
        assert await handle.result() == "healed"
    assert found == ["fine"] * 20
    assert failure["type"] == "DeadlockError"
    assert "gate.wait()" in failure["message"]
    assert entered == [False, True]
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(("blocked", "pause"), [(0.0, 0.25), (0.2, 0.75)])
async def test_code_that_fails_is_left_alone_for_a_while(
    any_client: Client, blocked: float, pause: float
) -> None:
    """The longer it held up the others, the longer they have the time for themselves."""
    tries: list[tuple[float, float]] = []

    async def fails() -> None:
        began = time.monotonic()
        try:
            threading.Event().wait(blocked)
            if len(tries) < 2:
                raise RuntimeError("not yet")
        finally:
            tries.append((began, time.monotonic()))

    async with working(any_client, fails, deadlock_timeout=0.1 if blocked else 10):
        await start(any_client, "fails")
        await eventually(enough(tries), "it was tried three times")
    assert [later[0] - sooner[1] >= pause for sooner, later in pairwise(tries)] == [True, True]


def enough(tries: list[tuple[float, float]]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(tries) >= 3

    return check


async def test_the_detector_can_be_switched_off(client: Client) -> None:
    async def slow() -> str:
        threading.Event().wait(0.15)
        return "slow but done"

    async with working(client, slow, debug_mode=True, deadlock_timeout=0.05):
        assert await execute(client, "slow") == "slow but done"


async def test_a_small_cache_forces_replay_and_everything_still_works(any_client: Client) -> None:
    async def steps(number: int) -> list[Any]:
        found: list[Any] = []
        for step in range(3):
            found.append(
                await workflow.execute_activity(echo, [number, step], start_to_close_timeout=SOON)
            )
            await workflow.sleep(0.001)
        return found

    async with working(any_client, steps, activities=[echo], max_cached_workflows=2):
        results = await asyncio.gather(
            *(execute(any_client, "steps", number) for number in range(10))
        )
    assert results == [[[number, step] for step in range(3)] for number in range(10)]
