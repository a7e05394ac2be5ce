"""What callers of the face write, turned into what the SDK takes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hotmesh.common import RetryPolicy
from hotmesh.duration import seconds
from hotmesh.engine.options import retry_document
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.meshflow._keywords import unknown
from hotmesh.printing import shown

DEFAULT = "default"
"""Namespace and task queue of those who name none."""

_INTERVALS = ("initial_interval", "maximum_interval")
_RETRY_KEYS = {
    *_INTERVALS,
    "backoff_coefficient",
    "maximum_attempts",
    "non_retryable_error_types",
}


def retry_policy(options: RetryPolicy | Mapping[str, Any] | None, what: str) -> RetryPolicy | None:
    """A retry policy from its options; intervals are durations. None stays None.

    Raises:
        InvalidArgumentError: An option is unknown or not acceptable; names it.
    """
    if options is None:
        return None
    if isinstance(options, RetryPolicy):
        policy = options
    else:
        checked_keys(options, _RETRY_KEYS, what)
        values = dict(options)
        for name in _INTERVALS:
            if values.get(name) is not None:
                values[name] = timedelta(seconds=seconds(values[name], f"{what}: {name}"))
        policy = RetryPolicy(**values)
    retry_document(policy, what)  # Says what is wrong with it, here and not in the workflow.
    return policy


def searchable(search: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The names and values that a run's record starts with, from ``{"data": {…}}``.

    Raises:
        InvalidArgumentError: It has another shape.
    """
    if search is None:
        return None
    checked_keys(search, {"data"}, "search")
    data = search.get("data", {})
    if not isinstance(data, Mapping):
        raise InvalidArgumentError(f"search: data must be a dict, not {type(data).__name__}")
    return data  # pyright: ignore[reportUnknownVariableType] - names and values are checked later


def checked_keys(given: Mapping[str, Any], known: set[str], what: str) -> None:
    """Refuse options that would otherwise be ignored without a word.

    Raises:
        InvalidArgumentError: naming them, or what was given in place of a dict.
    """
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(f"{what} must be a dict, not {shown(given)}")
    wrong = unknown(given, known)
    if wrong:
        raise InvalidArgumentError(f"{what}: {wrong}")
