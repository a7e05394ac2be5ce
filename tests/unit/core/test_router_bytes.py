"""What the router counts in bytes: a journal row, and the jobs of one activation."""

from types import ModuleType

import pytest

from hotmesh.core import RouterError, encode_transition, kinds
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


def queries(*numbers: int) -> list[tuple]:
    return [row(each, event(kinds.QUERY, body=bytes([each]))) for each in numbers]


def test_queries_that_were_not_answered_come_again_in_order(core: ModuleType) -> None:
    bench = bench_of(core, 4_000)
    rows = [*queries(2, 3), *signals(4), *queries(5), *signals(6)]
    assert numbers(bench.jobs(*rows)) == [2, 3, 4, 5, 6]
    assert bench.read(*queries(7))[0] == []  # the run is busy: that comes after them
    bench.router.defer_queries(RUN, 2)
    bench.router.complete(RUN, 100, [])
    columns = bench.commit()
    assert columns["ack_id"] == [2, 4, 6]
    [frame] = columns["journal_frame"]
    assert frame == encode_transition(
        100, [event(kinds.SIGNAL, body=bytes([each]) * 40) for each in (4, 6)], []
    )
    assert bench.router.has_ready()
    assert numbers(bench.jobs(*queries(8))) == [3, 5, 7, 8]
    bench.router.defer_queries(RUN, 9)  # all there are
    bench.router.complete(RUN, 100, [])
    assert bench.commit() == {}
    assert numbers(bench.jobs()) == [3, 5, 7, 8]
    bench.router.complete(RUN, 100, [])
    assert bench.commit() == {"ack_lane": [LANE] * 4, "ack_id": [3, 5, 7, 8]}
    assert not bench.router.has_ready()


def test_deferred_queries_are_kept_when_the_task_fails(core: ModuleType) -> None:
    bench = bench_of(core, 4_000)
    assert numbers(bench.jobs(*queries(2, 3), *signals(4))) == [2, 3, 4]
    bench.router.defer_queries(RUN, 1)
    bench.router.fail(RUN)
    bench.router.load(RUN, LANE, [encode_transition(100, [START], [])], False, [])
    assert sorted(numbers(bench.jobs())) == [2, 3, 4]


def test_queries_of_a_run_that_closes_meanwhile_are_answered_too(core: ModuleType) -> None:
    bench = bench_of(core, 4_000)
    assert numbers(bench.jobs(*signals(2), *queries(3, 4))) == [2, 3, 4]
    bench.router.defer_queries(RUN, 1)
    bench.router.complete(RUN, 100, [event(kinds.COMPLETE)])
    assert bench.commit()["ack_id"] == [2, 3]
    assert numbers(bench.jobs()) == [4]
    bench.router.complete(RUN, 100, [])
    assert bench.commit() == {"ack_lane": [LANE], "ack_id": [4]}
    assert not bench.router.known(RUN)


def test_only_a_warm_run_has_queries_to_defer(core: ModuleType) -> None:
    bench = Bench(core)
    with pytest.raises(RouterError):
        bench.router.defer_queries(RUN, 1)
    bench.begin()
    bench.router.fail(RUN)
    with pytest.raises(RouterError):
        bench.router.defer_queries(RUN, 1)


def test_a_run_whose_end_is_refused_is_given_all_at_once(core: ModuleType) -> None:
    bench = bench_of(core, 100)
    bench.router.give_whole({RUN: 1})
    assert numbers(bench.jobs(*signals(2, 3, 4, 5, 6, 7))) == [2, 3, 4, 5, 6, 7]
    bench.router.complete(RUN, 100, [])
    bench.commit()
    bench.router.give_whole(())
    assert numbers(bench.jobs(*signals(8, 9, 10, 11))) == [8, 9, 10]


def test_it_is_still_so_when_all_is_read_again(core: ModuleType) -> None:
    bench = bench_of(core, 100)
    bench.router.give_whole([RUN])
    bench.router.start_over()
    bench.read(*signals(2, 3, 4, 5))
    bench.router.load(RUN, LANE, [encode_transition(100, [START], [])], False, [])
    assert numbers(bench.jobs()) == [2, 3, 4, 5]
