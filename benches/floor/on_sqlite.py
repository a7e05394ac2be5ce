"""The floor on SQLite: WAL, synchronous=FULL, two processes on one file, a transaction a batch.

The file that is named is deleted and made anew. Calls run on the loop's own thread: a thread hop
is nothing the database needs.
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shared

BUSY_SECONDS = 30.0

SCHEMA = """
create table runs (
    run integer primary key, name text not null unique, closed integer not null default 0,
    result blob
) strict;
create table journal (
    run integer, seq integer, payload blob, primary key (run, seq)
) strict, without rowid;
create table inbox (
    id integer primary key, run integer not null, input blob not null, taken integer not null
) strict;
create index inbox_free on inbox (id) where taken = 0;
"""
CLAIM = """
update inbox set taken = 1
where id in (select id from inbox where taken = 0 order by id limit ?) returning id, run
"""


class SqliteStore:
    """A connection."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        return connection

    async def prepare(self) -> None:
        self._connection.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)  # noqa: ASYNC240
        self._connection = self._open()
        self._connection.executescript(SCHEMA)

    async def start(self, runs: Sequence[int]) -> None:
        connection = self._connection
        connection.execute("begin immediate")
        connection.executemany(
            "insert or ignore into runs (run, name) values (?, ?)",
            [(run, f"workflow-{run}") for run in runs],
        )
        connection.executemany(
            "insert into inbox (run, input, taken) values (?, ?, 0)",
            [(run, b"[1]") for run in runs],
        )
        connection.execute("commit")

    async def closed(self, runs: Sequence[int]) -> set[int]:
        marks = ",".join("?" * len(runs))
        rows = self._connection.execute(
            f"select run, result from runs where run in ({marks}) and closed", runs
        )
        return {run for run, _ in rows}

    async def claim(self, room: int, idle: bool) -> list[tuple[Any, int]]:
        # A look costs no write lock; only if there is something is it taken.
        if not self._connection.execute("select 1 from inbox where taken = 0 limit 1").fetchone():
            return []
        return self._connection.execute(CLAIM, (room,)).fetchall()

    async def commit(self, batch: shared.Batch) -> None:
        connection = self._connection
        connection.execute("begin immediate")
        connection.executemany(
            "insert into journal values (?, ?, ?)",
            zip(batch.journal_run, batch.journal_seq, batch.journal_payload, strict=True),
        )
        connection.executemany(
            "update runs set closed = 1, result = ? where run = ?",
            zip(batch.closed_result, batch.closed_run, strict=True),
        )
        connection.executemany(
            "delete from inbox where id = ?", [(message,) for message in batch.handled]
        )
        connection.execute("commit")

    async def written(self) -> int:
        return 0

    async def close(self) -> None:
        self._connection.close()


async def connect(url: str) -> shared.Store:
    """Open the file at ``url`` (sqlite:///path)."""
    return SqliteStore(Path(url.removeprefix("sqlite:///")))


if __name__ == "__main__":
    shared.main("sqlite", connect, "sqlite:////tmp/hotmesh_floor.db")
