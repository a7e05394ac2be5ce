"""The two implementations equal each other: results, bytes, errors and their texts."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hotmesh.core import CoreError, encode_event, kinds
from unit.core import cores
from unit.core.strategies import arrays, events, telling_events
from unit.core.world import OPERATIONS, World

PYTHON, RUST = cores.load("python"), cores.load("rust")

RUNS = [bytes([number]) * 16 for number in (1, 2)]
LANES = [70, 71]


def outcome(function: Any, *arguments: Any) -> Any:
    """What a call returns, or its error."""
    try:
        return function(*arguments)
    except CoreError as error:
        return type(error), str(error), error.args


@given(steps=st.lists(st.sampled_from(OPERATIONS), max_size=80), seed=st.integers(0, 2**32))
def test_worlds_are_equal(steps: list[str], seed: int) -> None:
    traces = []
    for core in (PYTHON, RUST):
        world = World(core, seed, runs=3, signals=3)
        for step in steps:
            getattr(world, step)()
        world.settle()
        traces.append(world.trace)
    assert traces[0] == traces[1]


run_ids = st.sampled_from(RUNS)
lanes = st.sampled_from(LANES)
times = st.integers(0, 60)
messages = st.tuples(
    st.integers(0, 30),
    lanes,
    run_ids,
    st.one_of(telling_events.map(encode_event), st.binary(max_size=8)),
    st.none(),
    st.none(),
    st.none(),
    st.none(),
    st.sampled_from([None, False, True]),
)
commands = st.lists(
    telling_events.filter(lambda event: event[0] >= kinds.ACTIVITY).filter(
        lambda event: event[0] < kinds.COMPLETE or event[1] == 1
    ),
    max_size=4,
)
journal_rows = st.tuples(times, st.lists(telling_events, max_size=2), commands).map(
    lambda row: PYTHON.encode_transition(
        row[0], [(kinds.START, 0, 0, "", b"", b""), *row[1]], row[2]
    )
)
calls = st.one_of(
    st.tuples(
        st.just("commit"),
        st.lists(messages, max_size=5),
        st.lists(st.tuples(lanes, times, run_ids, st.integers(-2, 24)), max_size=3),
    ),
    st.tuples(
        st.just("ingest"),
        st.lists(st.tuples(run_ids, telling_events), max_size=2),
        times,
    ),
    st.tuples(st.just("complete"), run_ids, st.integers(-1, 60), commands),
    st.tuples(
        st.just("load"),
        run_ids,
        lanes,
        st.one_of(st.lists(journal_rows, max_size=1), st.lists(st.binary(max_size=12), max_size=1)),
        st.booleans(),
        st.frozensets(st.integers(0, 4), max_size=2),
    ),
    st.tuples(st.just("fail"), run_ids),
    st.tuples(st.just("give_whole"), st.sets(run_ids)),
    st.tuples(st.just("defer_queries"), run_ids, st.integers(0, 3)),
    st.tuples(st.sampled_from(["drain", "rollback", "start_over", "has_ready"])),
    st.tuples(st.just("evict"), run_ids),
    st.tuples(st.just("forget"), st.one_of(st.none(), st.sets(lanes, max_size=1))),
)


@given(steps=st.lists(calls, max_size=40))
def test_routers_are_equal_even_when_misused(steps: list[tuple]) -> None:
    routers = [PYTHON.Router(30), RUST.Router(30)]
    for name, *arguments in steps:
        left, right = (outcome(getattr(router, name), *arguments) for router in routers)
        assert left == right, name
        for probe in ("stats", "next_due"):
            left, right = (getattr(router, probe)() for router in routers)
            assert left == right, (name, probe)
        for run_id in RUNS:
            left, right = (outcome(router.run_state, run_id) for router in routers)
            assert left == right, name


@given(steps=st.lists(st.tuples(st.booleans(), telling_events), max_size=60))
def test_ledgers_are_equal(steps: list[tuple[bool, tuple]]) -> None:
    ledgers = [PYTHON.Ledger(), RUST.Ledger()]
    for is_command, event in steps:
        name = "command" if is_command else "accept"
        left, right = (outcome(getattr(ledger, name), event) for ledger in ledgers)
        assert left == right
        for probe in ("words", "counts", "local_seqs"):
            left, right = (getattr(ledger, probe)() for ledger in ledgers)
            assert left == right
        states = [(each.local, each.started, each.closed, each.is_open(1)) for each in ledgers]
        assert states[0] == states[1]


@given(event=events)
def test_frames_are_equal(event: tuple) -> None:
    for name in ("encode_event", "encode_event_prefix"):
        assert getattr(PYTHON, name)(event) == getattr(RUST, name)(event)


@given(data=st.binary(max_size=80))
def test_refusals_of_arbitrary_bytes_are_equal(data: bytes) -> None:
    for name in ("decode_event", "decode_transition"):
        assert outcome(getattr(PYTHON, name), data) == outcome(getattr(RUST, name), data)


@given(event=events, place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_refusals_of_damaged_frames_are_equal(event: tuple, place: int, bit: int) -> None:
    frame = bytearray(PYTHON.encode_event(event))
    frame[place % len(frame)] ^= 1 << bit
    for data in (bytes(frame), bytes(frame[: place % len(frame)])):
        assert outcome(PYTHON.decode_event, data) == outcome(RUST.decode_event, data)


@given(recorded=st.lists(telling_events, max_size=5), issued=st.lists(telling_events, max_size=5))
def test_matching_is_equal(recorded: list, issued: list) -> None:
    assert PYTHON.match_commands(recorded, issued) == RUST.match_commands(recorded, issued)


@given(
    queue_id=st.integers(0, 2**50), workflow_id=st.text(st.characters(exclude_categories=["Cs"]))
)
def test_lanes_are_equal(queue_id: int, workflow_id: str) -> None:
    assert PYTHON.lane_of(queue_id, workflow_id) == RUST.lane_of(queue_id, workflow_id)


@given(
    changes=st.lists(
        st.tuples(st.sampled_from([0, 1, 3, 4, 5]), st.integers(-(2**70), 2**70)), max_size=2
    )
)
def test_numbers_out_of_range_are_refused_equally(changes: list[tuple[int, int]]) -> None:
    event: list[Any] = [1, 2, 3, "n", b"m", b"b"]
    for place, value in changes:
        if place < 3:
            event[place] = value
    assert outcome(PYTHON.encode_event, tuple(event)) == outcome(RUST.encode_event, tuple(event))
    now_ms = changes[0][1] if changes else 0
    left, right = (outcome(core.encode_transition, now_ms, [], []) for core in (PYTHON, RUST))
    assert left == right


@given(array=arrays)
def test_arrays_are_equal(array: tuple[int, list[Any]]) -> None:
    assert RUST.encode_array(*array) == PYTHON.encode_array(*array)
