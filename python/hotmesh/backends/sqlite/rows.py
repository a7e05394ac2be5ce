"""Many rows as the parameters of one statement.

A statement for each row gives the interpreter's lock away and asks for it again each time: while
workflow code runs in another thread, that wait is longer than all the rest. One statement for all
rows runs beside that code. Values are bound as they are; JSON for ``json_each`` took twice as long.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence, Sized
from itertools import chain

ROWS_MAX = 256
"""Rows of one statement; more go into further ones."""

BYTES_MAX = 1024 * 1024
"""Large values of one statement together, if it has several rows: SQLite keeps what was bound to
a cached statement until that is used again."""

SIZES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, ROWS_MAX)
"""Rows that a statement may have, so that there are few to be compiled and kept."""

NOTHING = -1
"""What fills the rows that stand for none. No key is this number. (Python's ``sqlite3`` looks for
an adapter of nulls, in vain: to bind one takes longer than bytes.)"""

Column = Sequence[object]

_ROW = re.compile(r"(?<=VALUES )\(\?(?:, \?)*\)")


class Rows:
    """A statement with a row of parameters, ``VALUES (?, ?)``, that stands for any number of rows.

    The number is rounded up with rows of :data:`NOTHING`; the statement must pass over them.
    """

    def __init__(self, statement: str) -> None:
        self._head, self._tail = _ROW.split(statement)
        (self._row,) = _ROW.findall(statement)
        self._width = self._row.count("?")
        self._texts: dict[int, str] = {}

    def calls(
        self, columns: Sequence[Column], large: Sequence[Sequence[Sized]] = ()
    ) -> Iterator[tuple[str, list[object]]]:
        """The statements to execute, and their parameters.

        Args:
            columns: The values of all rows, column by column.
            large: Columns whose values may be large; in a row they follow the others.
        """
        count = len(columns[0])
        if large and count > 1 and sum(sum(map(len, values)) for values in large) > BYTES_MAX:
            for half in (slice(0, count // 2), slice(count // 2, count)):
                yield from self.calls(
                    [column[half] for column in columns], [values[half] for values in large]
                )
            return
        values = list(chain.from_iterable(zip(*columns, *large, strict=True)))
        step = ROWS_MAX * self._width
        for at in range(0, len(values), step):
            yield self._call(values[at : at + step] if len(values) > step else values)

    def _call(self, values: list[object]) -> tuple[str, list[object]]:
        count = len(values) // self._width
        size = SIZES[bisect_left(SIZES, count)]
        values += [NOTHING] * ((size - count) * self._width)
        text = self._texts.get(size)
        if text is None:
            text = self._head + ", ".join([self._row] * size) + self._tail
            self._texts[size] = text
        return text, values


def is_large(values: Sequence[bytes]) -> bool:
    """Whether one of the values has more bytes than a statement with several rows may have."""
    return max(map(len, values), default=0) > BYTES_MAX


def large_bytes(values: Sequence[object]) -> int:
    """Bytes of those values that have more than a statement with several rows may have."""
    return sum(len(each) for each in values if type(each) is bytes and len(each) > BYTES_MAX)


def bytes_of(*values: object) -> int:
    """What values count for. Whatever is stored in a damaged row, it must not stop the others."""
    return sum(len(value) for value in values if isinstance(value, (bytes, str)))
