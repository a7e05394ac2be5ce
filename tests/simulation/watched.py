"""In which order messages are read, which no result shows: watched while a scenario is played."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unittest import mock

from hotmesh import limits
from hotmesh.backends.shelf import Shelf

_ID, _RUN, _FRAME = 0, 2, 3
"""Columns of a message row."""


@contextlib.contextmanager
def watched(problems: list[str]) -> Iterator[None]:
    """In the block each session is checked: what is small passes what is large, but its own run's.

    Args:
        problems: Takes what is not so.
    """
    sort = Shelf.sort

    def watched_sort(shelf: Shelf, rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
        read = list(rows)
        waiting = {each.run_id for each in shelf._messages.values()}
        given = sort(shelf, read)
        problems.extend(_out_of_turn(waiting, read, {row[_ID] for row in given}))
        return given

    with mock.patch.object(Shelf, "sort", watched_sort):
        yield


def _out_of_turn(waiting: set[bytes], read: Sequence[Any], given: set[int]) -> Iterator[str]:
    """Messages that pass another one of their run, or wait for one of another run."""
    for row in read:
        if isinstance(row[_FRAME], int):
            if row[_FRAME] < limits.SMALL_BYTES_MAX:
                yield f"message {row[_ID]} was left unread though it is small"
            waiting.add(row[_RUN])
        if (row[_ID] in given) is (row[_RUN] in waiting):
            yield f"message {row[_ID]} was read out of turn, or waits for another run's"
