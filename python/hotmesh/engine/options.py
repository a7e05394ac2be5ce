"""Durations, retry policies and validated names, as they travel in documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import Any, cast

from hotmesh.common import Priority, RetryPolicy
from hotmesh.exceptions import InvalidArgumentError, UnsupportedOptionError
from hotmesh.limits import DURATION_SECONDS_MAX, KEPT_SECONDS_MAX, NAME_BYTES_MAX
from hotmesh.printing import shown

Duration = timedelta | float | int
"""A timedelta, or a number of seconds."""


def milliseconds(value: Duration | None, what: str) -> int | None:
    """A duration in whole milliseconds, rounded up; None stays None.

    Raises:
        InvalidArgumentError: it is negative or no duration.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
        seconds = value
    else:
        raise InvalidArgumentError(f"{what} must be a timedelta or seconds, not {shown(value)}")
    if not 0 <= seconds < DURATION_SECONDS_MAX:
        raise InvalidArgumentError(f"{what} must not be negative or endless, but is {value!r}")
    whole = round(seconds * 1000)
    return whole if whole or not seconds else 1


def kept_seconds(expire: Duration | None, what: str) -> int | None:
    """How long a closed workflow is kept, in whole seconds, rounded up; None stays None.

    Raises:
        InvalidArgumentError: it is negative or no duration.
    """
    whole = milliseconds(expire, what)
    return None if whole is None else min(-(-whole // 1000), KEPT_SECONDS_MAX)


def refuse_cron(cron_schedule: str, what: str) -> None:
    """Refuse a cron schedule: starting the workflow once would be worse than not at all.

    Raises:
        UnsupportedOptionError: there is one.
    """
    if cron_schedule:
        advice = "let a workflow that sleeps and continues as new start the work"
        raise UnsupportedOptionError("cron_schedule", what, advice)


def refuse_priority(priority: Priority | None, what: str) -> None:
    """Refuse a priority that says something: nothing would go first because of it.

    Raises:
        UnsupportedOptionError: names the field that is set.
    """
    if priority is None or priority == Priority.default:
        return
    set_one = next(f.name for f in fields(priority) if getattr(priority, f.name) is not None)
    advice = "work of one task queue is done in the order in which it came: use another task queue"
    raise UnsupportedOptionError(f"priority.{set_one}", what, advice)


def checked_text(value: object, what: str) -> str:
    """Text for people, of any length.

    Raises:
        InvalidArgumentError: it is no text.
    """
    text = _plain_text(value, what)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{what} is not valid Unicode text: {shown(text)}") from error
    return text


def _plain_text(value: object, what: str) -> str:
    """The text itself: a subclass of str may do anything in its methods."""
    if not issubclass(type(value), str):  # what an object says of its class may be anything
        raise InvalidArgumentError(f"{what} must be text, not {type(value).__name__}")
    return str.__str__(cast("str", value))


def checked_name(value: object, what: str) -> str:
    """A usable id or name.

    Raises:
        InvalidArgumentError: it is no text, empty, holds NUL, or is longer than
            ``NAME_BYTES_MAX`` bytes.
    """
    if type(value) is str:
        if value.isascii() and 0 < len(value) <= NAME_BYTES_MAX and "\0" not in value:
            return value  # as nearly all are
    else:
        value = _plain_text(value, what)
    if not value:
        raise InvalidArgumentError(f"{what} must not be empty")
    if "\0" in value:
        raise InvalidArgumentError(f"{what} {value!r} holds a NUL character")
    try:
        size = len(value) if value.isascii() else len(value.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{what} {value!r} is not valid Unicode text") from error
    if size > NAME_BYTES_MAX:
        raise InvalidArgumentError(
            f"{what} is {size} bytes long, the limit is {NAME_BYTES_MAX}: {value[:60]!r}…"
        )
    return value


def retry_document(policy: RetryPolicy | None, what: str) -> dict[str, Any] | None:
    """A retry policy as a document (only what differs from the default); None stays None.

    Raises:
        InvalidArgumentError: the policy contradicts itself.
    """
    if policy is None:
        return None
    if not isinstance(policy, RetryPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(
            f"{what}: retry_policy must be a RetryPolicy, not {shown(policy)}"
        )
    try:
        policy.validate()
    except ValueError as error:
        raise InvalidArgumentError(f"{what}: invalid retry policy: {error}") from error
    document: dict[str, Any] = {
        "i": round(policy.initial_interval.total_seconds() * 1000),
        "c": policy.backoff_coefficient,
    }
    if policy.maximum_interval is not None:
        document["m"] = round(policy.maximum_interval.total_seconds() * 1000)
    if policy.maximum_attempts:
        document["a"] = policy.maximum_attempts
    if policy.non_retryable_error_types:
        document["n"] = list(policy.non_retryable_error_types)
    return document


def retry_policy(document: Mapping[str, Any] | None) -> RetryPolicy | None:
    """The policy of a document."""
    if document is None:
        return None
    maximum = document.get("m")
    return RetryPolicy(
        initial_interval=timedelta(milliseconds=document["i"]),
        backoff_coefficient=document["c"],
        maximum_interval=None if maximum is None else timedelta(milliseconds=maximum),
        maximum_attempts=document.get("a", 0),
        non_retryable_error_types=document.get("n") or None,
    )
