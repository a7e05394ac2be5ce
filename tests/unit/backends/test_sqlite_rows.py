"""Many rows become few statements, and none of them reads a whole table."""

import re
import sqlite3
from contextlib import closing

import pytest

from hotmesh.backends.sqlite import rows, statements
from hotmesh.backends.sqlite.connection import open_writer
from hotmesh.backends.sqlite.rows import ROWS_MAX, SIZES, Rows
from hotmesh.backends.sqlite.transaction import Transaction

INSERT = "INSERT INTO pair SELECT * FROM (VALUES (?, ?)) WHERE column1 <> -1"
MANY = {
    f"{file}.{name}": text
    for file in ("client", "connection", "step", "tasks")
    for name, text in statements.load(file).items()
    if "column1" in text
}


def stored(numbers: list[int], texts: list[bytes]) -> list[tuple[int, bytes]]:
    """What a table holds after all rows were inserted."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE pair (number, text)")
        changed = sum(
            connection.execute(text, values).rowcount
            for text, values in Rows(INSERT).calls([numbers], [texts])
        )
        assert changed == len(numbers)
        return connection.execute("SELECT number, text FROM pair ORDER BY rowid").fetchall()


@pytest.mark.parametrize("count", [1, 2, 5, 17, ROWS_MAX - 1, ROWS_MAX, ROWS_MAX + 1, 1000])
def test_all_rows_arrive_in_order(count: int) -> None:
    numbers = list(range(count))
    texts = [b"%d" % number for number in numbers]
    assert stored(numbers, texts) == list(zip(numbers, texts, strict=True))


def test_there_are_few_different_statements() -> None:
    pairs = Rows(INSERT)
    texts = {
        text
        for count in range(1, 3 * ROWS_MAX)
        for text, _ in pairs.calls([range(count), range(count)])
    }
    assert len(texts) == len(SIZES)


def test_no_rows_are_no_statement() -> None:
    assert list(Rows(INSERT).calls([[], []])) == []


def test_large_values_go_in_several_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BYTES_MAX", 100)
    texts = [b"x" * size for size in (10, 90, 200, 10)]
    calls = list(Rows(INSERT).calls([range(4)], [texts]))
    assert [len(values) // 2 for _, values in calls] == [2, 1, 1]
    assert stored([0, 1, 2, 3], texts) == list(enumerate(texts))


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(Rows(INSERT).calls([[1, 2]], [[b"one"]]))


@pytest.mark.parametrize("name", MANY)
def test_no_table_is_read_from_end_to_end(name: str) -> None:
    with closing(open_writer(":memory:")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema").fetchall()
        run_ids = [number.to_bytes(16, "big") for number in range(3)]
        ((text, values),) = Rows(MANY[name]).calls([run_ids] * MANY[name].count("?"))
        plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
    scanned = [re.findall(r"^SCAN (?:TABLE )?(\w+)", detail) for *_, detail in plan]
    assert {(each,) for found in scanned for each in found}.isdisjoint(tables)


@pytest.mark.parametrize("size", [rows.BYTES_MAX, rows.BYTES_MAX + 1])
def test_a_statement_lets_go_of_large_values(size: int) -> None:
    """SQLite would keep them until the cached statement is used again."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE pair (number, text)")
        tx = Transaction(connection, 0, writes=True)
        done: list[str] = []
        connection.set_trace_callback(done.append)
        assert tx.run_rows(Rows(INSERT), [[1]], [[b"x" * size]]) == 1
        is_large = size > rows.BYTES_MAX
        assert len(done) == 1 + is_large  # the second time with nothing, which it passes over
        assert tx.moved_bytes == size * is_large


def test_bytes_are_bound_without_a_search_for_their_adapter() -> None:
    value = b"as it is"
    adapter = sqlite3.adapters[bytes, sqlite3.PrepareProtocol]
    assert adapter(value) is value
