"""Faults that the engine once had, put back: the simulation must find each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from hotmesh.backends.shelf import Shelf, Shelved, size_of
from hotmesh.backends.sqlite import pieces, step, tasks
from hotmesh.backends.sqlite.session import SqliteSession
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.core import kinds
from hotmesh.core._python.output import Output
from hotmesh.core._python.router import Router
from hotmesh.core._python.run import Arrival, MessageOrigin, Run
from hotmesh.core.rope import Bytes
from hotmesh.engine import verdict
from hotmesh.exceptions import is_cancelled_exception, leaves
from hotmesh.router.clock import BackendClock
from hotmesh.router.leaving import Leaving
from hotmesh.router.local_activities import LocalActivities
from hotmesh.router.moving import Mover
from hotmesh.router.pipe import Pipe
from hotmesh.router.refused_ends import RefusedEnds
from hotmesh.router.tasks import TaskPump
from hotmesh.router.tenure import Tenure


def _nothing(*_: Any) -> None:
    """In place of a check."""


@contextlib.contextmanager
def events_after_activities() -> Iterator[None]:
    """What a step has read is handed over when activities have moved runs on, and acknowledged."""
    ingest = Router.ingest

    def ingest_later(router: Router, local: Any, now_ms: int) -> Any:
        read = router._read if local else []
        late = [None if row is None or row[2] not in router._runs else row for row in read]
        if local:
            router._read = [
                row if each is None else None for row, each in zip(read, late, strict=True)
            ]
        reply = ingest(router, local, now_ms)
        router._read += [row for row in late if row is not None]
        return reply

    def acknowledge(output: Output, run: Run, arrival: Arrival, batch: Any) -> None:
        if isinstance(arrival.origin, MessageOrigin):
            batch.late.append((run.run_id, arrival.event))
        output.acknowledge(run, arrival.origin)

    with (
        mock.patch.object(Router, "ingest", ingest_later),
        mock.patch.object(Output, "_close_out", acknowledge),
    ):
        yield


@contextlib.contextmanager
def anchors_let_go_early() -> Iterator[None]:
    """A duplicate is acknowledged before it is known what the run in hand asks for."""

    def dismiss(output: Output, run: Run, arrival: Arrival) -> None:
        if arrival.origin is not None and run.anchor is None and run.has_local_work():
            run.anchor = arrival.origin
        else:
            output.acknowledge(run, arrival.origin)

    with mock.patch.object(Output, "_dismiss", dismiss):
        yield


def _of_any_attempt(statement: str) -> AbstractContextManager[Any]:
    """A statement of the activity tasks that takes whatever attempt is claimed."""
    text: str = getattr(tasks, statement)
    assert text.count("attempt = ?") == 1
    return mock.patch.object(tasks, statement, text.replace("attempt = ?", "attempt >= ?"))


@contextlib.contextmanager
def finished_whatever_the_attempt() -> Iterator[None]:
    """The outcome of an attempt whose claim was lost ends the next one too."""
    with _of_any_attempt("_FINISH_TASK"):
        yield


@contextlib.contextmanager
def retried_whatever_the_attempt() -> Iterator[None]:
    """The failure of an attempt whose claim was lost gives the next one's claim away."""
    with _of_any_attempt("_RETRY_TASK"):
        yield


@contextlib.contextmanager
def renewed_whatever_the_attempt() -> Iterator[None]:
    """Who has lost a claim goes on renewing it, in place of the one that has it."""
    with _of_any_attempt("_BEAT_TASK"):
        yield


@contextlib.contextmanager
def repeats_not_looked_for() -> Iterator[None]:
    """A send that is repeated is refused, or delivered again, though a run that closed has it."""
    with mock.patch("hotmesh.backends.sqlite.starts._heard", return_value=None):
        yield


@contextlib.contextmanager
def results_lost_with_the_tenure() -> Iterator[None]:
    """What the core has been given of a first attempt is forgotten when the tenure ends."""
    end = LocalActivities.end

    def forget(activities: LocalActivities) -> None:
        for task in activities.inflight.values():
            if (task.run_id, task.event) not in activities._memory.local:
                task.event = None
        end(activities)

    with mock.patch.object(LocalActivities, "end", forget):
        yield


@contextlib.contextmanager
def attempts_numbered_anew() -> Iterator[None]:
    """What ends while its run is taken over is made a task once more."""
    with mock.patch.object(step, "_drop_ended", _nothing):
        yield


@contextlib.contextmanager
def moves_that_wake_nobody() -> Iterator[None]:
    """A run that moves with nothing but what only its old router knew of is looked at by nobody."""
    send_after = Mover._send_after

    def silently(mover: Mover, run_id: bytes, lane: int) -> bool:
        send_after(mover, run_id, lane)
        return True

    with mock.patch.object(Mover, "_send_after", silently):
        yield


@contextlib.contextmanager
def settled_clocks_believed() -> Iterator[None]:
    """Where the database has taken a jump out of its time, that is followed wherever it is."""
    learn_beat = BackendClock.learn_beat

    def believe(clock: BackendClock, sent: float, backend_ms: int, shift_ms: int) -> None:
        if shift_ms != clock.shift_ms:
            clock.is_read = False
        learn_beat(clock, sent, backend_ms, shift_ms)

    with mock.patch.object(BackendClock, "learn_beat", believe):
        yield


@contextlib.contextmanager
def jumps_believed() -> Iterator[None]:
    """What is due follows the database's clock, wherever it is set."""

    def believe(clock: BackendClock, earliest: float) -> None:
        clock._offset = earliest

    with mock.patch.object(BackendClock, "_saw_jump", believe):
        yield


@contextlib.contextmanager
def cursors_kept() -> Iterator[None]:
    """A database that has gone back is read on from where its old state had been read to."""
    with (
        mock.patch.object(SqliteSession, "_meet_file", _nothing),
        mock.patch.object(Pipe, "read_again", _nothing),
    ):
        yield


@contextlib.contextmanager
def holes_written() -> Iterator[None]:
    """And what is in memory is written on, whatever the database holds of it."""
    stale = step._STALE

    def all_rows(tx: Transaction, rows: Any, *args: Any) -> Any:
        return [] if rows is stale else find(tx, rows, *args)

    find = Transaction.all_rows
    with cursors_kept(), mock.patch.object(Transaction, "all_rows", all_rows):
        yield


@contextlib.contextmanager
def groups_not_looked_into() -> Iterator[None]:
    """A group is none of the exceptions that end a workflow, whatever is in it."""
    with mock.patch.object(verdict, "leaves", lambda error: [error]):
        yield


@contextlib.contextmanager
def cancelled_members_counted() -> Iterator[None]:
    """What a group has cancelled stands for itself beside what has ended the group."""

    def members(error: BaseException) -> list[BaseException]:
        found = leaves(error)
        return [ValueError() if is_cancelled_exception(each) else each for each in found]

    with mock.patch.object(verdict, "leaves", members):
        yield


@contextlib.contextmanager
def last_pieces_lost() -> Iterator[None]:
    """Of what is stored in pieces the last one is missing."""
    cut = pieces._pieces

    def some(value: Bytes) -> Iterator[memoryview]:
        found = list(cut(value))
        yield from found[:-1] or found

    with mock.patch.object(pieces, "_pieces", some):
        yield


@contextlib.contextmanager
def recorded_results_counted() -> Iterator[None]:
    """Large results hold up further activities when they are journaled already."""

    def keep(activities: LocalActivities) -> bool:
        return not activities._unrecorded

    with mock.patch.object(LocalActivities, "_drop_recorded", keep):
        yield


@contextlib.contextmanager
def journals_needed_for_what_is_late() -> Iterator[None]:
    """What comes for a run that has ended waits for a journal that can't be read."""
    with mock.patch.object(kinds, "ANSWERED", frozenset(kinds.NAMES)):
        yield


@contextlib.contextmanager
def leaving_lanes_left_unread() -> Iterator[None]:
    """A lane that is to go elsewhere is not read, however long something of it is in hand."""
    with mock.patch.object(Leaving, "look", return_value=((), [])):
        yield


@contextlib.contextmanager
def ends_refused_again_and_again() -> Iterator[None]:
    """A run ends whenever some of the events that wait for it have been read."""
    refused = RefusedEnds.refused

    def gather_for_none(ends: RefusedEnds, run_ids: Any, *, counts: bool) -> list[bytes]:
        in_vain = refused(ends, run_ids, counts=counts)
        ends._gathering.clear()
        return in_vain

    with mock.patch.object(RefusedEnds, "refused", gather_for_none):
        yield


@contextlib.contextmanager
def who_stops_reads_nothing() -> Iterator[None]:
    """Not even what a run must see that has ended, and waits for nothing."""

    def may_read(pipe: Pipe) -> bool:
        return not (pipe._memory.held or pipe._stopping)

    with (
        mock.patch.object(Pipe, "_may_read", may_read),
        mock.patch.object(Pipe, "_has_results", return_value=False),
    ):
        yield


@contextlib.contextmanager
def unrecorded_results_let_go() -> Iterator[None]:
    """What a step was to record that was not applied is in nobody's hand, until it is again."""
    not_committed = LocalActivities.not_committed

    def forget(activities: LocalActivities, effects: Any, *, unknown: bool) -> list[bytes]:
        effects.ended = []
        return not_committed(activities, effects, unknown=unknown)

    with mock.patch.object(LocalActivities, "not_committed", forget):
        yield


@contextlib.contextmanager
def late_claims_believed() -> Iterator[None]:
    """What was claimed begins, however long the answer was on its way."""
    with mock.patch.object(TaskPump, "_is_late", return_value=False):
        yield


@contextlib.contextmanager
def doubtful_tenures_believed() -> Iterator[None]:
    """First attempts begin, however long ago the latest beat was."""
    with mock.patch.object(Tenure, "is_held", property(lambda tenure: not tenure.over)):
        yield


def _sorted_by(waits: Callable[[Shelf, Any], bool]) -> AbstractContextManager[Any]:
    """A shelf that keeps what waits, and gives the rest."""

    def sort(shelf: Shelf, rows: Any) -> list[Any]:
        given = []
        for row in rows:
            number, lane, run_id, frame = row[:4]
            if isinstance(frame, int) or waits(shelf, row):
                size = frame if isinstance(frame, int) else size_of(row)
                shelf._messages[number] = Shelved(number, lane, run_id, size)
                shelf._runs[run_id] += 1
            else:
                given.append(row)
        return given

    return mock.patch.object(Shelf, "sort", sort)


@contextlib.contextmanager
def small_waits_for_large() -> Iterator[None]:
    """What is read after something large waits for it, whoever's it is."""
    with _sorted_by(lambda shelf, row: len(shelf) > 0):
        yield


@contextlib.contextmanager
def small_passes_large() -> Iterator[None]:
    """What is small never waits, not for what its own run was sent before either."""
    with _sorted_by(lambda shelf, row: False):
        yield


MUTANTS: dict[str, tuple[Callable[[], AbstractContextManager[None]], str, int]] = {
    mutant.__name__: (mutant, profile, seed)
    for mutant, profile, seed in (
        (events_after_activities, "closes", 10),
        (anchors_let_go_early, "losses", 10),
        (finished_whatever_the_attempt, "attempts", 0),
        (retried_whatever_the_attempt, "attempts", 11),
        (renewed_whatever_the_attempt, "attempts", 1),
        (late_claims_believed, "attempts", 133),
        (doubtful_tenures_believed, "attempts", 151),
        (repeats_not_looked_for, "repeats", 10),
        (results_lost_with_the_tenure, "tenures", 7),
        (attempts_numbered_anew, "tenures", 3),
        (moves_that_wake_nobody, "moves", 9),
        (jumps_believed, "clocks", 11),
        (settled_clocks_believed, "clocks", 26),
        (groups_not_looked_into, "groups", 11),
        (cancelled_members_counted, "groups", 10),
        (last_pieces_lost, "large", 1),
        (recorded_results_counted, "large", 8),
        (journals_needed_for_what_is_late, "large", 97),
        (small_waits_for_large, "large", 10),
        (small_passes_large, "large", 10),
        (leaving_lanes_left_unread, "joins", 6),
        (ends_refused_again_and_again, "floods", 8),
        (unrecorded_results_let_go, "handovers", 4),
        (who_stops_reads_nothing, "floods", 103),
        (cursors_kept, "restores", 10),
        (holes_written, "restores", 10),
    )
}
"""Each with the profile whose seeds find it, and one of them."""
