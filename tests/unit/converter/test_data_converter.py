"""Values through a DataConverter: forms of bodies, hints, errors, codecs, contexts."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.common import Payload, RawValue
from hotmesh.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
    apply_codec,
    body_to_payloads,
    create_payload_validation_error,
    decode_values,
    default,
    encode_values,
)
from hotmesh.exceptions import ApplicationError, ConversionError

DEFAULT = DataConverter.default


class Custom(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)


CUSTOM = DataConverter(payload_converter_class=Custom)


class Zip(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload({"encoding": b"zip"}, zlib.compress(payload.SerializeToString()))
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(zlib.decompress(payload.data)) for payload in payloads]


@dataclass
class Item:
    name: str
    when: datetime | None = None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(["/tmp/x", "", "/t", "null", "[", "P"]),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4)
    ),
    max_leaves=10,
)


@given(st.lists(values | st.binary(), max_size=4), st.sampled_from([DEFAULT, CUSTOM]))
def test_values_come_back_exactly(written: list[Any], converter: DataConverter) -> None:
    read = decode_values(converter, encode_values(converter, written, "test"))
    assert read == written
    assert [type(each) for each in read] == [type(each) for each in written]


@given(st.lists(values | st.binary(), max_size=4))
def test_either_converter_reads_what_the_other_wrote(written: list[Any]) -> None:
    assert decode_values(CUSTOM, encode_values(DEFAULT, written, "test")) == written
    assert decode_values(DEFAULT, encode_values(CUSTOM, written, "test")) == written


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ([], b"[]"),
        ([None], b"[null]"),
        (["/tmp/x", "null", 1, None], b'["/tmp/x","null",1,null]'),
        ((1, 2), b"[1,2]"),
        ([Item("x")], b'[{"name":"x","when":null}]'),
        ([math.inf], b"S[Infinity]"),
        ([2**64], b"S[18446744073709551616]"),
        ([{1: 2}], b'S[{"1":2}]'),
        ([b"ab"], b'P\x01\x1b{"encoding":"binary/plain"}\x02ab'),
    ],
)
def test_forms_of_bodies(written: Sequence[Any], form: bytes) -> None:
    assert encode_values(DEFAULT, written, "test") == form


def test_custom_converters_always_make_payloads() -> None:
    assert encode_values(CUSTOM, ["x"], "test")[:1] == b"P"


@pytest.mark.parametrize("converter", [DEFAULT, CUSTOM])
def test_hints_rebuild_values(converter: DataConverter) -> None:
    when = datetime(2020, 1, 2, tzinfo=UTC)
    written = [Item("x", when), 5, None, "y", 1]
    body = encode_values(converter, written, "test")
    assert decode_values(converter, body, [Item, float, str, None, Any]) == written
    assert decode_values(converter, body, [Item])[0] == Item("x", when)
    assert decode_values(converter, body, [Item] + [Any] * 9)[1:] == written[1:]


def test_null_fits_any_hint_at_the_top() -> None:
    assert decode_values(DEFAULT, b"[null]", [Item]) == [None]


@pytest.mark.parametrize("written", [None, "x", {"a": 1}, b"ab"])
def test_raw_values_stay_payloads(written: Any) -> None:
    payload = DEFAULT.payload_converter.to_payload(written)
    body = encode_values(DEFAULT, [RawValue(payload)], "test")
    assert decode_values(DEFAULT, body) == [written]
    plain = encode_values(DEFAULT, [written], "test")
    for stored in (body, plain):
        assert decode_values(DEFAULT, stored, [RawValue]) == [RawValue(payload)]


@pytest.mark.parametrize("converter", [DEFAULT, CUSTOM])
@pytest.mark.parametrize("bad", [object(), {(1, 2): 3}, "\ud800", ["\ud800", math.inf]])
def test_what_cannot_be_stored_is_named(converter: DataConverter, bad: Any) -> None:
    with pytest.raises(ConversionError, match="arguments of activity 'charge'"):
        encode_values(converter, [1, bad], "arguments of activity 'charge'")


def test_error_names_the_value() -> None:
    with pytest.raises(ConversionError, match=r"result of 'f', value 2: Object of type object"):
        encode_values(DEFAULT, [1, object()], "result of 'f'")


@pytest.mark.parametrize("converter", [DEFAULT, CUSTOM])
def test_what_does_not_fit_its_hint_is_named(converter: DataConverter) -> None:
    body = encode_values(converter, [1, {"name": 5}], "test")
    with pytest.raises(ConversionError, match=r"arguments of 'f'.*field name on dataclass"):
        decode_values(converter, body, [int, Item], "arguments of 'f'")


class Validating(JSONPlainPayloadConverter):
    def to_payload(self, value: Any) -> Payload | None:
        raise create_payload_validation_error({"field": "name"})

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        raise create_payload_validation_error(None)


class ValidatingComposite(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Validating())


def test_failures_raised_by_converters_pass_unchanged() -> None:
    converter = DataConverter(payload_converter_class=ValidatingComposite)
    with pytest.raises(ApplicationError) as written:
        encode_values(converter, [1], "test")
    assert written.value.details == ({"field": "name"},)
    with pytest.raises(ApplicationError) as read:
        decode_values(converter, b"[1]")
    assert (read.value.type, read.value.non_retryable) == ("PayloadValidationError", True)


# -- Codecs --


@pytest.mark.parametrize("written", [["x", {"a": [1, None]}], [b"ab", None], [math.inf]])
async def test_codec_is_applied_to_any_body_and_undone(written: list[Any]) -> None:
    body = encode_values(DEFAULT, written, "test")
    encoded = await apply_codec(Zip(), body, encode=True)
    assert {payload.metadata["encoding"] for payload in body_to_payloads(encoded)} == {b"zip"}
    decoded = await apply_codec(Zip(), encoded, encode=False)
    assert decode_values(DEFAULT, decoded) == written


async def test_codec_is_not_bothered_with_nothing() -> None:
    assert await apply_codec(Zip(), b"[]", encode=True) == b"[]"


class Greedy(Zip):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return []


async def test_codec_that_drops_everything_is_refused() -> None:
    with pytest.raises(ConversionError, match="it returned 0 for 1"):
        await apply_codec(Greedy(), b"[1]", encode=True)


async def test_data_converter_applies_its_codec() -> None:
    converter = DataConverter(payload_codec=Zip())
    payloads = await converter.encode([Item("x"), None])
    assert payloads[0].metadata == {"encoding": b"zip"}
    assert await converter.decode(payloads, [Item, str]) == [Item("x"), None]


# -- Construction and contexts --


def test_default_is_shared() -> None:
    assert default() is DataConverter.default
    assert DataConverter().writes_json
    assert not CUSTOM.writes_json


class ContextualCodec(Zip, WithSerializationContext):
    def __init__(self, workflow_id: str = "") -> None:
        self.workflow_id = workflow_id

    def with_context(self, context: SerializationContext) -> Self:
        assert isinstance(context, WorkflowSerializationContext)
        return type(self)(context.workflow_id)


def test_context_reaches_the_codec() -> None:
    context = WorkflowSerializationContext("default", "order-1")
    assert DEFAULT.with_context(context) is DEFAULT
    bound = DataConverter(payload_codec=ContextualCodec()).with_context(context)
    assert isinstance(bound.payload_codec, ContextualCodec)
    assert bound.payload_codec.workflow_id == "order-1"
