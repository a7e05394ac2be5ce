"""Who is done: ids of closed runs and of replies, for the clients in other processes.

A step writes its own as one row, in its transaction. A process that notices a commit of another
one reads the rows that are new and names their ids to its waiters, which then look up nothing
else: without them, everything that is waited for would be looked up at every such commit.
Like all hints they carry no truth. Rows are kept for seconds; whoever missed some is told so, and
looks at everything once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.transaction import Transaction

ROWS_KEPT = 2_000
"""Rows that no clean-up deletes: some seconds of a busy database."""

KEY_BYTES = 16
"""Length of a run id, and of any reply id that somebody waits for."""

_SQL = statements.load("done")
_INSERT = _SQL["insert_done"]
_DELETE_OLD = _SQL["delete_old_done"]
_READ = _SQL["read_done"]
_NEWEST = _SQL["newest_done"]


def write_done(tx: Transaction, run_ids: Sequence[bytes], reply_ids: Sequence[bytes]) -> None:
    """Note runs that the transaction closes, and replies that it makes."""
    keys = [*run_ids, *(each for each in reply_ids if len(each) == KEY_BYTES)]
    if keys:
        tx.run(_INSERT, (b"".join(keys),))


def delete_old(tx: Transaction) -> None:
    """Delete rows that everybody has read, or can do without."""
    tx.run(_DELETE_OLD, (ROWS_KEPT,))


class DoneReader:
    """Reads what is new. Belongs to the thread of one connection."""

    def __init__(self) -> None:
        self._last: int | None = None
        """The last row read; None when rows may have been missed."""

    def skip(self) -> None:
        """Nobody wants to know: what is new by the next time is not read."""
        self._last = None

    def news(self, connection: sqlite3.Connection) -> str | None:
        """The payload of a hint with all new keys ("" if there are none).

        None says that some were missed: those who wait must look at everything.
        """
        last = self._last
        if last is None:
            (self._last,) = connection.execute(_NEWEST).fetchone()
            return None
        rows: list[tuple[int, bytes]] = connection.execute(_READ, (last,)).fetchall()
        if not rows:
            (newest,) = connection.execute(_NEWEST).fetchone()
            if newest >= last:
                return ""
            self._last = newest  # the database went back
            return None
        self._last = rows[-1][0]
        if rows[0][0] != last + 1:  # ids have no gaps, so those in between were deleted
            return None
        return b"".join(keys for _, keys in rows).hex(",", KEY_BYTES)
