"""Bytes that are large and lie in several pieces: nobody has joined them, which would be a copy."""

from __future__ import annotations


class Rope:
    """Bytes in pieces, in order. Its length is the number of bytes.

    Args:
        pieces: Them.
    """

    __slots__ = ("_size", "pieces")

    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self.pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size

    def __bytes__(self) -> bytes:
        """All of it joined, for those who can take it only so."""
        return b"".join(self.pieces)


Bytes = bytes | Rope
"""What may be large."""
