"""The cursors, against a model of a database whose transactions commit in any order."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.backends.postgres.cursor import Bounds, MessageCursor, MessageQuery, TimerCursor

LANES = (64, 65, 66)


@dataclass
class Stream:
    """Messages in transactions; what is not committed can't be seen."""

    next_id: int = 1
    next_xid: int = 100
    completed_xid: int = 99
    open: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    visible: dict[int, int] = field(default_factory=dict)

    def begin(self) -> int:
        self.next_xid += 1
        self.open[self.next_xid - 1] = []
        return self.next_xid - 1

    def insert(self, xid: int, lane: int) -> None:
        self.open[xid].append((self.next_id, lane))
        self.next_id += 1

    def commit(self, xid: int) -> None:
        self.visible.update(self.open.pop(xid))
        self.completed_xid = max(self.completed_xid, xid)

    @property
    def oldest_xid(self) -> int:
        """As in Postgres: a snapshot knows nothing of what runs beyond the last that ended."""
        return min([*self.open, self.completed_xid + 1])

    def mark(self) -> int:
        """The transaction id of a step that makes a mark; it is over with the step."""
        self.next_xid += 1
        return self.next_xid - 1

    def read(self, query: MessageQuery, lanes: tuple[int, ...], room: int) -> list[int]:
        """What `read_messages` does."""
        found: list[int] = []
        for lane, cursor in zip(lanes, query.cursors, strict=True):
            ahead = sorted(i for i, where in self.visible.items() if where == lane and i > cursor)
            found += ahead[: query.lane_room]
        if query.behind is not None:
            assert query.known is not None
            for lane, low, high in zip(lanes, query.behind, query.cursors, strict=True):
                late = {i for i, where in self.visible.items() if where == lane and low < i <= high}
                found += late - set(query.known)
        return sorted(found)[:room]


def read(stream: Stream, cursor: MessageCursor, room: int) -> list[int]:
    query = cursor.query(LANES, room)
    last_id = stream.next_id - 1 if query.probe or query.mark else None
    mark_xid = stream.mark() if query.mark else None
    oldest_xid = min(stream.oldest_xid, mark_xid or stream.oldest_xid)
    ids = stream.read(query, LANES, room)
    lanes = [stream.visible[i] for i in ids]
    cursor.read(query, LANES, room, ids, lanes, Bounds(oldest_xid, mark_xid, last_id))
    if mark_xid is not None:
        stream.completed_xid = max(stream.completed_xid, mark_xid)
    return ids


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    action = st.tuples(
        st.sampled_from(["begin", "insert", "insert", "commit", "read", "settle"]),
        st.integers(0, 5),
        st.sampled_from(LANES),
    )
    return draw(st.lists(action, max_size=120))


@given(histories(), st.integers(1, 8))
def test_every_message_is_read_once_in_whatever_order_transactions_commit(
    history: list[tuple[str, int, int]], room: int
) -> None:
    stream, cursor = Stream(), MessageCursor()
    read_ids: list[int] = []
    held: list[int] = []

    def take() -> list[int]:
        ids = read(stream, cursor, room)
        read_ids.extend(ids)
        held.extend(ids)
        return ids

    for action, pick, lane in history:
        running = sorted(stream.open)
        if action == "begin":
            stream.begin()
        elif action == "insert" and running:
            stream.insert(running[pick % len(running)], lane)
        elif action == "commit" and running:
            stream.commit(running[pick % len(running)])
        elif action == "read":
            take()
        elif action == "settle" and held:
            settled = held.pop(pick % len(held))
            cursor.settle([settled])
            del stream.visible[settled]

    for xid in sorted(stream.open):
        stream.commit(xid)
    quiet = 0
    while quiet < 40:
        quiet = 0 if take() else quiet + 1
    assert sorted(read_ids) == list(range(1, stream.next_id))


@pytest.mark.parametrize("late_began_first", [True, False])
def test_looking_behind_stops_when_nothing_can_appear_there(late_began_first: bool) -> None:
    stream, cursor = Stream(), MessageCursor()
    late, early = sorted([stream.begin(), stream.begin()], reverse=not late_began_first)
    stream.insert(late, 64)
    stream.insert(early, 64)
    stream.commit(early)
    assert read(stream, cursor, 10) == [2]
    for _ in range(3):
        assert read(stream, cursor, 10) == []
    stream.commit(late)
    assert read(stream, cursor, 10) == [1]
    for _ in range(3):
        read(stream, cursor, 10)
    assert cursor.query(LANES, 10).behind is None


def test_forgotten_lanes_are_read_again_and_others_are_not() -> None:
    stream, cursor = Stream(), MessageCursor()
    xid = stream.begin()
    stream.insert(xid, 64)
    stream.insert(xid, 65)
    stream.commit(xid)
    assert read(stream, cursor, 10) == [1, 2]
    cursor.forget([65])
    assert not cursor.knows(LANES)
    assert read(stream, cursor, 10) == [2]
    cursor.forget(None)
    assert read(stream, cursor, 10) == [1, 2]


def test_journals_are_looked_up_until_every_lane_was_read_empty() -> None:
    stream, cursor = Stream(), MessageCursor()
    xid = stream.begin()
    for _ in range(3):
        stream.insert(xid, 64)
    stream.commit(xid)
    assert cursor.query(LANES, 2).probe
    assert read(stream, cursor, 2) == [1, 2]
    assert cursor.query(LANES, 2).probe
    assert read(stream, cursor, 2) == [3]
    assert not cursor.query(LANES, 2).probe
    cursor.forget([64])
    assert cursor.query(LANES, 2).probe


def test_timers_are_scanned_at_once_when_idle_and_now_and_then_when_busy() -> None:
    timers = TimerCursor(5_000)
    first = timers.query(idle=False)
    assert first is not None
    assert first.seen_ms < 0
    timers.read(3, 9_000, 100)
    assert timers.query(idle=False) is None
    again = timers.query(idle=True)
    assert again is not None
    assert (again.seen_ms, again.xid) == (9_000, 100)
    timers.forget()
    assert timers.query(idle=False) == first


def test_a_timer_scan_that_filled_its_room_is_followed_by_another() -> None:
    timers = TimerCursor(5_000)
    timers.read(1_000, 9_000, 100)
    assert timers.query(idle=False) is not None


def test_what_was_dead_before_is_not_looked_at_again() -> None:
    stream, cursor = Stream(next_id=1_000), MessageCursor()
    assert read(stream, cursor, 10) == []
    assert cursor.query(LANES, 10).cursors == [999, 999, 999]
