"""Activities that are not async: threads, their cancellation, processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from hotmesh import activity
from hotmesh.exceptions import CancelledError
from hotmesh.worker._activity_processes import SharedStateManager
from hotmesh.worker._activity_threads import ThreadCancellation
from unit.worker.activity_harness import RUN_ID, Harness


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration])
async def test_what_a_plain_function_raises_ends_the_attempt(
    pool: ThreadPoolExecutor, error: type[BaseException]
) -> None:
    def leaves() -> None:
        raise error("out")

    harness = Harness(leaves, add, activity_executor=pool)
    outcome = await harness.run("leaves")
    assert outcome.kind == "retry"
    taken = error in (StopIteration, GeneratorExit)  # They mean something else to who awaits.
    expected = "RuntimeError" if taken else error.__name__
    assert harness.failure(outcome).type == expected
    assert harness.result(await harness.run("add", 1, 2)) == 3


def add(left: int, right: int) -> int:
    return left + right


async def test_a_plain_function_runs_in_the_executor(pool: ThreadPoolExecutor) -> None:
    threads: list[int] = []

    def where(value: int) -> str:
        threads.append(threading.get_ident())
        activity.heartbeat(value)
        return activity.info().activity_type

    harness = Harness(where, activity_executor=pool)
    assert harness.result(await harness.run("where", 7)) == "where"
    assert threads != [threading.get_ident()]


async def test_its_heartbeats_arrive_on_the_event_loop(pool: ThreadPoolExecutor) -> None:
    beaten, go_on = threading.Event(), threading.Event()

    def beats() -> str:
        for number in range(100):
            activity.heartbeat(number)
        beaten.set()
        go_on.wait(10)
        return "done"

    harness = Harness(beats, activity_executor=pool)
    outcome = harness.start(harness.task("beats", hb=10_000))
    await asyncio.to_thread(beaten.wait, 10)
    await asyncio.sleep(0)
    harness.advance(8_000)
    assert harness.last_beat() == [99]
    assert len(harness.beats) <= 2
    go_on.set()
    assert harness.result(await outcome) == "done"


async def test_a_cancelled_thread_gets_the_exception(pool: ThreadPoolExecutor) -> None:
    begun = threading.Event()

    def spins() -> None:
        begun.set()
        while True:
            activity.wait_for_worker_shutdown_sync(0.001)

    harness = Harness(spins, activity_executor=pool)
    outcome = harness.start(harness.task("spins"))
    await asyncio.to_thread(begun.wait, 10)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    assert (await asyncio.wait_for(outcome, 10)).kind == "canceled"


async def test_without_the_exception_a_thread_asks_for_itself(pool: ThreadPoolExecutor) -> None:
    begun = threading.Event()

    @activity.defn(no_thread_cancel_exception=True)
    def asks() -> str:
        begun.set()
        activity.wait_for_cancelled_sync(10)
        details = activity.cancellation_details()
        assert activity.is_cancelled()
        assert details is not None
        return "asked" if details.cancel_requested else "?"

    harness = Harness(asks, activity_executor=pool)
    outcome = harness.start(harness.task("asks"))
    await asyncio.to_thread(begun.wait, 10)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    assert harness.result(await asyncio.wait_for(outcome, 10)) == "asked"


async def test_a_shield_holds_the_exception_back(pool: ThreadPoolExecutor) -> None:
    begun = threading.Event()
    steps: list[str] = []

    def careful() -> None:
        with activity.shield_thread_cancel_exception():
            with activity.shield_thread_cancel_exception():
                begun.set()
                activity.wait_for_cancelled_sync(10)
            steps.append("still shielded")
        steps.append("never here")

    harness = Harness(careful, activity_executor=pool)
    outcome = harness.start(harness.task("careful"))
    await asyncio.to_thread(begun.wait, 10)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    assert (await asyncio.wait_for(outcome, 10)).kind == "canceled"
    assert steps == ["still shielded"]


def test_a_cancellation_that_came_too_late_does_not_hit_the_next_work() -> None:
    for _ in range(200):
        cancellation = ThreadCancellation()
        try:
            with cancellation.active():
                threading.Thread(target=cancellation.cancel).start()
        except CancelledError:
            pass
        cancellation.cancel()  # After the end: nobody is there to raise in.
        sum(range(50))


async def test_a_call_that_waits_for_a_thread_is_cancelled_without_running() -> None:
    with ThreadPoolExecutor(1) as executor:
        release = threading.Event()
        ran: list[int] = []

        def occupies() -> None:
            release.wait(10)

        def waits() -> None:
            ran.append(1)

        harness = Harness(occupies, waits, activity_executor=executor)
        first = harness.start(harness.task("occupies"))
        second = harness.start(harness.task("waits"))
        await asyncio.sleep(0)
        harness.runner.cancel((RUN_ID, 2, 1), "cancel_requested")
        assert (await second).kind == "canceled"
        release.set()
        await first
        assert ran == []


async def test_a_timed_out_thread_holds_its_place_until_it_ends(pool: ThreadPoolExecutor) -> None:
    begun, release = threading.Event(), threading.Event()

    @activity.defn(no_thread_cancel_exception=True)
    def hangs() -> str:
        begun.set()
        release.wait(10)
        return "late"

    harness = Harness(hangs, activity_executor=pool, max_concurrent_activities=1)
    outcome = harness.start(harness.task("hangs", st=100))
    await asyncio.to_thread(begun.wait, 10)
    harness.advance(100)
    assert outcome.result().kind == "retry"
    assert harness.runner.free == 0
    release.set()
    await asyncio.to_thread(pool.shutdown)
    for _ in range(4):  # The end of the thread passes through the event loop's queue.
        await asyncio.sleep(0)
    assert harness.runner.free == 1


async def test_exceptions_that_futures_cannot_carry_come_back(pool: ThreadPoolExecutor) -> None:
    def stops() -> None:
        raise StopIteration

    harness = Harness(stops, activity_executor=pool)
    outcome = await harness.run("stops")
    assert harness.failure(outcome).message == "Activity raised StopIteration"


async def test_a_client_is_for_async_activities_only(pool: ThreadPoolExecutor) -> None:
    def plain() -> None:
        activity.client()

    async def coroutine() -> str:
        return activity.client()

    harness = Harness(plain, coroutine, activity_executor=pool, client="the client")
    assert harness.result(await harness.run("coroutine")) == "the client"
    assert "No client available" in harness.failure(await harness.run("plain")).message


# -- Processes --


def beat_and_add(left: int, right: int) -> list[Any]:
    activity.heartbeat("in another process")
    about = activity.info()
    return [left + right, about.activity_type, activity.is_cancelled()]


def wait_in_process() -> str:
    activity.heartbeat("begun")
    activity.wait_for_cancelled_sync(20)
    return "cancelled" if activity.is_cancelled() else "timed out"


def metrics_in_process() -> None:
    activity.metric_meter()


class NeedsTwoError(Exception):
    """Can be pickled, but not be read again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Unreadable:
    def __reduce__(self) -> tuple[Any, ...]:
        return (NeedsTwoError, (1,))


def leaves_process(how: str) -> Any:
    if how == "unreadable error":
        raise NeedsTwoError(1, 2)
    if how == "unreadable result":
        return Unreadable()
    raise {"exit": SystemExit(1), "interrupt": KeyboardInterrupt(), "close": GeneratorExit()}[how]


async def test_what_activities_in_other_processes_raise_ends_the_attempt_not_the_pool() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(1, mp_context=context) as executor:
        fatal: list[BaseException] = []
        harness = Harness(
            leaves_process,
            beat_and_add,
            activity_executor=executor,
            shared_state_manager=SharedStateManager.create_from_multiprocessing(manager),
            on_fatal=fatal.append,
        )
        found: dict[str, str] = {}
        for how in ("exit", "interrupt", "close", "unreadable error", "unreadable result"):
            outcome = await harness.run("leaves_process", how)
            assert outcome.kind == "retry"
            found[how] = harness.failure(outcome).type
        outcome = await harness.run("beat_and_add", 1, 2)
        assert harness.result(outcome) == [3, "beat_and_add", False]
    assert fatal == []
    assert found == {
        "exit": "SystemExit",
        "interrupt": "KeyboardInterrupt",
        "close": "RuntimeError",
        "unreadable error": "NeedsTwoError",
        "unreadable result": "TypeError",
    }


async def test_activities_run_in_other_processes() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(1, mp_context=context) as executor:
        harness = Harness(
            beat_and_add,
            wait_in_process,
            metrics_in_process,
            activity_executor=executor,
            shared_state_manager=SharedStateManager.create_from_multiprocessing(manager),
        )
        outcome = await harness.run("beat_and_add", 1, 2)
        assert harness.result(outcome) == [3, "beat_and_add", False]
        assert harness.last_beat() == ["in another process"]

        harness.beaten.clear()
        cancelled = harness.start(harness.task("wait_in_process"))
        await asyncio.wait_for(harness.beaten.wait(), 20)
        harness.runner.cancel((RUN_ID, 2, 1), "cancel_requested")
        assert harness.result(await asyncio.wait_for(cancelled, 20)) == "cancelled"

        failed = await harness.run("metrics_in_process")
        assert "Metrics meter not available" in harness.failure(failed).message
