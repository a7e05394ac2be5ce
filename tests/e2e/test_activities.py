"""Activities: every kind of callable, retries, the four timeouts, and what failures look like."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.common import RawValue, RetryPolicy
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RetryState,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
)
from hotmesh.worker import SharedStateManager
from support.running import AT_ONCE, ONCE, SOON, attempts, execute, failure_of, start, working

calls: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


@dataclass
class Item:
    name: str
    price: float


@activity.defn
async def shout(text: str) -> str:
    return text.upper()


@activity.defn(name="price-up")
async def raise_price(item: Item, by: float = 1.0) -> Item:
    return Item(item.name, item.price + by)


@activity.defn
def in_a_thread(text: str) -> list[str]:
    return [text, threading.current_thread().name.partition("_")[0]]


@activity.defn
def in_a_process(number: int) -> int:
    activity.heartbeat(number)
    return number * 2


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @activity.defn
    async def sell(self, item: str) -> str:
        return f"{self.name} sells {item}"


@activity.defn
class Callable:
    async def __call__(self, text: str) -> str:
        return f"called with {text}"


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> list[Any]:
    return [activity.info().activity_type, len(args)]


@activity.defn
async def fails(times: int, how: str = "application") -> int:
    calls["fails"] += 1
    attempt = activity.info().attempt
    if attempt > times:
        return attempt
    if how == "non-retryable":
        raise ApplicationError("final", non_retryable=True)
    if how == "delayed":
        raise ApplicationError("later", next_retry_delay=timedelta(milliseconds=30))
    if how == "value":
        raise ValueError("wrong")
    raise ApplicationError(f"attempt {attempt}", attempt, type="Flaky")


@activity.defn
async def hangs() -> None:
    calls["hangs"] += 1
    await asyncio.Event().wait()


@activity.defn
async def beats_then_hangs() -> list[Any]:
    info = activity.info()
    if info.attempt > 1:
        return [info.attempt, *info.heartbeat_details]
    activity.heartbeat("progress", 42)
    await asyncio.Event().wait()
    return []


@activity.defn
async def unserialisable() -> Any:
    return object()


@workflow.defn
class Calls:
    """Runs one activity with the options the test names."""

    @workflow.run
    async def run(self, name: str, args: list[Any], options: dict[str, Any]) -> Any:
        for key in ("start_to_close_timeout", "schedule_to_close_timeout"):
            if key in options:
                break
        else:
            options["start_to_close_timeout"] = 10
        policy = options.pop("retry", None)
        if policy is not None:
            options["retry_policy"] = RetryPolicy(
                initial_interval=timedelta(milliseconds=1),
                backoff_coefficient=1.0,
                maximum_attempts=policy,
                non_retryable_error_types=options.pop("non_retryable", None),
            )
        return await workflow.execute_activity(name, args=args, **options)


async def call(client: Client, name: str, *args: Any, **options: Any) -> Any:
    return await execute(client, Calls.run, name, list(args), options)


async def call_failure(client: Client, name: str, *args: Any, **options: Any) -> ActivityError:
    error = await failure_of(call(client, name, *args, **options))
    assert isinstance(error, ActivityError), repr(error)
    return error


async def test_an_async_activity_runs(any_client: Client) -> None:
    async with working(any_client, Calls, activities=[shout]):
        assert await call(any_client, "shout", "hello") == "HELLO"


async def test_many_activities_at_once_each_run_once(any_client: Client) -> None:
    async def fan_out() -> int:
        results = await asyncio.gather(
            *(
                workflow.execute_activity(fails, args=[0], start_to_close_timeout=SOON)
                for _ in range(30)
            )
        )
        return sum(results)

    async with working(any_client, fan_out, activities=[fails]):
        assert await execute(any_client, "fan_out") == 30
    assert calls["fails"] == 30


@workflow.defn
class TypedCalls:
    @workflow.run
    async def run(self) -> Item:
        shop = await workflow.execute_activity_method(Shop.sell, "tea", start_to_close_timeout=SOON)
        called = await workflow.execute_activity_class(
            Callable, "this", start_to_close_timeout=SOON
        )
        item = await workflow.execute_activity(
            raise_price, Item(f"{shop}; {called}", 1.0), start_to_close_timeout=SOON
        )
        assert isinstance(item, Item)
        return item


async def test_methods_classes_and_dataclasses(client: Client) -> None:
    async with working(
        client, TypedCalls, activities=[Shop("Corner").sell, Callable(), raise_price]
    ):
        assert await execute(client, TypedCalls.run) == Item(
            "Corner sells tea; called with this", 2.0
        )


async def test_a_threaded_activity_runs_in_its_executor(client: Client) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="ours") as executor:
        async with working(client, Calls, activities=[in_a_thread], activity_executor=executor):
            assert await call(client, "in_a_thread", "x") == ["x", "ours"]


async def test_an_activity_may_run_in_another_process(client: Client) -> None:
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor, context.Manager() as manager:
        async with working(
            client,
            Calls,
            activities=[in_a_process],
            activity_executor=executor,
            shared_state_manager=SharedStateManager.create_from_multiprocessing(manager),
        ):
            assert await call(client, "in_a_process", 21) == 42


async def test_the_dynamic_activity_takes_unknown_types(client: Client) -> None:
    async with working(client, Calls, activities=[shout, anything]):
        assert await call(client, "unheard-of", 1, 2) == ["unheard-of", 2]
        assert await call(client, "shout", "a") == "A"


async def test_an_activity_may_run_on_another_task_queue(any_client: Client) -> None:
    async with (
        working(any_client, Calls),
        working(any_client, activities=[shout], task_queue="elsewhere"),
    ):
        assert await call(any_client, "shout", "far", task_queue="elsewhere") == "FAR"


async def test_an_activity_only_worker_of_the_queue_takes_what_the_workflows_worker_cannot(
    client: Client,
) -> None:
    async with working(client, Calls, activities=[fails]), working(client, activities=[shout]):
        assert await call(client, "fails", 0) == 1


@pytest.mark.parametrize("eager", [True, False])
async def test_a_failed_attempt_is_retried(any_client: Client, eager: bool) -> None:
    async with working(
        any_client, Calls, activities=[fails], disable_eager_activity_execution=not eager
    ):
        assert await call(any_client, "fails", 2, retry=0) == 3
    assert calls["fails"] == 3


async def test_attempts_are_never_exceeded(any_client: Client) -> None:
    async with working(any_client, Calls, activities=[fails]):
        error = await call_failure(any_client, "fails", 100, retry=3)
    assert calls["fails"] == 3
    assert error.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED
    assert (error.activity_type, error.activity_id) == ("fails", "1")
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, error.cause.type, list(error.cause.details)) == (
        "attempt 3",
        "Flaky",
        [3],
    )


async def test_a_non_retryable_error_is_final(client: Client) -> None:
    async with working(client, Calls, activities=[fails]):
        error = await call_failure(client, "fails", 100, "non-retryable")
    assert calls["fails"] == 1
    assert error.retry_state == RetryState.NON_RETRYABLE_FAILURE


async def test_a_non_retryable_type_is_final(client: Client) -> None:
    async with working(client, Calls, activities=[fails]):
        error = await call_failure(
            client, "fails", 100, "value", retry=0, non_retryable=["ValueError"]
        )
    assert calls["fails"] == 1
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.type, error.cause.message) == ("ValueError", "wrong")


async def test_an_error_may_say_when_to_retry(client: Client) -> None:
    async with working(client, Calls, activities=[fails]):
        began = time.monotonic()
        assert await call(client, "fails", 1, "delayed", retry=0) == 2
    assert time.monotonic() - began >= 0.03


@pytest.mark.parametrize("eager", [True, False])
async def test_start_to_close_timeout_ends_an_attempt(any_client: Client, eager: bool) -> None:
    async with working(
        any_client, Calls, activities=[hangs], disable_eager_activity_execution=not eager
    ):
        error = await call_failure(any_client, "hangs", start_to_close_timeout=0.05, retry=2)
    assert calls["hangs"] == 2
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type == TimeoutType.START_TO_CLOSE


async def test_schedule_to_close_timeout_ends_all_attempts(any_client: Client) -> None:
    async with working(any_client, Calls, activities=[hangs]):
        error = await call_failure(
            any_client, "hangs", schedule_to_close_timeout=0.1, start_to_close_timeout=10
        )
    assert calls["hangs"] == 1
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type == TimeoutType.SCHEDULE_TO_CLOSE


async def test_schedule_to_close_timeout_counts_the_retries(client: Client) -> None:
    async with working(client, Calls, activities=[fails]):
        error = await call_failure(client, "fails", 10**6, schedule_to_close_timeout=0.2)
    assert error.retry_state in (RetryState.TIMEOUT, RetryState.NON_RETRYABLE_FAILURE)


async def test_schedule_to_start_timeout_ends_what_nobody_takes(any_client: Client) -> None:
    async with working(any_client, Calls):
        error = await call_failure(
            any_client, "shout", "x", task_queue="nobody", schedule_to_start_timeout=0.05
        )
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type == TimeoutType.SCHEDULE_TO_START
    assert error.cause.message == "activity ScheduleToStart timeout"
    assert error.message == "Activity task timed out"
    assert error.retry_state == RetryState.TIMEOUT


async def test_heartbeat_timeout_ends_an_attempt_and_its_details_reach_the_next(
    any_client: Client,
) -> None:
    async with working(any_client, Calls, activities=[beats_then_hangs]):
        result = await call(any_client, "beats_then_hangs", heartbeat_timeout=0.1, retry=0)
    assert result == [2, "progress", 42]


async def test_the_last_heartbeat_is_part_of_the_final_timeout(client: Client) -> None:
    async with working(client, Calls, activities=[beats_then_hangs]):
        error = await call_failure(client, "beats_then_hangs", heartbeat_timeout=0.05, retry=1)
    assert isinstance(error.cause, TimeoutError)
    assert error.cause.type == TimeoutType.HEARTBEAT
    assert list(error.cause.last_heartbeat_details) == ["progress", 42]


async def test_an_activity_that_nobody_hosts_waits_for_a_worker_that_does(
    any_client: Client,
) -> None:
    """Others of its queue leave it alone: it is their attempts that it would use up."""
    async with working(any_client, Calls, activities=[shout]):
        waiting = asyncio.create_task(call(any_client, "beats_then_hangs", heartbeat_timeout=0.1))
        assert await call(any_client, "shout", "a") == "A"
        assert await call(any_client, "shout", "b", heartbeat_timeout=5) == "B"
        assert not waiting.done()
        async with working(any_client, activities=[beats_then_hangs]):
            assert await waiting == [2, "progress", 42]


@pytest.mark.parametrize("args", [[], ["a", "b"]])
async def test_a_wrong_argument_count_fails_the_attempt(client: Client, args: list[str]) -> None:
    async with working(client, Calls, activities=[shout]):
        error = await call_failure(client, "shout", *args, retry=1)
    assert isinstance(error.cause, ApplicationError)
    assert "shout" in error.cause.message
    assert f"{len(args)} argument" in error.cause.message


async def test_a_result_that_cannot_be_serialised_fails_the_attempt(client: Client) -> None:
    async with working(client, Calls, activities=[unserialisable]):
        error = await call_failure(client, "unserialisable", retry=1)
    assert isinstance(error.cause, ApplicationError)
    assert "unserialisable" in error.cause.message


async def test_info_tells_an_attempt_what_it_is(client: Client) -> None:
    @activity.defn
    async def reports() -> dict[str, Any]:
        info = activity.info()
        return {
            "activity": (info.activity_type, info.activity_id, info.attempt),
            "workflow": (info.workflow_type, info.workflow_id, info.workflow_run_id),
            "queue": info.task_queue,
            "local": info.is_local,
        }

    async with working(client, Calls, activities=[reports]):
        handle = await start(client, Calls.run, "reports", [], {"activity_id": "mine"})
        said = await handle.result()
    assert said["activity"] == ["reports", "mine", 1]
    assert said["workflow"] == ["Calls", handle.id, handle.result_run_id]
    assert (said["queue"], said["local"]) == ("tests", False)


@workflow.defn
class Locals:
    @workflow.run
    async def run(self, times: int) -> Any:
        return await workflow.execute_local_activity(
            fails, args=[times], start_to_close_timeout=SOON, retry_policy=AT_ONCE
        )


@pytest.mark.parametrize("times", [0, 2])
async def test_a_local_activity_runs_and_retries(any_client: Client, times: int) -> None:
    async with working(any_client, Locals, activities=[fails]):
        assert await execute(any_client, Locals.run, times) == times + 1
    assert calls["fails"] == times + 1


async def test_a_slot_limit_holds(client: Client) -> None:
    running, most = 0, 0

    @activity.defn
    async def counted() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.005)
        running -= 1

    async def fan_out() -> None:
        await asyncio.gather(
            *(workflow.execute_activity(counted, start_to_close_timeout=SOON) for _ in range(12))
        )

    async with working(client, fan_out, activities=[counted], max_concurrent_activities=3):
        await execute(client, "fan_out")
    assert most <= 3


async def test_an_activity_needs_a_closing_timeout(client: Client) -> None:
    async def no_timeout() -> str:
        try:
            workflow.start_activity(shout, "x")
        except ValueError as error:
            return str(error)
        return "accepted"

    async with working(client, no_timeout, activities=[shout]):
        assert await execute(client, "no_timeout") == (
            "Activity must have start_to_close_timeout or schedule_to_close_timeout"
        )


async def test_a_cancelled_error_of_the_activity_itself_is_a_failure(client: Client) -> None:
    @activity.defn
    async def gives_up() -> None:
        raise asyncio.CancelledError

    async with working(client, Calls, activities=[gives_up]):
        error = await call_failure(client, "gives_up", retry=1)
    assert isinstance(error.cause, (CancelledError, ApplicationError))


async def test_results_survive_replay_of_every_task(client: Client) -> None:
    async def several() -> list[str]:
        return [
            await workflow.execute_activity(shout, text, start_to_close_timeout=SOON)
            for text in ("a", "b", "c")
        ]

    async with working(client, several, activities=[shout], max_cached_workflows=0):
        assert await execute(client, "several") == ["A", "B", "C"]


async def test_a_policy_object_works_as_well(client: Client) -> None:
    async def twice() -> int:
        with pytest.raises(ActivityError):
            await workflow.execute_activity(
                fails, args=[9], start_to_close_timeout=SOON, retry_policy=ONCE
            )
        return await workflow.execute_activity(
            fails, args=[1], start_to_close_timeout=SOON, retry_policy=attempts(2)
        )

    async with working(client, twice, activities=[fails]):
        assert await execute(client, "twice") == 2
