"""Exception groups: what they come to wherever an exception is judged.

A group is what remains when several things fail at once, in an ``asyncio.TaskGroup`` for one. It is
judged by its members, those of groups within it included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from hotmesh.exceptions import (
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ServerError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    leaves,
    members_of,
)

__all__ = [
    "all_of",
    "any_of",
    "is_benign",
    "is_interruption",
    "is_non_retryable",
    "leaves",
    "members_of",
    "remaining",
    "requested_delay",
    "type_names",
]


def all_of(error: BaseException, holds: Callable[[BaseException], bool]) -> bool:
    """Whether something holds for an error: of a group, for each of its members."""
    return all(map(holds, leaves(error)))


def any_of(error: BaseException, holds: Callable[[BaseException], bool]) -> bool:
    """Whether something holds for an error: of a group, for one of its members."""
    return any(map(holds, leaves(error)))


def remaining(error: BaseException) -> list[BaseException]:
    """What is left of a group without its cancelled members; all of it if nothing else is in it."""
    found = leaves(error)
    return [each for each in found if not is_interruption(each)] or found


def is_interruption(error: BaseException) -> bool:
    """Whether an error says that its raiser was cancelled, not what it called."""
    return all_of(error, lambda each: isinstance(each, asyncio.CancelledError | CancelledError))


def is_non_retryable(error: BaseException) -> bool:
    """Whether an error forbids retries by itself: of a group, whether a member does.

    A stored group has that for itself too, since not all of its members may have been kept.
    """
    return any(
        isinstance(each, ApplicationError | ServerError) and each.non_retryable
        for each in (error, *leaves(error))
    )


def requested_delay(error: BaseException) -> timedelta | None:
    """The pause before the next attempt that an error asks for: of a group, the longest one."""
    asked = [
        each.next_retry_delay
        for each in (error, *leaves(error))
        if isinstance(each, ApplicationError) and isinstance(each.next_retry_delay, timedelta)
    ]
    return max(asked, default=None)


def is_benign(error: BaseException) -> bool:
    """Whether an error is expected: of a group, whether each member is."""
    return all_of(
        error,
        lambda each: (
            isinstance(each, ApplicationError) and each.category is ApplicationErrorCategory.BENIGN
        ),
    )


def type_names(error: BaseException) -> set[str]:
    """What retry policies may name an error by: of a group, its own and its members' types."""
    names: set[str] = set()
    for each in (error, *leaves(error)):
        if isinstance(each, ApplicationError):
            names.add(each.type or "")
        elif not isinstance(each, TimeoutError | ServerError):
            names.add(type(each).__name__)
    return names
