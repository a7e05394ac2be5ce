"""Runs whose ends the store refuses, for what their router has not read yet."""

from __future__ import annotations

import pytest

from hotmesh.backends.protocol import MessageRow
from hotmesh.limits import BATCH_BYTES_MAX
from hotmesh.router import refused_ends
from hotmesh.router.refused_ends import IN_VAIN_MAX, IN_VAIN_S, READS, RefusedEnds
from unit.router.miniature import Time

RUN, OTHER = b"r" * 16, b"o" * 16
ROOM = 10


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(refused_ends, "time", clock)
    return clock


def rows(run_id: bytes, count: int, size: int = 10) -> list[MessageRow]:
    return [
        MessageRow(number, 64, run_id, bytes(size), None, None, None, None, None)
        for number in range(count)
    ]


def gathered_for(*, bytes_max: int = 1_000_000) -> RefusedEnds:
    """One run is, which was refused twice."""
    ends = RefusedEnds(bytes_max)
    assert ends.refused([RUN]) == []
    assert not ends.gathering  # what has come meanwhile is mostly all there is
    assert ends.refused([RUN]) == []
    assert list(ends.gathering) == [RUN]
    assert ends.goes_on
    return ends


def test_it_waits_until_two_reads_that_nothing_fills() -> None:
    ends = gathered_for()
    for count in (ROOM, ROOM // 2, 1, ROOM, 1):
        assert ends.has_read(rows(RUN, count), ROOM) == []
    assert ends.has_read([], ROOM) == [RUN]
    assert not ends.gathering
    assert not ends.goes_on
    assert list(ends) == [RUN]  # and is given all of it


def test_a_step_that_large_messages_fill_is_full() -> None:
    ends = gathered_for()
    for _ in range(5):
        assert ends.has_read(rows(OTHER, 1, BATCH_BYTES_MAX), ROOM) == []


def test_a_step_that_read_nothing_says_nothing() -> None:
    ends = gathered_for()
    for _ in range(5):
        assert ends.has_read([], 0) == []
    assert not ends.goes_on  # nobody asks again and again meanwhile
    assert ends.has_read([], ROOM) == []
    assert ends.goes_on


def test_a_large_message_that_is_left_for_its_turn_is_waited_for() -> None:
    ends = gathered_for(bytes_max=2 * BATCH_BYTES_MAX)
    for _ in range(5):
        assert ends.has_read([], ROOM, large_waits=True) == []
        assert not ends.goes_on
    assert ends.has_read(rows(RUN, 1, BATCH_BYTES_MAX), ROOM) == []
    assert ends.has_read([], ROOM) == []
    assert ends.has_read([], ROOM) == [RUN]


def test_others_who_fill_each_step_hold_it_up_for_a_turn_of_the_lanes() -> None:
    ends = gathered_for()
    for _ in range(READS):
        assert ends.has_read(rows(OTHER, ROOM), ROOM) == []
    assert ends.has_read(rows(OTHER, ROOM), ROOM) == [RUN]


def test_nobody_gathers_more_than_a_transition_can_hold() -> None:
    ends = gathered_for(bytes_max=1000)
    assert ends.has_read(rows(RUN, ROOM, 99), ROOM) == []
    assert ends.has_read(rows(RUN, ROOM, 99), ROOM) == [RUN]


def test_who_has_gone_on_is_not_waited_for() -> None:
    ends = gathered_for()
    ends.stored([OTHER, RUN])
    assert not ends
    assert not ends.gathering
    assert ends.has_read([], ROOM) == []


def refusals(ends: RefusedEnds, time: Time, waiting: list[int]) -> list[bytes]:
    """It is refused again and again, each time after so many events were read."""
    in_vain: list[bytes] = []
    for count in waiting:
        ends.has_read(rows(RUN, count), 10 * ROOM * len(waiting))
        time.seconds += 2 * IN_VAIN_S / IN_VAIN_MAX
        in_vain += ends.refused([RUN])
    return in_vain


def test_a_flood_of_events_is_nobodys_fault(time: Time) -> None:
    assert refusals(gathered_for(), time, list(range(1, 5 * IN_VAIN_MAX))) == []


def test_a_refusal_does_not_count_while_a_large_message_waits(time: Time) -> None:
    ends = gathered_for()
    for _ in range(5 * IN_VAIN_MAX):
        ends.has_read([], ROOM, large_waits=True)
        time.seconds += IN_VAIN_S
        assert ends.refused([RUN], counts=False) == []


def test_who_is_refused_with_nothing_more_to_read_waits_in_vain(time: Time) -> None:
    ends = gathered_for()
    assert refusals(ends, time, [3] * IN_VAIN_MAX) == []
    assert refusals(ends, time, [3]) == [RUN]
