"""Large values in SQLite: written and read a piece at a time, and not again with their run."""

import os
import sqlite3
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hotmesh.backends.protocol import Step
from hotmesh.backends.sqlite import pieces
from hotmesh.backends.sqlite.connection import open_writer
from hotmesh.backends.sqlite.reading import Positions, read_messages
from hotmesh.backends.sqlite.step import apply
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.backends.written import WrittenJournals
from hotmesh.core.rope import Rope
from hotmesh.limits import BATCH_BYTES_MAX, ROPE_BYTES

RUN, ROUTER = b"r" * 16, b"o" * 16
SIZE = 8 * 1024 * 1024 + 7
VALUE = os.urandom(SIZE)
PAGE_BYTES = 4096


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_writer(str(tmp_path / "store.db"))) as opened:
        opened.execute("BEGIN IMMEDIATE")
        yield opened


@pytest.fixture
def tx(connection: sqlite3.Connection) -> Transaction:
    return Transaction(connection, 1_000, writes=True)


def cached_pages(connection: sqlite3.Connection) -> int:
    return -connection.execute("PRAGMA cache_size").fetchone()[0] * 1024 // PAGE_BYTES


@pytest.mark.parametrize("value", [VALUE, Rope((b"head", VALUE, b"tail"))], ids=["bytes", "rope"])
def test_a_value_is_copied_no_more_than_it_must(tx: Transaction, value: bytes | Rope) -> None:
    tracemalloc.start()
    try:
        pieces.write(tx, [RUN], [3], [value])
        assert tracemalloc.get_traced_memory()[1] < pieces.PIECE_BYTES
        found = pieces.read(tx, RUN, 3)
        assert tracemalloc.get_traced_memory()[1] < 1.3 * SIZE + 2 * pieces.PIECE_BYTES
    finally:
        tracemalloc.stop()
    assert found == bytes(value)
    assert tx.moved_bytes == 2 * len(value)


def test_few_pages_are_kept_in_memory_meanwhile(
    connection: sqlite3.Connection, tx: Transaction
) -> None:
    usual = cached_pages(connection)
    pieces.write(tx, [RUN], [0], [b"small"])
    assert cached_pages(connection) == usual > SIZE // PAGE_BYTES
    pieces.write(tx, [RUN], [0], [VALUE])
    assert cached_pages(connection) * PAGE_BYTES <= SIZE


def test_what_is_stored_where(tx: Transaction) -> None:
    small, large = b"x" * (ROPE_BYTES - 1), b"x" * ROPE_BYTES
    values = [small, large]
    assert not pieces.any_large([small])
    assert pieces.any_large(values)
    assert pieces.whole(values) == [small, None]
    pieces.write(tx, [RUN] * 2, [0, 1], values)
    assert [pieces.read(tx, RUN, part) for part in (0, 1, pieces.INPUT)] == [None, large, None]


def test_bytes_are_found_wherever_they_lie(tx: Transaction) -> None:
    at = pieces.PIECE_BYTES - 3
    pieces.write(tx, [RUN], [0], [VALUE])
    assert pieces.has(tx, RUN, 0, VALUE[at : at + 10])
    assert pieces.has(tx, RUN, 0, VALUE[-10:])
    assert not pieces.has(tx, RUN, 0, VALUE[:10] + b"?")


def run_with_input(connection: sqlite3.Connection, tx: Transaction) -> None:
    connection.execute(
        "INSERT INTO run (run_id, namespace, workflow_id, workflow_type, lane, status, expire_s,"
        " started_ms, header) VALUES (?, 'n', 'w', 'T', 64, 1, -1, 0, x'')",
        (RUN,),
    )
    pieces.write(tx, [RUN], [pieces.INPUT], [VALUE])


def test_pages_that_were_read_to_find_a_large_input_go(
    connection: sqlite3.Connection, tx: Transaction
) -> None:
    """A transaction that has moved more than a batch gives back what its connection caches."""
    run_with_input(connection, tx)
    connection.execute("INSERT INTO stream VALUES (64, 1, ?, 0, x'00')", (RUN,))
    connection.execute("UPDATE state SET message_id = 1")
    reading, moved = Transaction(connection, 1_000, writes=True), Positions()
    (row,) = read_messages(reading, Step(ROUTER, [64], 10), 10, Positions(), moved)
    assert row[3] == SIZE + 1
    assert moved.any_large
    assert reading.moved_bytes > BATCH_BYTES_MAX


def test_closing_a_run_does_not_write_its_input_again(
    connection: sqlite3.Connection, tx: Transaction, tmp_path: Path
) -> None:
    connection.execute("INSERT INTO queue (id, namespace, name) VALUES (1, 'n', 'q')")
    connection.execute(
        "INSERT INTO router VALUES (?, 'n', 1, 1, NULL, 1, 0, 99999, 0, x'')", (ROUTER,)
    )
    run_with_input(connection, tx)
    connection.execute("COMMIT")
    log = tmp_path / "store.db-wal"
    before = log.stat().st_size
    connection.execute("BEGIN IMMEDIATE")
    step = Step(
        ROUTER,
        close_run=[RUN],
        close_lane=[64],
        close_status=[2],
        close_result=[b"r"],
        close_waits=[False],
    )
    apply(Transaction(connection, 1_000, writes=True), "n", step, WrittenJournals())
    connection.execute("COMMIT")
    assert connection.execute("SELECT status FROM run").fetchall() == [(2,)]
    assert log.stat().st_size - before < 20 * PAGE_BYTES
