"""The router's rules, one by one."""

from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from hotmesh.core import (
    DRAINED_FIELDS,
    CodecError,
    LedgerError,
    RouterError,
    encode_event,
    encode_transition,
    kinds,
    run_states,
)

RUN = b"r" * 16
OTHER = b"s" * 16
LANE = 70
HORIZON_MS = 5_000
START = (kinds.START, 0, 0, "", b"", b"")
COMPLETE = (kinds.COMPLETE, 0, 0, "", b"", b"result")


def event(kind: int, seq: int = 0, number: int = 0, meta: bytes = b"", body: bytes = b"") -> tuple:
    return (kind, seq, number, "", meta, body)


def row(message_id: int, each: tuple, run_id: bytes = RUN, journaled: bool | None = None) -> tuple:
    details = ("w", "T", b"", b"") if each[0] == kinds.START else (None,) * 4
    return (message_id, LANE, run_id, encode_event(each), *details, journaled)


class Bench:
    """A router and short ways to drive it."""

    def __init__(self, core: ModuleType) -> None:
        self.router = core.Router(HORIZON_MS)

    def read(self, *rows: tuple, timers: Any = (), local: Any = (), now_ms: int = 100) -> Any:
        self.router.commit(rows, timers)
        return self.router.ingest(local, now_ms)

    def jobs(self, *rows: tuple, timers: Any = (), local: Any = (), now_ms: int = 100) -> list:
        """The jobs of the one activation that this reading makes."""
        activations, loads, late, errors, expired = self.read(
            *rows, timers=timers, local=local, now_ms=now_ms
        )
        assert (loads, late, errors, expired) == ([], [], [], [])
        [(run_id, jobs, _)] = activations
        assert run_id == RUN
        return jobs

    def drain(self) -> dict[str, list]:
        """The columns that are not empty."""
        columns = dict(zip(DRAINED_FIELDS, self.router.drain(), strict=True))
        return {name: column for name, column in columns.items() if column}

    def commit(self) -> dict[str, list]:
        columns = self.drain()
        self.router.commit((), ())
        return columns

    def begin(self, *commands: tuple) -> dict[str, list]:
        """Start the run with message 1 and these commands; what was written."""
        assert self.jobs(row(1, START, journaled=False)) == [START]
        self.router.complete(RUN, 100, commands)
        return self.commit()


@pytest.fixture
def bench(core: ModuleType) -> Bench:
    return Bench(core)


def test_a_start_makes_a_run(bench: Bench) -> None:
    activations, *rest = bench.read(
        row(5, event(kinds.SIGNAL), OTHER), row(6, START, journaled=False)
    )
    assert activations == [(RUN, [START], 1)]
    assert rest == [[OTHER], [], [], []]
    bench.router.complete(RUN, 100, [COMPLETE])
    assert bench.commit() == {
        "journal_run": [RUN],
        "journal_seq": [0],
        "journal_frame": [encode_transition(100, [START], [COMPLETE])],
        "ack_lane": [LANE],
        "ack_id": [6],
        "close_run": [RUN],
        "close_lane": [LANE],
        "close_status": [2],
        "close_result": [b"result"],
        "close_waits": [False],
    }
    assert not bench.router.known(RUN)
    assert bench.router.known(OTHER)


@pytest.mark.parametrize(("kind", "status"), sorted(kinds.CLOSE_STATUS.items()))
def test_each_closing_command_leaves_its_status(bench: Bench, kind: int, status: int) -> None:
    columns = bench.begin(event(kinds.WAIT, 1), event(kind))
    assert columns["close_status"] == [status]
    assert columns["close_waits"] == [True]


def test_a_message_in_hand_is_not_taken_twice(bench: Bench) -> None:
    bench.jobs(row(1, START, journaled=False))
    assert bench.read(row(1, START, journaled=False))[0] == []
    bench.router.complete(RUN, 100, [event(kinds.PATCH)])
    assert bench.read(row(1, START, journaled=False))[0] == []
    assert bench.commit()["ack_id"] == [1]
    assert bench.router.stats()["claims"] == 0


def test_a_duplicate_is_acknowledged_with_what_it_came_beside(bench: Bench) -> None:
    bench.begin(event(kinds.TIMER, 1, 10_000_000))
    again = event(kinds.SIGNAL, meta=b"a")
    assert bench.jobs(row(2, again), row(3, again)) == [again]
    assert bench.commit() == {}
    bench.router.complete(RUN, 100, [])
    assert bench.commit()["ack_id"] == [2, 3]
    assert bench.read(row(4, again))[0] == []
    assert bench.commit() == {"ack_lane": [LANE], "ack_id": [4]}


def test_jobs_are_journaled_as_they_came(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1, 7))
    done = event(kinds.ACTIVITY_COMPLETED, 1, body=b"x" * 300)
    assert bench.jobs(row(2, done)) == [done]
    bench.router.complete(RUN, 200, [])
    columns = bench.commit()
    assert columns["journal_frame"] == [encode_transition(200, [done], [])]
    assert columns["journal_seq"] == [1]


def test_queries_are_not_journaled(bench: Bench) -> None:
    bench.begin(event(kinds.PATCH))
    query = event(kinds.QUERY, body=b"q")
    assert bench.jobs(row(2, query)) == [query]
    bench.router.complete(RUN, 100, [])
    assert bench.commit() == {"ack_lane": [LANE], "ack_id": [2]}


def test_what_comes_while_a_run_is_busy_waits(bench: Bench) -> None:
    bench.jobs(row(1, START, journaled=False))
    assert bench.read(row(2, event(kinds.SIGNAL)))[0] == []
    assert not bench.router.has_ready()
    bench.router.complete(RUN, 100, [])
    assert bench.router.has_ready()
    assert bench.jobs() == [event(kinds.SIGNAL)]


# Cold runs


def test_an_unknown_run_is_loaded_once_and_its_messages_wait(bench: Bench) -> None:
    first, second = event(kinds.SIGNAL, body=b"1"), event(kinds.SIGNAL, body=b"2")
    assert bench.read(row(7, first)) == ([], [RUN], [], [], [])
    assert bench.read(row(8, second)) == ([], [], [], [], [])
    journal = [encode_transition(50, [START], [event(kinds.PATCH)])]
    transitions, lost = bench.router.load(RUN, LANE, journal, False, ())
    assert transitions == [(50, [START], [event(kinds.PATCH)])]
    assert lost == []
    assert bench.jobs() == [first, second]
    bench.router.complete(RUN, 100, [])
    assert bench.commit()["journal_seq"] == [1]


def test_a_redelivered_start_loads_the_run(bench: Bench) -> None:
    assert bench.read(row(1, START, journaled=True)) == ([], [RUN], [], [], [])
    journal = [encode_transition(50, [START], [event(kinds.ACTIVITY, 1, body=b"a")])]
    _, lost = bench.router.load(RUN, LANE, journal, False, ())
    assert lost == [event(kinds.ACTIVITY, 1, body=b"a")]
    assert bench.read()[0] == []
    assert bench.router.stats()["anchored"] == 1, "the duplicate start holds the place"
    bench.router.complete(RUN, 100, [event(kinds.REDISPATCH, 1, 7, b"frame", b"state")])
    columns = bench.commit()
    assert columns["ack_id"] == [1]
    assert columns["task_queue"] == [7]
    assert (columns["task_attempt"], columns["task_frame"]) == ([1], [b"frame"])
    assert columns["task_state"] == [b"state"]


def test_code_that_was_stopped_is_found_by_who_takes_the_run_over(bench: Bench) -> None:
    opened = event(kinds.ACTIVITY, 1)
    journal = [encode_transition(50, [START], [opened, event(kinds.PAUSED)])]
    bench.read(row(1, START, journaled=True))
    assert bench.router.load(RUN, LANE, journal, False, ())[1] == [opened, event(kinds.PAUSED)]
    bench.read()
    bench.router.complete(RUN, 100, [event(kinds.RESUMED), event(kinds.PAUSED)])
    assert bench.commit().get("ack_id", []) == [], "what holds its place stays"
    again = event(kinds.REDISPATCH, 1, 7, b"frame")
    bench.router.complete(RUN, 110, [event(kinds.RESUMED), again])
    assert bench.commit()["ack_id"] == [1]


def test_work_in_flight_or_done_here_is_not_lost(bench: Bench) -> None:
    commands = [event(kinds.ACTIVITY, seq) for seq in (1, 2, 3)]
    done = event(kinds.ACTIVITY_COMPLETED, 3)
    assert bench.read(local=[(RUN, done)])[1] == [RUN]
    _, lost = bench.router.load(RUN, LANE, [encode_transition(50, [START], commands)], False, {1})
    assert lost == [commands[1]]
    assert bench.jobs() == [done]


@pytest.mark.parametrize(
    "journal",
    [
        [encode_transition(1, [START], [])[:-1] + b"\x00"],
        [encode_transition(1, [START], []), encode_transition(2, [START], [])],
        [encode_transition(1, [START], [COMPLETE, COMPLETE])],
    ],
)
def test_a_bad_journal_leaves_the_run_cold(bench: Bench, journal: list[bytes]) -> None:
    bench.read(row(7, event(kinds.SIGNAL)))
    with pytest.raises((CodecError, LedgerError)):
        bench.router.load(RUN, LANE, journal, False, ())
    with pytest.raises(RouterError):
        bench.router.complete(RUN, 1, [])
    bench.router.load(RUN, LANE, [encode_transition(1, [START], [])], False, ())
    assert bench.jobs() == [event(kinds.SIGNAL)]


def test_a_start_is_made_up_when_something_else_comes_first(bench: Bench) -> None:
    signal = event(kinds.SIGNAL)
    bench.read(row(7, signal))
    bench.router.load(RUN, LANE, [], False, ())
    assert bench.jobs() == [START, signal]
    bench.router.complete(RUN, 1, [])
    bench.commit()
    assert bench.read(timers=[(LANE, 50, RUN, 0)])[0] == []
    assert bench.commit()["drop_timer_key"] == [0]


def test_a_query_does_not_start_a_delayed_run(bench: Bench) -> None:
    bench.read(row(7, event(kinds.QUERY)))
    bench.router.load(RUN, LANE, [], False, ())
    assert bench.jobs() == [event(kinds.QUERY)]
    bench.router.complete(RUN, 1, [])
    bench.commit()
    assert bench.jobs(timers=[(LANE, 50, RUN, 0)]) == [START]


def test_a_failed_activation_comes_again_after_a_load(bench: Bench) -> None:
    signal = event(kinds.SIGNAL)
    bench.jobs(row(1, START, journaled=False), row(2, signal))
    bench.router.fail(RUN)
    assert bench.read(row(3, signal)) == ([], [], [], [], [])
    assert bench.drain() == {}
    bench.router.load(RUN, LANE, [], False, ())
    assert bench.jobs() == [START, signal, signal]


def test_a_journal_read_too_early_is_refused(bench: Bench) -> None:
    bench.begin(event(kinds.PATCH))
    bench.jobs(row(2, event(kinds.SIGNAL)))
    bench.router.fail(RUN)
    with pytest.raises(RouterError) as caught:
        bench.router.load(RUN, LANE, [], False, ())
    assert caught.value.code == "stale"


# Closed runs


def test_messages_to_a_closed_run_are_late(bench: Bench) -> None:
    signal, query = event(kinds.SIGNAL), event(kinds.QUERY)
    bench.read(row(7, signal), row(8, query), timers=[(LANE, 50, RUN, 4)])
    journal = [encode_transition(1, [START], [COMPLETE])]
    bench.router.load(RUN, LANE, journal, True, ())
    activations, loads, late, errors, expired = bench.read()
    assert activations == [(RUN, [query], -1)]
    assert (loads, late, errors, expired) == ([], [(RUN, signal)], [], [])
    bench.router.complete(RUN, 100, [])
    columns = bench.commit()
    assert columns["ack_id"] == [7, 8]
    assert columns["drop_timer_key"] == [4]
    assert not bench.router.known(RUN)


@pytest.mark.parametrize("kind", [kinds.SIGNAL, kinds.UPDATE, kinds.CANCEL, kinds.TERMINATE])
def test_what_a_step_has_read_reaches_a_run_before_what_was_made_here(
    bench: Bench, kind: int
) -> None:
    bench.begin(event(kinds.ACTIVITY, 1))
    bench.router.commit([row(2, event(kind))], ())
    done = event(kinds.ACTIVITY_COMPLETED, 1)
    assert bench.router.has_ready()
    assert bench.router.ingest([(RUN, done)], 100)[0] == [(RUN, [event(kind), done], -1)]


@pytest.mark.parametrize("kind", [kinds.SIGNAL, kinds.UPDATE, kinds.CANCEL, kinds.TERMINATE])
def test_an_end_that_is_not_committed_acknowledges_no_event_that_came_after_it(
    bench: Bench, kind: int
) -> None:
    bench.begin(event(kinds.ACTIVITY, 1))
    bench.jobs(local=[(RUN, event(kinds.ACTIVITY_COMPLETED, 1))])
    bench.router.complete(RUN, 100, [COMPLETE])
    late, result = event(kind), event(kinds.CHILD_COMPLETED, 7)
    assert bench.read(row(2, late), row(3, result)) == ([], [], [(RUN, result)], [], [])
    assert bench.drain()["ack_id"] == [1, 3], "the event stays where it holds the run open"
    assert bench.router.rollback() == [RUN]
    assert bench.router.stats()["claims"] == 0, "it can be read again"


def test_an_event_is_late_once_the_end_is_committed(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1))
    bench.jobs(local=[(RUN, event(kinds.ACTIVITY_COMPLETED, 1))])
    bench.router.complete(RUN, 100, [COMPLETE])
    signal = event(kinds.SIGNAL)
    bench.read(row(2, signal))
    bench.commit()
    assert bench.router.has_ready()
    assert bench.read() == ([], [], [(RUN, signal)], [], [])
    assert bench.commit() == {"ack_lane": [LANE], "ack_id": [2]}
    assert not bench.router.known(RUN)


def test_local_work_of_a_closed_run_is_forgotten(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1), COMPLETE)
    assert bench.read(local=[(RUN, event(kinds.ACTIVITY_COMPLETED, 1))])[1] == [RUN]
    bench.router.load(RUN, LANE, [encode_transition(1, [START], [COMPLETE])], True, ())
    assert bench.read() == ([], [], [], [], [])
    assert not bench.router.known(RUN)


# Anchors


def test_one_message_holds_the_place_of_local_work(bench: Bench) -> None:
    assert "ack_id" not in bench.begin(event(kinds.ACTIVITY, 1), event(kinds.CHILD, 2))
    bench.jobs(row(2, event(kinds.SIGNAL)), row(3, event(kinds.SIGNAL)))
    bench.router.complete(RUN, 100, [])
    assert bench.commit()["ack_id"] == [2, 3]
    assert not bench.router.evict(RUN)
    bench.jobs(local=[(RUN, event(kinds.CHILD_STARTED, 2))])
    bench.router.complete(RUN, 100, [])
    assert "ack_id" not in bench.commit()
    bench.jobs(local=[(RUN, event(kinds.ACTIVITY_COMPLETED, 1))])
    bench.router.complete(RUN, 100, [])
    assert bench.commit()["ack_id"] == [1]
    assert bench.router.evict(RUN)


def test_a_timer_row_holds_the_place_if_there_is_no_message(bench: Bench) -> None:
    bench.begin(event(kinds.TIMER, 1, 150))
    bench.jobs(now_ms=150)
    bench.router.complete(RUN, 150, [event(kinds.ACTIVITY, 2)])
    assert set(bench.commit()) == {"journal_run", "journal_seq", "journal_frame"}
    bench.jobs(local=[(RUN, event(kinds.ACTIVITY_COMPLETED, 2))])
    bench.router.complete(RUN, 150, [COMPLETE])
    assert bench.commit()["drop_timer_key"] == [4]


REREAD: dict[str, dict[str, Any]] = {
    "start": {"messages": [row(1, START, journaled=True)]},
    "signal": {"messages": [row(1, event(kinds.SIGNAL, meta=b"s"))]},
    "timer": {"timers": [(LANE, 50, RUN, 4)]},
    "deadline": {"timers": [(LANE, 50, RUN, 9)]},
}


@pytest.mark.parametrize("anchor", REREAD)
@pytest.mark.parametrize("local_first", [True, False])
@pytest.mark.parametrize(
    "command", [event(kinds.ACTIVITY, 8), event(kinds.CHILD, 8), event(kinds.SIGNAL_EXTERNAL, 8)]
)
def test_an_anchor_read_again_is_kept_for_what_is_asked_for_next(
    bench: Bench, anchor: str, local_first: bool, command: tuple
) -> None:
    """The step with the next command was lost: what held its place comes again, as a duplicate."""
    journal = [
        encode_transition(
            10,
            [START, event(kinds.SIGNAL, meta=b"s")],
            [
                event(kinds.ACTIVITY, 3),
                event(kinds.TIMER, 1, 50),
                event(kinds.CANCEL_TIMER, 1),
                event(kinds.ACTIVITY, 2, 7),
                event(kinds.DEADLINE, 2, 50, b"\x01"),
            ],
        )
    ]
    reread = REREAD[anchor]
    done = event(kinds.ACTIVITY_COMPLETED, 3)
    if local_first:
        bench.read(local=[(RUN, done)])
    bench.read(*reread.get("messages", ()), timers=reread.get("timers", ()), local=[])
    if not local_first:
        bench.read(local=[(RUN, done)])
    assert bench.router.load(RUN, LANE, journal, False, {3})[1] == []
    activations, _, late, errors, _ = bench.read()
    assert (activations, late, errors) == ([(RUN, [done], -1)], [], [])
    bench.router.complete(RUN, 100, [command])
    columns = bench.commit()
    assert "ack_id" not in columns
    assert "drop_timer_key" not in columns
    assert bench.router.stats()["anchored"] == 1
    bench.jobs(row(20, event(kinds.SIGNAL)))
    bench.router.complete(RUN, 100, [COMPLETE])
    columns = bench.commit()
    kept = columns["ack_id"] == [1, 20] or 4 in columns["drop_timer_key"]
    assert kept or 9 in columns["drop_timer_key"]


def test_what_came_beside_a_failed_activation_comes_again(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1))
    bench.jobs(row(2, event(kinds.SIGNAL, meta=b"a")), row(3, event(kinds.SIGNAL, meta=b"a")))
    bench.router.fail(RUN)
    journal = [encode_transition(100, [START], [event(kinds.ACTIVITY, 1)])]
    bench.router.load(RUN, LANE, journal, False, {1})
    bench.jobs()
    bench.router.complete(RUN, 100, [])
    assert bench.commit()["ack_id"] == [2, 3]


def test_closing_acknowledges_the_anchor(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1))
    bench.jobs(row(2, event(kinds.SIGNAL)))
    bench.router.complete(RUN, 100, [COMPLETE])
    assert bench.commit()["ack_id"] == [1, 2]


# Timers, deadlines, tasks


def test_timers_are_written_held_and_fired(bench: Bench) -> None:
    columns = bench.begin(event(kinds.TIMER, 1, 150), event(kinds.TIMER, 2, 100_000))
    assert (columns["timer_due"], columns["timer_key"]) == ([150, 100_000], [4, 8])
    assert bench.router.next_due() == 150
    assert bench.read(timers=[(LANE, 150, RUN, 4)], now_ms=149)[0] == []
    assert bench.jobs(now_ms=150) == [event(kinds.TIMER_FIRED, 1)]
    assert bench.read(timers=[(LANE, 150, RUN, 4)], now_ms=151)[0] == [], "read again in hand"
    bench.router.complete(RUN, 150, [])
    assert bench.commit()["drop_timer_key"] == [4]
    assert bench.router.next_due() is None, "beyond the horizon: read later"
    assert bench.jobs(timers=[(LANE, 100_000, RUN, 8)], now_ms=100_000) == [
        event(kinds.TIMER_FIRED, 2)
    ]


def test_a_canceled_timer_is_dropped(bench: Bench) -> None:
    bench.begin(event(kinds.TIMER, 1, 150))
    bench.jobs(row(2, event(kinds.SIGNAL)))
    bench.router.complete(RUN, 100, [event(kinds.CANCEL_TIMER, 1)])
    columns = bench.commit()
    assert (columns["drop_timer_due"], columns["drop_timer_key"]) == ([150], [4])
    assert bench.router.next_due() is None


def test_a_timer_set_and_canceled_at_once_is_never_written(bench: Bench) -> None:
    columns = bench.begin(event(kinds.TIMER, 1, 150), event(kinds.CANCEL_TIMER, 1))
    assert set(columns) == {"journal_run", "journal_seq", "journal_frame", "ack_lane", "ack_id"}


def test_a_clock_that_is_set_back_fires_nothing_before_its_time(bench: Bench) -> None:
    bench.begin(event(kinds.TIMER, 1, 150))
    assert bench.read(now_ms=5_000)[0] == [(RUN, [event(kinds.TIMER_FIRED, 1)], -1)]
    bench.router.complete(RUN, 5_000, [event(kinds.TIMER, 2, 200)])
    bench.commit()
    later = (LANE, 180, OTHER, 4)
    assert bench.read(timers=[later], now_ms=179) == ([], [], [], [], [])
    assert bench.router.next_due() == 180
    assert bench.read(now_ms=180)[1] == [OTHER]
    assert bench.read(now_ms=199)[0] == []
    assert bench.jobs(now_ms=200) == [event(kinds.TIMER_FIRED, 2)]


def test_a_timer_canceled_while_it_fires_is_dropped_once(bench: Bench) -> None:
    bench.begin(event(kinds.TIMER, 1, 150))
    bench.jobs(row(2, event(kinds.SIGNAL)))
    assert bench.read(now_ms=200)[0] == []
    bench.router.complete(RUN, 200, [event(kinds.CANCEL_TIMER, 1)])
    assert bench.read()[0] == []
    assert bench.commit()["drop_timer_key"] == [4]


def test_a_task_and_its_deadlines(bench: Bench) -> None:
    activity = event(kinds.ACTIVITY, 1, 7, body=b"args")
    columns = bench.begin(
        activity,
        event(kinds.DEADLINE, 1, 300, b"\x01"),
        event(kinds.DEADLINE, 1, 900, b"\x02"),
    )
    assert columns["task_queue"] == [7]
    assert columns["task_lane"] == [LANE]
    assert columns["task_run"] == [RUN]
    assert columns["task_seq"] == [1]
    assert columns["task_attempt"] == [0]
    assert columns["task_delay"] == [0]
    assert columns["task_frame"] == [encode_event(activity)]
    assert columns["task_state"] == [b""]
    assert columns["timer_key"] == [5, 6]
    assert columns["ack_id"] == [1], "a task is not local work"
    assert bench.read(now_ms=300) == ([], [], [], [], [(RUN, 1)])
    assert bench.commit() == {
        "drop_timer_lane": [LANE],
        "drop_timer_due": [300],
        "drop_timer_run": [RUN],
        "drop_timer_key": [5],
    }
    unclaimed = event(kinds.ACTIVITY_TIMED_OUT, 1, 1)
    assert bench.jobs(row(2, unclaimed)) == [unclaimed]
    bench.router.complete(RUN, 300, [])
    columns = bench.commit()
    assert columns["drop_timer_key"] == [6]
    assert columns["drop_task_seq"] == [1]


def test_the_last_deadline_ends_the_activity(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1, 7), event(kinds.DEADLINE, 1, 900, b"\x02"))
    assert bench.jobs(now_ms=900) == [event(kinds.ACTIVITY_TIMED_OUT, 1, 2)]
    bench.router.complete(RUN, 900, [])
    columns = bench.commit()
    assert (columns["drop_timer_key"], columns["drop_task_run"]) == ([6], [RUN])


def test_closing_drops_what_is_open(bench: Bench) -> None:
    bench.begin(
        event(kinds.ACTIVITY, 1, 7),
        event(kinds.DEADLINE, 1, 900, b"\x02"),
        event(kinds.TIMER, 2, 100_000),
        event(kinds.ACTIVITY, 3),
    )
    bench.jobs(row(2, event(kinds.SIGNAL)))
    bench.router.complete(RUN, 100, [event(kinds.ACTIVITY, 4, 7), COMPLETE])
    columns = bench.commit()
    assert columns["drop_timer_key"] == [6, 8]
    assert columns["drop_timer_due"] == [900, 100_000]
    assert columns["drop_task_seq"] == [1]
    assert "task_seq" not in columns
    assert bench.router.stats() == dict.fromkeys(bench.router.stats(), 0)


def test_a_run_times_out_once(bench: Bench) -> None:
    bench.begin(event(kinds.PATCH))
    timers = [(LANE, 200, RUN, -1), (LANE, 200, RUN, -2)]
    assert bench.jobs(timers=timers, now_ms=200) == [event(kinds.RUN_TIMED_OUT, 0, -1)]
    bench.router.complete(RUN, 200, [event(kinds.TIMED_OUT)])
    columns = bench.commit()
    assert sorted(columns["drop_timer_key"]) == [-2, -1]
    assert columns["close_status"] == [7]


# Errors


def test_undecodable_messages_are_reported_and_acknowledged(bench: Bench) -> None:
    bad = (9, LANE, OTHER, b"\x01\x80", None, None, None, None, None)
    _, _, _, errors, _ = bench.read(bad)
    [(message_id, lane, run_id, text)] = errors
    assert (message_id, lane, run_id) == (9, LANE, OTHER)
    assert text == "event frame ends too early (at byte 2)"
    assert bench.commit() == {"ack_lane": [LANE], "ack_id": [9]}


def test_a_refused_command_writes_nothing(bench: Bench) -> None:
    bench.jobs(row(1, START, journaled=False))
    twice = [event(kinds.TIMER, 1, 5), event(kinds.WAIT, 1)]
    with pytest.raises(LedgerError):
        bench.router.complete(RUN, 100, twice)
    assert bench.drain() == {}
    bench.router.fail(RUN)  # it has failed already
    bench.router.load(RUN, LANE, [], False, ())
    assert bench.jobs() == [START]
    with pytest.raises(LedgerError):
        bench.router.complete(RUN, 100, [COMPLETE, event(kinds.PATCH)])


def test_a_local_event_out_of_range_takes_nothing_in(bench: Bench) -> None:
    with pytest.raises(CodecError):
        bench.read(row(1, START, journaled=False), local=[(RUN, event(kinds.SIGNAL, -1))])
    assert bench.jobs() == [START]


def test_calls_at_the_wrong_time(bench: Bench) -> None:
    def code(method: str, *arguments: object) -> str:
        with pytest.raises(RouterError) as caught:
            getattr(bench.router, method)(RUN, *arguments)
        assert str(UUID(bytes=RUN)) in str(caught.value)
        return caught.value.code

    assert code("complete", 1, []) == "unknown"
    assert code("fail") == "unknown"
    assert code("run_state") == "unknown"
    bench.read(row(1, event(kinds.SIGNAL)))
    assert code("complete", 1, []) == "cold"
    bench.router.load(RUN, LANE, [], False, ())
    assert code("load", LANE, [], False, ()) == "warm"


# Batches


def test_a_batch_is_ordered_by_run(bench: Bench) -> None:
    bench.read(row(1, START, OTHER, False), row(2, START, RUN, False))
    bench.router.complete(OTHER, 1, [COMPLETE])
    bench.router.complete(RUN, 1, [COMPLETE])
    columns = bench.commit()
    assert columns["journal_run"] == columns["close_run"] == [RUN, OTHER]
    assert columns["ack_id"] == [1, 2]


def test_a_rollback_forgets_the_touched_runs_only(bench: Bench) -> None:
    bench.begin(event(kinds.TIMER, 1, 150))
    bench.read(row(2, START, OTHER, False))
    bench.router.complete(OTHER, 1, [event(kinds.TIMER, 1, 170)])
    bench.drain()
    assert bench.router.rollback() == [OTHER]
    assert not bench.router.known(OTHER)
    assert bench.router.next_due() == 150
    activations, *_ = bench.read(row(2, START, OTHER, False))
    assert activations == [(OTHER, [START], 0)]


def test_a_rollback_keeps_what_was_made_here(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1))
    done = event(kinds.ACTIVITY_COMPLETED, 1, body=b"precious")
    bench.jobs(local=[(RUN, done)])
    bench.router.complete(RUN, 100, [COMPLETE])
    bench.drain()
    assert bench.router.rollback() == [RUN]
    assert bench.router.known(RUN)
    assert bench.read()[1] == [RUN]
    journal = [encode_transition(100, [START], [event(kinds.ACTIVITY, 1)])]
    assert bench.router.load(RUN, LANE, journal, False, ())[1] == []
    assert bench.jobs() == [done]


def test_starting_over_forgets_all_but_what_was_made_here(bench: Bench) -> None:
    bench.begin(event(kinds.ACTIVITY, 1), event(kinds.TIMER, 2, 150))
    bench.read(row(2, START, OTHER, False))
    bench.router.complete(OTHER, 100, [event(kinds.TIMER, 1, 170)])
    done = event(kinds.ACTIVITY_COMPLETED, 1, body=b"precious")
    bench.read(local=[(RUN, done)])
    bench.router.start_over()
    assert bench.drain() == {}
    assert bench.router.next_due() is None
    assert not bench.router.known(OTHER)
    signal = event(kinds.SIGNAL, body=b"another message with an old id")
    assert bench.read(row(1, signal))[1] == [RUN]
    assert bench.router.load(RUN, LANE, [], False, ())[1] == []
    assert bench.jobs() == [START, signal], "of a command that is lost nothing is known"


def test_evict_keeps_what_is_going_on(bench: Bench) -> None:
    assert not bench.router.evict(RUN)
    bench.jobs(row(1, START, journaled=False))
    assert not bench.router.evict(RUN), "busy"
    bench.router.complete(RUN, 100, [event(kinds.TIMER, 1, 150)])
    assert not bench.router.evict(RUN), "not written"
    bench.drain()
    assert not bench.router.evict(RUN), "not committed"
    bench.router.commit((), ())
    assert bench.router.evict(RUN)
    assert bench.read(now_ms=150)[1] == [RUN], "its timers are still held"


@pytest.mark.parametrize("lanes", [None, {LANE}, [LANE, 3]])
def test_forget_drops_everything(bench: Bench, lanes: Any) -> None:
    bench.begin(event(kinds.TIMER, 1, 150))
    bench.jobs(row(2, event(kinds.SIGNAL)))
    bench.read(row(3, event(kinds.SIGNAL), OTHER))
    bench.router.forget(lanes)
    assert bench.router.stats() == dict.fromkeys(bench.router.stats(), 0)
    assert bench.drain() == {}
    assert bench.read(row(3, event(kinds.SIGNAL), OTHER))[1] == [OTHER]


def test_forget_leaves_other_lanes_alone(bench: Bench) -> None:
    bench.begin(event(kinds.TIMER, 1, 150))
    bench.router.forget({LANE + 1})
    assert bench.router.run_state(RUN) == (1, 0, run_states.IDLE)
    assert bench.router.next_due() == 150
