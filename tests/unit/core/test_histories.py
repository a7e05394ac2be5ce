"""Random histories: duplicates, crashes, lost steps and evictions change nothing that counts."""

from itertools import pairwise
from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st

from hotmesh.core import DRAINED_FIELDS, encode_event, kinds
from unit.core.world import LANE, OPERATIONS, START, Workflow, World, jobs_of, signal

operations = st.lists(st.sampled_from(OPERATIONS), max_size=60)


@given(seed=st.integers(0, 2**32), steps=operations)
def test_every_history_ends_the_same(core: ModuleType, seed: int, steps: list[str]) -> None:
    """Each run ends with every signal and every outcome exactly once, and leaves nothing behind."""
    world = World(core, seed, runs=2, signals=2)
    for step in steps:
        getattr(world, step)()
    world.settle()

    undisturbed = World(core, 0, runs=1, signals=2)
    undisturbed.settle()
    [expected] = undisturbed.store.journals.values()

    assert world.store.closed == dict.fromkeys(world.run_ids, b"ok")
    for journal in world.store.journals.values():
        assert jobs_of(core, journal) == jobs_of(core, expected)
    assert world.store.messages == {}
    assert world.store.timers == {}
    assert world.store.tasks == {}
    world.step()
    assert world.router.stats() == dict.fromkeys(world.router.stats(), 0)


@given(cuts=st.sets(st.integers(0, 8)), repeats=st.lists(st.integers(0, 7), max_size=6))
def test_any_split_and_repetition_of_a_stream_is_one_history(
    core: ModuleType, cuts: set[int], repeats: list[int]
) -> None:
    """The jobs and commands of a run do not depend on how its messages were batched."""
    run_id = b"r" * 16
    stream = [START] + [signal("go", b"s%d" % number) for number in range(7)]
    stream += [stream[index] for index in repeats]
    rows = [
        (number, LANE, run_id, encode_event(each), "w", "T", b"", b"", False)
        for number, each in enumerate(stream)
    ]

    def history(batches: list[list[tuple]]) -> tuple[list, list, list]:
        router, workflow = core.Router(0), Workflow(7)
        jobs, commands, acknowledged = [], [], []
        for batch in batches:
            router.commit(batch, ())
            for _, found, _ in router.ingest((), 1)[0]:
                router.complete(run_id, 1, workflow.run(found, 1))
            columns = dict(zip(DRAINED_FIELDS, router.drain(), strict=True))
            acknowledged += columns["ack_id"]
            for frame in columns["journal_frame"]:
                _, found, issued = core.decode_transition(frame)
                jobs += found
                commands += issued
        return jobs, commands, sorted(acknowledged)

    edges = [0, *sorted(cut for cut in cuts if 0 < cut < len(rows)), len(rows)]
    batches = [rows[left:right] for left, right in pairwise(edges)]
    once = history([rows[:8]])
    found = history(batches)
    assert found[:2] == once[:2]
    assert found[2] == list(range(1, len(rows))), "the start holds the place of eager work"


@given(order=st.permutations(range(6)))
def test_runs_do_not_influence_each_other(core: ModuleType, order: list[int]) -> None:
    """Messages of different runs commute."""

    def frames(numbers: list[int]) -> dict[bytes, list[bytes]]:
        router = core.Router(0)
        rows = [
            (number, LANE, bytes([number + 1]) * 16, encode_event(START), "w", "T", b"", b"", False)
            for number in numbers
        ]
        router.commit(rows, ())
        for run_id, jobs, _ in router.ingest((), 1)[0]:
            router.complete(run_id, 1, [(kinds.PATCH, len(jobs), 0, run_id.hex(), b"", b"")])
        columns = dict(zip(DRAINED_FIELDS, router.drain(), strict=True))
        return dict(zip(columns["journal_run"], columns["journal_frame"], strict=True))

    assert frames(order) == frames(list(range(6)))
