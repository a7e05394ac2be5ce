"""Whether, and when, a failed attempt is made again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
)
from hotmesh.worker._activity_retry import backoff_ms, retry_decision


def decide(
    failure: BaseException, *, attempt: int = 1, elapsed_ms: int = 0, **options: Any
) -> int | RetryState:
    return retry_decision(options, attempt, failure, 1_000, 1_000 + elapsed_ms)


def timeout(kind: TimeoutType) -> TimeoutError:
    return TimeoutError("timeout", type=kind, last_heartbeat_details=[])


@pytest.mark.parametrize(
    ("attempt", "delay_ms"), [(1, 1_000), (2, 2_000), (4, 8_000), (8, 100_000), (5_000, 100_000)]
)
def test_the_default_policy_doubles_up_to_a_hundred_times_the_first_delay(
    attempt: int, delay_ms: int
) -> None:
    assert decide(ValueError(), attempt=attempt) == delay_ms


def test_a_policy_sets_delays() -> None:
    policy = {"i": 10, "c": 3.0, "m": 80}
    assert [decide(ValueError(), attempt=n, retry=policy) for n in (1, 2, 3)] == [10, 30, 80]


@pytest.mark.parametrize(
    ("failure", "retried"),
    [
        (ValueError(), True),
        (KeyError(), False),
        (ApplicationError("x", type="Fine"), True),
        (ApplicationError("x", type="KeyError"), False),
        (ApplicationError("x", non_retryable=True), False),
        (timeout(TimeoutType.START_TO_CLOSE), True),
        (timeout(TimeoutType.HEARTBEAT), True),
        (timeout(TimeoutType.SCHEDULE_TO_CLOSE), False),
        (timeout(TimeoutType.SCHEDULE_TO_START), False),
        (ServerError("x"), True),
        (ServerError("x", non_retryable=True), False),
        (CancelledError(), False),
        (asyncio.CancelledError(), True),
        (ExceptionGroup("x", [ValueError(), ServerError("x")]), True),
        (BaseExceptionGroup("x", [asyncio.CancelledError(), ValueError()]), True),
        (ExceptionGroup("x", [ValueError(), CancelledError()]), True),
        (ExceptionGroup("x", [ValueError(), ExceptionGroup("y", [KeyError()])]), False),
        (ExceptionGroup("x", [ValueError(), ApplicationError("x", non_retryable=True)]), False),
        (ExceptionGroup("x", [ValueError(), timeout(TimeoutType.SCHEDULE_TO_START)]), False),
        (ExceptionGroup("x", [CancelledError()]), False),
        (TerminatedError("x"), False),
    ],
)
def test_what_is_retried(failure: BaseException, retried: bool) -> None:
    found = decide(failure, retry={"i": 10, "c": 1.0, "n": ["KeyError"]})
    assert found == (10 if retried else RetryState.NON_RETRYABLE_FAILURE)
    assert isinstance(found, RetryState) is not retried


def test_attempts_run_out() -> None:
    policy = {"i": 10, "c": 1.0, "a": 3}
    assert decide(ValueError(), attempt=2, retry=policy) == 10
    found = decide(ValueError(), attempt=3, retry=policy)
    assert found is RetryState.MAXIMUM_ATTEMPTS_REACHED


def test_a_failure_may_ask_for_its_own_delay() -> None:
    failure = ApplicationError("x", next_retry_delay=timedelta(seconds=7))
    assert decide(failure, attempt=5) == 7_000
    assert decide(failure, attempt=5, sc=6_000) is RetryState.TIMEOUT


def test_no_attempt_is_planned_beyond_schedule_to_close() -> None:
    assert decide(ValueError(), elapsed_ms=1_999, sc=3_000) == 1_000
    assert decide(ValueError(), elapsed_ms=2_000, sc=3_000) is RetryState.TIMEOUT


def test_a_requested_cancellation_ends_retries() -> None:
    found = retry_decision({}, 1, ValueError(), 0, 0, cancel_requested=True)
    assert found is RetryState.CANCEL_REQUESTED


@given(
    initial=st.integers(1, 10**7),
    coefficient=st.floats(1, 10),
    maximum=st.integers(0, 10**9),
    attempt=st.integers(1, 10**4),
)
def test_delays_never_shrink_nor_pass_the_ceiling(
    initial: int, coefficient: float, maximum: int, attempt: int
) -> None:
    policy = {"i": initial, "c": coefficient, "m": maximum}
    delay, following = backoff_ms(policy, attempt), backoff_ms(policy, attempt + 1)
    assert 0 < delay <= following <= (maximum or initial * 100)
