"""Payload: one serialised value with its metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hotmesh.exceptions import ConversionError


def _no_metadata() -> Mapping[str, bytes]:
    return {}


@dataclass(frozen=True, slots=True)
class Payload:
    """One serialised value, as converters and codecs see it.

    ``metadata["encoding"]`` names the converter that can read ``data``.
    """

    metadata: Mapping[str, bytes] = field(default_factory=_no_metadata)
    data: bytes = b""

    def SerializeToString(self) -> bytes:  # noqa: N802 - the protobuf name codecs call
        """Return the bytes of the equal protobuf payload, so that codecs and codec servers fit.

        Returns:
            A protobuf message with ``map<string, bytes> metadata = 1; bytes data = 2``.
        """
        out = bytearray()
        for key in sorted(self.metadata):
            entry = bytearray()
            _append_field(entry, 1, key.encode())
            _append_field(entry, 2, self.metadata[key])
            _append_field(out, 1, bytes(entry))
        if self.data:
            _append_field(out, 2, self.data)
        return bytes(out)

    @staticmethod
    def FromString(serialized: bytes) -> Payload:  # noqa: N802 - the protobuf name codecs call
        """Read what :meth:`SerializeToString` wrote.

        Raises:
            ConversionError: The bytes are not a payload.
        """
        metadata: dict[str, bytes] = {}
        data = b""
        try:
            for number, value in _fields(serialized):
                if number == 1:
                    entry = dict(_fields(value))
                    metadata[entry.get(1, b"").decode()] = entry.get(2, b"")
                elif number == 2:
                    data = value
        except (IndexError, UnicodeDecodeError, ValueError) as err:
            raise ConversionError("protobuf payload", f"malformed bytes ({err})") from err
        return Payload(metadata, data)


@dataclass(frozen=True)
class RawValue:
    """A value that is passed on as its payload, not converted.

    As a type hint it asks for the payload; as an argument or result it is stored as it is. Codecs
    still apply.
    """

    payload: Payload


_LENGTH_DELIMITED = 2


def append_varint(out: bytearray, number: int) -> None:
    """Append a non-negative integer, seven bits a byte, low bits first."""
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read what :func:`append_varint` wrote.

    Returns:
        The number, and the position after it.

    Raises:
        IndexError: The data ends within the number.
    """
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def read_chunk(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a varint length and as many bytes.

    Returns:
        The bytes, and the position after them.

    Raises:
        IndexError: The data ends before the chunk does.
    """
    size, at = read_varint(data, at)
    if at + size > len(data):
        raise IndexError(f"{size} bytes announced at {at}, {len(data) - at} left")
    return data[at : at + size], at + size


def _append_field(out: bytearray, number: int, value: bytes) -> None:
    out.append(number << 3 | _LENGTH_DELIMITED)
    append_varint(out, len(value))
    out += value


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        if tag & 7 != _LENGTH_DELIMITED:
            raise ValueError(f"wire type {tag & 7} at {at}")
        value, at = read_chunk(data, at)
        yield tag >> 3, value
