"""Durations as people write them: numbers of seconds, timedeltas, or text such as '5 seconds'."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any, cast

import pytimeparse2

from hotmesh.exceptions import InvalidArgumentError

Duration = float | str | timedelta
"""Seconds, a timedelta, or text such as ``'5 seconds'``, ``'2 minutes'``, ``'1h 30m'``."""


def seconds(value: Duration, what: str = "duration") -> float:
    """A duration in seconds.

    Args:
        value: Seconds, a timedelta, or text: numbers with units from weeks (``w``) down to
            milliseconds (``ms``), or a clock time such as ``1:30``. Text without a unit is seconds.
        what: What the duration is for; named in the error.

    Raises:
        InvalidArgumentError: It is negative, endless, or nothing that can be read as a duration.
    """
    given = cast("Any", value)
    if isinstance(given, timedelta):
        number = given.total_seconds()
    elif isinstance(given, str):
        number = _parsed(given, what)
    elif isinstance(given, int | float) and not isinstance(given, bool):
        number = float(given)
    else:
        raise InvalidArgumentError(
            f"{what} must be seconds, a timedelta, or text such as '5 seconds', not {given!r}"
        )
    if not 0 <= number < math.inf:
        raise InvalidArgumentError(f"{what} must not be negative or endless, but is {given!r}")
    return number


def _parsed(text: str, what: str) -> float:
    number: Any = pytimeparse2.parse(text)  # None for text it can't read.
    if isinstance(number, int | float):
        return float(number)
    raise InvalidArgumentError(
        f"{what} {text!r} can't be read. Write it like '5 seconds', '2 minutes', '1h 30m', "
        "or give a number of seconds"
    )
