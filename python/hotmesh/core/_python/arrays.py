"""Arrays as Postgres sends and takes them in binary: a column of a batch in one call.

One dimension, of ``bool``, ``bytea``, ``int8``, ``int4`` or ``text``, nulls included. The format is
that of ``array_send`` in Postgres: dimensions, whether there are nulls, element type; then, unless
it is empty, size and first index; then each element's length, -1 for null, and bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from hotmesh.core.rope import Rope

_HEADER = struct.Struct(">iiI")
_SIZE = struct.Struct(">ii")
_LENGTH = struct.Struct(">i")
_INT4 = struct.Struct(">i")
_INT8 = struct.Struct(">q")

_NULL = _LENGTH.pack(-1)


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, Rope):
        return bytes(value)
    if not isinstance(value, bytes):
        raise TypeError(f"bytes are needed, not {type(value).__name__}")
    return value


def _text_of(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"text is needed, not {type(value).__name__}")
    return value.encode()


def _bool_of(value: Any) -> bytes:
    if not isinstance(value, bool):
        raise TypeError(f"a bool is needed, not {type(value).__name__}")
    return b"\1" if value else b"\0"


def _int4_of(value: Any) -> bytes:
    return _ranged(_INT4, value)


def _int8_of(value: Any) -> bytes:
    return _ranged(_INT8, value)


def _ranged(form: struct.Struct, value: Any) -> bytes:
    try:
        return form.pack(value)
    except struct.error as error:
        if isinstance(value, int):
            raise OverflowError(str(error)) from error
        raise TypeError(str(error)) from error


_ENCODERS: dict[int, Callable[[Any], bytes]] = {
    16: _bool_of,
    17: _bytes_of,
    20: _int8_of,
    23: _int4_of,
    25: _text_of,
}

_DECODERS: dict[int, Callable[[bytes], Any]] = {
    16: lambda data: _exactly(data, 1) != b"\0",
    17: bytes,
    20: lambda data: _INT8.unpack(data)[0],
    23: lambda data: _INT4.unpack(data)[0],
    25: lambda data: data.decode(),
}


def encode_array(element: int, items: Sequence[Any]) -> bytes:
    """An array of a type.

    Args:
        element: Object id of the type of its elements.
        items: The elements; None is null.

    Raises:
        TypeError: An element is of another type, or the type is not known here.
        OverflowError: An integer is out of range.
        UnicodeEncodeError: A text is no Unicode.
    """
    encode = _ENCODERS.get(element)
    if not items:
        return _HEADER.pack(0, 0, element)
    if encode is None:
        raise TypeError(f"arrays of type {element} are not known here")
    out = [b"", _SIZE.pack(len(items), 1)]
    nulls = 0
    for item in items:
        if item is None:
            nulls = 1
            out.append(_NULL)
        else:
            data = encode(item)
            out += (_LENGTH.pack(len(data)), data)
    out[0] = _HEADER.pack(1, nulls, element)
    return b"".join(out)


def decode_array(data: bytes) -> list[Any]:
    """The elements of an array.

    Raises:
        ValueError: The bytes are no such array.
        TypeError: The type of the elements is not known here.
    """
    try:
        dimensions, _, element = _HEADER.unpack_from(data)
        if dimensions == 0:
            return []
        size, _ = _SIZE.unpack_from(data, _HEADER.size)
        decode = _DECODERS.get(element)
        items: list[Any] = []
        at = _HEADER.size + _SIZE.size
        for _ in range(size if dimensions == 1 else 0):
            (length,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            if length < 0:
                items.append(None)
                continue
            if decode is None:
                raise TypeError(f"arrays of type {element} are not known here")
            items.append(decode(_exactly(data[at : at + length], length)))
            at += length
    except struct.error as error:
        raise _malformed() from error
    if dimensions != 1 or at != len(data):
        raise _malformed()
    return items


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise _malformed()
    return data


def _malformed() -> ValueError:
    return ValueError("an array is malformed, or has more than one dimension")
