"""Large values, stored in pieces: of a run its input, its result, and entries of its journal.

Whole, SQLite copies a value when it is bound, when its row is made, and when it is read, and
whoever changes the row of a run would write its input again. A row whose value lies here has a null
instead.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.core.rope import Bytes, Rope
from hotmesh.limits import ROPE_BYTES

INPUT, RESULT = -1, -2
"""Parts of a run that may lie in pieces; others are the seqs of its journal."""

PIECE_BYTES = 1024 * 1024
"""The most that a piece has."""

_SQL = statements.load("pieces")
_INSERT = _SQL["insert_piece"]
_READ = _SQL["read_pieces"]


def any_large(values: Sequence[Bytes]) -> bool:
    """Whether one of the values is not stored in its row."""
    return max(map(len, values), default=0) >= ROPE_BYTES


def whole(values: Sequence[Bytes]) -> Sequence[Bytes | None]:
    """The values that are stored in their rows; null in the place of those that are not."""
    return [None if len(each) >= ROPE_BYTES else each for each in values]


def write(
    tx: Transaction, run_ids: Sequence[bytes], parts: Sequence[int], values: Sequence[Bytes]
) -> None:
    """Store those that :func:`whole` leaves out."""
    for run_id, part, value in zip(run_ids, parts, values, strict=True):
        if len(value) >= ROPE_BYTES:
            tx.spare()
            for number, piece in enumerate(_pieces(value)):
                tx.run(_INSERT, (run_id, part, number, piece))
            tx.moved_bytes += len(value)


def _pieces(value: Bytes) -> Iterator[memoryview]:
    for data in value.pieces if isinstance(value, Rope) else (value,):
        view = memoryview(data)
        for at in range(0, len(data), PIECE_BYTES):
            yield view[at : at + PIECE_BYTES]


def read(tx: Transaction, run_id: bytes, part: int) -> bytes | None:
    """A value that its row does not have; None if it is nowhere."""
    value = io.BytesIO()
    for piece in _each(tx, run_id, part):
        value.write(piece)
    tx.moved_bytes += value.tell()
    return value.getvalue() if value.tell() else None


def has(tx: Transaction, run_id: bytes, part: int, wanted: bytes) -> bool:
    """Whether some bytes are in a value that lies here."""
    before = b""
    for piece in _each(tx, run_id, part):
        before += piece
        if wanted in before:
            return True
        before = before[-len(wanted) :]
    return False


def _each(tx: Transaction, run_id: bytes, part: int) -> Iterator[bytes]:
    tx.spare()
    for (piece,) in tx.rows(_READ, (run_id, part)):
        if isinstance(piece, bytes):  # else damaged: what is left has another checksum
            yield piece
