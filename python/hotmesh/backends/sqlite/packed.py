"""Many rows as the parameters of one statement.

A statement for each row gives the interpreter's lock away and asks for it again each time: while
workflow code runs in another thread, that wait is longer than all the rest. One statement for all
rows runs beside that code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import orjson

BYTES_MAX = 64 * 1024 * 1024
"""Values of one statement together; more rows than fit go into further statements."""

_FIRST = b"\0"
"""Before the first value: `substr` of a parameter without bytes would be null."""

Column = Sequence[int | str]
Blobs = dict[str, Sequence[bytes]]


def packed(
    runs: Sequence[bytes], columns: Sequence[Column], blobs: Blobs
) -> Iterator[dict[str, object]]:
    """The parameters for rows given as columns, one set for each statement that is needed.

    ``:rows`` is a JSON array to be read with ``json_each``. Row n holds the values of the columns,
    then for each blob its place in that blob's parameter: start and length for ``substr``.
    ``:runs`` holds the run ids; that of row n begins at ``16 * n + 1``.

    Args:
        runs: A run id for each row.
        columns: Numbers and texts.
        blobs: Bytes, by the name of their parameter.
    """
    size = sum(sum(map(len, values)) for values in blobs.values())
    count = len(runs)
    if size <= BYTES_MAX or count <= 1:
        yield _parameters(runs, columns, blobs)
        return
    for half in (slice(0, count // 2), slice(count // 2, count)):
        yield from packed(
            runs[half],
            [column[half] for column in columns],
            {name: values[half] for name, values in blobs.items()},
        )


def _parameters(
    runs: Sequence[bytes], columns: Sequence[Column], blobs: Blobs
) -> dict[str, object]:
    found: dict[str, object] = {"runs": b"".join(runs)}
    wide = list(columns)
    for name, values in blobs.items():
        found[name] = b"".join((_FIRST, *values))
        lengths = list(map(len, values))
        wide += [list(accumulate(lengths, initial=1 + len(_FIRST))), lengths]
    found["rows"] = orjson.dumps(list(zip(*wide, strict=False))).decode()
    return found
