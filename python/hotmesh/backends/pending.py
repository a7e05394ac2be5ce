"""Places in what waits in a namespace: how the pages of `Backend.pending` are told apart."""

from __future__ import annotations

import json
from typing import Any, Final

from hotmesh.backends.protocol import PENDING_KINDS

Place = tuple[Any, ...]

FIRST: Final[dict[str, Place]] = {
    "message": (-1, -1),
    "timer": (-1, -1, b"", -(1 << 62)),
    "task": (b"", -1),
    "wait": (-1,),
}
"""What comes before all rows of a kind, where they are ordered by their columns."""


def unpack(cursor: bytes, first: dict[str, Place] = FIRST) -> tuple[str, Place]:
    """The kind and the place that a cursor stands for."""
    if not cursor:
        return PENDING_KINDS[0], first[PENDING_KINDS[0]]
    kind, *place = json.loads(cursor)
    return kind, tuple(_unpacked(each) if isinstance(each, str) else each for each in place)


def _unpacked(part: str) -> bytes | str:
    return bytes.fromhex(part[1:]) if part[0] == "x" else part[1:]


def pack(kind: str, place: Place) -> bytes:
    """The cursor of a place."""
    return json.dumps([kind, *map(_packed, place)]).encode()


def _packed(part: Any) -> Any:
    if isinstance(part, bytes):
        return f"x{part.hex()}"
    # SQLite may have a text in any column, where it is damaged.
    return f"s{part}" if isinstance(part, str) else part


def following(kind: str, first: dict[str, Place] = FIRST) -> bytes:
    """The cursor of the first page of the next kind; b"" after the last one."""
    at = PENDING_KINDS.index(kind) + 1
    if at == len(PENDING_KINDS):
        return b""
    return pack(PENDING_KINDS[at], first[PENDING_KINDS[at]])
