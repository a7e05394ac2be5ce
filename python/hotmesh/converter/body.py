"""Bodies: how a list of values is stored, e.g. arguments, or a result as a list of one.

The first byte names the form:

- ``[``: a JSON array that orjson reads exactly, as it is: a large value is not copied to put a form
  in front or to take it off. What the default converter writes for nearly everything.
- ``S``: a JSON array with NaN, infinities or integers beyond 64 bits; read by the standard library.
- ``P``: payloads. A varint count, then for each a varint length with its metadata (a JSON object
  of text, one character a byte) and a varint length with its data.

An empty body holds no values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson

from hotmesh import json_bytes
from hotmesh.common import Payload
from hotmesh.common.payload import append_varint, read_chunk, read_varint
from hotmesh.converter import json_text
from hotmesh.exceptions import ConversionError

EXACT_JSON = b"["
STDLIB_JSON = b"S"
PAYLOADS = b"P"

_NULL_PAYLOAD_METADATA = {"encoding": b"binary/null"}
_JSON_PAYLOAD_METADATA = {"encoding": b"json/plain"}


def payloads_to_body(payloads: Sequence[Payload]) -> bytes:
    """Store payloads.

    Args:
        payloads: What converters or codecs made.

    Returns:
        The body.
    """
    out = bytearray(PAYLOADS)
    append_varint(out, len(payloads))
    for payload in payloads:
        _append_payload(out, payload)
    return bytes(out)


def body_to_payloads(body: bytes) -> list[Payload]:
    """Read payloads, whatever the form of the body.

    Args:
        body: What :func:`payloads_to_body` or :func:`hotmesh.converter.encode_values` returned.

    Returns:
        The payloads: the very ones that converters made, or equal to what they would have made.

    Raises:
        ConversionError: The body is malformed.
    """
    if body[:1] == PAYLOADS:
        return _read_payloads(body)
    return [json_payload(value) for value in read_json_values(body)]


def json_payload(value: Any) -> Payload:
    """Make the payload that the default converter makes of a JSON value."""
    if value is None:
        return Payload(dict(_NULL_PAYLOAD_METADATA))
    return Payload(dict(_JSON_PAYLOAD_METADATA), json_text.dump(value, sort_keys=True))


def read_json_values(body: bytes) -> list[Any]:
    """Read the values of a body that is a JSON array.

    Raises:
        ConversionError: It is not.
    """
    form = body[:1]
    try:
        if form == EXACT_JSON:
            values: Any = orjson.loads(body)
        elif form == STDLIB_JSON:
            values = json.loads(body[1:])
        elif not body:
            values = []
        else:
            raise ConversionError("stored values", f"unknown form {form!r}; the row is corrupt")
    except ValueError as err:
        raise ConversionError("stored values", f"malformed JSON ({err})") from err
    if not isinstance(values, list):
        raise ConversionError("stored values", "a JSON array was expected")
    return cast("list[Any]", values)


def read_large(body: bytes) -> Any:
    """Read what starts with ``[`` and is large.

    A JSON reader copies all of it before it makes values of the copy. A single text without
    escapes, as large values often are, needs no reader.

    Raises:
        ValueError: It is no JSON.
    """
    is_text = body[1:2] == body[-2:-1] == b'"' and body[-1:] == b"]"
    if is_text and body.find(b'"', 2) == len(body) - 2 and b"\\" not in body:
        return [str(memoryview(body)[2:-2], "utf-8")]
    return orjson.loads(body)


def payload_map_to_bytes(payloads: Mapping[str, Payload]) -> bytes:
    """Store named payloads, e.g. headers or a memo.

    Returns:
        A varint count, then for each a varint length with its name, and the payload as in a body.
    """
    out = bytearray()
    append_varint(out, len(payloads))
    for name, payload in payloads.items():
        _append_chunk(out, name.encode())
        _append_payload(out, payload)
    return bytes(out)


def bytes_to_payload_map(data: bytes) -> dict[str, Payload]:
    """Read what :func:`payload_map_to_bytes` wrote.

    Args:
        data: The bytes; none at all are an empty map.

    Raises:
        ConversionError: The bytes are malformed.
    """
    if not data:
        return {}
    named: dict[str, Payload] = {}
    try:
        count, at = read_varint(data, 0)
        for _ in range(count):
            name, at = read_chunk(data, at)
            named[name.decode()], at = _read_payload(data, at)
    except (IndexError, ValueError, AttributeError) as err:
        raise ConversionError("stored headers or memo", f"malformed bytes ({err})") from err
    return named


def _append_chunk(out: bytearray, chunk: bytes) -> None:
    append_varint(out, len(chunk))
    out += chunk


def _append_payload(out: bytearray, payload: Payload) -> None:
    # Latin-1 has a character for each byte, so any metadata becomes text and back.
    metadata = {key: value.decode("latin-1") for key, value in payload.metadata.items()}
    _append_chunk(out, json_bytes.dumps(metadata))
    _append_chunk(out, payload.data)


def _read_payload(data: bytes, at: int) -> tuple[Payload, int]:
    metadata_text, at = read_chunk(data, at)
    content, at = read_chunk(data, at)
    document = cast("dict[str, str]", orjson.loads(metadata_text))
    metadata = {key: value.encode("latin-1") for key, value in document.items()}
    return Payload(metadata, content), at


def _read_payloads(body: bytes) -> list[Payload]:
    payloads: list[Payload] = []
    try:
        count, at = read_varint(body, 1)
        for _ in range(count):
            payload, at = _read_payload(body, at)
            payloads.append(payload)
    except (IndexError, ValueError, AttributeError) as err:
        raise ConversionError("stored payloads", f"malformed bytes ({err})") from err
    if at != len(body):
        raise ConversionError("stored payloads", f"{len(body) - at} bytes too many")
    return payloads
