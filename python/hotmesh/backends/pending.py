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
    return kind, tuple(bytes.fromhex(each[1:]) if isinstance(each, str) else each for each in place)


def pack(kind: str, place: Place) -> bytes:
    """The cursor of a place."""
    parts = [f"x{each.hex()}" if isinstance(each, bytes) else each for each in place]
    return json.dumps([kind, *parts]).encode()


def following(kind: str, first: dict[str, Place] = FIRST) -> bytes:
    """The cursor of the first page of the next kind; b"" after the last one."""
    at = PENDING_KINDS.index(kind) + 1
    if at == len(PENDING_KINDS):
        return b""
    return pack(PENDING_KINDS[at], first[PENDING_KINDS[at]])
