"""Converters: Python values and errors to stored bytes and back.

This package owns serialisation. ``encode_values``, ``decode_values``, ``encode_failure`` and
``decode_failure`` are what the rest of HotMesh calls; the classes are what users replace. It
never touches a backend, and nothing here but codecs may do I/O.
"""

from __future__ import annotations

from typing import Any

from hotmesh.converter.body import (
    body_to_payloads,
    bytes_to_payload_map,
    payload_map_to_bytes,
    payloads_to_body,
)
from hotmesh.converter.codec import PayloadCodec, apply_codec, apply_codec_to_failure
from hotmesh.converter.context import (
    ActivitySerializationContext,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from hotmesh.converter.data_converter import (
    DataConverter,
    decode_failure,
    decode_values,
    default,
    encode_failure,
    encode_values,
)
from hotmesh.converter.failure import Failure
from hotmesh.converter.failure_converter import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from hotmesh.converter.json_text import AdvancedJSONEncoder
from hotmesh.converter.payload_converter import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadConverter,
)
from hotmesh.converter.protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter
from hotmesh.converter.search_attributes import (
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute_values,
    encode_search_attributes,
    encode_typed_search_attribute_value,
)
from hotmesh.converter.type_decoder import (
    JSONTypeConverter,
    JSONTypeConverterUnhandled,
    value_to_type,
)
from hotmesh.exceptions import ApplicationError

# JSON comes last: it is the one that raises for what it can't convert.
DefaultPayloadConverter.default_encoding_payload_converters = (
    BinaryNullPayloadConverter(),
    BinaryPlainPayloadConverter(),
    JSONProtoPayloadConverter(),
    BinaryProtoPayloadConverter(),
    JSONPlainPayloadConverter(),
)
DataConverter.default = DataConverter()
PayloadConverter.default = DataConverter.default.payload_converter
FailureConverter.default = DataConverter.default.failure_converter


def create_payload_validation_error(details: Any) -> ApplicationError:
    """Make the error a converter raises when a value is well formed but not valid.

    Args:
        details: What is wrong with it, or None.

    Returns:
        An application error that is not retried.
    """
    return ApplicationError(
        "Payload validation failed",
        *(() if details is None else (details,)),
        type="PayloadValidationError",
        non_retryable=True,
    )


__all__ = [
    "ActivitySerializationContext",
    "AdvancedJSONEncoder",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "BinaryProtoPayloadConverter",
    "CompositePayloadConverter",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "Failure",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "JSONProtoPayloadConverter",
    "JSONTypeConverter",
    "JSONTypeConverterUnhandled",
    "PayloadCodec",
    "PayloadConverter",
    "SerializationContext",
    "WithSerializationContext",
    "WorkflowSerializationContext",
    "apply_codec",
    "apply_codec_to_failure",
    "body_to_payloads",
    "bytes_to_payload_map",
    "create_payload_validation_error",
    "decode_failure",
    "decode_search_attributes",
    "decode_typed_search_attributes",
    "decode_values",
    "default",
    "encode_failure",
    "encode_search_attribute_values",
    "encode_search_attributes",
    "encode_typed_search_attribute_value",
    "encode_values",
    "payload_map_to_bytes",
    "payloads_to_body",
    "value_to_type",
]
