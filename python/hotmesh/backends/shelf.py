"""Messages that a session knows of and has not read yet: what is small goes first.

A step reads what is small and only tells of what is large. What it tells of is kept here, and with
it whatever comes after it for the same run, for no run's messages change their order. It is read by
its id, a batch at a time, the oldest first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hotmesh.limits import BATCH_BYTES_MAX, LARGE_TURN_BYTES, SHELVED_MAX

_ID, _LANE, _RUN, _FRAME, _HEADER, _INPUT = 0, 1, 2, 3, 6, 7
"""Columns of a message row."""


class Shelved(NamedTuple):
    """A message that was not read yet."""

    id: int
    lane: int
    run_id: bytes
    size: int
    """Its bytes; of a start with its run's header and input."""


def size_of(row: Sequence[Any]) -> int:
    """What a message that was read counts for."""
    frame, header, body = row[_FRAME], row[_HEADER], row[_INPUT]
    if header is None and body is None:
        return len(frame)
    # What is damaged may be anything.
    return len(frame) + sum(len(each) for each in (header, body) if isinstance(each, bytes))


class Shelf:
    """The messages of a session that wait to be read, in the order in which it learned of them."""

    def __init__(self) -> None:
        self._messages: dict[int, Shelved] = {}
        self._runs = Counter[bytes]()

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def is_full(self) -> bool:
        """Whether no more is to be read that might have to be kept here."""
        return len(self._messages) >= SHELVED_MAX

    @property
    def has_large(self) -> bool:
        """Whether there is a message that only whose turn it is may read."""
        return any(each.size > LARGE_TURN_BYTES for each in self._messages.values())

    def sort(self, rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        """Keep what can't be given yet; the other rows.

        Args:
            rows: What a step has read, each lane's in order. A large one has its size in the place
                of its frame.
        """
        given: list[Sequence[Any]] = []
        for row in rows:
            is_large = row[_FRAME].__class__ is int
            if is_large or row[_RUN] in self._runs:
                size = row[_FRAME] if is_large else size_of(row)
                self._messages[row[_ID]] = Shelved(row[_ID], row[_LANE], row[_RUN], size)
                self._runs[row[_RUN]] += 1
            else:
                given.append(row)
        return given

    def pick(self, room: int, bytes_read: int, size_max: int) -> list[Shelved]:
        """Which messages to read now: what fits, and the oldest one that does not as the last.

        Args:
            room: How many at most.
            bytes_read: What has been read beside them.
            size_max: Bytes that one may have.
        """
        left = BATCH_BYTES_MAX - bytes_read
        chosen: list[Shelved] = []
        last: Shelved | None = None
        passed: set[bytes] = set()
        for each in self._messages.values():
            if each.run_id in passed:
                continue
            may_be_read = each.size <= size_max
            if may_be_read and each.size < left and len(chosen) < room - 1:
                chosen.append(each)
                left -= each.size
                continue
            passed.add(each.run_id)
            if may_be_read and last is None:
                last = each
                if left <= 0:
                    break
        return chosen if last is None else [*chosen, last]

    def take(self, picked: Iterable[Shelved]) -> None:
        """These were read; or they are gone."""
        for each in picked:
            self._drop(each)

    def forget(self, lanes: Iterable[int] | None) -> None:
        """These lanes are read from their beginning again; None: all are."""
        if lanes is None:
            self._messages.clear()
            self._runs.clear()
        elif self._messages:
            gone = set(lanes)
            for each in [each for each in self._messages.values() if each.lane in gone]:
                self._drop(each)

    def _drop(self, message: Shelved) -> None:
        if self._messages.pop(message.id, None) is not None:
            self._runs[message.run_id] -= 1
            if not self._runs[message.run_id]:
                del self._runs[message.run_id]
