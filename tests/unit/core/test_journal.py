"""A large journal: decoded a row at a time, and let go of as it is replayed."""

import json
import tracemalloc
from collections.abc import Sequence
from types import ModuleType

from hotmesh.common import Payload
from hotmesh.converter import PayloadCodec, apply_codec
from hotmesh.core import decode_transition, encode_transition, kinds
from hotmesh.core.journal import Journal, outline_of
from hotmesh.engine.details import RunDetails
from hotmesh.router.coding import Coder
from hotmesh.router.state import RunState
from unit.core.test_router import LANE, RUN, START, Bench, event


class Turned(PayloadCodec):
    """Stores payloads back to front."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(each.metadata, each.data[::-1]) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.encode(payloads)


SIZE = 1024 * 1024
COUNT = 16


def rows() -> list[bytes]:
    first = encode_transition(1, [START], [event(kinds.ACTIVITY, 1), event(kinds.ACTIVITY, 2)])
    done = event(kinds.ACTIVITY_COMPLETED, 1, body=bytes(100))
    return [first, encode_transition(2, [done], [])]


def large(frames: list[bytes]) -> Journal:
    return Journal(frames, decode_transition, [outline_of(decode_transition(f)) for f in frames])


def test_it_gives_what_its_rows_say() -> None:
    journal = large(rows())
    expected = [decode_transition(frame) for frame in rows()]
    assert list(journal) == list(journal) == expected
    more = (3, [], [event(kinds.REDISPATCH, 2)])
    journal.add(more)
    assert len(journal) == 3
    assert list(journal) == list(journal.consume()) == [*expected, more]


def test_rows_are_let_go_of_on_the_last_walk() -> None:
    tracemalloc.start()
    try:
        signal = event(kinds.SIGNAL, body=bytes(SIZE))
        frames = [encode_transition(n, [signal], []) for n in range(COUNT)]
        journal = large(frames)  # whoever else has the list keeps none of them
        del signal
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        seen = [now_ms for now_ms, _, _ in journal]
        assert tracemalloc.get_traced_memory()[1] < held + 2.5 * SIZE
        for now_ms, jobs, _ in journal.consume():
            assert (now_ms, len(jobs[0][5])) == (seen.pop(0), SIZE)
            left = COUNT - now_ms - 1
            assert tracemalloc.get_traced_memory()[0] < (left + 2.5) * SIZE
        del jobs
        assert tracemalloc.get_traced_memory()[0] < SIZE
    finally:
        tracemalloc.stop()


def test_a_load_returns_no_bodies_that_nobody_wants(core: ModuleType) -> None:
    for whole in (True, False):
        bench = Bench(core)
        transitions, lost = bench.router.load(RUN, LANE, rows(), False, [], whole)
        expected = [decode_transition(row) for row in rows()]
        assert transitions == (expected if whole else list(map(outline_of, expected)))
        assert lost == [event(kinds.ACTIVITY, 2)]
        assert bench.router.known(RUN)


async def test_a_codec_opens_it_row_by_row() -> None:
    details = RunDetails("n", "w", b"r" * 16, "T", "q", LANE, {}, b"")
    codec, body = Turned(), json.dumps(["x" * SIZE]).encode()
    stored = await apply_codec(codec, body, encode=True)
    state = RunState(details)
    tracemalloc.start()
    try:
        signals = [
            (kinds.SIGNAL, n, 0, str(n), b"", bytes(bytearray(stored))) for n in range(COUNT)
        ]
        state.transitions = large(
            [encode_transition(n, [each], []) for n, each in enumerate(signals)]
        )
        del signals
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        await Coder(codec).open(state, [])
        assert tracemalloc.get_traced_memory()[1] < held + 6.5 * SIZE
        assert isinstance(state.transitions, Journal)
        expected = await apply_codec(codec, stored, encode=False)
        for now_ms, jobs, _ in state.transitions.consume():
            assert (jobs[0][3], jobs[0][5]) == (str(now_ms), expected)
    finally:
        tracemalloc.stop()
