"""A journal row with something large in it is made of what others have: nothing large is copied."""

from types import ModuleType

import pytest

from hotmesh.core import decode_transition, encode_event, encode_transition, kinds
from hotmesh.core.rope import Rope
from hotmesh.limits import ROPE_BYTES
from unit.core.test_router import RUN, START, Bench, event, row

BODY = bytes(range(256)) * (ROPE_BYTES // 256)
SMALL = event(kinds.ACTIVITY, 1, body=b"small")
LARGE = event(kinds.ACTIVITY, 2, body=BODY)


def begun(core: ModuleType) -> Bench:
    bench = Bench(core)
    bench.begin()
    return bench


def complete(bench: Bench, *commands: tuple) -> tuple[int, dict[str, list]]:
    size = bench.router.complete(RUN, 100, list(commands))
    return size, bench.commit()


def joined(frame: Rope) -> bytes:
    assert isinstance(frame, Rope)
    assert len(frame) == sum(map(len, frame.pieces)) == len(bytes(frame))
    return bytes(frame)


def test_a_command(core: ModuleType) -> None:
    bench = begun(core)
    signal = event(kinds.SIGNAL)
    bench.jobs(row(2, signal))
    size, columns = complete(bench, SMALL, LARGE)
    [frame] = columns["journal_frame"]
    assert joined(frame) == encode_transition(100, [signal], [SMALL, LARGE])
    assert size == len(frame)
    assert any(piece is BODY for piece in frame.pieces)
    assert decode_transition(bytes(frame)) == (100, [signal], [SMALL, LARGE])


def test_what_was_read(core: ModuleType) -> None:
    bench = begun(core)
    signal = event(kinds.SIGNAL, body=BODY)
    message = row(2, signal)
    bench.jobs(message)
    [frame] = complete(bench)[1]["journal_frame"]
    assert joined(frame) == encode_transition(100, [signal], [])
    assert any(piece is message[3] for piece in frame.pieces)


def test_what_was_made_here(core: ModuleType) -> None:
    bench = begun(core)
    bench.jobs(row(2, event(kinds.SIGNAL)))
    complete(bench, event(kinds.ACTIVITY, 1))
    done = event(kinds.ACTIVITY_COMPLETED, 1, body=BODY)
    (activations, *_) = bench.router.ingest([(RUN, done)], 100)
    assert activations == [(RUN, [done], -1)]
    _, columns = complete(bench, event(kinds.COMPLETE, body=BODY))
    [frame] = columns["journal_frame"]
    assert joined(frame) == encode_transition(100, [done], [event(kinds.COMPLETE, body=BODY)])
    assert any(piece is BODY for piece in frame.pieces)
    assert columns["close_result"] == [BODY]
    assert columns["close_result"][0] is BODY


def test_many_small_ones(core: ModuleType) -> None:
    bench = begun(core)
    bench.jobs(row(2, event(kinds.SIGNAL)))
    commands = [event(kinds.ACTIVITY, seq, body=BODY[:70_000]) for seq in range(1, 20)]
    [frame] = complete(bench, *commands)[1]["journal_frame"]
    assert joined(frame) == encode_transition(100, [event(kinds.SIGNAL)], commands)


def test_a_task_has_its_arguments_joined(core: ModuleType) -> None:
    bench = begun(core)
    bench.jobs(row(2, event(kinds.SIGNAL)))
    command = event(kinds.ACTIVITY, 1, 7, body=BODY)
    columns = complete(bench, command)[1]
    assert columns["task_frame"] == [encode_event(command)]


@pytest.mark.parametrize("size", [ROPE_BYTES // 2, 2 * ROPE_BYTES])
def test_a_transition_of_any_size_comes_back(size: int) -> None:
    jobs, commands = [START], [event(kinds.PATCH, body=bytes(size))]
    frame = encode_transition(100, jobs, commands)
    assert isinstance(frame, bytes)
    assert decode_transition(frame) == (100, jobs, commands)
