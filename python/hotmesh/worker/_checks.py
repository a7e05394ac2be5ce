"""What a worker's numbers must be, checked before anything is started."""

from __future__ import annotations

from datetime import timedelta

from hotmesh.engine.options import milliseconds
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.limits import LEASE_MS_MIN


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
        InvalidArgumentError: It is too short, or no duration.
    """
    lease_ms = milliseconds(lease, "lease")
    if lease_ms is None or lease_ms < LEASE_MS_MIN:
        raise InvalidArgumentError(
            f"lease must be at least {LEASE_MS_MIN / 1000:g} s, but is {lease!r}"
        )
    return lease_ms


def deadlock_seconds(timeout: timedelta | float | None) -> float:
    """How long workflow code may block; 0 where nobody watches.

    Raises:
        InvalidArgumentError: It is negative, endless, or no duration.
    """
    return (milliseconds(timeout, "deadlock_timeout") or 0) / 1000
