"""What the opaque parts of frames hold: run headers, options, and bodies with headers.

The core moves bytes; what they mean is said by who writes and reads them, with what is shared of
that here. Documents are JSON (orjson) with short keys, absent when they hold the default, so that a
plain start costs nothing.
"""

from __future__ import annotations

import base64
import os
import struct
import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import orjson

from hotmesh import json_bytes
from hotmesh.common import Payload

RUN_ID_BYTES = 16

_FOLLOWED = b"\0NEXT"
"""Begins what a run ended with that is followed by another."""

WITH_DOCUMENT = b"H"
"""First byte of a body that has a document in front."""


def new_run_id() -> bytes:
    """A UUIDv7 (RFC 9562) as 16 bytes: ordered by time, so that index inserts stay at one end.

    The 12 bits after the milliseconds hold their fraction (method 3 of the RFC's section 6.2).
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    head = milliseconds << 16 | 0x7000 | nanoseconds * 4096 // 1_000_000
    try:
        tail = _drawn.pop()
    except IndexError:
        _drawn.extend(_DRAWS.unpack(os.urandom(_DRAWS.size)))
        tail = _drawn.pop()
    return (head << 64 | 1 << 63 | tail >> 2).to_bytes(16, "big")


_DRAWS = struct.Struct("256Q")
_drawn: deque[int] = deque()
"""Random numbers to come: asking the system takes as long for many as for one."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drawn.clear)  # the parent will use them


def run_id_text(run_id: bytes) -> str:
    """The run id as users see it: a UUID's text."""
    digits = run_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def duration(stored_ms: int | None) -> timedelta | None:
    """A duration that is stored in milliseconds, if there is one."""
    return None if stored_ms is None else timedelta(milliseconds=stored_ms)


def spelled_run_id(stored: str | None) -> str | None:
    """A run id as people see it of one that is stored in hex, if there is one."""
    return run_id_text(bytes.fromhex(stored)) if stored else None


def run_id_bytes(text: str) -> bytes:
    """The 16 bytes of a run id's text; b"" for text that is no UUID (such a run can't exist)."""
    try:
        value = bytes.fromhex(text.replace("-", ""))
    except (AttributeError, ValueError):  # An id that is no text names no run either.
        return b""
    return value if len(value) == 16 else b""


def dump(document: Mapping[str, Any]) -> bytes:
    """A JSON document, b"" when it says nothing."""
    return json_bytes.dumps(document) if document else b""


def load(data: bytes) -> dict[str, Any]:
    """The document that :func:`dump` wrote."""
    return orjson.loads(data) if data else {}


def pack_bytes(data: bytes) -> str:
    """Bytes inside a document."""
    return base64.b64encode(data).decode("ascii")


def unpack_bytes(text: str) -> bytes:
    """The bytes that :func:`pack_bytes` wrote."""
    return base64.b64decode(text)


def pack_headers(headers: Mapping[str, Payload]) -> dict[str, Any]:
    """Interceptors' headers as part of a document."""
    return {
        name: [
            {key: pack_bytes(value) for key, value in payload.metadata.items()},
            pack_bytes(payload.data),
        ]
        for name, payload in headers.items()
    }


def unpack_headers(document: Mapping[str, Any]) -> dict[str, Payload]:
    """The headers that :func:`pack_headers` wrote."""
    return {
        name: Payload(
            metadata={key: unpack_bytes(value) for key, value in metadata.items()},
            data=unpack_bytes(data),
        )
        for name, (metadata, data) in document.items()
    }


def join_following(run_id: bytes, body: bytes) -> bytes:
    """What a run ended with whose chain goes on, with the id of the run that follows in front."""
    return _FOLLOWED + run_id + body


def split_following(data: bytes) -> tuple[bytes, bytes]:
    """The run that follows (b"" if none does) and the body that :func:`join_following` joined."""
    if not data.startswith(_FOLLOWED):
        return b"", data
    end = len(_FOLLOWED) + RUN_ID_BYTES
    return data[len(_FOLLOWED) : end], data[end:]


def join_document(document: Mapping[str, Any], body: bytes) -> bytes:
    """A body of values with a document in front; the bare body when the document is empty."""
    if not document:
        return body
    head = json_bytes.dumps(document)
    return WITH_DOCUMENT + len(head).to_bytes(4, "big") + head + body


def split_document(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The document and the body that :func:`join_document` joined."""
    if data[:1] != WITH_DOCUMENT:
        return {}, data
    end = 5 + int.from_bytes(data[1:5], "big")
    return orjson.loads(data[5:end]), data[end:]
