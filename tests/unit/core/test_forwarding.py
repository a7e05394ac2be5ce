"""Runs that are in another lane: what came for them here is given back, to be sent after them."""

from types import ModuleType

import pytest

from hotmesh.core import RouterError, encode_event, encode_transition, kinds
from unit.core.test_router import LANE, RUN, START, Bench, event, row

SIDE = LANE + 64
"""Where the run is moved to."""


@pytest.fixture
def bench(core: ModuleType) -> Bench:
    return Bench(core)


def test_what_came_for_a_run_that_is_elsewhere_is_acknowledged_and_given_back(
    bench: Bench,
) -> None:
    signalled = event(kinds.SIGNAL, meta=b"id")
    assert bench.read(row(1, signalled))[1] == [RUN]
    timer = (LANE, 90, RUN, -1)
    bench.read(timers=[timer], local=[(RUN, event(kinds.ACTIVITY_COMPLETED, 1))])
    assert bench.router.waiting_kinds(RUN) == [
        kinds.SIGNAL,
        kinds.ACTIVITY_COMPLETED,
        kinds.RUN_TIMED_OUT,
    ]
    messages, timers = bench.router.forward(RUN, SIDE)
    assert messages == [(kinds.SIGNAL, encode_event(signalled))]
    assert timers == [(90, -1)]
    assert not bench.router.known(RUN)
    assert bench.commit() == {
        "ack_lane": [LANE],
        "ack_id": [1],
        "drop_timer_lane": [LANE],
        "drop_timer_due": [90],
        "drop_timer_run": [RUN],
        "drop_timer_key": [-1],
    }
    assert bench.router.stats()["claims"] == 0
    assert bench.router.stats()["timers"] == 0


def test_what_came_in_a_runs_own_lane_is_left_to_its_owner(bench: Bench) -> None:
    bench.read(row(1, event(kinds.SIGNAL, meta=b"id")), timers=[(LANE, 90, RUN, -1)])
    assert bench.router.forward(RUN, LANE) == ([], [])
    assert bench.commit() == {}
    assert bench.read(row(1, event(kinds.SIGNAL, meta=b"id")))[1] == [RUN]


def test_a_fresh_run_that_failed_can_be_moved_with_its_start(bench: Bench) -> None:
    assert bench.jobs(row(1, START, journaled=False)) == [START]
    bench.router.fail(RUN)
    assert bench.router.forward(RUN, SIDE) == ([(kinds.START, encode_event(START))], [])
    assert bench.drain() == {"ack_lane": [LANE], "ack_id": [1]}
    assert bench.router.rollback() == [RUN]
    # Not applied: everything is read again.
    assert bench.jobs(row(1, START, journaled=False)) == [START]


def test_a_run_that_was_moved_may_come_again_before_the_move_is_committed(bench: Bench) -> None:
    bench.read(row(1, START, journaled=True))
    bench.router.forward(RUN, SIDE)
    assert bench.read(row(2, event(kinds.QUERY)))[1] == [RUN]
    assert bench.drain() == {"ack_lane": [LANE], "ack_id": [1]}
    assert bench.router.rollback() == [RUN]
    assert not bench.router.known(RUN)
    assert bench.router.stats()["claims"] == 0


def test_only_a_cold_run_can_be_moved_or_left(bench: Bench) -> None:
    for let_go in (lambda: bench.router.forward(RUN, SIDE), lambda: bench.router.leave(RUN)):
        with pytest.raises(RouterError):
            let_go()
    assert bench.router.waiting_kinds(RUN) == []
    bench.begin()
    for let_go in (lambda: bench.router.forward(RUN, SIDE), lambda: bench.router.leave(RUN)):
        with pytest.raises(RouterError):
            let_go()


def test_what_came_for_a_run_that_is_left_stays_and_is_not_read_twice(bench: Bench) -> None:
    signalled = row(1, event(kinds.SIGNAL, meta=b"id"))
    assert bench.read(signalled)[1] == [RUN]
    bench.router.leave(RUN)
    assert not bench.router.known(RUN)
    assert bench.read(signalled)[1] == []
    assert bench.commit() == {}
    bench.router.start_over()
    assert bench.read(signalled)[1] == [RUN]


def test_the_anchor_of_a_moved_run_is_let_go(bench: Bench) -> None:
    activity = event(kinds.ACTIVITY, 1)
    bench.read(row(5, event(kinds.SIGNAL, meta=b"id")))
    journal = [encode_transition(100, [START, event(kinds.SIGNAL, meta=b"id")], [activity])]
    bench.router.load(RUN, LANE, journal, False, [1])
    assert bench.read()[0] == []  # a duplicate: it holds the place of the activity
    assert bench.router.stats()["anchored"] == 1
    bench.router.fail(RUN)
    bench.router.forward(RUN, SIDE)
    assert bench.commit() == {"ack_lane": [LANE], "ack_id": [5]}
