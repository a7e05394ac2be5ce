"""Workflow tasks that fail: noted in the record, tried again later, and nobody else's trouble."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import orjson
import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import RunStatus
from hotmesh.common import RetryPolicy
from hotmesh.converter import DataConverter, decode_failure
from hotmesh.core import kinds
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.exceptions import NondeterminismError
from hotmesh.router.closing import RUN_TIMEOUT_KEY
from unit.engine.driving import (
    OTHER_RUN,
    RUN_ID,
    START_MS,
    completed,
    query,
    signal,
    value_of,
)
from unit.router.flows import asks, sleeps
from unit.router.miniature import LANE, Make, Miniature, Place


async def test_a_mistake_in_the_code_is_noted_and_tried_again_later(
    make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    failing = [True]

    async def fails() -> str:
        if failing:
            raise ZeroDivisionError("oops")
        return "mended"

    mini = make(fails)
    place.begin("fails")
    await mini.settle()
    assert mini.journal() == []
    failure = mini.task_failure()
    assert failure is not None
    assert (failure["type"], failure["message"], failure["attempt"]) == (
        "ZeroDivisionError",
        "oops",
        1,
    )
    assert "in fails" in str(failure["where"])
    assert "Failed workflow task of w (type fails" in caplog.text
    await mini.pass_seconds(0.2)
    assert mini.task_failure() == failure
    await mini.pass_seconds(0.1)
    failure = mini.task_failure()
    assert failure is not None
    assert failure["attempt"] == 2
    failing.clear()
    await mini.pass_seconds(0.6)
    assert value_of(mini.run().result) == "mended"
    assert mini.task_failure() is None


async def test_a_run_that_fails_does_not_hold_up_its_neighbours(make: Make, place: Place) -> None:
    async def fails() -> None:
        raise SystemExit(1)

    mini = make(fails, sleeps)
    place.begin("fails")
    place.begin("sleeps", run_id=OTHER_RUN, workflow_id="other")
    await mini.settle()
    assert len(mini.journal(OTHER_RUN)) == 1
    assert mini.task_failure() is not None


async def test_no_loop_of_workflow_code_runs_for_who_writes_down_the_failure(
    make: Make, place: Place
) -> None:
    """What a log's handler schedules would be part of a run, or be lost with it."""

    async def fails() -> None:
        raise ZeroDivisionError("oops")

    loops: list[asyncio.AbstractEventLoop | None] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            del record
            loops.append(asyncio._get_running_loop())

    mini = make(sleeps, fails)
    place.begin("sleeps", run_id=OTHER_RUN, workflow_id="other")
    place.begin("fails")
    logger, handler = logging.getLogger("hotmesh"), Handler()
    logger.addHandler(handler)
    try:
        await mini.settle()
    finally:
        logger.removeHandler(handler)
    assert loops == [None]


async def test_a_query_that_a_task_failed_with_is_answered_once(make: Make, place: Place) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("oops")

    mini = make(fails)
    place.begin("fails")
    await mini.settle()
    place.tell(query("heard"))
    await mini.settle()
    assert place.replies == {b"asked": b"Noops"}


async def test_a_failing_run_can_be_ended_at_once(make: Make, place: Place) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("oops")

    mini = make(fails)
    place.begin("fails")
    await mini.settle()
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", b""))
    await mini.settle()
    assert mini.kinds() == [(["START", "TERMINATE"], ["TERMINATED"])]


async def test_a_failing_run_is_timed_out_all_the_same(make: Make, place: Place) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("oops")

    mini = make(fails)
    place.begin("fails", run=3000)
    await mini.settle()
    assert place.timers == {(RUN_ID, RUN_TIMEOUT_KEY): (LANE, START_MS + 3000)}
    await mini.pass_seconds(3)
    assert mini.run().status == RunStatus.TIMED_OUT


async def test_whatever_is_raised_fails_the_run_once_its_attempts_are_spent(
    make: Make, place: Place
) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("oops")

    definition = WorkflowDefinition.from_function(fails)
    definition.task_retry = RetryPolicy(
        initial_interval=timedelta(seconds=1), backoff_coefficient=1.0, maximum_attempts=3
    )
    mini = make(definition)
    place.begin("fails")
    await mini.settle()
    await mini.pass_seconds(1)
    assert mini.run().status == RunStatus.RUNNING
    await mini.pass_seconds(1)
    assert mini.run().status == RunStatus.FAILED
    error = decode_failure(DataConverter.default, mini.run().result)
    assert "oops" in str(error)


async def test_a_type_that_the_policy_names_is_not_tried_again(make: Make, place: Place) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("oops")

    definition = WorkflowDefinition.from_function(fails)
    definition.task_retry = RetryPolicy(
        maximum_attempts=9, non_retryable_error_types=["ZeroDivisionError"]
    )
    mini = make(definition)
    place.begin("fails")
    await mini.settle()
    await mini.pass_seconds(0.001)
    assert mini.run().status == RunStatus.FAILED


async def changed() -> None:
    await workflow.sleep(1)


def once_other(code: Any) -> WorkflowDefinition:
    """Other code under the name of `asks`."""
    definition = WorkflowDefinition.from_function(code)
    definition.name = "asks"
    return definition


async def test_code_that_was_changed_waits_until_it_is_right_again(
    make: Make, place: Place
) -> None:
    await begun(make(asks), place)
    other = make(once_other(changed))
    place.tell(completed(1, "done"))
    await other.settle()
    failure = other.task_failure()
    assert failure is not None
    assert failure["type"] == "NondeterminismError"
    right = make(asks)
    await right.settle()
    assert value_of(right.run().result) == "done"
    assert right.task_failure() is None


async def begun(mini: Miniature, place: Place) -> None:
    place.begin("asks")
    await mini.settle()


@pytest.mark.parametrize("by_worker", [True, False])
async def test_changed_code_fails_a_run_where_that_is_wanted(
    by_worker: bool, make: Make, place: Place
) -> None:
    await begun(make(asks), place)
    definition = once_other(changed)
    options: dict[str, Any] = {}
    if by_worker:
        options["failure_types"] = (NondeterminismError,)
    else:
        definition.failure_exception_types = (NondeterminismError,)
    other = make(definition, options=options)
    place.tell(completed(1, "done"))
    await other.settle()
    assert other.run().status == RunStatus.FAILED


async def test_arguments_that_differ_are_noted_in_the_record_once(
    make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def with_more() -> Any:
        await workflow.execute_activity("act", 2, start_to_close_timeout=5)
        await workflow.wait_condition(lambda: False)

    await begun(make(asks), place)
    place.tell(completed(1, "done"))
    for _ in range(2):
        await make(once_other(with_more)).settle()
        place.tell(signal("anything"))
    assert orjson.loads(place.runs[RUN_ID].attributes["hotmesh.arguments_changed"]) is True
    assert "ACTIVITY" in str(place.runs[RUN_ID].attributes["hotmesh.arguments_changed_at"])
    warned = [r for r in caplog.records if "with other arguments than its journal" in r.message]
    assert len(warned) == 1


async def test_a_damaged_message_is_dropped_and_noted(
    make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    place._add(LANE, RUN_ID, b"\xff\xff")
    await mini.settle()
    assert "can't be read and was dropped" in caplog.text
    assert place.messages == {}
    noted = orjson.loads(mini.run().attributes["hotmesh.lost"])
    assert noted["type"] == "CorruptRowError"
    assert len(mini.journal()) == 1


async def test_a_run_with_a_damaged_header_is_set_aside_and_can_be_ended(
    make: Make, place: Place
) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    place.runs[RUN_ID].header = b"{no json"
    await mini.settle()
    failure = mini.task_failure()
    assert failure is not None
    assert failure["type"] == "CorruptRowError"
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", b""))
    await mini.settle()
    assert mini.run().status == RunStatus.TERMINATED


async def test_a_run_of_no_type_is_set_aside_and_moved_nowhere(make: Make, place: Place) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    place.runs[RUN_ID].workflow_type = ""
    await mini.settle()
    failure = mini.task_failure()
    assert failure is not None
    assert "no type" in failure["message"]
    assert mini.run().lane == LANE
    assert mini.resolved == []
