"""Protobuf converters: with the library they convert messages, without it they say so."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest

from hotmesh.common import Payload
from hotmesh.converter import (
    BinaryProtoPayloadConverter,
    DataConverter,
    EncodingPayloadConverter,
    JSONProtoPayloadConverter,
    body_to_payloads,
    decode_values,
    encode_values,
)
from hotmesh.exceptions import ConversionError

CONVERTERS = [JSONProtoPayloadConverter(), BinaryProtoPayloadConverter()]
HAS_PROTOBUF = (
    importlib.util.find_spec("google") is not None
    and importlib.util.find_spec("google.protobuf") is not None
)


@pytest.mark.parametrize("converter", CONVERTERS)
def test_other_values_are_left_to_other_converters(converter: EncodingPayloadConverter) -> None:
    assert converter.to_payload({"a": 1}) is None


@pytest.mark.parametrize("converter", CONVERTERS)
def test_without_the_library_the_error_says_what_to_install(
    converter: EncodingPayloadConverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.protobuf.descriptor_pool", None)
    payload = Payload({"encoding": b"x", "messageType": b"google.protobuf.Duration"})
    with pytest.raises(ConversionError, match="pip install protobuf"):
        converter.from_payload(payload)


if HAS_PROTOBUF:

    @pytest.mark.parametrize("converter", CONVERTERS)
    def test_messages_come_back(converter: EncodingPayloadConverter) -> None:
        message = importlib.import_module("google.protobuf.duration_pb2").Duration(seconds=5)
        payload = converter.to_payload(message)
        assert payload is not None
        assert payload.metadata["messageType"] == b"google.protobuf.Duration"
        assert converter.from_payload(payload) == message

    def test_default_converter_takes_messages() -> None:
        struct_pb2 = importlib.import_module("google.protobuf.struct_pb2")
        message = struct_pb2.Struct()
        message["a"] = 1.0
        body = encode_values(DataConverter.default, [message, 5], "x")
        assert body_to_payloads(body)[0].metadata["encoding"] == b"json/protobuf"
        assert decode_values(DataConverter.default, body) == [message, 5]

    @pytest.mark.parametrize("converter", CONVERTERS)
    def test_malformed_messages_are_refused(converter: EncodingPayloadConverter) -> None:
        importlib.import_module("google.protobuf.duration_pb2")
        payload = Payload({"messageType": b"google.protobuf.Duration"}, b"\xff\xff")
        with pytest.raises(RuntimeError, match="Failed parsing"):
            converter.from_payload(payload)
        with pytest.raises(RuntimeError, match=r"Unknown Protobuf type no\.such"):
            converter.from_payload(Payload({"messageType": b"no.such"}, b""))
