"""Payload converters: encodings, composites, contexts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

import pytest

from hotmesh.common import Payload, RawValue
from hotmesh.converter import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)


@dataclass
class Item:
    name: str


@pytest.mark.parametrize(
    ("value", "encoding", "data"),
    [
        (None, b"binary/null", b""),
        (b"ab", b"binary/plain", b"ab"),
        ("x", b"json/plain", b'"x"'),
        ({"b": 1, "a": 2}, b"json/plain", b'{"a":2,"b":1}'),
        (Item("x"), b"json/plain", b'{"name":"x"}'),
    ],
)
def test_default_encodings(value: Any, encoding: bytes, data: bytes) -> None:
    payload = PayloadConverter.default.to_payload(value)
    assert payload == Payload({"encoding": encoding}, data)
    assert PayloadConverter.default.from_payload(payload, type(value)) == value


def test_raw_values_pass_through() -> None:
    payload = Payload({"encoding": b"mine"}, b"...")
    converter = PayloadConverter.default
    assert converter.to_payloads([RawValue(payload)]) == [payload]
    assert converter.from_payloads([payload], [RawValue]) == [RawValue(payload)]


def test_unknown_encodings_and_values_are_refused() -> None:
    with pytest.raises(KeyError, match="Unknown payload encoding mine"):
        PayloadConverter.default.from_payload(Payload({"encoding": b"mine"}))
    with pytest.raises(KeyError, match="<unknown>"):
        PayloadConverter.default.from_payload(Payload())
    only_null = CompositePayloadConverter(BinaryNullPayloadConverter())
    with pytest.raises(RuntimeError, match=r"index 1 .* no known converter"):
        only_null.to_payloads([None, 5])


@pytest.mark.parametrize(
    "payload",
    [
        Payload({"encoding": b"json/plain"}, b"{"),
        Payload({"encoding": b"json/plain"}, b"\xff"),
        Payload({"encoding": b"binary/null"}, b"x"),
    ],
)
def test_malformed_payloads_are_refused(payload: Payload) -> None:
    with pytest.raises(RuntimeError, match="Payload at index 0"):
        PayloadConverter.default.from_payload(payload)


def test_default_order() -> None:
    assert list(DefaultPayloadConverter().converters) == [
        b"binary/null",
        b"binary/plain",
        b"json/protobuf",
        b"binary/protobuf",
        b"json/plain",
    ]


class DecimalEncoder(json.JSONEncoder):
    def default(self, o: Any) -> Any:
        return {"decimal": str(o)} if isinstance(o, Decimal) else super().default(o)


class DecimalDecoder(json.JSONDecoder):
    def __init__(self) -> None:
        super().__init__(object_hook=lambda document: Decimal(document["decimal"]))


def test_json_classes_can_be_replaced() -> None:
    converter = JSONPlainPayloadConverter(
        encoder=DecimalEncoder, decoder=DecimalDecoder, encoding="json/decimal"
    )
    payload = converter.to_payload([Decimal("1.20")])
    assert payload == Payload({"encoding": b"json/decimal"}, b'[{"decimal":"1.20"}]')
    assert converter.from_payload(payload) == [Decimal("1.20")]


class Contextual(EncodingPayloadConverter, WithSerializationContext):
    def __init__(self, workflow_id: str = "none") -> None:
        self.workflow_id = workflow_id

    @property
    def encoding(self) -> str:
        return "contextual"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload({"encoding": b"contextual"}, self.workflow_id.encode())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return payload.data

    def with_context(self, context: SerializationContext) -> Self:
        assert isinstance(context, WorkflowSerializationContext)
        return type(self)(context.workflow_id)


class ContextualComposite(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(BinaryPlainPayloadConverter(), Contextual())


def test_context_reaches_the_parts() -> None:
    context = WorkflowSerializationContext("default", "order-1")
    converter = ContextualComposite()
    assert converter.with_context(context).to_payload(1).data == b"order-1"
    assert converter.to_payload(1).data == b"none"
    plain = DefaultPayloadConverter()
    assert plain.with_context(context) is plain


class ContextualItself(DefaultPayloadConverter):
    """Wants to know, and none of its parts does."""

    workflow_id = "none"

    def with_context(self, context: SerializationContext) -> Self:
        assert isinstance(context, WorkflowSerializationContext)
        bound = type(self)()
        bound.workflow_id = context.workflow_id
        return bound


class ContextualParts(DefaultPayloadConverter):
    """Gives itself a part for each context."""

    def get_converters_with_context(
        self, context: SerializationContext
    ) -> list[EncodingPayloadConverter] | None:
        assert isinstance(context, WorkflowSerializationContext)
        return [Contextual(context.workflow_id)]


def test_a_composite_that_wants_to_know_itself_is_told() -> None:
    context = WorkflowSerializationContext("default", "order-1")
    itself = DataConverter(payload_converter_class=ContextualItself)
    assert itself.takes_context
    bound = itself.with_context(context).payload_converter
    assert isinstance(bound, ContextualItself)
    assert bound.workflow_id == "order-1"
    parts = DataConverter(payload_converter_class=ContextualParts)
    assert parts.takes_context
    assert parts.with_context(context).payload_converter.to_payloads([1])[0].data == b"order-1"
    assert not DataConverter.default.takes_context


def test_protobuf_is_not_imported_until_it_is_used() -> None:
    program = (
        "import sys, hotmesh.converter as c\n"
        "c.DataConverter.default.payload_converter.to_payload(5)\n"
        "sys.exit('google.protobuf' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
