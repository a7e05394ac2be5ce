"""One transaction of a database thread, as the work of a batch sees it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.packed import Column, packed

Row = tuple[Any, ...]

_SQL = statements.load("connection")
_READ_STATE = _SQL["read_state"]
_WRITE_STATE = _SQL["write_state"]
_INSERT_MESSAGES = _SQL["insert_messages"]


class WriteNeededError(Exception):
    """Raised by work submitted as a read when it finds something to write: it is run again."""


class AbortError(Exception):
    """Raised by work to undo all it did and return this result in place of its own."""

    def __init__(self, result: object) -> None:
        super().__init__(result)
        self.result = result


class Transaction:
    """Runs statements, and gives out message ids.

    Attributes:
        now_ms: The backend's time, read after the write lock was taken.
        writes: Whether the write lock is held.
    """

    __slots__ = (
        "_connection",
        "_message_id",
        "_stored_state",
        "delayed_starts",
        "now_ms",
        "writes",
    )

    def __init__(self, connection: sqlite3.Connection, now_ms: int, *, writes: bool) -> None:
        self._connection = connection
        self.now_ms = now_ms
        self.writes = writes
        state: tuple[int, int] = connection.execute(_READ_STATE).fetchone()
        self._stored_state = state
        self._message_id, self.delayed_starts = state

    def need_write(self) -> None:
        """Have the work run again under the write lock, unless it is held."""
        if not self.writes:
            raise WriteNeededError

    def run(self, statement: str, parameters: Sequence[object] | dict[str, object] = ()) -> int:
        """Execute a statement; how many rows it changed."""
        return self._connection.execute(statement, parameters).rowcount

    def run_many(self, statement: str, rows: Iterable[Sequence[object]]) -> int:
        """Execute a statement for each row of parameters; how many rows they changed."""
        return self._connection.executemany(statement, rows).rowcount

    def run_packed(
        self,
        statement: str,
        runs: Sequence[bytes],
        columns: Sequence[Column],
        **blobs: Sequence[bytes],
    ) -> int:
        """Execute a statement for rows that are packed (see :mod:`.packed`); rows changed."""
        execute = self._connection.execute
        return sum(execute(statement, each).rowcount for each in packed(runs, columns, blobs))

    def all(
        self, statement: str, parameters: Sequence[object] | dict[str, object] = ()
    ) -> list[Row]:
        """Every row of a result."""
        return self._connection.execute(statement, parameters).fetchall()

    def one(self, statement: str, parameters: Sequence[object] = ()) -> Row | None:
        """The only row of a result, or None."""
        cursor = self._connection.execute(statement, parameters)
        row: Row | None = cursor.fetchone()
        cursor.close()
        return row

    def deliver(
        self,
        lanes: Sequence[int],
        runs: Sequence[bytes],
        kinds: Sequence[int],
        frames: Sequence[bytes],
    ) -> None:
        """Append messages, given as columns, to the ends of their lanes."""
        if not lanes:
            return
        first = self._message_id + 1
        self._message_id += len(lanes)
        ids = range(first, self._message_id + 1)
        self.run_packed(_INSERT_MESSAGES, runs, (lanes, ids, kinds), frames=frames)

    def finish(self) -> None:
        """Store the counters, once for all batches of the transaction."""
        state = (self._message_id, self.delayed_starts)
        if state != self._stored_state:
            self.run(_WRITE_STATE, state)
