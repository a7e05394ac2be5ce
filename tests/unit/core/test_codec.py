"""The codec: round trips, the stored bytes, and every kind of damage."""

from types import ModuleType
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.core import CodecError, kinds
from unit.core.strategies import events

EVENT = (kinds.ACTIVITY, 300, -3, "grüßen", b"\x01", b"body")
EVENT_BYTES = bytes.fromhex("20ac020508") + "grüßen".encode() + b"\x01\x01\x04body"
TRANSITION_BYTES = bytes.fromhex("480100e8070101060100000000000a400000000004646f6e65fe39f7a1")


def checked(content: bytes) -> bytes:
    """A transition frame around bytes of our own, with the right checksum."""
    return content + crc32(content).to_bytes(4, "little")


@given(event=events)
def test_event_round_trip(core: ModuleType, event: tuple) -> None:
    assert core.decode_event(core.encode_event(event)) == event


@given(
    now_ms=st.integers(0, 2**63 - 1),
    jobs=st.lists(events, max_size=4),
    commands=st.lists(events, max_size=4),
)
def test_transition_round_trip(core: ModuleType, now_ms: int, jobs: list, commands: list) -> None:
    frame = core.encode_transition(now_ms, jobs, commands)
    assert core.decode_transition(frame) == (now_ms, jobs, commands)


def test_event_bytes_never_change(core: ModuleType) -> None:
    assert core.encode_event(EVENT) == EVENT_BYTES
    assert core.decode_event(EVENT_BYTES) == EVENT


def test_transition_bytes_never_change(core: ModuleType) -> None:
    jobs = [(kinds.START, 0, 0, "", b"", b"")]
    commands = [(kinds.COMPLETE, 0, 0, "", b"", b"done")]
    assert core.encode_transition(1000, jobs, commands) == TRANSITION_BYTES
    assert core.decode_transition(TRANSITION_BYTES) == (1000, jobs, commands)


def test_every_kind_round_trips(core: ModuleType) -> None:
    for kind in kinds.NAMES:
        event = (kind, 1, 2, "n", b"m", b"b")
        assert core.decode_event(core.encode_event(event)) == event


def test_prefix_is_completed_by_a_body(core: ModuleType) -> None:
    body = b"x" * 200
    prefix = core.encode_event_prefix((kinds.MAIL, 5, 0, "key", b"", b"ignored"))
    assert core.decode_event(prefix + b"\xc8\x01" + body) == (kinds.MAIL, 5, 0, "key", b"", body)


def test_every_truncation_of_an_event_is_refused(core: ModuleType) -> None:
    for size in range(len(EVENT_BYTES)):
        with pytest.raises(CodecError) as caught:
            core.decode_event(EVENT_BYTES[:size])
        assert caught.value.code == "truncated"


def test_every_flipped_bit_of_a_transition_is_refused(core: ModuleType) -> None:
    for place in range(len(TRANSITION_BYTES) * 8):
        damaged = bytearray(TRANSITION_BYTES)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(CodecError):
            core.decode_transition(bytes(damaged))


@pytest.mark.parametrize(
    ("frame", "code", "offset"),
    [
        (b"", "truncated", 0),
        (b"\x01\x00\x00\x00\x00\x00\x00", "trailing", 6),
        (b"\x01\x80", "truncated", 2),
        (b"\x01\x80\x00\x00\x00\x00\x00", "varint", 1),
        (b"\x01" + b"\xff" * 9 + b"\x02\x00\x00\x00\x00", "varint", 1),
        (b"\x01" + b"\xff" * 9 + b"\x01\x00\x00\x00\x00", "range", 1),
        (b"\x01" + b"\x80" * 10 + b"\x00", "varint", 1),
        (b"\x01\x00\x00\x02\xc3\x28\x00\x00", "utf8", 4),
        (b"\x01\x00\x00" + b"\xff" * 9 + b"\x01", "truncated", 13),
    ],
)
def test_damaged_events(core: ModuleType, frame: bytes, code: str, offset: int) -> None:
    with pytest.raises(CodecError) as caught:
        core.decode_event(frame)
    error = caught.value
    assert (error.code, error.frame, error.offset) == (code, "event", offset)
    assert str(error).startswith("event frame ")


@pytest.mark.parametrize(
    ("frame", "code", "offset"),
    [
        (b"", "truncated", 0),
        (b"J", "magic", 0),
        (b"H\x02", "version", 1),
        (b"H\x01\x00\x00", "truncated", 4),
        (b"H\x01\x00\x00\x00\x00\x00\x00\x00\x00", "checksum", 6),
        (checked(b"H\x01\x01\x00\x00\x00"), "flags", 2),
        (checked(b"H\x01\x00\x00\x00\x00\x00"), "trailing", 6),
        (checked(b"H\x01\x00\x00\x01\x00"), "truncated", 6),
        (checked(b"H\x01\x00\x00\x01\x00\x09\x01"), "truncated", 7),
        (checked(b"H\x01\x00\x00\x01\x00\x01\x01"), "truncated", 8),
        (checked(b"H\x01\x00" + b"\xff" * 9 + b"\x01\x00\x00"), "range", 3),
    ],
)
def test_damaged_transitions(core: ModuleType, frame: bytes, code: str, offset: int) -> None:
    with pytest.raises(CodecError) as caught:
        core.decode_transition(frame)
    error = caught.value
    assert (error.code, error.frame, error.offset) == (code, "transition", offset)


@given(data=st.binary(max_size=60))
def test_arbitrary_bytes_are_refused_or_canonical(core: ModuleType, data: bytes) -> None:
    try:
        event = core.decode_event(data)
    except CodecError:
        pass
    else:
        assert core.encode_event(event) == data
    try:
        content = core.decode_transition(checked(b"H\x01\x00" + data))
    except CodecError:
        pass
    else:
        assert core.encode_transition(*content) == checked(b"H\x01\x00" + data)


@pytest.mark.parametrize(
    "event",
    [
        (256, 0, 0, "", b"", b""),
        (-1, 0, 0, "", b"", b""),
        (1, -1, 0, "", b"", b""),
        (1, 2**63, 0, "", b"", b""),
        (1, 0, 2**63, "", b"", b""),
        (1, 0, -(2**63) - 1, "", b"", b""),
    ],
)
def test_numbers_out_of_range_are_not_encoded(core: ModuleType, event: tuple) -> None:
    with pytest.raises(CodecError) as caught:
        core.encode_event(event)
    assert caught.value.code == "range"


@pytest.mark.parametrize("now_ms", [-1, 2**63])
def test_time_out_of_range_is_not_encoded(core: ModuleType, now_ms: int) -> None:
    with pytest.raises(CodecError) as caught:
        core.encode_transition(now_ms, [], [])
    assert (caught.value.code, caught.value.frame) == ("range", "transition")


def test_lanes_never_change(core: ModuleType) -> None:
    assert core.lane_of(1, "order-42") == 64 + crc32(b"order-42") % 64
    assert [core.lane_of(0, name) for name in ("", "a", "grüßen")] == [0, 3, 30]
    assert all(core.lane_of(9, str(number)) // 64 == 9 for number in range(100))
