"""Pauses grow, calls are repeated for a while, and a trouble is told of now and then."""

import logging

import pytest

from hotmesh.exceptions import BackendUnavailableError
from hotmesh.retrying import (
    COMPLAINT_GAP_MAX_S,
    TROUBLE_END_S,
    Backoff,
    Complaints,
    at_once,
    persistently,
)

_log = logging.getLogger("hotmesh.test")


class Away:
    """A call that fails some times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise BackendUnavailableError(f"away {self.calls}")
        return self.calls


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_pauses_grow_up_to_a_limit() -> None:
    backoff = Backoff(1.0, 4.0)
    pauses = [backoff.next_s() for _ in range(4)]
    for pause, full in zip(pauses, (1.0, 2.0, 4.0, 4.0), strict=True):
        assert full / 2 <= pause <= full
    backoff.reset()
    assert backoff.next_s() <= 1.0


async def test_a_call_is_repeated_until_it_succeeds() -> None:
    assert await persistently(Away(2)) == 3


async def test_patience_ends() -> None:
    call = Away(1_000)
    with pytest.raises(BackendUnavailableError, match="away"):
        await persistently(call, patience_s=0.0)
    assert call.calls == 1


async def test_at_once_means_a_number_of_times() -> None:
    assert await at_once(Away(1), 2) == 2
    with pytest.raises(BackendUnavailableError, match="away 2"):
        await at_once(Away(2), 2)


def test_a_trouble_that_lasts_is_told_of_at_most_once_a_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    complaints = Complaints(clock)
    with caplog.at_level(logging.WARNING):
        for _ in range(480):  # a minute, eight times a second
            complaints.complain(_log, "db", "away: %s", "full")
            clock.now_s += 0.125
    told = [record.message for record in caplog.records]
    assert told[0] == "away: full"
    assert told[1].startswith("away: full (7 times")
    assert 60 / COMPLAINT_GAP_MAX_S <= len(told) <= 10


def test_another_trouble_and_a_new_one_are_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    complaints = Complaints(clock)
    with caplog.at_level(logging.WARNING):
        complaints.complain(_log, "db", "away")
        complaints.complain(_log, "db", "away")
        complaints.complain(_log, "other", "away")
        clock.now_s += TROUBLE_END_S + 1
        complaints.complain(_log, "db", "away again")
    assert [record.message for record in caplog.records] == ["away", "away", "away again"]
