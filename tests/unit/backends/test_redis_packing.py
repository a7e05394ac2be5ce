"""Large calls to Redis go out in pieces that are no copies."""

from typing import Any, cast

import hiredis
import pytest

from hotmesh.backends.redis.packing import PIECE_BYTES, Word, is_large, pieces
from hotmesh.core.rope import Rope

pack = cast("Any", hiredis).pack_command


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 5])
def test_pieces_are_the_call(size: int) -> None:
    words: tuple[Word, ...] = (b"EVALSHA", "é", 1, b"x" * size, b"", b"y" * size, "end")
    found = list(pieces(words))
    assert b"".join(found) == pack(words)
    assert max(map(len, found)) <= 3 * PIECE_BYTES


def test_no_piece_is_a_copy_of_a_large_word() -> None:
    large = bytes(5 * PIECE_BYTES)
    found = [each for each in pieces((b"SET", "key", large)) if isinstance(each, memoryview)]
    assert len(found) == 5
    assert all(each.obj is large for each in found)


def test_a_call_is_large_if_a_word_is() -> None:
    assert not is_large([])
    assert not is_large([b"x" * PIECE_BYTES, "text"])
    assert is_large([b"", b"x" * (PIECE_BYTES + 1)])


def test_the_pieces_of_a_rope_are_one_word() -> None:
    large = bytes(2 * PIECE_BYTES)
    rope = Rope((b"head", large, b"", b"tail"))
    words: tuple[Word, ...] = (b"SET", rope, b"end")
    assert is_large([rope])
    found = list(pieces(words))
    assert b"".join(found) == pack((b"SET", bytes(rope), b"end"))
    assert all(each.obj is large for each in found if isinstance(each, memoryview))
    assert sum(len(each) for each in found if isinstance(each, bytes)) < 100
