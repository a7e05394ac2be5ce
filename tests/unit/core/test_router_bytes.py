"""What the router counts in bytes: a journal row, and the jobs of one activation."""

from types import ModuleType

from hotmesh.core import encode_transition, kinds
from unit.core.test_router import HORIZON_MS, LANE, RUN, START, Bench, event, row


def bench_of(core: ModuleType, job_bytes_max: int) -> Bench:
    bench = Bench(core)
    bench.router = core.Router(HORIZON_MS, job_bytes_max)
    bench.begin()
    return bench


def signals(*message_ids: int) -> list[tuple]:
    return [row(each, event(kinds.SIGNAL, body=bytes([each]) * 40)) for each in message_ids]


def numbers(jobs: list) -> list[int]:
    return [job[5][0] for job in jobs]


def test_completing_tells_the_size_of_the_journal_row(core: ModuleType) -> None:
    bench = Bench(core)
    bench.jobs(row(1, START, journaled=False))
    size = bench.router.complete(RUN, 100, [event(kinds.PATCH, body=b"x" * 300)])
    [frame] = bench.commit()["journal_frame"]
    assert size == len(frame) > 300
    bench.jobs(row(2, event(kinds.QUERY)))
    assert bench.router.complete(RUN, 100, []) == 0


def test_an_activation_takes_no_more_once_it_has_enough_bytes(core: ModuleType) -> None:
    bench = bench_of(core, 100)
    assert numbers(bench.jobs(*signals(2, 3, 4, 5, 6, 7))) == [2, 3, 4]
    bench.router.complete(RUN, 100, [])
    assert bench.commit()["ack_id"] == [2, 3, 4]
    assert bench.router.has_ready()
    assert numbers(bench.jobs(*signals(8))) == [5, 6, 7]  # what waits comes first
    bench.router.complete(RUN, 100, [])
    assert numbers(bench.jobs()) == [8]
    bench.router.complete(RUN, 100, [])
    assert bench.commit()["ack_id"] == [5, 6, 7, 8]
    assert not bench.router.has_ready()


def test_jobs_given_back_count_no_more(core: ModuleType) -> None:
    bench = bench_of(core, 100)
    assert numbers(bench.jobs(*signals(2, 3, 4, 5))) == [2, 3, 4]
    bench.router.fail(RUN)
    frame = encode_transition(100, [START], [])
    bench.router.load(RUN, LANE, [frame], False, [])
    assert numbers(bench.jobs()) == [2, 3, 4]
    bench.router.complete(RUN, 100, [])
    assert numbers(bench.jobs()) == [5]
