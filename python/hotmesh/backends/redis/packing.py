"""Calls with large values, sent a piece at a time.

Packed as one, such a call is copied twice in memory before a byte of it is sent, and once more by
what sends it. The pieces are parts of the values themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hotmesh.core.rope import Rope

Word = bytes | str | int | Rope

PIECE_BYTES = 256 * 1024
"""What is sent at once of a call with a large word, and the size from which on a word is large."""


def is_large(words: Sequence[bytes | str | Rope]) -> bool:
    """Whether a call with these words is to be sent in pieces."""
    return bool(words) and max(map(len, words)) > PIECE_BYTES


def pieces(words: Sequence[Word]) -> Iterator[bytes | memoryview]:
    """A call as the protocol writes it (RESP2 and RESP3 alike), piece by piece."""
    small = bytearray(b"*%d\r\n" % len(words))
    for word in words:
        rope = word if isinstance(word, Rope) else Rope((_bytes_of(word),))
        small += b"$%d\r\n" % len(rope)
        for data in rope.pieces:
            if len(data) <= PIECE_BYTES:
                small += data
                continue
            yield bytes(small)
            small = bytearray()
            whole = memoryview(data)
            for at in range(0, len(data), PIECE_BYTES):
                yield whole[at : at + PIECE_BYTES]
        small += b"\r\n"
        if len(small) > PIECE_BYTES:
            yield bytes(small)
            small = bytearray()
    yield bytes(small)


def _bytes_of(word: bytes | str | int) -> bytes:
    return word if isinstance(word, bytes) else str(word).encode()
