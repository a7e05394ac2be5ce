"""Which messages and timers a session has seen: what to ask for next, without missing any.

Message ids are handed out before commit, so a smaller id can become visible after a larger one
was read. A cursor for each lane skips what was read (and the dead rows there); now and then the
reader looks behind the cursors as well, down to a floor below which no transaction can add
anything any more. Marks raise that floor: a message id with a transaction id, such that whoever was
given the message id or a smaller one is an earlier transaction. Once all of these are over, what a
look behind has not found below the mark will never be there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

LOOK_BEHIND_STEPS = 16
"""Steps between two looks behind the cursors while messages keep coming."""

LANE_ROOM_MIN = 16
"""Messages read of one lane at least, however many lanes share the room."""

TIMER_SCAN_S = 0.1
"""Pause between two scans for timers while steps follow each other."""

TIMER_ROOM = 1_000
"""Timers read at most (but for those that are due in the same millisecond)."""


class Bounds(NamedTuple):
    """What the database said around a read."""

    oldest_xid: int
    """Every transaction before this one was over when the read began."""
    mark_xid: int | None
    """Later than every transaction with a message id up to ``last_id`` (if ``mark``)."""
    last_id: int | None
    """The last message id handed out when the step began (if ``probe`` or ``mark``)."""


@dataclass(slots=True)
class MessageQuery:
    """What to read of the stream."""

    cursors: list[int]
    lane_room: int
    behind: list[int] | None
    known: list[int] | None
    probe: bool
    """Whether start messages may be those of runs that have a journal already."""
    mark: bool
    """Whether to make a mark; that uses up a transaction id."""


class MessageCursor:
    """Where a session is in the stream of each lane, and which messages it holds."""

    def __init__(self) -> None:
        self.forget(None)

    def forget(self, lanes: Iterable[int] | None) -> None:
        """Start these lanes over; None: all."""
        if lanes is None:
            self._cursors: dict[int, int] = {}
            self._known: dict[int, int] = {}
            self._drained: set[int] = set()
            self._top = 0
            self._floor = 0
            self._mark: tuple[int, int] | None = None
            """(transaction id, message id)"""
            self._steps = 0
            self._plenty = False
            return
        gone = set(lanes)
        for lane in gone:
            self._cursors.pop(lane, None)
        self._drained -= gone
        self._known = {message: lane for message, lane in self._known.items() if lane not in gone}

    def knows(self, lanes: Iterable[int]) -> bool:
        """Whether all of these lanes were read before."""
        return self._cursors.keys() >= set(lanes)

    def query(self, lanes: Sequence[int], room: int) -> MessageQuery:
        """What to ask for."""
        cursors = list(map(self._cursors.get, lanes, repeat(0)))
        # With plenty waiting, lanes share the room; otherwise one busy lane may take it all.
        share = max(LANE_ROOM_MIN, 2 * room // max(len(lanes), 1))
        # Past the point up to which a lane was read empty, no earlier owner has been.
        probe = not self._drained.issuperset(lanes)
        lane_room = share if self._plenty else room
        query = MessageQuery(cursors, lane_room, None, None, probe, mark=False)
        self._steps += 1
        if self._floor < self._top and (self._steps >= LOOK_BEHIND_STEPS or not self._plenty):
            floor = self._floor
            query.behind = list(map(min, cursors, repeat(floor)))
            query.known = [message for message in self._known if message > floor]
            query.mark = self._mark is None or self._mark[1] < self._top
        return query

    def read(
        self,
        query: MessageQuery,
        lanes: Sequence[int],
        room: int,
        ids: Sequence[int],
        id_lanes: Sequence[int],
        bounds: Bounds,
    ) -> None:
        """Take note of what came, ids in order."""
        self._advance(query, lanes, ids, id_lanes)
        if query.probe and len(ids) < room:
            assert bounds.last_id is not None
            self._drain(query, lanes, id_lanes, bounds.last_id)
        self._known.update(zip(ids, id_lanes, strict=True))
        self._plenty = len(ids) * 2 >= room
        if query.behind is not None:
            self._steps = 0
            self._raise_floor(ids, room, bounds)

    def _raise_floor(self, ids: Sequence[int], room: int, bounds: Bounds) -> None:
        """After a look behind: the floor rises to the mark whose transactions are over."""
        if self._mark is not None:
            xid, message = self._mark
            past_mark = len(ids) < room or ids[-1] >= message
            if bounds.oldest_xid >= xid and past_mark:
                self._floor = message
                self._mark = None
        if self._mark is None and bounds.mark_xid is not None:
            assert bounds.last_id is not None
            self._mark = (bounds.mark_xid, bounds.last_id)

    def _advance(
        self,
        query: MessageQuery,
        lanes: Sequence[int],
        ids: Sequence[int],
        id_lanes: Sequence[int],
    ) -> None:
        """Move the cursors to the last id of each lane; late ids do not move them back."""
        cursors = self._cursors
        cursors.update(zip(lanes, query.cursors, strict=True))
        for message, lane in zip(ids, id_lanes, strict=True):
            if message > cursors[lane]:
                cursors[lane] = message
        if ids:
            self._top = max(self._top, ids[-1])

    def _drain(
        self, query: MessageQuery, lanes: Sequence[int], id_lanes: Sequence[int], last_id: int
    ) -> None:
        """Lanes read to their end: their cursors skip all that was there, dead rows included."""
        counts = Counter(id_lanes)
        drained = [lane for lane in lanes if counts[lane] < query.lane_room]
        self._drained.update(drained)
        self._top = max(self._top, last_id)
        for lane in drained:
            self._cursors[lane] = max(self._cursors[lane], last_id)

    def settle(self, ids: Iterable[int]) -> None:
        """These messages are acknowledged."""
        known = self._known
        for message in ids:
            known.pop(message, None)


@dataclass(slots=True)
class TimerQuery:
    """What to read of the timers."""

    horizon_ms: int
    seen_ms: int
    xid: int


class TimerCursor:
    """Up to which due time a session has seen the timers of its lanes."""

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = horizon_ms
        self.forget()

    def forget(self) -> None:
        """Read all of them again."""
        self._seen_ms = -1
        self._xid = 0
        self._scan_at = 0.0

    def query(self, *, idle: bool) -> TimerQuery | None:
        """What to ask for; None while the last scan is recent and the session busy."""
        if not idle and time.monotonic() < self._scan_at:
            return None
        return TimerQuery(self._horizon_ms, self._seen_ms, self._xid)

    def read(self, count: int, covered_ms: int, oldest_xid: int) -> None:
        """Take note of a scan; one that filled its room is followed by another at once."""
        self._seen_ms = covered_ms
        self._xid = oldest_xid
        self._scan_at = time.monotonic() + TIMER_SCAN_S if count < TIMER_ROOM else 0.0
