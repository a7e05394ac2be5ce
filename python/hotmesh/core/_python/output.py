"""The output: what a router's runs leave to be written, and the timers that follow from it.

Gives an event to a run or disposes of it, decides what may be acknowledged, and turns the commands
of an activation into rows.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from hotmesh.core import kinds
from hotmesh.core._python.codec import frame_of, join_transition
from hotmesh.core._python.columns import Columns
from hotmesh.core._python.ledger import SCHEDULE_TO_START, OpenCommand
from hotmesh.core._python.run import Arrival, MessageOrigin, Origin, Run, TimerOrigin
from hotmesh.core._python.timers import Timers, timer_key
from hotmesh.core.kinds import CLOSE_STATUS, EVENTS, NOT_JOURNALED
from hotmesh.core.rope import Bytes
from hotmesh.core.run_states import ASK, CLOSE, CLOSED, COLD, COMPLETE
from hotmesh.core.types import Activation, Event, Ingested


class Batch:
    """What one `ingest` finds out."""

    __slots__ = ("active", "errors", "expired", "fresh", "late", "loads")

    def __init__(self, loads: list[bytes]) -> None:
        self.active: dict[bytes, Run] = {}  # runs with new jobs, in order of the first one
        self.fresh: dict[bytes, int] = {}
        self.loads = loads
        self.late: list[tuple[bytes, Event]] = []
        self.errors: list[tuple[int, int, bytes, str]] = []
        self.expired: list[tuple[bytes, int]] = []

    def result(self) -> Ingested:
        """As `Router.ingest` returns it."""
        activations: list[Activation] = [
            (run_id, [job.event for job in run.jobs], self.fresh.get(run_id, -1))
            for run_id, run in self.active.items()
        ]
        return activations, self.loads, self.late, self.errors, self.expired


class Output:
    """Rows gathered for the next step, and the timers held here."""

    __slots__ = ("columns", "dirty", "job_bytes_max", "timers", "touched", "whole")

    def __init__(self, job_bytes_max: int) -> None:
        self.job_bytes_max = job_bytes_max
        self.whole: frozenset[bytes] = frozenset()
        """Runs that are given all that waits for them at once."""
        self.columns = Columns()
        self.timers = Timers()
        self.dirty: set[bytes] = set()
        """Runs with rows in the columns."""
        self.touched: set[bytes] = set()
        """Runs with rows drained but not committed."""

    def is_pending(self, run_id: bytes) -> bool:
        """Whether the run has rows that are not committed."""
        return run_id in self.dirty or run_id in self.touched

    def offer(self, run: Run, arrival: Arrival, batch: Batch) -> None:
        """Give an event to a run: it becomes a job, waits in the backlog, or is done with."""
        if (
            run.state == COLD
            or (run.jobs and run.run_id not in batch.active)
            or (run.job_bytes >= self.job_bytes_max and run.run_id not in self.whole)
        ):
            run.backlog.append(arrival)
            return
        event, _, origin, _ = arrival
        kind = event[0]
        if kind == kinds.QUERY:
            run.state = ASK[run.state]
            run.jobs.append(arrival)
        elif run.state >= CLOSED:
            self._close_out(run, arrival, batch)
            return
        elif (
            kind == kinds.ACTIVITY_TIMED_OUT
            and event[2] == SCHEDULE_TO_START
            and isinstance(origin, TimerOrigin)
        ):
            self._expire(run, event[1], batch)
            self._dismiss(run, arrival)
            return
        elif not run.accept(arrival):
            self._dismiss(run, arrival)
            return
        batch.active[run.run_id] = run

    def _close_out(self, run: Run, arrival: Arrival, batch: Batch) -> None:
        """An event for a closed run is late, once it is certain that the run is closed.

        Until then an event that somebody was told is accepted stays in the stream: the store
        refuses to close a run that has one, and the run is brought up again and sees it.
        """
        if arrival.event[0] in EVENTS and self.is_pending(run.run_id):
            run.backlog.append(arrival)
            return
        if isinstance(arrival.origin, MessageOrigin):
            batch.late.append((run.run_id, arrival.event))
        self.acknowledge(run, arrival.origin)

    def _expire(self, run: Run, seq: int, batch: Batch) -> None:
        """A task was not claimed in time, perhaps: only the store can tell."""
        command = run.ledger.open.get(seq)
        if command is not None and command.is_task:
            run.ledger.forget_deadline(seq, SCHEDULE_TO_START)
            batch.expired.append((run.run_id, seq))

    def _dismiss(self, run: Run, arrival: Arrival) -> None:
        """No job, nothing to be done: but it may have to hold the place of local work.

        Of a run that is busy nobody knows yet: what it asks for may be local work.
        """
        if run.jobs:
            run.dismissed.append(arrival)
        elif arrival.origin is not None and run.anchor is None and run.has_local_work():
            run.anchor = arrival.origin
        else:
            self.acknowledge(run, arrival.origin)

    def acknowledge(self, run: Run, origin: Origin) -> None:
        """The store need not hand this out again."""
        if origin is None:
            return
        if isinstance(origin, MessageOrigin):
            self.acknowledge_message(run.run_id, origin)
            return
        lane, due_ms, key = origin
        self.columns.drop_timers.append((run.run_id, lane, due_ms, key))
        self.dirty.add(run.run_id)

    def acknowledge_message(self, run_id: bytes, origin: MessageOrigin) -> None:
        """As `acknowledge`, for a message whose run may be unknown."""
        self.columns.acks.append((run_id, origin.lane, origin.message_id))
        self.dirty.add(run_id)

    def settle_origins(self, run: Run) -> list[Arrival]:
        """Acknowledge what the ended activation came from, but for one anchor if one is needed.

        Returns:
            The jobs of that activation, which are the run's no more.
        """
        jobs, run.jobs = run.jobs, []
        run.job_bytes = 0
        run.state = COMPLETE[run.state]
        arrivals = jobs
        if run.dismissed:
            arrivals = [*jobs, *run.dismissed]
            run.dismissed = []
        if run.has_local_work():
            if run.anchor is None:
                run.anchor = _choose_anchor(arrivals)
        elif run.anchor is not None:
            self.acknowledge(run, run.anchor)
            run.anchor = None
        for arrival in arrivals:
            if arrival.origin is not run.anchor:
                self.acknowledge(run, arrival.origin)
        return jobs

    def record(self, run: Run, now_ms: int, commands: Sequence[Event]) -> tuple[list[Bytes], int]:
        """Write the transition, unless there is nothing in it to record.

        Returns:
            The commands' frames, and the bytes of the transition (0: there was nothing to write).

        Raises:
            LedgerError, CodecError: A command was refused; nothing was written.
        """
        frames = [frame_of(command) for command in commands]
        for command in commands:
            run.ledger.command(command)
        job_frames = [job.frame for job in run.jobs if job.event[0] not in NOT_JOURNALED]
        if not job_frames and not frames:
            return frames, 0
        frame = join_transition(now_ms, job_frames, frames)
        self.columns.journal.append((run.run_id, run.journal_seq, frame))
        self.dirty.add(run.run_id)
        run.journal_seq += 1
        return frames, len(frame)

    def schedule(self, run: Run, command: Event, frame: Bytes, held_until_ms: int) -> None:
        """Write the timers and tasks of a command that is still wanted after this activation."""
        kind, seq, number, name, meta, body = command
        if run.ledger.closed or not run.ledger.is_open(seq):
            return
        run_id, lane = run.run_id, run.lane
        if kind == kinds.TIMER:
            self.write_timer(run_id, lane, number, timer_key(seq, 0), held_until_ms)
        elif kind == kinds.DEADLINE:
            self.write_timer(run_id, lane, number, timer_key(seq, meta[0]), held_until_ms)
        elif kind == kinds.ACTIVITY and number > 0:
            self.columns.tasks.append((run_id, number, lane, seq, 0, 0, bytes(frame), b"", name))
        elif kind == kinds.REDISPATCH:
            self.columns.tasks.append((run_id, number, lane, seq, 1, 0, meta, body, name))

    def write_timer(
        self, run_id: bytes, lane: int, due_ms: int, key: int, held_until_ms: int
    ) -> None:
        """Write a timer; one due by `held_until_ms` is held here too, later ones are read."""
        self.columns.timers.append((run_id, lane, due_ms, key))
        self.dirty.add(run_id)
        if due_ms <= held_until_ms:
            self.timers.add(run_id, lane, due_ms, key)

    def release(self, run: Run, fresh: Set[int]) -> None:
        """Delete what commands left behind that were settled since the last activation.

        Nothing was written for `fresh` ones, which this very activation opened and settled.
        """
        for settled, kind in run.ledger.take_released():
            if settled.seq not in fresh:
                self._drop_timers_of(run, settled)
                if kind == kinds.ACTIVITY_TIMED_OUT and settled.is_task:
                    self.columns.drop_tasks.append((run.run_id, settled.seq))

    def _drop_timer(self, run: Run, due_ms: int, key: int) -> None:
        if self.timers.drop(run.run_id, run.lane, due_ms, key):
            self.columns.drop_timers.append((run.run_id, run.lane, due_ms, key))

    def _drop_timers_of(self, run: Run, command: OpenCommand) -> None:
        if command.kind == kinds.TIMER:
            self._drop_timer(run, command.number, timer_key(command.seq, 0))
        for purpose, due_ms in command.deadlines:
            self._drop_timer(run, due_ms, timer_key(command.seq, purpose))

    def close(self, run: Run, command: Event, fresh: Set[int]) -> None:
        """Write the run's end, and delete all that waits for it."""
        run.state = CLOSE[run.state]
        waits = False
        for seq in sorted(run.ledger.open):
            found = run.ledger.open[seq]
            waits = waits or found.kind == kinds.WAIT
            if seq not in fresh:
                self._drop_timers_of(run, found)
                if found.is_task:
                    self.columns.drop_tasks.append((run.run_id, seq))
        status = CLOSE_STATUS[command[0]]
        self.columns.closes.append((run.run_id, run.lane, status, command[5], waits))


def _choose_anchor(arrivals: Sequence[Arrival]) -> Origin:
    """The origin that holds the place of local work: a message if there is one, else a timer."""
    origins = [each.origin for each in arrivals if each.event[0] not in NOT_JOURNALED]
    for wanted in (MessageOrigin, TimerOrigin):
        for origin in origins:
            if isinstance(origin, wanted):
                return origin
    return None
