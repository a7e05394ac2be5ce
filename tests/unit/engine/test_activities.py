"""What a run asks for when it calls activities, and what it makes of their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.common import Priority, RawValue, RetryPolicy
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_options import activity_options
from hotmesh.engine.activity_task import ActivityTask, TaskOrigin
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ConversionError,
    InvalidArgumentError,
    PayloadTooLargeError,
    RetryState,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
    UnknownActivityTypeError,
    UnsupportedOptionError,
)
from hotmesh.workflow import _activities
from unit.engine.driving import (
    START_MS,
    Driven,
    canceled,
    completed,
    failed,
    fired,
    options_of,
    shown,
    timed_out,
    value_of,
    values,
)

SECOND = timedelta(seconds=1)


@activity.defn
async def double(number: int) -> int:
    return number * 2


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> None:
    raise AssertionError(args)


class Doubler:
    @activity.defn(name="double by method")
    async def double(self, number: int) -> int:
        return number * 2


@activity.defn(name="double by class")
class Double:
    async def __call__(self, number: int) -> int:
        return number * 2


def calling(*args: Any, **options: Any) -> Driven:
    """A run that calls one activity with these arguments."""

    async def code() -> Any:
        return await workflow.execute_activity(*args, **options)

    return Driven(code)


def test_a_call_is_one_command_with_the_arguments_as_values(core: ModuleType) -> None:
    async def code() -> int:
        return await workflow.execute_activity(double, 21, start_to_close_timeout=SECOND)

    run = Driven(code, core=core)
    (command,) = run.start()
    assert shown([command]) == [("ACTIVITY", 1, "double")]
    assert (options_of(command), value_of(command[5])) == ({"st": 1000}, 21)
    assert run.give(completed(1, 42)) == [(kinds.COMPLETE, 0, 0, "", b"", values(42))]
    assert run.outcome() == 42


def test_all_options_are_in_the_document() -> None:
    run = calling(
        "act",
        args=[1, 2],
        task_queue="others",
        schedule_to_close_timeout=60,
        schedule_to_start_timeout=timedelta(seconds=30),
        start_to_close_timeout=SECOND,
        heartbeat_timeout=0.5,
        retry_policy=RetryPolicy(
            initial_interval=SECOND,
            backoff_coefficient=3.0,
            maximum_interval=timedelta(seconds=9),
            maximum_attempts=4,
            non_retryable_error_types=["Bad"],
        ),
        cancellation_type=workflow.ActivityCancellationType.ABANDON,
        activity_id="mine",
        summary="what for",
    )
    command, to_start, to_close = run.start()
    assert options_of(command) == {
        "sc": 60_000,
        "ss": 30_000,
        "st": 1000,
        "hb": 500,
        "q": "others",
        "ct": 2,
        "retry": {"i": 1000, "c": 3.0, "m": 9000, "a": 4, "n": ["Bad"]},
        "id": "mine",
        "summary": "what for",
    }
    assert to_start == (kinds.DEADLINE, 1, START_MS + 30_000, "", b"\x01", b"")
    assert to_close == (kinds.DEADLINE, 1, START_MS + 60_000, "", b"\x02", b"")


def test_the_queue_of_the_run_is_not_said() -> None:
    (command,) = calling("act", start_to_close_timeout=SECOND, task_queue="q").start()
    assert options_of(command) == {"st": 1000}


def test_a_local_activity_has_no_deadline_until_it_starts() -> None:
    async def code() -> None:
        await workflow.execute_local_activity(
            double, 1, schedule_to_start_timeout=SECOND, start_to_close_timeout=SECOND
        )

    (command,) = Driven(code, hosts_activity=lambda name: name == "double").start()
    assert options_of(command) == {"ss": 1000, "st": 1000, "local": True}


def test_a_local_activity_that_is_not_hosted_is_refused_before_it_is_asked_for() -> None:
    async def code() -> None:
        await workflow.execute_local_activity(double, 1, start_to_close_timeout=SECOND)

    hosted = Driven(code, hosts_activity=lambda _: True)
    hosted.start()
    assert hosted.replayed(hosts_activity=lambda _: False).is_open  # it was, when that was recorded
    lacking = Driven(code, activity_types=lambda: ["other"])
    with pytest.raises(UnknownActivityTypeError, match=r"double.*other"):
        lacking.start()


def test_an_activity_is_numbered_among_activities() -> None:
    async def code() -> None:
        await workflow.sleep(1)
        first = workflow.start_activity("a", start_to_close_timeout=SECOND)
        named = workflow.start_activity("b", start_to_close_timeout=SECOND, activity_id="mine")
        third = workflow.start_activity("c", schedule_to_close_timeout=SECOND)
        assert [each.activity_id for each in (first, named, third)] == ["1", "mine", "3"]
        assert [each.activity_type for each in (first, named, third)] == ["a", "b", "c"]

    run = Driven(code)
    run.start()
    commands = [each for each in run.give(fired(1)) if each[0] == kinds.ACTIVITY]
    assert [(each[1], options_of(each).get("id")) for each in commands] == [
        (2, "1"),
        (3, "mine"),
        (4, "3"),
    ]


def test_an_activity_is_named_by_function_method_class_or_text() -> None:
    async def code() -> None:
        timeout = {"start_to_close_timeout": SECOND}
        workflow.start_activity(double, 1, **timeout)
        workflow.start_activity_method(Doubler.double, 1, **timeout)
        workflow.start_activity_class(Double, 1, **timeout)
        workflow.start_activity("text", **timeout)
        workflow.start_local_activity(double, 1, **timeout)
        workflow.start_local_activity_method(Doubler.double, 1, **timeout)
        workflow.start_local_activity_class(Double, 1, **timeout)
        with pytest.raises(ValueError, match="dynamic activity"):
            workflow.start_activity(anything, **timeout)

    commands = Driven(code, hosts_activity=lambda _: True).start()[:-1]
    names = ["double", "double by method", "double by class"]
    assert [each[3] for each in commands] == [*names, "text", *names]


@pytest.mark.parametrize(
    ("form", "target"),
    [
        (workflow.execute_activity, double),
        (workflow.execute_activity_method, Doubler.double),
        (workflow.execute_activity_class, Double),
        (workflow.execute_local_activity, double),
        (workflow.execute_local_activity_method, Doubler.double),
        (workflow.execute_local_activity_class, Double),
    ],
)
def test_each_form_of_execute_awaits_the_result(form: Any, target: Any) -> None:
    async def code() -> int:
        return await form(target, 1, start_to_close_timeout=SECOND)

    run = Driven(code, hosts_activity=lambda _: True)
    run.start()
    run.give(completed(1, 2))
    assert run.outcome() == 2


def test_the_same_call_again_is_the_same_command() -> None:
    """The second one is looked up, with one argument, several or none."""

    async def code() -> None:
        options: Any = {"start_to_close_timeout": SECOND, "result_type": int}
        for _ in range(2):
            await workflow.execute_activity("same call", 1, **options)
        for _ in range(2):
            await workflow.execute_activity("same call", **options)
        for _ in range(2):
            await workflow.execute_activity("same call", args=[1, 2], **options)
        await workflow.execute_activity("same call", 1, **options, activity_id="mine")
        await workflow.execute_activity("same call", 1, **options, task_queue="q")

    run = Driven(code)
    commands = run.start()
    for seq in range(1, 8):
        commands += run.give(completed(seq, 1))
    bodies = [values(1)] * 2 + [values()] * 2 + [values(1, 2)] * 2 + [values(1)] * 2
    assert [each[5] for each in commands] == bodies
    plain = {"st": 1000}
    assert [options_of(each) for each in commands] == [
        *[plain] * 6,
        {**plain, "id": "mine"},
        plain,
    ]


def test_options_that_are_not_hashable_are_read_all_the_same() -> None:
    run = calling("act", start_to_close_timeout=1, result_type=list[Any])
    run.start()
    run.give(completed(1, [1]))
    assert run.outcome() == [1]
    odd = activity_options.__wrapped__("act", {}, None, None, None, 1, None, 0, False)
    assert odd.result_hints == [{}]


def test_what_is_no_duration_is_named() -> None:
    unhashable: Any = []
    with pytest.raises(InvalidArgumentError, match=r"activity 'act': start_to_close_timeout"):
        calling("act", start_to_close_timeout=unhashable).start()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, ValueError, "start_to_close_timeout or schedule_to_close_timeout"),
        ({"start_to_close_timeout": -1}, InvalidArgumentError, "start_to_close_timeout"),
        ({"start_to_close_timeout": 1, "heartbeat_timeout": -1}, InvalidArgumentError, "heartbeat"),
        ({"start_to_close_timeout": 1, "task_queue": ""}, InvalidArgumentError, "task queue"),
        ({"start_to_close_timeout": 1, "activity_id": "\0"}, InvalidArgumentError, "activity id"),
        ({"start_to_close_timeout": 1, "summary": 3}, InvalidArgumentError, "summary"),
        (
            {"start_to_close_timeout": 1, "priority": Priority(priority_key=1)},
            UnsupportedOptionError,
            "priority_key",
        ),
        (
            {"start_to_close_timeout": 1, "retry_policy": RetryPolicy(maximum_attempts=-1)},
            InvalidArgumentError,
            "retry policy",
        ),
        ({"start_to_close_timeout": 1, "args": [1]}, ValueError, "both|arg and args"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_asked_for(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    async def code() -> None:
        with pytest.raises(error, match=text):
            workflow.start_activity("act", 1, **options)

    assert shown(Driven(code).start()) == [("COMPLETE", 0, "")]


def test_what_can_not_be_converted_uses_up_no_number() -> None:
    async def code() -> None:
        with pytest.raises(ConversionError, match="arguments of activity 'act'"):
            workflow.start_activity("act", object(), start_to_close_timeout=SECOND)
        workflow.start_activity("act", 1, start_to_close_timeout=SECOND)

    (command, _) = Driven(code).start()
    assert (command[1], options_of(command)) == (1, {"st": 1000})


def test_arguments_and_options_beyond_the_limit_are_refused() -> None:
    async def code() -> None:
        with pytest.raises(PayloadTooLargeError, match="arguments of activity 'act'"):
            workflow.start_activity("act", "x" * 200, start_to_close_timeout=SECOND)
        with pytest.raises(PayloadTooLargeError, match="options of activity 'act'"):
            workflow.start_activity("act", start_to_close_timeout=SECOND, summary="x" * 200)

    assert shown(Driven(code, payload_limit=100).start()) == [("COMPLETE", 0, "")]


def test_a_result_is_read_as_the_function_says() -> None:
    async def code() -> Any:
        return await workflow.execute_activity(double, 1, start_to_close_timeout=SECOND)

    run = Driven(code)
    run.start()
    with pytest.raises(ConversionError, match="result of activity 'double'"):
        run.give(completed(1, "no number"))


def test_a_result_without_values_is_none() -> None:
    run = calling("act", start_to_close_timeout=SECOND)
    run.start()
    run.give((kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", values()))
    assert run.outcome() is None


def failure_of(run: Driven, *jobs: Any) -> ActivityError:
    run.start()
    run.give(*jobs)
    with pytest.raises(ActivityError) as raised:
        run.outcome()
    return raised.value


def test_a_failed_activity_says_which_and_why() -> None:
    error = failure_of(
        calling("act", start_to_close_timeout=SECOND, activity_id="mine"),
        failed(1, ApplicationError("broken", type="Bad"), "MAXIMUM_ATTEMPTS_REACHED"),
    )
    assert str(error) == "Activity task failed"
    assert (error.activity_type, error.activity_id) == ("act", "mine")
    assert (error.scheduled_event_id, error.started_event_id) == (1, 1)
    assert error.retry_state is RetryState.MAXIMUM_ATTEMPTS_REACHED
    cause = error.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.type) == ("broken", "Bad")


def test_the_worker_that_failed_an_activity_is_named() -> None:
    kind, seq, number, name, _, body = failed(1, ApplicationError("broken"))
    event = (kind, seq, number, name, b'{"identity":"worker 7"}', body)
    error = failure_of(calling("act", start_to_close_timeout=SECOND), event)
    assert error.identity == "worker 7"
    assert error.retry_state is None  # it has not said


@pytest.mark.parametrize(
    ("purpose", "type_", "shown_as"),
    [
        (1, TimeoutType.SCHEDULE_TO_START, "ScheduleToStart"),
        (2, TimeoutType.SCHEDULE_TO_CLOSE, "ScheduleToClose"),
    ],
)
def test_a_deadline_that_passes_is_a_timeout(
    purpose: int, type_: TimeoutType, shown_as: str
) -> None:
    last = ApplicationError("what went wrong before")
    error = failure_of(
        calling("act", schedule_to_close_timeout=5, schedule_to_start_timeout=2),
        timed_out(1, purpose, last),
    )
    assert error.retry_state is RetryState.TIMEOUT
    assert str(error) == "Activity task timed out"
    cause = error.cause
    assert isinstance(cause, TimeoutError)
    assert cause.type is type_
    assert str(cause) == f"activity {shown_as} timeout"
    assert str(cause.cause) == "what went wrong before"


def test_a_deadline_without_an_attempt_before_has_no_cause() -> None:
    error = failure_of(calling("act", schedule_to_close_timeout=5), timed_out(1, 2))
    assert error.cause is not None
    assert error.cause.__cause__ is None


def local_run() -> Driven:
    async def code() -> None:
        await workflow.execute_local_activity("act", start_to_close_timeout=SECOND)

    return Driven(code, hosts_activity=lambda _: True)


def test_a_local_activity_fails_with_its_own_error() -> None:
    run = local_run()
    run.start()
    run.give(failed(1, ApplicationError("broken")))
    with pytest.raises(ApplicationError, match="broken"):
        run.outcome()


def test_a_local_activity_that_times_out_or_is_cancelled_says_that_it_was_local() -> None:
    late = TimeoutError("late", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])
    assert str(failure_of(local_run(), failed(1, late))) == "Local Activity timed out"
    stopped = canceled(1, CancelledError("stopped"))
    assert str(failure_of(local_run(), stopped)) == "Local Activity cancelled"


def test_an_activity_that_was_cancelled_from_outside_is_a_cancellation() -> None:
    run = calling("act", start_to_close_timeout=SECOND)
    error = failure_of(run, canceled(1, CancelledError("stopped")))
    assert str(error) == "Activity cancelled"
    assert error.retry_state is RetryState.CANCEL_REQUESTED
    assert isinstance(error.cause, CancelledError)


def test_an_outcome_that_nobody_waits_for_any_more_changes_nothing() -> None:
    async def code() -> str:
        handle = workflow.start_activity("act", start_to_close_timeout=SECOND)
        await workflow.sleep(1)
        handle.cancel()
        await workflow.sleep(1)
        return "went on"

    run = Driven(code)
    run.start()
    assert shown(run.give(fired(2)))[0] == ("CANCEL_ACTIVITY", 1, "")
    assert run.give(completed(1, "too late")) == []
    run.give(fired(3))
    assert run.outcome() == "went on"


def test_results_in_one_activation_are_given_in_their_order() -> None:
    seen: list[int] = []

    async def one(number: int) -> None:
        options: Any = {"start_to_close_timeout": SECOND}
        seen.append(await workflow.execute_activity("act", number, **options))

    async def code() -> None:
        await asyncio.gather(*(one(number) for number in range(1, 4)))

    run = Driven(code)
    run.start()
    run.give(completed(3, 3), completed(1, 1), completed(2, 2))
    assert seen == [3, 1, 2]


def test_calls_that_differ_each_time_are_not_remembered_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_activities, "OPTIONS_REMEMBERED_MAX", 3)

    async def code() -> None:
        for number in range(1, 9):
            await workflow.execute_activity(f"call {number}", 1, start_to_close_timeout=SECOND)

    run = Driven(code)
    run.start()
    for seq in range(1, 9):
        run.give(completed(seq))
    assert run.outcome() is None
    assert len(_activities._known_calls) <= 3


def test_an_attempt_says_which_it_is() -> None:
    origin = TaskOrigin("n", "w", "T", "q")
    task = ActivityTask(b"r" * 16, 3, 64, "act", {}, b"", START_MS, origin, attempt=2)
    assert task.key == (b"r" * 16, 3, 2)
    assert task.log_fields() == {
        "activity_id": "3",
        "activity_type": "act",
        "attempt": 2,
        "namespace": "n",
        "task_queue": "q",
        "workflow_id": "w",
        "run_id": wire.run_id_text(b"r" * 16),
        "workflow_type": "T",
    }
    task.options["id"] = "mine"
    assert task.log_fields()["activity_id"] == "mine"
