"""Postgres arrays: round trips, the bytes Postgres expects, and what is refused."""

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given

from hotmesh.core.rope import Rope
from unit.core.strategies import BOOL, BYTEA, INT4, INT8, TEXT, arrays


@given(array=arrays)
def test_round_trip(core: ModuleType, array: tuple[int, list[Any]]) -> None:
    element, items = array
    assert core.decode_array(core.encode_array(element, items)) == items
    assert core.encode_array(element, tuple(items)) == core.encode_array(element, items)


def test_bytes_are_those_of_array_send(core: ModuleType) -> None:
    assert core.encode_array(INT4, [7, None]).hex() == (
        "00000001000000010000001700000002000000010000000400000007ffffffff"
    )
    assert core.encode_array(BYTEA, []).hex() == "000000000000000000000011"


@pytest.mark.parametrize(
    ("element", "item", "error"),
    [
        (INT4, 2**31, OverflowError),
        (INT8, -(2**63) - 1, OverflowError),
        (INT4, "7", TypeError),
        (INT8, b"7", TypeError),
        (BYTEA, "text", TypeError),
        (TEXT, b"bytes", TypeError),
        (TEXT, "\ud800", UnicodeEncodeError),
        (BOOL, 1, TypeError),
        (600, 1, TypeError),
    ],
)
def test_refused(core: ModuleType, element: int, item: object, error: type[BaseException]) -> None:
    with pytest.raises(error):
        core.encode_array(element, [item])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0\1",
        bytes.fromhex("0000000200000000000000170000000100000001"),
        bytes.fromhex("000000010000000000000017000000010000000100000004000000"),
        bytes.fromhex("00000001000000000000001700000001000000010000000200000000"),
        bytes.fromhex("0000000100000000000000170000000000000001ff"),
    ],
)
def test_malformed(core: ModuleType, data: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        core.decode_array(data)


def test_unknown_element_type_is_not_read(core: ModuleType) -> None:
    data = bytes.fromhex("00000001000000000000025800000001000000010000000100")
    with pytest.raises(TypeError, match="600"):
        core.decode_array(data)


def test_bytes_in_pieces_are_one_element(core: ModuleType) -> None:
    rope = Rope((b"head", b"x" * 1_000_000, b"", b"tail"))
    items = [b"first", rope, None]
    assert core.encode_array(BYTEA, items) == core.encode_array(
        BYTEA, [b"first", bytes(rope), None]
    )
