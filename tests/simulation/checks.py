"""What must hold at the end of a scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

from hotmesh.client._check import Problem, look
from hotmesh.core import CodecError, Transition, decode_transition, kinds
from hotmesh.exceptions import ApplicationError, CancelledError, TerminatedError
from simulation.app import Attempt, Record
from simulation.catalogue import expected
from simulation.server import Snapshot

if TYPE_CHECKING:
    from simulation.plan import Case
    from simulation.world import World

LEFTOVERS = ("stream", "timer", "task", "wait", "mail")
"""Tables that are empty once every run is closed."""

LOST_WITH_A_JOURNAL = ("timer", "task")
"""What a run may leave whose journal can't be read: nobody knows what it had open."""

OF_RUNS = ("journal", "stream", "timer", "task", "wait", "attribute", "ended", "piece")
"""Tables whose rows belong to runs."""

_SENT = {"signal": kinds.SIGNAL, "terminate": kinds.TERMINATE}
"""What is refused for a closed run. A cancellation is not: there is nothing left to cancel then."""


def check(world: World, cases: list[Case], record: Record) -> None:
    """Everything is done, once, and as if there had been no faults.

    Raises:
        AssertionError: It is not.
    """
    for case in cases:
        _check_outcome(case)
    _check_attempts(world, record)
    _check_store(world)
    _check_accepted(world, cases, record)


def _check_outcome(case: Case) -> None:
    if case.ending and isinstance(case.outcome, CancelledError | TerminatedError):
        assert case.is_ending, f"{case.id}: {case.outcome!r} though nobody asked"
        return
    wanted, outcome = expected(case.kind, case.first, case.count), case.outcome
    if isinstance(outcome, ApplicationError) and outcome.members:
        outcome = sorted(str(each) for each in outcome.members)
    assert outcome == wanted, f"{case.id}: {outcome!r} in place of {wanted!r}"


def _check_attempts(world: World, record: Record) -> None:
    most = 1 + world.server.times_gone_back  # it is not known then that they were made
    twice = {key: n for key, n in record.attempts.items() if n > most}
    assert not twice, f"attempts that were made more than once: {twice}"


def _check_store(world: World) -> None:
    rows = world.server.connection.execute
    still_open = open_runs(world)
    assert not still_open, f"still open: {still_open}"
    for table in OF_RUNS:
        orphans = rows(f"SELECT * FROM {table} WHERE run_id NOT IN (SELECT run_id FROM run)")
        assert not orphans.fetchall(), f"rows without a run in {table}"
    for table in LEFTOVERS:
        left = [
            row
            for row in rows(f"SELECT * FROM {table}").fetchall()
            if table not in LOST_WITH_A_JOURNAL or world.server.damaged.keys().isdisjoint(row)
        ]
        if table == "timer" and _has_side_queues(world):
            continue  # a run that moves leaves its timers where they were, until they are due
        assert not left, f"left over in {table}: {left}"
    gaps = rows(
        "SELECT run_id FROM journal GROUP BY run_id HAVING max(seq) <> count(*) - 1"
    ).fetchall()
    assert not gaps, f"journals with gaps: {gaps}"


def open_runs(world: World) -> list[str]:
    """The workflow ids of those that have not ended."""
    found = world.server.connection.execute("SELECT workflow_id FROM run WHERE status = 1")
    return [workflow_id for (workflow_id,) in found]


def _has_side_queues(world: World) -> bool:
    sides = world.server.connection.execute("SELECT count(*) FROM queue WHERE side <> ''")
    return bool(sides.fetchone()[0])


def is_allowed(world: World, problem: Problem) -> bool:
    """Whether it is a timer of a closed run that has moved, or left by a run that is damaged."""
    if problem.workflow_id in world.server.damaged.values():
        return True
    if UUID(problem.run_id).bytes in world.server.damaged:
        return any(table in problem.what for table in LOST_WITH_A_JOURNAL)
    return not problem.workflow_id and "timer" in problem.what and _has_side_queues(world)


def _check_accepted(world: World, cases: list[Case], record: Record) -> None:
    """What the sender was told is accepted is in the journal, as often as it was sent."""
    journals = _jobs(world)
    for case in cases:
        if case.id in world.server.damaged.values():
            continue  # its journal can't be read
        words = [what.split()[0] for what in case.accepted]
        sent = Counter(_SENT[word] for word in words if word in _SENT)
        seen = Counter(kind for kind in journals.get(case.id, ()) if kind in sent)
        for kind, times in sent.items():
            assert seen[kind] >= times, f"{case.id}: {kinds.NAMES[kind]} accepted, but not handled"
    for workflow_id, times in Counter(name for name, _ in record.told).items():
        seen_times = journals[workflow_id].count(kinds.SIGNAL)
        assert seen_times >= times, f"{workflow_id}: {times} signals accepted, {seen_times} handled"


def _jobs(world: World) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    runs = world.server.connection.execute("SELECT workflow_id, run_id FROM run").fetchall()
    for workflow_id, run_id in runs:
        if run_id in world.server.damaged:
            continue
        for _, jobs, _ in _transitions(world, run_id):
            found.setdefault(workflow_id, []).extend(job[0] for job in jobs)
    return found


def _transitions(world: World, run_id: bytes) -> Iterator[Transition]:
    rows = world.server.connection.execute
    journal = rows("SELECT seq, frame FROM journal WHERE run_id = ? ORDER BY seq", (run_id,))
    for seq, frame in journal.fetchall():
        parts = rows(
            "SELECT data FROM piece WHERE run_id = ? AND part = ? ORDER BY number", (run_id, seq)
        )
        try:
            yield decode_transition(b"".join(data for (data,) in parts) if frame is None else frame)
        except CodecError as error:
            raise AssertionError(f"transition {seq} of {run_id.hex()}: {error}") from error


def is_wanted(world: World, attempt: Attempt, reason: str) -> bool:
    """Whether an attempt that was told that it is not wanted is.

    Args:
        world: Where.
        attempt: Run id, seq and number of the attempt.
        reason: "not_found": the attempt is not the one that is claimed. "cancel_requested": its end
            was asked for.
    """
    run_id, seq, number = attempt
    found = world.server.connection.execute(
        "SELECT t.recalled FROM task AS t JOIN run AS r USING (run_id) WHERE t.run_id = ? "
        "AND t.seq = ? AND t.attempt = ? AND t.owner IS NOT NULL AND r.status = 1",
        (run_id, seq, number),
    ).fetchone()
    return found is not None and (reason == "not_found" or not found[0])


def is_anybody_dead(world: World) -> bool:
    """Whether a worker was taken for dead, at some time."""
    dead = world.server.connection.execute("SELECT count(*) FROM router WHERE state = 0")
    return bool(dead.fetchone()[0])


def was_let_go_of(world: World, attempt: Attempt) -> bool:
    """Whether an attempt is the second one since its run was found to have nobody who makes the
    first: not since a claim was lost, be it to a slow network."""
    run_id, seq, number = attempt
    commands = [each for _, _, found in _transitions(world, run_id) for each in found]
    return number == 2 and any(each[:2] == (kinds.REDISPATCH, seq) for each in commands)


def lost_work(world: World) -> list[str]:
    """What nobody will do, as the database is just now: there must not be such a moment.

    What is left over of closed runs is not listed: it may be about to be handled. Nor are runs that
    no live worker hosts: workers come and go.
    """
    looking = look(Snapshot(world.server), "simulated")
    try:
        looking.send(None)
    except StopIteration as end:
        whole = [
            each for each in end.value if each.workflow_id not in world.server.damaged.values()
        ]
        return [
            f"{each.workflow_id}: {each.what}"
            for each in whole
            if each.workflow_id and not each.what.startswith("no live worker")
        ]
    raise RuntimeError("a snapshot does not wait")


def check_nobody_is_left(world: World) -> None:
    """All workers have said good-bye: nothing is owned by anybody.

    Raises:
        AssertionError: Something is.
    """
    rows = world.server.connection.execute
    lanes = rows("SELECT lane FROM lane").fetchall()
    assert not lanes, f"lanes still owned: {lanes}"


def open_ends(world: World, cases: list[Case]) -> str:
    """What is stored of the runs that are open, for people."""
    rows = world.server.connection.execute
    lines = [f"{case.id} {case.outcome!r} accepted {case.accepted}" for case in cases]
    for workflow_id, run_id, lane in rows(
        "SELECT workflow_id, run_id, lane FROM run WHERE status = 1"
    ).fetchall():
        (transitions,) = rows("SELECT count(*) FROM journal WHERE run_id = ?", (run_id,)).fetchone()
        counts = {
            table: rows(f"SELECT count(*) FROM {table} WHERE run_id = ?", (run_id,)).fetchone()[0]
            for table in ("stream", "timer", "task", "wait")
        }
        lines.append(f"open: {workflow_id} lane {lane}, {transitions} transitions, {counts}")
        try:
            for _, jobs, commands in _transitions(world, run_id):
                lines.append(f"  {_names(jobs)} → {_names(commands)}")
        except AssertionError as error:
            lines.append(f"  {error}")
    for table in ("task", "router", "stream", "timer"):
        found = rows(f"SELECT * FROM {table}")
        names = [each[0] for each in found.description]
        lines += [f"{table}: {dict(zip(names, row, strict=True))}" for row in found]
    lines.append(f"now: {world.server.now_ms()}")
    return "\n".join(lines)


def _names(events: list[Any]) -> str:
    return ", ".join(f"{kinds.NAMES[each[0]]} {each[1]}" for each in events) or "nothing"
