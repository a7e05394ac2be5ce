"""What a worker's numbers must be, checked before anything is started."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any

from hotmesh.activity import ActivityDefinition
from hotmesh.engine.options import milliseconds
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.limits import LEASE_MS_MAX, LEASE_MS_MIN


def check_declared(activity: Callable[..., Any]) -> None:
    """Refuse an activity that was not declared with ``activity.defn``.

    Raises:
        TypeError: It was not.
    """
    if not ActivityDefinition.is_declared(activity):
        raise TypeError(
            f"Activity {getattr(activity, '__qualname__', activity)!s} missing attributes, was it "
            "decorated with @activity.defn?"
        )


def warn_of_few_threads(executor: Executor | None, activities_max: int) -> None:
    """Warn that an executor runs fewer activities at a time than the worker takes on."""
    workers_max: object = getattr(executor, "_max_workers", None)
    if isinstance(workers_max, int) and workers_max < activities_max:
        warnings.warn(
            f"Worker max_concurrent_activities is {activities_max} but activity_executor's "
            f"max_workers is only {workers_max}",
            stacklevel=3,
        )


def checked_count(value: object, least: int, what: str) -> None:
    """Refuse what is no whole number, or too small.

    Raises:
        InvalidArgumentError: It is; names the option.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgumentError(
            f"{what} must be a whole number of {least} or more, not {value!r}"
        )


def lease_milliseconds(lease: timedelta | float) -> int:
    """A lease in milliseconds.

    Raises:
        InvalidArgumentError: It is too short or too long, or no duration.
    """
    lease_ms = milliseconds(lease, "lease")
    if lease_ms is None or not LEASE_MS_MIN <= lease_ms <= LEASE_MS_MAX:
        raise InvalidArgumentError(
            f"lease must be at least {LEASE_MS_MIN / 1000:g} s and at most "
            f"{LEASE_MS_MAX / 1000:g} s, but is {lease!r}"
        )
    return lease_ms


def deadlock_seconds(timeout: timedelta | float | None) -> float:
    """How long workflow code may block; 0 where nobody watches.

    Raises:
        InvalidArgumentError: It is negative, endless, or no duration.
    """
    return (milliseconds(timeout, "deadlock_timeout") or 0) / 1000
