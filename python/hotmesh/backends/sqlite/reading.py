"""Reads what waits for a pipe: the next messages of its lanes, and timers soon to be due.

Message ids are given out under the write lock, so they become visible in order, and one cursor
for each lane is enough. Timers are read a window at a time; within its window a lane's timers can
only come from its own pipe's steps (known here) and from others (posted, and counted in the store).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hotmesh.backends.protocol import Step
from hotmesh.backends.shelf import Shelved
from hotmesh.backends.sqlite import pieces, statements
from hotmesh.backends.sqlite.rows import bytes_of
from hotmesh.backends.sqlite.transaction import Row, Transaction

_LOG = logging.getLogger(__name__)

TIMERS_READ_MAX = 10_000
"""Timers of one lane that a step reads at most (and all others of the last one's millisecond)."""

_LONG_AGO = -1
_SQL = statements.load("step")
_READ_MESSAGES = _SQL["read_messages"]
_READ_MESSAGE = _SQL["read_message"]
_READ_TIMERS = _SQL["read_timers"]
_READ_TIMERS_AT = _SQL["read_timers_at"]
_READ_POSTED_TIMERS = _SQL["read_posted_timers"]


@dataclass(slots=True)
class Positions:
    """How far each lane has been read."""

    message_id: dict[int, int] = field(default_factory=dict[int, int])
    timer_window_ms: dict[int, int] = field(default_factory=dict[int, int])
    """Timers due until then have been returned."""
    posted_timers: int = 0
    """The store's count of posted timers when the timers were read."""
    told: set[object] = field(default_factory=set[object])
    """Damaged rows that were told of."""
    first_lane: int = 0
    """Index of the lane to begin with: lanes take turns when there is not room for all."""
    any_large: bool = False
    """Whether there are large messages among what was read."""

    def advance(self, moved: Positions, skip: set[int]) -> None:
        """Take over the positions of a committed step, but for the lanes to skip."""
        for mine, theirs in (
            (self.message_id, moved.message_id),
            (self.timer_window_ms, moved.timer_window_ms),
        ):
            mine.update((lane, at) for lane, at in theirs.items() if lane not in skip)
        self.posted_timers = moved.posted_timers
        self.first_lane = moved.first_lane

    def forget(self, lanes: set[int]) -> None:
        """Start over in these lanes."""
        for lane in lanes:
            self.message_id.pop(lane, None)
            self.timer_window_ms.pop(lane, None)


def read_messages(
    tx: Transaction, step: Step, room: int, at: Positions, moved: Positions
) -> list[Row]:
    """Unread messages of the step's lanes, up to its room; large ones without what is large."""
    if room <= 0 or not step.lanes:
        return []
    first = at.first_lane % len(step.lanes)
    lanes = [*step.lanes[first:], *step.lanes[:first]]
    cursors = {lane: at.message_id.get(lane, 0) for lane in lanes}
    rows: list[Row] = tx.within(_READ_MESSAGES, (json.dumps(cursors), room), _bytes_read)
    reached = moved.message_id
    sound = True
    for row in rows:
        if row[0].__class__ is not int:
            sound = False
            continue
        reached[row[1]] = row[0]
        sound = sound and row[2].__class__ is row[3].__class__ is bytes
    if not sound or (reached and max(reached.values()) > tx.message_id):
        _turn_back(rows, at, moved, tx.message_id)
        rows = [row for row in rows if _is_sound(row, tx.message_id, at.told, (bytes, int))]
        sizes = [row[3] for row in rows if row[3].__class__ is int]
        moved.any_large = bool(sizes)
        tx.moved_bytes += sum(sizes)  # to find them SQLite has read what is large: its pages go
    moved.first_lane = first
    if rows and lanes[-1] != rows[-1][1]:
        # It may be that there was no room for the lanes behind this one.
        moved.first_lane = first + lanes.index(rows[-1][1]) + 1
    return rows


def read_shelved(tx: Transaction, wanted: Sequence[Shelved], told: set[object]) -> list[Row]:
    """Messages that were only told of, as far as they are still there."""
    found: list[Row] = []
    for message in wanted:
        row = tx.one(_READ_MESSAGE, (message.lane, message.id))
        if row is None or row[2] != message.run_id:
            continue
        if row[7] is None and row[6] is not None:
            body: Any = pieces.read(tx, message.run_id, pieces.INPUT)
            row = (*row[:7], body, row[8])
        if _is_sound(row, tx.message_id, told, bytes):
            tx.moved_bytes += message.size
            found.append(row)
    return found


def _turn_back(rows: list[Row], at: Positions, moved: Positions, newest_id: int) -> None:
    """No message that comes is passed over because one has an id that was never given out."""
    for lane in {row[1] for row in rows}:
        ids = [row[0] for row in rows if row[1] == lane and isinstance(row[0], int)]
        given = [each for each in ids if each <= newest_id]
        moved.message_id[lane] = max([at.message_id.get(lane, 0), *given])


def _is_sound(row: Row, newest_id: int, told: set[object], frames: type | tuple[type, ...]) -> bool:
    message_id, lane, run_id, frame, *_ = row
    is_message = isinstance(run_id, bytes) and isinstance(frame, frames)
    if is_message and isinstance(message_id, int) and message_id <= newest_id:
        return True
    if (lane, message_id) not in told:
        told.add((lane, message_id))
        _LOG.error("message %s in lane %s is damaged and is left where it is", message_id, lane)
    return False


def _bytes_read(row: Row) -> int:
    """What a message counts for; a start brings its run's header and input along."""
    _, _, _, frame, _, _, header, body, _ = row
    if frame.__class__ is int:
        return 0
    try:
        if body is not None:
            return len(frame) + len(header) + len(body)
        return len(frame)
    except TypeError:  # it is damaged
        return bytes_of(frame, header, body)


def read_timers(
    tx: Transaction, step: Step, horizon_ms: int, at: Positions, moved: Positions
) -> list[Row]:
    """Timers of the step's lanes that have come within the horizon."""
    rows = _own_timers(step, at)
    if step.room <= 0 or not step.lanes:
        moved.posted_timers = at.posted_timers
        return rows
    moved.posted_timers = tx.posted_timers
    until = tx.now_ms + horizon_ms
    # A window moves on in strides, so that most steps need not look at all.
    stale = until - horizon_ms // 4
    newly_posted = tx.posted_timers != at.posted_timers
    for lane in step.lanes:
        window = at.timer_window_ms.get(lane, _LONG_AGO)
        if newly_posted and window != _LONG_AGO:
            rows += tx.all(_READ_POSTED_TIMERS, (lane, window))
        if window <= stale:
            rows += _read_window(tx, lane, window, until, moved)
    return [row for row in rows if _is_timer(row)]


def _is_timer(row: Row) -> bool:
    lane, due_ms, run_id, key = row
    if isinstance(run_id, bytes) and isinstance(key, int) and isinstance(due_ms, int):
        return True
    _LOG.error("timer %r in lane %s is damaged and is left where it is", key, lane)
    return False


def _own_timers(step: Step, at: Positions) -> list[Row]:
    """Timers this step inserted within windows that have been read."""
    if not step.timer_lane:
        return []
    lanes = set(step.lanes)
    drops = (step.drop_timer_lane, step.drop_timer_due, step.drop_timer_run, step.drop_timer_key)
    dropped = set(zip(*drops, strict=True))
    rows = zip(step.timer_lane, step.timer_due, step.timer_run, step.timer_key, strict=True)
    windows = at.timer_window_ms
    return [
        row
        for row in rows
        if row[0] in lanes and row[1] <= windows.get(row[0], _LONG_AGO) and row not in dropped
    ]


def _read_window(tx: Transaction, lane: int, after: int, until: int, moved: Positions) -> list[Row]:
    rows = tx.all(_READ_TIMERS, (lane, after, until, TIMERS_READ_MAX))
    if len(rows) == TIMERS_READ_MAX:
        # Windows end between milliseconds: complete the last one, leave the rest for later.
        until = rows[-1][1]
        rows = [row for row in rows if row[1] < until]
        rows += tx.all(_READ_TIMERS_AT, (lane, until))
    moved.timer_window_ms[lane] = until
    return rows
