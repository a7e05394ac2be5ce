"""One transaction of a database thread, as the work of a batch sees it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hotmesh.backends.protocol import STEADY_MS
from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.rows import NOTHING, Column, Rows, is_large, large_bytes
from hotmesh.exceptions import BackendError
from hotmesh.limits import BATCH_BYTES_MAX, CLOCK_SHIFT_MS_MAX

Row = tuple[Any, ...]

_SQL = statements.load("connection")
_READ_STATE = _SQL["read_state"]
_WRITE_STATE = _SQL["write_state"]
_SMALL_CACHE = _SQL["small_cache"]
_STATE_COLUMNS = 3
_INSERT_MESSAGES = Rows(_SQL["insert_messages"])


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
        wall_ms: The machine's wall clock, read after the write lock was taken.
        generation: Which file it is, of those that have had the database's name.
        writes: Whether the write lock is held.
        moved_bytes: Of the large values that were written, and of all that were read up to a bound.
        is_sparing: Whether it keeps few pages in memory.
    """

    __slots__ = (
        "_connection",
        "_latest_ms",
        "_state",
        "_state_changed",
        "generation",
        "is_sparing",
        "moved_bytes",
        "wall_ms",
        "writes",
    )

    def __init__(
        self, connection: sqlite3.Connection, wall_ms: int, generation: int = 0, *, writes: bool
    ) -> None:
        self._connection = connection
        self.generation = generation
        self.wall_ms = wall_ms
        self.writes = writes
        self.moved_bytes = 0
        self.is_sparing = False
        self._latest_ms: int | None = None
        self._state: list[int] | None = None
        """Last message id, count of posted timers and shift of the clock; None before anybody
        asks."""
        self._state_changed = False

    @property
    def now_ms(self) -> int:
        """The store's time: the wall clock without its jumps."""
        now_ms, latest_ms = self.wall_ms + self._counters()[2], self._latest_ms
        if latest_ms is None:
            return now_ms
        return max(latest_ms, min(now_ms, latest_ms + STEADY_MS))

    @contextmanager
    def time_of(self, latest_ms: int | None) -> Generator[None]:
        """In the block the time is that of a caller who takes it for this or later."""
        self._latest_ms = latest_ms
        try:
            yield
        finally:
            self._latest_ms = None

    @property
    def clock_shift_ms(self) -> int:
        """By how much the store's time is ahead of the wall clock."""
        return self._counters()[2]

    def shift_clock(self, by_ms: int) -> None:
        """Move the store's time, to make up for a jump of the wall clock."""
        self._counters()[2] += by_ms
        self._state_changed = True

    @property
    def message_id(self) -> int:
        """The last message id that was given out."""
        return self._counters()[0]

    @property
    def posted_timers(self) -> int:
        """How many transactions have put timers into lanes that others read."""
        return self._counters()[1]

    def count_posted_timers(self) -> None:
        """Note that this transaction puts timers into lanes that others read."""
        self._counters()[1] += 1
        self._state_changed = True

    def _counters(self) -> list[int]:
        if self._state is None:
            row: Sequence[object] = self._connection.execute(_READ_STATE).fetchone() or ()
            numbers = [each for each in row if isinstance(each, int)]
            if len(numbers) != _STATE_COLUMNS or abs(numbers[2]) > CLOCK_SHIFT_MS_MAX:
                raise BackendError(
                    f"the row of table 'state' is damaged, it holds {tuple(row)!r}: nothing can be "
                    "stored until it is restored from a backup"
                )
            self._state = numbers
        return self._state

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

    def run_rows(
        self, rows: Rows, columns: Sequence[Column], large: Sequence[Sequence[bytes]] = ()
    ) -> int:
        """Execute a statement for all rows at once (see :mod:`.rows`); how many it changed."""
        execute, changed = self._connection.execute, 0
        has_large = any(map(is_large, large))
        for text, values in rows.calls(columns, large):
            changed += execute(text, values).rowcount
            if has_large:
                self.let_go(text, values)
        return changed

    def let_go(self, statement: str, values: Sequence[object]) -> None:
        """A statement keeps what it was given until it is used again: use it again if that is much.

        Args:
            statement: One of :class:`.Rows`.
            values: Its parameters.
        """
        size = large_bytes(values)
        if size:
            self.moved_bytes += size
            self._connection.execute(statement, [NOTHING] * len(values))

    def spare(self) -> None:
        """Keep few pages in memory until the transaction is over."""
        if not self.is_sparing:
            self.is_sparing = True
            self._connection.execute(_SMALL_CACHE).close()

    def all_rows(self, rows: Rows, columns: Sequence[Column]) -> list[Row]:
        """Every row of a result for all rows at once."""
        execute = self._connection.execute
        found: list[Row] = []
        for text, values in rows.calls(columns):
            found += execute(text, values).fetchall()
        return found

    def rows_within(
        self, rows: Rows, columns: Sequence[Column], size: Callable[[Row], int]
    ) -> list[Row]:
        """As :meth:`within`, for all rows of parameters at once."""
        found: list[Row] = []
        left = BATCH_BYTES_MAX
        for text, values in rows.calls(columns):
            found += self.within(text, values, size, left)
            left = BATCH_BYTES_MAX - sum(map(size, found))
            if left <= 0:
                break
        return found

    def rows(
        self, statement: str, parameters: Sequence[object] | dict[str, object] = ()
    ) -> Iterator[Row]:
        """Every row of a result, one at a time: they may be large together."""
        return self._connection.execute(statement, parameters)

    def all(
        self, statement: str, parameters: Sequence[object] | dict[str, object] = ()
    ) -> list[Row]:
        """Every row of a result."""
        return self._connection.execute(statement, parameters).fetchall()

    def within(
        self,
        statement: str,
        parameters: Sequence[object] | dict[str, object],
        size: Callable[[Row], int],
        room: int = BATCH_BYTES_MAX,
    ) -> list[Row]:
        """Rows of a result up to the first with which there is no room left.

        Args:
            statement: The statement.
            parameters: Its parameters.
            size: Bytes that a row counts for.
            room: How many there may be.
        """
        found: list[Row] = []
        left = room
        cursor = self._connection.execute(statement, parameters)
        for row in cursor:
            found.append(row)
            left -= size(row)
            if left <= 0:
                cursor.close()
                break
        self.moved_bytes += room - left
        return found

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
        state = self._counters()
        first = state[0] + 1
        state[0] += len(lanes)
        self._state_changed = True
        ids = range(first, state[0] + 1)
        self.run_rows(_INSERT_MESSAGES, (lanes, ids, runs, kinds), (frames,))

    def finish(self) -> None:
        """Store the counters, once for all batches of the transaction."""
        if self._state_changed:
            self.run(_WRITE_STATE, self._counters())
