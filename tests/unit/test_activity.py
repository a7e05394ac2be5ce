"""What activity authors see: declarations, the context, the logger."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hotmesh import activity
from hotmesh.activity import ActivityDefinition
from hotmesh.common import RawValue
from hotmesh.worker._activity_latch import Latch
from hotmesh.worker._activity_registry import ActivityRegistry
from unit.worker.activity_harness import Harness


@activity.defn
async def decorated(name: str, count: int = 1) -> str:
    return name * count


@activity.defn(name="other-name", no_thread_cancel_exception=True)
def named() -> None: ...


def undecorated(value: int) -> float:
    return value / 2


class Service:
    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    @activity.defn
    async def greet(self, name: str) -> str:
        return f"{self.prefix} {name}"


@activity.defn(name="object")
class CallableActivity:
    async def __call__(self, value: int) -> int:
        return value + 1


@activity.defn(dynamic=True)
async def dynamic(args: Sequence[RawValue]) -> None: ...


# -- Declaring --


def test_a_definition_holds_what_the_function_declares() -> None:
    found = ActivityDefinition.of(decorated)
    assert (found.name, found.is_async, found.no_thread_cancel_exception) == (
        "decorated",
        True,
        False,
    )
    assert (found.arg_types, found.ret_type) == ([str, int], str)
    assert (found.arguments_min, found.arguments_max) == (1, 2)
    assert ActivityDefinition.of(decorated) is found


def test_names_and_options_of_the_decorator() -> None:
    found = ActivityDefinition.of(named)
    assert (found.name, found.is_async, found.no_thread_cancel_exception) == (
        "other-name",
        False,
        True,
    )
    assert ActivityDefinition.of(dynamic).name is None


def test_a_plain_function_is_an_activity_of_its_own_name() -> None:
    found = ActivityDefinition.of(undecorated)
    assert (found.name, found.is_async, found.ret_type) == ("undecorated", False, float)
    assert ActivityDefinition.of(undecorated) is found


async def test_methods_and_objects_are_bound_to_what_they_were_taken_from() -> None:
    unbound = ActivityDefinition.of(Service.greet)
    assert (unbound.name, unbound.arg_types, unbound.arguments_max) == ("greet", [str], 1)
    harness = Harness(Service("Dear").greet, CallableActivity())
    assert harness.result(await harness.run("greet", "Ada")) == "Dear Ada"
    assert harness.result(await harness.run("object", 1)) == 2


async def test_any_number_of_arguments_may_be_taken() -> None:
    async def total(*numbers: int) -> int:
        return sum(numbers)

    harness = Harness(total)
    assert harness.result(await harness.run("total", 1, 2, 3)) == 6


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: activity.defn(decorated), ValueError, "already contains activity definition"),
        (lambda: activity.defn(keyword_only), TypeError, "keyword-only"),
        (lambda: activity.defn(dynamic=True)(undecorated), TypeError, "single Sequence"),
        (lambda: activity.defn(name="x", dynamic=True), ValueError, "cannot have a name"),  # type: ignore[call-overload]
        (lambda: ActivityDefinition.of(lambda: None), TypeError, "has no name"),
        (lambda: ActivityDefinition.of(functools.partial(undecorated, 1)), TypeError, "no name"),
    ],
)
def test_what_cannot_be_an_activity_is_refused(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


def keyword_only(*, value: int) -> None: ...


@pytest.mark.parametrize(
    ("activities", "error", "message"),
    [
        ([decorated, decorated], ValueError, "More than one activity named decorated"),
        ([dynamic, dynamic], TypeError, "More than one dynamic activity"),
        ([CallableActivity], TypeError, "is a class instead of an instance"),
        ([undecorated], ValueError, "is not async so an activity_executor must be present"),
    ],
)
def test_a_worker_refuses_activities_it_cannot_run(
    activities: list[Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ActivityRegistry(activities, None, None)


# -- Outside of activities --


@pytest.mark.parametrize(
    "function",
    [
        activity.info,
        activity.heartbeat,
        activity.client,
        activity.is_cancelled,
        activity.cancellation_details,
        activity.is_worker_shutdown,
        activity.wait_for_cancelled_sync,
        activity.wait_for_worker_shutdown_sync,
        activity.payload_converter,
        activity.metric_meter,
    ],
)
def test_context_functions_say_when_there_is_no_activity(function: Callable[[], Any]) -> None:
    assert not activity.in_activity()
    with pytest.raises(RuntimeError, match="Not in activity context"):
        function()


# -- Inside --


async def test_the_logger_puts_the_activity_on_the_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def logs() -> None:
        activity.logger.info("hello", extra={"mine": 1})

    with caplog.at_level(logging.INFO, "hotmesh.activity"):
        harness = Harness(logs)
        await harness.run("logs", attempt=4)
        activity.logger.info("outside")
    inside, outside = (each for each in caplog.records if each.levelno == logging.INFO)
    fields = vars(inside)
    assert inside.getMessage().startswith("hello ({'activity_id': '1'")
    assert (fields["workflow_id"], fields["activity_type"], fields["attempt"]) == ("wf", "logs", 4)
    assert (fields["task_queue"], fields["mine"]) == ("queue", 1)
    assert fields["run_id"] == fields["temporal_activity"]["run_id"]
    assert "activity_info" not in fields
    assert outside.getMessage() == "outside"


async def test_the_logger_says_as_much_as_it_is_told_to(caplog: pytest.LogCaptureFixture) -> None:
    adapter = activity.LoggerAdapter(logging.getLogger("hotmesh.activity"), None)
    adapter.activity_info_on_message = adapter.activity_info_on_extra = False
    adapter.full_activity_info_on_extra = True

    async def logs() -> None:
        adapter.info("hello")

    with caplog.at_level(logging.INFO, "hotmesh.activity"):
        harness = Harness(logs)
        await harness.run("logs")
    record = caplog.records[-1]
    assert record.getMessage() == "hello"
    assert vars(record)["activity_info"].activity_type == "logs"
    assert not hasattr(record, "workflow_id")


# -- The latch --


async def test_a_latch_wakes_coroutines_and_threads() -> None:
    latch = Latch()
    begun = threading.Event()

    def in_thread() -> bool:
        begun.set()
        latch.wait_sync(10)
        return latch.is_set()

    thread = asyncio.create_task(asyncio.to_thread(in_thread))
    coroutine = asyncio.create_task(latch.wait())
    await asyncio.to_thread(begun.wait, 10)
    assert not latch.is_set()
    latch.set()
    latch.set()
    assert await thread
    await coroutine
    await latch.wait()
    latch.wait_sync()


async def test_a_latch_waits_no_longer_than_told() -> None:
    latch = Latch()
    latch.wait_sync(0.001)
    assert not latch.is_set()


async def test_a_cancelled_waiter_does_not_disturb_the_latch() -> None:
    latch = Latch()
    waiter = asyncio.create_task(latch.wait())
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    latch.set()
    await latch.wait()
