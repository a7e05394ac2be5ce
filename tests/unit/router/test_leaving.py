"""Lanes that are to go are left unread for a moment, and read while something takes long there."""

from __future__ import annotations

import pytest

from hotmesh.router import leaving
from hotmesh.router.leaving import PATIENCE_S, Leaving
from unit.router.miniature import Time

LANE, OTHER = 70, 71
FIRST, SECOND = (b"1" * 16, 0), (b"2" * 16, 0)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(leaving, "time", clock)
    return clock


def inflight(*keys: tuple[bytes, int], lane: int = LANE) -> dict[tuple[bytes, int], int]:
    return dict.fromkeys(keys, lane)


def looked(lanes: Leaving, in_hand: dict[tuple[bytes, int], int]) -> tuple[list[int], list[int]]:
    read, begun = lanes.look(in_hand)
    return list(read), begun


def test_a_lane_is_read_once_something_takes_long_there(time: Time) -> None:
    lanes = Leaving()
    lanes.add([LANE, OTHER])
    assert looked(lanes, inflight(FIRST)) == ([], [])
    time.seconds += PATIENCE_S
    assert looked(lanes, inflight(FIRST)) == ([LANE], [LANE])
    assert looked(lanes, inflight(FIRST, SECOND)) == ([LANE], [])
    assert looked(lanes, {}) == ([], [])


def test_a_lane_is_read_at_once_where_a_run_can_not_end_before(time: Time) -> None:
    """Its end is refused, again and again, until it has seen what is in the lane."""
    lanes = Leaving()
    lanes.add([LANE])
    assert lanes.look(inflight(FIRST), [SECOND[0]]) == ({}, [])
    read, begun = lanes.look(inflight(FIRST, SECOND), [SECOND[0]])
    assert (list(read), begun) == ([LANE], [LANE])
    assert looked(lanes, inflight(FIRST, SECOND)) == ([LANE], [])
    assert looked(lanes, {}) == ([], [])


def test_saying_it_again_does_not_begin_the_wait_anew(time: Time) -> None:
    lanes = Leaving()
    lanes.add([LANE])
    time.seconds += PATIENCE_S
    lanes.add([LANE])
    assert looked(lanes, inflight(FIRST)) == ([LANE], [LANE])


def test_what_began_while_a_lane_was_read_does_not_keep_it(time: Time) -> None:
    lanes = Leaving()
    lanes.add([LANE])
    time.seconds += PATIENCE_S
    lanes.look(inflight(FIRST))
    assert looked(lanes, inflight(SECOND)) == ([], [])  # it has its half second to end
    time.seconds += PATIENCE_S
    assert looked(lanes, inflight(SECOND)) == ([LANE], [LANE])


def test_of_lanes_that_are_gone_nothing_is_known(time: Time) -> None:
    lanes = Leaving()
    lanes.add([LANE, OTHER])
    time.seconds += PATIENCE_S
    lanes.look(inflight(FIRST))
    lanes.keep([OTHER])
    assert list(lanes) == [OTHER]
    assert looked(lanes, inflight(FIRST)) == ([], [])
    lanes.drop([OTHER])
    assert not lanes
