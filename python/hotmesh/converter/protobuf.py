"""Converters of protobuf messages, for programs that use protobuf.

``google.protobuf`` is imported only once a message turns up: no message can exist before the
program has imported it, and stored ones can't be read without it.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from hotmesh.common import Payload
from hotmesh.converter.payload_converter import EncodingPayloadConverter
from hotmesh.exceptions import ConversionError


def is_message(value: Any) -> bool:
    """Whether a value is a protobuf message."""
    module: Any = sys.modules.get("google.protobuf.message")
    return module is not None and isinstance(value, module.Message)


def _new_message(payload: Payload) -> Any:
    name = payload.metadata.get("messageType", b"<unknown>").decode()
    try:
        pool: Any = importlib.import_module("google.protobuf.descriptor_pool")
        factory: Any = importlib.import_module("google.protobuf.message_factory")
    except ImportError as err:
        raise ConversionError(
            f"protobuf message {name}", "protobuf is not installed here: pip install protobuf"
        ) from err
    try:
        return factory.GetMessageClass(pool.Default().FindMessageTypeByName(name))()
    except KeyError as err:
        raise RuntimeError(f"Unknown Protobuf type {name}") from err


def _metadata(encoding: str, message: Any) -> dict[str, bytes]:
    full_name: str = message.DESCRIPTOR.full_name
    return {"encoding": encoding.encode(), "messageType": full_name.encode()}


class JSONProtoPayloadConverter(EncodingPayloadConverter):
    """``json/protobuf``: protobuf messages as JSON.

    Args:
        ignore_unknown_fields: True to skip stored fields that the message does not have.
    """

    def __init__(self, ignore_unknown_fields: bool = False) -> None:
        self._ignore_unknown_fields = ignore_unknown_fields

    @property
    def encoding(self) -> str:
        """See base class."""
        return "json/protobuf"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        if not is_message(value):
            return None
        json_format: Any = importlib.import_module("google.protobuf.json_format")
        text = json.dumps(json_format.MessageToDict(value), separators=(",", ":"), sort_keys=True)
        return Payload(_metadata(self.encoding, value), text.encode())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class."""
        message = _new_message(payload)
        json_format: Any = importlib.import_module("google.protobuf.json_format")
        try:
            return json_format.Parse(
                payload.data, message, ignore_unknown_fields=self._ignore_unknown_fields
            )
        except (json_format.ParseError, UnicodeDecodeError) as err:
            raise RuntimeError("Failed parsing") from err


class BinaryProtoPayloadConverter(EncodingPayloadConverter):
    """``binary/protobuf``: protobuf messages in their wire format."""

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/protobuf"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        if not is_message(value):
            return None
        return Payload(_metadata(self.encoding, value), value.SerializeToString())

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class."""
        message = _new_message(payload)
        errors: Any = importlib.import_module("google.protobuf.message")
        try:
            message.ParseFromString(payload.data)
        except errors.DecodeError as err:
            raise RuntimeError("Failed parsing") from err
        return message
