"""Durations as people write them."""

from datetime import timedelta
from typing import Any

import pytest

from hotmesh.duration import seconds
from hotmesh.exceptions import InvalidArgumentError


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5 seconds", 5),
        ("2 minutes", 120),
        ("1h", 3600),
        ("1h 30m", 5400),
        ("1 hour, 30 minutes", 5400),
        ("1:30", 90),
        ("500ms", 0.5),
        ("1.5 s", 1.5),
        ("1 day", 86_400),
        ("1 week", 604_800),
        ("7", 7),
        ("0s", 0),
        (5, 5),
        (0, 0),
        (0.25, 0.25),
        (timedelta(minutes=2, milliseconds=1), 120.001),
    ],
)
def test_durations_are_seconds(value: Any, expected: float) -> None:
    found = seconds(value)
    assert found == expected
    assert type(found) is float


@pytest.mark.parametrize("text", ["", "soon", "5 apples", "5 seconds!", "nan", "inf", "one hour"])
def test_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"timeout .* can't be read"):
        seconds(text, "timeout")


@pytest.mark.parametrize(
    "value", [-1, -0.001, float("inf"), float("nan"), "-5s", timedelta(seconds=-1)]
)
def test_negative_and_endless_durations_are_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="sleep_for must not be negative or endless"):
        seconds(value, "sleep_for")


@pytest.mark.parametrize("value", [None, True, [5], b"5s", {"seconds": 5}])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="duration must be seconds, a timedelta"):
        seconds(value)
