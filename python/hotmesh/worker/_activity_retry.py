"""Whether a failed attempt of an activity is made again, and when. Pure: the clock is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hotmesh.exceptions import (
    CancelledError,
    RetryState,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
)
from hotmesh.groups import is_non_retryable, remaining, requested_delay, type_names

INITIAL_MS_DEFAULT = 1_000
COEFFICIENT_DEFAULT = 2.0
MAXIMUM_INTERVAL_FACTOR = 100
"""The longest delay is this many times the first, unless the policy says another."""

_RETRIED_TIMEOUTS = (TimeoutType.START_TO_CLOSE, TimeoutType.HEARTBEAT)


def retry_decision(
    options: Mapping[str, Any],
    attempt: int,
    failure: BaseException,
    scheduled_ms: int,
    now_ms: int,
    *,
    cancel_requested: bool = False,
) -> int | RetryState:
    """Decide what follows a failed attempt.

    Args:
        options: The activity's options; ``retry`` is its policy, ``sc`` its schedule-to-close
            timeout in ms.
        attempt: Number of the attempt that failed, 1 for the first.
        failure: What it failed with.
        scheduled_ms: When the workflow scheduled the activity.
        now_ms: The present.
        cancel_requested: Whether the workflow asked the activity to stop.

    Returns:
        The delay in ms before the next attempt; or, as a :class:`RetryState`, why there is none.
    """
    policy: Mapping[str, Any] = options.get("retry") or {}
    if cancel_requested:
        return RetryState.CANCEL_REQUESTED
    if not _is_retryable(failure, policy.get("n") or ()):
        return RetryState.NON_RETRYABLE_FAILURE
    attempts_max: int = policy.get("a") or 0
    if attempts_max and attempt >= attempts_max:
        return RetryState.MAXIMUM_ATTEMPTS_REACHED
    delay_ms = _requested_delay_ms(failure)
    if delay_ms is None:
        delay_ms = backoff_ms(policy, attempt)
    budget_ms: int = options.get("sc") or 0
    if budget_ms and now_ms + delay_ms >= scheduled_ms + budget_ms:
        return RetryState.TIMEOUT
    return delay_ms


def backoff_ms(policy: Mapping[str, Any], attempt: int) -> int:
    """The policy's delay in ms after an attempt, 1 for the first."""
    initial = policy.get("i", INITIAL_MS_DEFAULT)
    ceiling = policy.get("m") or initial * MAXIMUM_INTERVAL_FACTOR
    try:
        delay = initial * policy.get("c", COEFFICIENT_DEFAULT) ** (attempt - 1)
    except OverflowError:  # Past the ceiling long ago.
        return int(ceiling)
    return int(min(delay, ceiling))


def _is_retryable(failure: BaseException, non_retryable_types: list[str] | tuple[()]) -> bool:
    """A group is retryable if what remains of it is, and none of their types nor its own named."""
    if is_non_retryable(failure) or not all(map(_may_be_retried, remaining(failure))):
        return False
    return not non_retryable_types or type_names(failure).isdisjoint(non_retryable_types)


def _may_be_retried(failure: BaseException) -> bool:
    if isinstance(failure, TimeoutError):
        return failure.type in _RETRIED_TIMEOUTS
    # A CancelledError of asyncio that nobody asked for, a stray task's, is an error like others.
    return not isinstance(failure, CancelledError | TerminatedError)


def _requested_delay_ms(failure: BaseException) -> int | None:
    """The delay that the failure itself asks for, if it does."""
    delay = requested_delay(failure)
    return None if delay is None else max(0, delay // timedelta(milliseconds=1))
