"""A run's record as one JSON object, whatever of its values is damaged."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from hotmesh import json_bytes

DAMAGED = "hotmesh.damaged"
"""The only name in what takes the place of a value that is no JSON; it holds the bytes in hex."""


def record_json(pairs: Iterable[tuple[str, bytes]]) -> bytes:
    """One JSON object of names and JSON texts."""
    members = (json_bytes.dumps(name) + b":" + _sound(value) for name, value in pairs)
    return b"{" + b",".join(members) + b"}"


def _sound(value: bytes) -> bytes:
    try:
        orjson.loads(value)
    except ValueError:
        return json_bytes.dumps({DAMAGED: value.hex()})
    return value
