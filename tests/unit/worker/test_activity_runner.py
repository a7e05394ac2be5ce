"""Running attempts: results, failures, arguments, limits, cancellation, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from hotmesh import activity
from hotmesh.common import Payload, RawValue, RetryPolicy
from hotmesh.converter import DataConverter, PayloadCodec, encode_failure
from hotmesh.core import kinds
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    RetryState,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
)
from hotmesh.worker import _activity_runner as runner_module
from hotmesh.worker._activity_running import pack_state, state_failure
from unit.worker.activity_harness import RUN_ID, Harness, seconds, threads


async def greet(name: str) -> str:
    return f"Hello, {name}"


async def greet_slowly(name: str) -> str:
    await asyncio.sleep(0)
    return f"Hello, {name}"


async def wait_for_ever() -> str:
    await asyncio.Event().wait()
    return "never"


async def fail(message: str) -> None:
    raise ValueError(message)


@dataclass
class Order:
    number: int
    item: str = "tea"


@pytest.mark.parametrize("function", [greet, greet_slowly])
async def test_a_result_becomes_a_completed_event(function: Any) -> None:
    harness = Harness(function)
    outcome = await harness.run(function.__name__, "Ada", attempt=3)
    assert harness.result(outcome) == "Hello, Ada"
    assert outcome.event is not None
    assert outcome.event[:5] == (kinds.ACTIVITY_COMPLETED, 1, 3, "", b"")
    assert harness.runner.running() == []
    assert harness.runner.free == 100


async def test_an_activity_without_await_is_done_before_start_returns() -> None:
    harness = Harness(greet)
    assert harness.start(harness.task("greet", "Ada")).done()


async def test_inside_a_driven_activity_the_callers_task_is_not_the_current_one() -> None:
    seen: list[Any] = []

    async def look() -> None:
        seen.append(asyncio.current_task())

    harness = Harness(look)
    me = asyncio.current_task()
    harness.result(await harness.run("look"))
    assert seen != [me]
    assert asyncio.current_task() is me


async def test_asyncio_tools_that_need_a_task_work_before_the_first_wait() -> None:
    async def tools() -> list[int]:
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, number)) for number in range(3)]
        task = asyncio.current_task()
        assert task is not None
        return [each.result() for each in tasks]

    harness = Harness(tools)
    assert harness.result(await harness.run("tools")) == [0, 1, 2]


async def test_a_timeout_inside_an_activity_is_its_own_affair() -> None:
    async def impatient() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(10)
        except builtin_timeout:
            return "gave up"
        return "waited"

    harness = Harness(impatient)
    assert harness.result(await harness.run("impatient")) == "gave up"


builtin_timeout = asyncio.TimeoutError

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


async def test_context_variables_do_not_leak_from_one_activity_to_the_next() -> None:
    async def leak() -> str:
        before = variable.get()
        variable.set("leaked")
        return before

    harness = Harness(leak)
    assert harness.result(await harness.run("leak")) == "unset"
    assert harness.result(await harness.run("leak")) == "unset"
    assert variable.get() == "unset"
    assert not activity.in_activity()


async def test_arguments_are_decoded_by_their_type_hints() -> None:
    async def ship(order: Order, count: int = 1) -> Order:
        return replace(order, number=order.number + count)

    harness = Harness(ship)
    assert harness.result(await harness.run("ship", Order(1))) == {"number": 2, "item": "tea"}
    assert harness.result(await harness.run("ship", Order(1), 5)) == {"number": 6, "item": "tea"}


@pytest.mark.parametrize("arguments", [(), ("Ada", "Bob")])
async def test_a_wrong_number_of_arguments_names_activity_and_signature(
    arguments: tuple[str, ...],
) -> None:
    harness = Harness(greet)
    error = harness.failure(await harness.run("greet", *arguments))
    assert error.type == "TypeError"
    assert error.message == (
        "Activity 'greet' is declared as greet(name: 'str') -> 'str' "
        f"but was called with {len(arguments)} argument(s)"
    )


async def test_arguments_that_do_not_fit_name_the_activity() -> None:
    async def ship(order: Order) -> None: ...

    harness = Harness(ship)
    error = harness.failure(await harness.run("ship", 7))
    assert error.type == "ConversionError"
    assert error.message.startswith("Failed decoding arguments of activity 'ship': ")


async def test_an_unknown_activity_fails_with_the_names_that_are_known() -> None:
    harness = Harness(greet, fail)
    outcome = await harness.run("great", "Ada")
    error = harness.failure(outcome)
    assert outcome.kind == "retry"  # Another worker may know it.
    assert error.type == "NotFoundError"
    assert error.message == (
        "Activity function great for workflow wf is not registered on this worker, "
        "available activities: fail, greet"
    )
    assert harness.runner.hosts("greet")
    assert not harness.runner.hosts("great")


async def test_the_dynamic_activity_takes_any_type_as_raw_values() -> None:
    @activity.defn(dynamic=True)
    async def anything(args: Sequence[RawValue]) -> list[Any]:
        converter = activity.payload_converter()
        return [activity.info().activity_type] + [
            converter.from_payload(each.payload) for each in args
        ]

    harness = Harness(anything, greet)
    assert harness.runner.hosts("whatever")
    assert harness.result(await harness.run("whatever", 1, "two")) == ["whatever", 1, "two"]
    assert harness.result(await harness.run("greet", "Ada")) == "Hello, Ada"


async def test_a_failure_is_retried_by_default_and_carries_its_type() -> None:
    harness = Harness(fail)
    outcome = await harness.run("fail", "no luck", attempt=2)
    assert outcome.kind == "retry"
    assert outcome.delay_ms == 2_000
    error = harness.failure(outcome)
    assert isinstance(error, ApplicationError)
    assert (error.message, error.type) == ("no luck", "ValueError")


async def test_the_last_attempt_fails_with_retry_state_and_identity() -> None:
    harness = Harness(fail)
    outcome = await harness.run("fail", "no luck", attempt=2, retry={"a": 2, "i": 1, "c": 2.0})
    assert outcome.kind == "failed"
    assert outcome.event is not None
    kind, seq, number, name, meta, _ = outcome.event
    assert (kind, seq, number) == (kinds.ACTIVITY_FAILED, 1, 2)
    assert RetryState[name] is RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert meta == b'{"identity":"tester"}'
    assert harness.failure(outcome).message == "no luck"


async def test_exit_calls_of_an_activity_do_not_end_the_worker() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    harness = Harness(leave)
    assert harness.failure(await harness.run("leave")).type == "SystemExit"


async def test_a_result_that_cannot_be_stored_is_not_tried_again() -> None:
    async def strange() -> object:
        return object()

    harness = Harness(strange)
    outcome = await harness.run("strange")
    error = harness.failure(outcome)
    assert outcome.kind == "failed"
    assert error.type == "ConversionError"
    assert "activity 'strange'" in error.message
    assert "(type object)" in error.message


async def test_results_and_failures_above_the_limit_are_replaced() -> None:
    async def big(size: int) -> str:
        return "x" * size

    async def big_failure(size: int) -> None:
        raise ApplicationError("x" * size, type="Huge", non_retryable=True)

    harness = Harness(big, big_failure, payload_limit=5_000)
    assert len(harness.result(await harness.run("big", 4_900))) == 4_900
    outcome = await harness.run("big", 5_000)
    error = harness.failure(outcome)
    assert outcome.kind == "failed"
    assert error.type == "PayloadTooLargeError"
    assert "result of activity 'big': 5004 bytes exceed the limit of 5000 bytes" in error.message
    error = harness.failure(await harness.run("big_failure", 9_000))
    assert error.type == "Huge"
    assert "failure of activity 'big_failure'" in error.message


async def test_async_completion_leaves_the_activity_to_a_client() -> None:
    async def later() -> None:
        activity.heartbeat("handed over")
        activity.raise_complete_async()

    harness = Harness(later)
    outcome = await harness.run("later", st=10_000)
    assert (outcome.kind, outcome.event) == ("async", None)
    assert harness.details(outcome.state) == ["handed over"]
    assert 9_000 < outcome.delay_ms <= 10_000
    assert harness.runner.running() == []


async def test_info_tells_what_is_known() -> None:
    seen: list[activity.Info] = []

    async def look() -> None:
        seen.append(activity.info())

    harness = Harness(look)
    await harness.run(
        "look", sc=90_000, hb=5_000, attempt=2, local=True, retry={"i": 1, "c": 1.0, "a": 9}
    )
    about = seen[0]
    assert (about.activity_id, about.activity_type, about.attempt) == ("1", "look", 2)
    assert (about.namespace, about.task_queue) == ("default", "queue")
    assert (about.workflow_id, about.workflow_type) == ("wf", "Flow")
    assert about.workflow_run_id == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert about.start_to_close_timeout == seconds(60)
    assert about.schedule_to_close_timeout == seconds(90)
    assert about.heartbeat_timeout == seconds(5)
    assert about.retry_policy is not None
    assert about.retry_policy.maximum_attempts == 9
    assert about.scheduled_time.timestamp() == 1_700_000_000
    assert about.task_token == b'["default","000102030405060708090a0b0c0d0e0f",1,2]'
    assert about.is_local
    assert about.in_workflow


async def test_info_names_the_defaults_that_apply() -> None:
    seen: list[activity.Info] = []

    async def look() -> None:
        seen.append(activity.info())

    harness = Harness(look)
    await harness.run("look", st=None, sc=7_000)
    assert seen[0].start_to_close_timeout == seconds(7)
    assert seen[0].retry_policy == RetryPolicy()


# -- Cancellation --


async def test_a_requested_cancellation_becomes_a_cancelled_event() -> None:
    seen: list[Any] = []

    async def watchful() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append((activity.is_cancelled(), activity.cancellation_details()))

    harness = Harness(watchful)
    outcome = harness.start(harness.task("watchful"))
    await asyncio.sleep(0)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    harness.runner.cancel((RUN_ID, 1, 1), "worker_shutdown")  # The first reason stays.
    found = await outcome
    assert found.kind == "canceled"
    assert found.event is not None
    assert found.event[:3] == (kinds.ACTIVITY_CANCELED, 1, 1)
    assert isinstance(harness.failure(found), CancelledError)
    assert seen == [(True, activity.ActivityCancellationDetails(cancel_requested=True))]


async def test_repeated_requests_do_not_break_into_the_cleaning_up() -> None:
    async def thorough() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return "cleaned up"
        return "never"

    harness = Harness(thorough)
    outcome = harness.start(harness.task("thorough"))
    await asyncio.sleep(0)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    await asyncio.sleep(0)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    assert harness.result(await outcome) == "cleaned up"


async def test_an_activity_cancelled_before_its_first_step_never_runs() -> None:
    harness = Harness(wait_for_ever)
    outcome = harness.start(harness.task("wait_for_ever"))
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    assert (await outcome).kind == "canceled"


async def test_a_swallowed_cancellation_completes() -> None:
    async def polite() -> str:
        try:
            await activity.wait_for_cancelled()
        except asyncio.CancelledError:
            return "stopped"
        return "never"

    harness = Harness(polite)
    outcome = harness.start(harness.task("polite"))
    await asyncio.sleep(0)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    assert harness.result(await outcome) == "stopped"


async def test_a_failure_after_a_requested_cancellation_is_final() -> None:
    async def stumble() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while stopping")

    harness = Harness(stumble)
    outcome = harness.start(harness.task("stumble"))
    await asyncio.sleep(0)
    harness.runner.cancel((RUN_ID, 1, 1), "cancel_requested")
    found = await outcome
    assert found.event is not None
    assert found.event[3] == "CANCEL_REQUESTED"
    assert harness.failure(found).message == "while stopping"


async def test_cancelling_what_does_not_run_changes_nothing() -> None:
    harness = Harness(greet)
    harness.runner.cancel((RUN_ID, 99, 1), "not_found")
    assert harness.runner.running() == []


async def test_a_second_attempt_on_the_same_worker_takes_the_place_of_the_first() -> None:
    harness = Harness(wait_for_ever)
    first_task = harness.task("wait_for_ever")
    first = harness.start(first_task)
    await asyncio.sleep(0)
    second = harness.start(replace(first_task, attempt=2))
    assert (await first).kind == "canceled"
    assert [task.attempt for task in harness.runner.running()] == [2]
    await asyncio.sleep(0)
    harness.runner.cancel((RUN_ID, 1, 2), "cancel_requested")
    assert (await second).kind == "canceled"


@pytest.mark.parametrize("reason", ["not_found", "cancel_requested"])
async def test_whoever_cancels_one_attempt_leaves_the_next_alone(reason: Any) -> None:
    finished = asyncio.Event()

    async def wait() -> str:
        await finished.wait()
        return "done"

    harness = Harness(wait)
    task = harness.task("wait", attempt=2)
    second = harness.start(task)
    await asyncio.sleep(0)
    harness.runner.cancel((task.run_id, task.seq, 1), reason)
    finished.set()
    assert harness.result(await second) == "done"


# -- Timeouts --


@pytest.mark.parametrize(
    ("options", "after_ms", "timeout"),
    [
        ({"st": 500}, 500, TimeoutType.START_TO_CLOSE),
        ({"st": 9_000, "hb": 700}, 700, TimeoutType.HEARTBEAT),
    ],
)
async def test_a_timeout_is_retried_at_once_and_the_late_result_ignored(
    options: dict[str, int], after_ms: int, timeout: TimeoutType
) -> None:
    release = asyncio.Event()
    ended = asyncio.Event()

    async def late() -> str:
        activity.heartbeat("half")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                assert activity.cancellation_details() is not None
        ended.set()
        return "too late"

    harness = Harness(late, max_concurrent_activities=1)
    outcome = harness.start(harness.task("late", **options))
    await asyncio.sleep(0)
    harness.advance(after_ms - 1)
    assert not outcome.done()
    harness.advance(1)
    assert outcome.done()
    found = outcome.result()
    error = harness.failure(found)
    assert (found.kind, found.delay_ms) == ("retry", 1_000)
    assert isinstance(error, TimeoutError)
    assert error.type is timeout
    assert list(error.last_heartbeat_details) == ["half"]
    assert harness.details(found.state) == ["half"]
    assert harness.runner.running() == []
    assert harness.runner.free == 0  # Its function still runs.
    release.set()
    await ended.wait()
    await asyncio.sleep(0)
    assert harness.runner.free == 1


async def test_the_schedule_to_close_timeout_is_final_and_tells_the_last_failure() -> None:
    harness = Harness(wait_for_ever)
    earlier = encode_failure(harness.converter, ValueError("first try"))
    task = harness.task(
        "wait_for_ever", sc=3_000, scheduled_ms=harness.clock.now_ms - 1_000, attempt=2,
        state=pack_state(b"", earlier),
    )  # fmt: skip
    outcome = harness.start(task)
    harness.advance(2_000)
    found = outcome.result()
    error = harness.failure(found)
    assert found.kind == "failed"
    assert found.event is not None
    assert found.event[3] == "TIMEOUT"
    assert error.type is TimeoutType.SCHEDULE_TO_CLOSE
    assert error.cause.message == "first try"


async def test_heartbeats_push_the_heartbeat_timeout_back() -> None:
    beat = asyncio.Event()

    async def alive() -> None:
        while True:
            await beat.wait()
            beat.clear()
            activity.heartbeat()

    harness = Harness(alive)
    outcome = harness.start(harness.task("alive", hb=1_000))
    for _ in range(5):
        harness.advance(900)
        assert not outcome.done()
        beat.set()
        for _ in range(3):
            await asyncio.sleep(0)
    harness.advance(1_000)
    assert harness.failure(outcome.result()).type is TimeoutType.HEARTBEAT


async def test_the_runners_own_timer_acts_on_deadlines() -> None:
    harness = Harness(wait_for_ever)
    outcome = harness.start(harness.task("wait_for_ever", st=30))
    harness.clock.now_ms += 30
    found = await asyncio.wait_for(outcome, 10)
    assert harness.failure(found).type is TimeoutType.START_TO_CLOSE


def test_no_attempt_is_lost_to_its_last_allowed_one() -> None:
    harness = Harness(greet)
    retry = {"i": 1_000, "c": 2.0, "a": 3}
    assert harness.runner.lost_outcome(harness.task("greet", retry=retry, attempt=3)) is None
    assert harness.runner.lost_outcome(harness.task("greet", attempt=99)) is None
    for options, timeout in (({}, TimeoutType.START_TO_CLOSE), ({"hb": 5}, TimeoutType.HEARTBEAT)):
        task = harness.task("greet", retry=retry, attempt=4, **options)
        outcome = harness.runner.lost_outcome(task)
        assert outcome is not None
        assert outcome.event is not None
        assert outcome.event[2:4] == (3, "MAXIMUM_ATTEMPTS_REACHED")
        error = harness.failure(outcome)
        assert (error.message, error.type) == ("activity worker lost", timeout)


# -- Shutdown --


async def test_shutdown_lets_activities_end_by_themselves_first() -> None:
    async def leaves() -> str:
        await activity.wait_for_worker_shutdown()
        return "left" if activity.is_worker_shutdown() else "?"

    harness = Harness(leaves, graceful_shutdown_timeout=seconds(10))
    outcome = harness.start(harness.task("leaves"))
    await asyncio.sleep(0)
    await harness.runner.shutdown()
    assert harness.result(outcome.result()) == "left"


@pytest.mark.parametrize("threaded", [False, True])
async def test_shutdown_leaves_behind_what_swallows_its_cancellation(
    threaded: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner_module, "LEAVING_SECONDS", 0.01)
    gate, done = asyncio.Event(), threading.Event()

    async def stubborn() -> None:
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()

    def stubborn_in_a_thread() -> None:
        done.wait()

    pool = threads()
    harness = Harness(stubborn, stubborn_in_a_thread, activity_executor=pool)
    name = "stubborn_in_a_thread" if threaded else "stubborn"
    outcome = harness.start(harness.task(name))
    await asyncio.sleep(0)
    await harness.runner.shutdown()
    found = outcome.result()
    assert (found.kind, harness.failure(found).type) == ("retry", "WorkerShutdown")
    assert f"Activity {name!r} (workflow 'wf'" in caplog.text
    gate.set()
    done.set()
    pool.shutdown()
    await asyncio.sleep(0)


async def test_shutdown_cancels_what_does_not_end_and_has_it_tried_elsewhere() -> None:
    harness = Harness(wait_for_ever)
    outcome = harness.start(harness.task("wait_for_ever"))
    await asyncio.sleep(0)
    await harness.runner.shutdown()
    found = outcome.result()
    assert found.kind == "retry"
    assert harness.failure(found).type == "WorkerShutdown"


# -- Codecs --


class Reversing(PayloadCodec):
    """Reverses bytes, and really waits before it does."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [Payload({"encoding": b"reversed"}, _pack(each)) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [_unpack(each) for each in payloads]


def _pack(payload: Payload) -> bytes:
    return payload.SerializeToString()[::-1]


def _unpack(payload: Payload) -> Payload:
    assert payload.metadata["encoding"] == b"reversed"
    return Payload.FromString(payload.data[::-1])


async def test_a_codec_works_on_arguments_results_details_and_failures() -> None:
    from hotmesh.converter import apply_codec, apply_codec_to_failure, decode_failure, decode_values

    async def work(name: str) -> str:
        activity.heartbeat("step", 1)
        if activity.info().attempt == 1:
            raise ApplicationError("secret", "details")
        return f"{name} {activity.info().heartbeat_details}"

    codec = Reversing()
    harness = Harness(work, data_converter=DataConverter(payload_codec=codec))
    task = harness.task("work", "Ada")
    task.body = await apply_codec(codec, task.body, True)
    first = await harness.start(task)
    failure = await apply_codec_to_failure(codec, state_failure(first.state), False)
    error = decode_failure(DataConverter.default, failure)
    assert isinstance(error, ApplicationError)
    assert list(error.details) == ["details"]
    second = await harness.start(replace(task, attempt=2, state=first.state))
    assert second.event is not None
    body = await apply_codec(codec, second.event[5], False)
    assert decode_values(DataConverter.default, body) == ["Ada ['step', 1]"]


async def test_a_codec_that_hangs_is_ended_by_the_timeout() -> None:
    encoding = asyncio.Event()

    class Hanging(Reversing):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            encoding.set()
            await asyncio.Event().wait()
            return []

    async def work() -> str:
        return "done"

    harness = Harness(work, data_converter=DataConverter(payload_codec=Hanging()))
    outcome = harness.start(harness.task("work", st=1_000))
    await encoding.wait()
    harness.advance(1_000)
    found = await asyncio.wait_for(outcome, 10)
    assert found.kind == "retry"
    assert harness.failure(found).type is TimeoutType.START_TO_CLOSE


async def test_a_broken_executor_is_reported_as_fatal() -> None:
    fatal: list[BaseException] = []
    executor = threads()

    def plain() -> None: ...

    def broken_submit(*args: Any) -> Any:
        from concurrent.futures.thread import BrokenThreadPool

        raise BrokenThreadPool("initializer failed")

    executor.submit = broken_submit  # type: ignore[method-assign]
    harness = Harness(plain, activity_executor=executor, on_fatal=fatal.append)
    outcome = await harness.run("plain")
    assert outcome.kind == "retry"
    assert [type(error).__name__ for error in fatal] == ["BrokenThreadPool"]


class Watched(ActivityTask):
    """One that can be asked whether it is still there; whatever an attempt is made of has it."""

    __slots__ = ("__weakref__",)


async def test_ended_attempts_leave_nothing_to_the_garbage_collector() -> None:
    harness = Harness(greet, greet_slowly)
    watched: list[weakref.ref[Watched]] = []

    async def attempts(name: str) -> None:
        for _ in range(10):
            made = harness.task(name, "Ada")
            task = Watched(*(getattr(made, each.name) for each in fields(ActivityTask)))
            watched.append(weakref.ref(task))
            await harness.start(task)
            del task
        harness.runner.tick()

    gc.disable()
    try:
        await attempts("greet")
        await attempts("greet_slowly")
        assert [each() for each in watched if each() is not None] == []
    finally:
        gc.enable()
