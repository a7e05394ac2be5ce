"""The codec: events and transitions to and from bytes. Owns the stored format.

An event frame::

    kind u8 | seq uvarint | number zigzag varint | name | meta | body

where name, meta and body are each a uvarint length and that many bytes. Nothing follows the body,
so a frame can be made by joining a prefix (everything up to meta) and a body with its length.

A transition frame (one journal row)::

    "H" | version u8 | flags u8 | now_ms uvarint | jobs uvarint | commands uvarint
        | each event: uvarint length, event frame | crc32 of all before, little-endian

A number is written one way only: overlong varints are refused, so equal frames are equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from hotmesh.core.errors import CodecError
from hotmesh.core.rope import Bytes, Rope
from hotmesh.core.types import Event, Transition
from hotmesh.limits import LANES_PER_QUEUE, ROPE_BYTES

TRANSITION_MAGIC = 0x48
TRANSITION_VERSION = 1

I64_MAX = (1 << 63) - 1
I64_MIN = -(1 << 63)
_U64_BITS = 64
_HEAD_BYTES = 3
_CHECKSUM_BYTES = 4


def lane_of(queue_id: int, workflow_id: str) -> int:
    """The lane of a workflow id within a task queue, the same in every process and for ever."""
    return queue_id * LANES_PER_QUEUE + crc32(workflow_id.encode()) % LANES_PER_QUEUE


def encode_event(event: Event) -> bytes:
    """The frame of an event.

    Raises:
        CodecError: A number is out of range (kind 0..255, seq 0..2^63-1, number 64-bit signed).
    """
    out = _event_head(event)
    body = event[5]
    _write_uvarint(out, len(body))
    return b"".join((out, body))


def frame_of(event: Event) -> Bytes:
    """The frame of an event, in two pieces where the body is large.

    Raises:
        CodecError: As `encode_event`.
    """
    body = event[5]
    if len(body) < ROPE_BYTES:
        return encode_event(event)
    out = _event_head(event)
    _write_uvarint(out, len(body))
    return Rope((bytes(out), body))


def encode_event_prefix(event: Event) -> bytes:
    """The frame of an event without its body; append a uvarint length and a body to complete it.

    Raises:
        CodecError: As `encode_event`.
    """
    return bytes(_event_head(event))


def decode_event(frame: bytes) -> Event:
    """The event of a frame. Unknown kinds are let through.

    Raises:
        CodecError: The frame is damaged.
    """
    return _read_event(frame, 0, len(frame), "event")


def encode_transition(now_ms: int, jobs: Sequence[Event], commands: Sequence[Event]) -> bytes:
    """The frame of one journal row.

    Args:
        now_ms: The workflow's time in this transition, milliseconds.
        jobs: What reached the workflow, in order.
        commands: What it asked for, in order.

    Raises:
        CodecError: A number is out of range.
    """
    return bytes(
        join_transition(
            now_ms, [encode_event(job) for job in jobs], [frame_of(each) for each in commands]
        )
    )


def join_transition(now_ms: int, jobs: Sequence[Bytes], commands: Sequence[Bytes]) -> Bytes:
    """The frame of one journal row, of events that are frames already; a large one in pieces."""
    if not 0 <= now_ms <= I64_MAX:
        raise CodecError("range", "transition", _HEAD_BYTES)
    head = bytearray((TRANSITION_MAGIC, TRANSITION_VERSION, 0))
    _write_uvarint(head, now_ms)
    _write_uvarint(head, len(jobs))
    _write_uvarint(head, len(commands))
    parts: list[bytes | bytearray] = [head]
    for frame in (*jobs, *commands):
        size = bytearray()
        _write_uvarint(size, len(frame))
        parts.append(size)
        if isinstance(frame, Rope):
            parts += frame.pieces
        else:
            parts.append(frame)
    checksum = 0
    for part in parts:
        checksum = crc32(part, checksum)
    parts.append(checksum.to_bytes(_CHECKSUM_BYTES, "little"))
    if sum(map(len, parts)) < ROPE_BYTES:
        return b"".join(parts)
    return Rope(_merged(parts))


def _merged(parts: Sequence[bytes | bytearray]) -> tuple[bytes, ...]:
    """The same bytes: small ones joined, large ones as they are."""
    pieces: list[bytes] = []
    small: list[bytes | bytearray] = []
    for part in parts:
        if len(part) < ROPE_BYTES:
            small.append(part)
            continue
        pieces += (b"".join(small), bytes(part))
        small = []
    return (*pieces, b"".join(small))


def decode_transition(frame: bytes) -> Transition:
    """(now_ms, jobs, commands) of a journal row.

    Raises:
        CodecError: The frame is damaged, or its version is newer than this release.
    """
    what = "transition"
    end = _check_transition(frame)
    now_ms, at = _read_number(frame, _HEAD_BYTES, end, what)
    job_count, at = _read_number(frame, at, end, what)
    command_count, at = _read_number(frame, at, end, what)
    jobs: list[Event] = []
    commands: list[Event] = []
    for events, count in ((jobs, job_count), (commands, command_count)):
        for _ in range(count):
            size, at = _read_number(frame, at, end, what)
            if size > end - at:
                raise CodecError("truncated", what, at)
            events.append(_read_event(frame, at, at + size, what))
            at += size
    if at != end:
        raise CodecError("trailing", what, at)
    return now_ms, jobs, commands


def _check_transition(frame: bytes) -> int:
    """Check all that surrounds the content; the offset at which the content ends."""
    size = len(frame)
    if size and frame[0] != TRANSITION_MAGIC:
        raise CodecError("magic", "transition", 0)
    if size > 1 and frame[1] != TRANSITION_VERSION:
        raise CodecError("version", "transition", 1)
    if size < _HEAD_BYTES + _CHECKSUM_BYTES:
        raise CodecError("truncated", "transition", size)
    end = size - _CHECKSUM_BYTES
    if crc32(memoryview(frame)[:end]) != int.from_bytes(frame[end:], "little"):
        raise CodecError("checksum", "transition", end)
    if frame[2] != 0:
        raise CodecError("flags", "transition", 2)
    return end


def _event_head(event: Event) -> bytearray:
    kind, seq, number, name, meta, _ = event
    if not 0 <= kind <= 255:
        raise CodecError("range", "event", 0)
    if not (0 <= seq <= I64_MAX and I64_MIN <= number <= I64_MAX):
        raise CodecError("range", "event", 1)
    out = bytearray((kind,))
    _write_uvarint(out, seq)
    _write_uvarint(out, (number << 1) ^ (number >> 63))
    text = name.encode()
    _write_uvarint(out, len(text))
    out += text
    _write_uvarint(out, len(meta))
    out += meta
    return out


def _read_event(frame: bytes, at: int, end: int, what: str) -> Event:
    if at >= end:
        raise CodecError("truncated", what, at)
    kind = frame[at]
    seq, at = _read_number(frame, at + 1, end, what)
    zigzag, at = _read_uvarint(frame, at, end, what)
    size, at = _read_size(frame, at, end, what)
    name_at, at = at, at + size
    try:
        name = frame[name_at:at].decode()
    except UnicodeDecodeError:
        raise CodecError("utf8", what, name_at) from None
    size, at = _read_size(frame, at, end, what)
    meta_at, at = at, at + size
    meta_end = at
    size, at = _read_size(frame, at, end, what)
    if at + size != end:
        raise CodecError("trailing", what, at + size)
    number = (zigzag >> 1) ^ -(zigzag & 1)
    return kind, seq, number, name, frame[meta_at:meta_end], frame[at:end]


def _write_uvarint(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _read_uvarint(frame: bytes, at: int, end: int, what: str) -> tuple[int, int]:
    if at < end and frame[at] < 0x80:
        return frame[at], at + 1
    start, value, shift = at, 0, 0
    while True:
        if at >= end:
            raise CodecError("truncated", what, at)
        byte = frame[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if value >> _U64_BITS or shift >= _U64_BITS:
            raise CodecError("varint", what, start)
        if byte < 0x80:
            if byte == 0 and shift:
                raise CodecError("varint", what, start)
            return value, at
        shift += 7


def _read_number(frame: bytes, at: int, end: int, what: str) -> tuple[int, int]:
    """A uvarint that must fit a signed 64-bit integer."""
    value, after = _read_uvarint(frame, at, end, what)
    if value > I64_MAX:
        raise CodecError("range", what, at)
    return value, after


def _read_size(frame: bytes, at: int, end: int, what: str) -> tuple[int, int]:
    """A uvarint length of bytes that must lie before `end`."""
    size, at = _read_uvarint(frame, at, end, what)
    if size > end - at:
        raise CodecError("truncated", what, at)
    return size, at
