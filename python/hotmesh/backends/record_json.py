"""A run's record as one JSON object, whatever of its values is damaged."""

from __future__ import annotations

from collections.abc import Iterable

import orjson

DAMAGED = "hotmesh.damaged"
"""The only name in what takes the place of a value that is no JSON; it holds the bytes in hex."""


def record_json(pairs: Iterable[tuple[str, bytes]]) -> bytes:
    """One JSON object of names and JSON texts."""
    members = (orjson.dumps(name) + b":" + _sound(value) for name, value in pairs)
    return b"{" + b",".join(members) + b"}"


def _sound(value: bytes) -> bytes:
    try:
        orjson.loads(value)
    except ValueError:
        return orjson.dumps({DAMAGED: value.hex()})
    return value
