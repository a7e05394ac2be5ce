"""Bodies and payload maps: every form reads back, garbage is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.common import Payload
from hotmesh.converter import (
    DataConverter,
    body_to_payloads,
    bytes_to_payload_map,
    decode_values,
    encode_values,
    payload_map_to_bytes,
    payloads_to_body,
)
from hotmesh.converter.body import read_large
from hotmesh.exceptions import ConversionError

payloads = st.builds(
    Payload, st.dictionaries(st.text(max_size=5), st.binary(max_size=9), max_size=3), st.binary()
)


@given(st.lists(payloads, max_size=4))
def test_payloads_come_back(written: list[Payload]) -> None:
    assert body_to_payloads(payloads_to_body(written)) == written


@given(st.dictionaries(st.text(), payloads, max_size=3))
def test_payload_map_comes_back(written: dict[str, Payload]) -> None:
    assert bytes_to_payload_map(payload_map_to_bytes(written)) == written


def test_no_bytes_hold_nothing() -> None:
    assert body_to_payloads(b"") == []
    assert bytes_to_payload_map(b"") == {}
    assert decode_values(DataConverter.default, b"", [int]) == []


def test_json_bodies_become_the_payloads_of_the_default_converter() -> None:
    values = [None, "x", {"b": 1, "a": None}]
    expected = DataConverter.default.payload_converter.to_payloads(values)
    assert body_to_payloads(b'[null,"x",{"b":1,"a":null}]') == expected
    assert body_to_payloads(b'S[null,"x",{"b":1,"a":null}]') == expected


@given(st.binary(max_size=40), st.sampled_from([b"", b"[", b"S", b"P", b"P\x01", b"P\x01\x02{}"]))
def test_garbage_never_raises_anything_untyped(data: bytes, prefix: bytes) -> None:
    for read in (body_to_payloads, bytes_to_payload_map):
        try:
            result: Any = read(prefix + data)
        except ConversionError:
            continue
        assert isinstance(result, list | dict)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"X[]", "unknown form b'X'"),
        (b"[", "malformed JSON"),
        (b"S[", "malformed JSON"),
        (b"{}", "unknown form"),
        (b"S{}", "array was expected"),
        (b"P", "malformed bytes"),
        (b"P\x01\x02{}\x05ab", "5 bytes announced"),
        (b"P\x00junk", "4 bytes too many"),
        (b"P\x01\x02[]\x00", "malformed bytes"),
    ],
)
def test_malformed_bodies_are_refused(body: bytes, message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        body_to_payloads(body)


@pytest.mark.parametrize(
    "text", ["", "plain", "naïve ☃", 'quo"te', "back\\slash", "line\nbreak", '"', "]", '","']
)
def test_a_large_text_is_read_as_a_small_one(text: str) -> None:
    body = encode_values(DataConverter.default, [text], "test")
    assert read_large(body) == [text]
    assert read_large(encode_values(DataConverter.default, [text, text], "test")) == [text, text]


@pytest.mark.parametrize("body", [b'["', b'["]', b'["x" "]', b'["\xff"]', b'["x\\"]', b'["a","]'])
def test_a_large_text_that_is_damaged_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_large(body)
