"""What a run knows of itself, its clock and its chance: the same in every replay."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.common import Payload, Priority, RetryPolicy
from hotmesh.engine import wire
from hotmesh.engine.info import NotInWorkflowError
from hotmesh.exceptions import ApplicationError
from hotmesh.limits import CONTINUE_SUGGESTED_BYTES, CONTINUE_SUGGESTED_TRANSITIONS
from hotmesh.workflow import _run
from unit.engine.driving import RUN_ID, START_MS, Driven, failure, fired, values

START = datetime.fromtimestamp(START_MS / 1000, UTC)


def told(code: Any, **options: Any) -> Any:
    """What code that waits for nothing returns to the test."""
    found: list[Any] = []

    async def run() -> None:
        found.append(code())

    Driven(run, **options).start()
    return found[0]


# The clock


def test_time_is_that_of_the_transition_and_stands_still_in_it(core: ModuleType) -> None:
    seen: list[Any] = []

    async def code() -> None:
        for _ in range(2):
            seen.append((workflow.now(), workflow.time(), workflow.time_ns()))
            await asyncio.sleep(0)
        await workflow.sleep(2.5)
        seen.append(workflow.now())

    run = Driven(code, core=core)
    run.start()
    assert seen == [(START, START_MS / 1000, START_MS * 1_000_000)] * 2
    run.give(fired(1), at=3)
    assert seen[2] == START + timedelta(seconds=3)
    before = list(seen)
    seen.clear()
    run.replayed()
    assert seen == before
    assert workflow.unsafe.current_time_provider() is workflow.time


# Chance


def test_chance_is_the_runs_own_and_the_same_in_each_replay(core: ModuleType) -> None:
    seen: list[Any] = []

    async def code() -> None:
        for _ in range(2):
            seen.append(
                [
                    workflow.random().random(),
                    workflow.new_random().random(),
                    workflow.random_seed(),
                    workflow.uuid4(),
                    workflow.uuid7(),
                ]
            )
            await workflow.sleep(1)

    run = Driven(code, core=core)
    run.start()
    run.give(fired(1), at=1)
    run.give(fired(2), at=2)
    first, second = list(seen)
    assert all(one != other for one, other in zip(first, second, strict=True))
    seen.clear()
    run.replayed()
    assert seen == [first, second]
    seen.clear()
    Driven(code, run_id=b"another run's id").start()
    assert all(one != other for one, other in zip(first, seen[0], strict=True))


def test_ids_are_well_formed_and_those_by_time_are_ordered_by_it() -> None:
    four, seven = told(lambda: (workflow.uuid4(), workflow.uuid7()))
    assert (four.version, seven.version) == (4, 7)
    assert four.variant == seven.variant == "specified in RFC 4122"
    assert seven.int >> 80 == START_MS


# Info


def test_a_plain_run_knows_where_and_what_it_is() -> None:
    info = told(workflow.info, build_id="b1")
    text = wire.run_id_text(RUN_ID)
    assert (info.namespace, info.workflow_id, info.run_id) == ("n", "w", text)
    assert (info.workflow_type, info.task_queue) == ("run", "q")
    assert (info.attempt, info.first_execution_run_id) == (1, text)
    assert info.start_time == info.workflow_start_time == START
    assert info.task_timeout == timedelta(seconds=10)
    assert info.priority == Priority.default
    assert info.get_current_build_id() == "b1"
    assert (info.parent, info.root, info.continued_run_id, info.cron_schedule) == (None,) * 4
    assert (info.execution_timeout, info.run_timeout, info.retry_policy) == (None,) * 3
    assert (dict(info.headers), dict(info.raw_memo), dict(info.search_attributes)) == ({}, {}, {})


def test_what_came_with_the_start_is_told() -> None:
    other = (b"x" * 16).hex()
    header = {
        "attempt": 3,
        "continued": other,
        "first": other,
        "exec": 60_000,
        "run": 30_000,
        "task": 5_000,
        "retry": {"i": 100, "c": 1.5, "m": 500, "a": 7, "n": ["Bad"]},
        "parent": {"ns": "n", "wid": "p", "rid": other, "seq": 3, "lane": 1},
        "root": {"wid": "r", "rid": other},
        "h": wire.pack_headers({"trace": Payload(metadata={"a": b"1"}, data=b"2")}),
        "memo": {"m": wire.pack_bytes(values(1))},
    }
    info = told(workflow.info, header=header)
    text = wire.run_id_text(b"x" * 16)
    assert (info.attempt, info.continued_run_id, info.first_execution_run_id) == (3, text, text)
    assert info.cron_schedule is None
    assert info.execution_timeout == timedelta(minutes=1)
    assert (info.run_timeout, info.task_timeout) == (timedelta(seconds=30), timedelta(seconds=5))
    assert info.retry_policy == RetryPolicy(
        initial_interval=timedelta(milliseconds=100),
        backoff_coefficient=1.5,
        maximum_interval=timedelta(milliseconds=500),
        maximum_attempts=7,
        non_retryable_error_types=["Bad"],
    )
    assert info.parent == workflow.ParentInfo(namespace="n", run_id=text, workflow_id="p")
    assert info.root == workflow.RootInfo(run_id=text, workflow_id="r")
    assert info.headers == {"trace": Payload(metadata={"a": b"1"}, data=b"2")}
    assert info.raw_memo["m"].data == b"1"


def test_the_length_of_the_journal_is_told_as_it_is_now() -> None:
    run = Driven(_sleeps_twice)
    run.start()
    info = run.instance.info
    assert (info.get_current_history_length(), info.get_current_history_size()) == (1, 0)
    run.give(fired(1), at=1)
    assert info.get_current_history_length() == 2
    assert not info.is_continue_as_new_suggested()
    run.instance.transitions = CONTINUE_SUGGESTED_TRANSITIONS
    assert info.is_continue_as_new_suggested()
    run.instance.transitions = 0
    run.instance.journal_bytes = CONTINUE_SUGGESTED_BYTES
    assert info.is_continue_as_new_suggested()


async def _sleeps_twice() -> None:
    await workflow.sleep(1)
    await workflow.sleep(1)


def test_the_length_of_the_journal_is_the_same_in_a_replay(core: ModuleType) -> None:
    seen: list[tuple[int, int]] = []

    async def code() -> None:
        for _ in range(3):
            info = workflow.info()
            size = info.get_current_history_size()
            seen.append((info.get_current_history_length(), size))
            await workflow.sleep(1)

    run = Driven(code, core=core)
    run.start()
    run.give(fired(1), at=1)
    run.instance.journal_bytes = len(run.frames()[0])
    run.give(fired(2), at=2)
    assert [length for length, _ in seen] == [0, 1, 2]
    seen.clear()
    run.replayed()
    sizes = list(map(len, run.frames()))
    assert seen == [(0, 0), (1, sizes[0]), (2, sizes[0] + sizes[1])]


def test_a_retry_knows_how_the_run_before_failed() -> None:
    error = told(workflow.get_last_failure, header=_before(ApplicationError("broken")))
    assert isinstance(error, ApplicationError)
    assert error.message == "broken"
    assert told(workflow.get_last_failure) is None


def _before(error: BaseException) -> dict[str, Any]:
    return {"last_failure": wire.pack_bytes(failure(error))}


def test_no_run_is_repeated_so_none_before_has_left_a_result() -> None:
    def look() -> list[Any]:
        return [workflow.has_last_completion_result(), workflow.get_last_completion_result(list)]

    assert told(look) == [False, None]
    for ask in (workflow.has_last_completion_result, workflow.get_last_completion_result):
        with pytest.raises(NotInWorkflowError):
            ask()


def test_details_for_people_are_kept() -> None:
    def code() -> list[str]:
        before = workflow.get_current_details()
        workflow.set_current_details("half way")
        return [before, workflow.get_current_details()]

    assert told(code) == ["", "half way"]


def test_a_run_is_in_a_workflow_and_nowhere_else() -> None:
    def code() -> list[Any]:
        return [
            workflow.in_workflow(),
            workflow.instance(),
            workflow.unsafe.is_replaying(),
            workflow.unsafe.is_replaying_history_events(),
            workflow.unsafe.is_read_only(),
            dict(workflow.extern_functions()),
        ]

    assert told(code) == [True, None, False, False, False, {}]
    assert not workflow.in_workflow()


def test_whether_a_transition_is_replayed_is_told(core: ModuleType) -> None:
    seen: list[bool] = []

    async def code() -> None:
        for _ in range(2):
            seen.append(workflow.unsafe.is_replaying())
            await workflow.sleep(1)

    run = Driven(code, core=core)
    run.start()
    again = run.replayed()
    again.give(fired(1), at=1)
    assert seen == [False, True, False]


@pytest.mark.parametrize(
    ("error", "fails"),
    [
        (ApplicationError("x"), True),
        (TimeoutError(), True),
        (KeyError(), True),
        (ValueError(), False),
        (SystemExit(), False),
    ],
)
def test_what_would_fail_the_run_can_be_asked(error: BaseException, fails: bool) -> None:
    def code() -> bool:
        return workflow.is_failure_exception(error)

    assert told(code, failure_types=(KeyError,)) is fails


def test_a_meter_names_the_run_and_measures_nothing_again(
    monkeypatch: pytest.MonkeyPatch, core: ModuleType
) -> None:
    counted: list[Any] = []

    def meter(attributes: Any, gate: Any) -> Any:
        def count() -> None:
            if gate():
                counted.append(attributes)

        return count

    monkeypatch.setattr(_run, "program_meter", meter)

    async def code() -> None:
        workflow.metric_meter()()
        await workflow.sleep(1)

    run = Driven(code, core=core)
    run.start()
    run.replayed()
    assert counted == [{"namespace": "n", "task_queue": "q", "workflow_type": "code"}]
