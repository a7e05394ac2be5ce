"""The router core: messages in, activations out; commands in, columns out.

The order of a batch::

    ingest → (user code, complete or fail)* → drain → the store applies → commit or rollback

What a step has read comes with its commit, so that no run moves on without it. The router
owns every decision about a message: whether it is a duplicate, when it may be acknowledged,
what is journaled, which timers and tasks a command makes or drops. It reads no clock and does no
I/O; one owner calls it from one thread.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import cast

from hotmesh.core import kinds
from hotmesh.core._python.claims import Claims
from hotmesh.core._python.codec import (
    decode_event,
    decode_transition,
    encode_event,
    frame_of,
)
from hotmesh.core._python.columns import Columns
from hotmesh.core._python.ledger import Ledger
from hotmesh.core._python.output import Batch, Output
from hotmesh.core._python.run import Arrival, MessageOrigin, Run, TimerOrigin
from hotmesh.core._python.timers import event_of
from hotmesh.core.errors import CodecError, CoreError, LedgerError, RouterError
from hotmesh.core.journal import outline_of
from hotmesh.core.kinds import MAY_BE_LOCAL, STORED
from hotmesh.core.run_states import (
    BEGIN,
    CLOSED,
    COLD,
    EVICT,
    FIND,
    FINISH,
    GONE,
    LEAVE,
    LOAD,
    LOAD_CLOSED,
)
from hotmesh.core.types import Drained, Event, Ingested, Loaded, Row, Transition
from hotmesh.limits import BATCH_BYTES_MAX

_LANE_UNKNOWN = -1
"""Lane of a run that a local event named before anything was read of it; `load` tells it."""

_PAUSED: Event = (kinds.PAUSED, 0, 0, "", b"", b"")


class Router:
    """The state machine of one pipe.

    Args:
        horizon_ms: How far ahead the store's due timers are read: only timers due within it are
            held here, later ones come back with a later reading.
        job_bytes_max: Bytes of jobs from which on a run gets no more of them in one activation.
    """

    def __init__(self, horizon_ms: int, job_bytes_max: int = BATCH_BYTES_MAX) -> None:
        self._horizon_ms = horizon_ms
        self._job_bytes_max = job_bytes_max
        self._reset()

    def _reset(self) -> None:
        self._now_ms = 0
        self._runs: dict[bytes, Run] = {}
        self._ready: dict[bytes, None] = {}  # idle warm runs that have a backlog, in order
        self._claims = Claims()
        self._output = Output(self._job_bytes_max)
        self._read: list[Row | None] = []  # messages read with the last commits; None: forgotten
        self._drained_acks: list[int] = []
        self._drained_drops: list[tuple[bytes, int]] = []
        self._local: list[tuple[bytes, Arrival]] = []  # local events in rows not drained
        self._drained_local: list[tuple[bytes, Arrival]] = []
        self._recovered: list[bytes] = []  # runs to be reported as loads

    # Messages in

    def ingest(
        self,
        local: Iterable[tuple[bytes, Event]],
        now_ms: int,
    ) -> Ingested:
        """Deliver all that has come: what was read before, what was made here, what is due.

        Args:
            local: (run id, event) made in this process: eager results, confirmations.
            now_ms: The backend's time.

        Returns:
            activations: (run id, jobs, fresh) for each warm run with new jobs, in order; `fresh`
                is the index of the start row that made the run just now, among the messages read
                since the last `ingest`; else -1.
            loads: runs that became known just now and whose journal must be loaded.
            late: (run id, event) of messages to closed runs; acknowledged.
            errors: (id, lane, run id, text) of undecodable messages; acknowledged.
            expired: (run id, seq) of tasks to recall if nobody has claimed them.

        Raises:
            CodecError: A local event has a number out of range; nothing was delivered.
        """
        made_here = [(run_id, Arrival(event, frame_of(event), None)) for run_id, event in local]
        self._now_ms = now_ms  # it may go back: what is due follows it
        batch = Batch(self._recovered)
        self._recovered = []
        self._flush(batch)
        read, self._read = self._read, []
        for index, row in enumerate(read):
            if row is not None:
                self._take_message(index, row, batch)
        for run_id, arrival in made_here:
            run = self._runs.get(run_id) or self._discover(run_id, _LANE_UNKNOWN, batch)
            self._output.offer(run, arrival, batch)
        for timer in self._output.timers.fire(self._now_ms):
            run = self._runs.get(timer.run_id) or self._discover(timer.run_id, timer.lane, batch)
            event = event_of(timer.key)
            origin = TimerOrigin(timer.lane, timer.due_ms, timer.key)
            self._output.offer(run, Arrival(event, encode_event(event), origin), batch)
        return batch.result()

    def load(
        self,
        run_id: bytes,
        lane: int,
        frames: Sequence[bytes],
        closed: bool,
        inflight: Collection[int],
        whole: bool = True,
    ) -> Loaded:
        """Make a cold run warm from its journal; the next `ingest` delivers what waits for it.

        Args:
            run_id: The run; one that was forgotten meanwhile becomes known again.
            lane: Its lane.
            frames: Its journal rows, all of them, in order.
            closed: Whether the store says that it is closed.
            inflight: Sequence numbers of its local work still going on in this process.
            whole: Whether to return the bodies of events too, which are a copy of the rows.

        Returns:
            transitions: (now_ms, jobs, commands) of each journal row.
            lost: the commands of open local work that nobody is doing any more; the last one is
                PAUSED if the run's code was stopped midway.

        Raises:
            CodecError: A journal row is damaged; the run stays cold.
            LedgerError: The journal contradicts itself; the run stays cold.
            RouterError: The run is warm, or the journal was read before the last commit.
        """
        run = self._runs.get(run_id)
        if run is not None and run.state not in LOAD:
            raise RouterError("warm", run_id)
        if run is not None and len(frames) < run.journal_seq:
            raise RouterError("stale", run_id)
        if whole:
            transitions = wanted = [decode_transition(frame) for frame in frames]
        else:
            transitions = _Decoded(frames)
            wanted = list(map(outline_of, transitions))
        ledger = _rebuild(wanted)
        if run is None:
            run = self._runs[run_id] = Run(run_id, lane, FIND[GONE])
        is_closed = closed or ledger.closed
        run.state = (LOAD_CLOSED if is_closed else LOAD)[run.state]
        run.lane = lane
        run.ledger = ledger
        run.journal_seq = len(frames)
        if run.backlog:
            self._ready[run_id] = None
        if is_closed:
            return wanted, []
        working = {each.event[1] for each in run.local_arrivals()}.union(inflight)
        lost = set(ledger.local_seqs()).difference(working)
        commands = _opening_commands(transitions, lost) if lost else []
        if ledger.paused:
            commands.append(_PAUSED)
        return wanted, commands

    # Commands out

    def complete(self, run_id: bytes, now_ms: int, commands: Sequence[Event]) -> int:
        """End a run's activation: journal its jobs and commands and all that follows from them.

        A warm run without an activation may be completed too, to record commands of the router.

        Args:
            run_id: A warm run.
            now_ms: The workflow's time in this transition.
            commands: What it asked for; a closing command comes last.

        Returns:
            Bytes of the journal row; 0 if there was nothing to journal.

        Raises:
            LedgerError: A command contradicts the ledger. Nothing was recorded, the run has failed.
            CodecError: A number is out of range. Nothing was recorded, the run has failed.
            RouterError: The run is unknown or cold.
        """
        run = self._warm(run_id)
        try:
            frames, size = self._output.record(run, now_ms, commands)
        except CoreError:
            self.fail(run_id)
            raise
        fresh = {each[1] for each in commands if each[0] in STORED}
        held_until_ms = self._now_ms + self._horizon_ms
        for command, frame in zip(commands, frames, strict=True):
            self._output.schedule(run, command, frame, held_until_ms)
        self._output.release(run, fresh)
        if run.ledger.closed and run.state < CLOSED:
            self._output.close(run, commands[-1], fresh)
        jobs = self._output.settle_origins(run)
        if size:
            self._local.extend((run_id, job) for job in jobs if job.is_local)
        if run.backlog:
            self._ready[run_id] = None
        return size

    def fail(self, run_id: bytes) -> None:
        """A run's activation failed: nothing is recorded or acknowledged, the run becomes cold.

        Its jobs wait in order for the next `load`. Failing a cold run changes nothing.

        Raises:
            RouterError: The run is unknown.
        """
        run = self._runs.get(run_id)
        if run is None:
            raise RouterError("unknown", run_id)
        run.fail()
        self._ready.pop(run_id, None)

    def give_whole(self, run_ids: Collection[bytes]) -> None:
        """Give these runs, and no others, all that waits for them in one activation.

        A run whose end the store refuses must see in that very activation what it can't end
        without: were it split, its first part would end the run each time.
        """
        self._output.whole = frozenset(run_ids)

    def defer_queries(self, run_id: bytes, count: int) -> None:
        """Take queries of a run's activation back before it is completed: they were not answered.

        They come again, before anything else, with the first `ingest` after `complete`.

        Args:
            run_id: A warm run.
            count: How many, the last ones (all, if there are fewer).

        Raises:
            RouterError: The run is unknown or cold.
        """
        self._warm(run_id).defer_queries(count)

    def waiting_kinds(self, run_id: bytes) -> list[int]:
        """The kinds of the events that wait for a cold run, in order; none of an unknown one."""
        run = self._runs.get(run_id)
        return [] if run is None else [arrival.event[0] for arrival in run.backlog]

    def forward(
        self, run_id: bytes, lane: int
    ) -> tuple[list[tuple[int, bytes]], list[tuple[int, int]]]:
        """Let go of a cold run that is in another lane now, where others see to it.

        What came for it elsewhere is acknowledged, for the caller to write into that lane. What
        came in that very lane is left to its owner, and what this process made is forgotten.

        Args:
            run_id: The run.
            lane: Its lane.

        Returns:
            messages: (kind of event, frame) of each message, in order.
            timers: (due_ms, key) of each timer that fired.

        Raises:
            RouterError: The run is unknown or warm.
        """
        run = self._cold(run_id)
        messages: list[tuple[int, bytes]] = []
        timers: list[tuple[int, int]] = []
        for event, frame, origin, _ in run.backlog:
            if origin is None:
                continue
            if origin.lane != lane:
                if isinstance(origin, MessageOrigin):
                    messages.append((event[0], bytes(frame)))
                else:
                    timers.append((origin.due_ms, origin.key))
                self._output.acknowledge(run, origin)
            elif isinstance(origin, MessageOrigin):
                self._claims.settle(origin.message_id)
            else:
                self._output.timers.settle(run_id, origin.key)
        if run.anchor is not None and run.anchor.lane != lane:
            self._output.acknowledge(run, run.anchor)  # Whoever loads the run finds lost work.
        del self._runs[run_id]
        return messages, timers

    def leave(self, run_id: bytes) -> None:
        """Let go of a cold run, and leave what came for it in the store, not to be read again.

        Raises:
            RouterError: The run is unknown or warm.
        """
        self._cold(run_id)
        del self._runs[run_id]

    # Batches

    def drain(self) -> Drained:
        """Take the columns gathered since the last call, in the order of `Step`'s fields."""
        output = self._output
        columns, output.columns = output.columns, Columns()
        output.touched |= output.dirty
        output.dirty = set()
        self._drained_acks.extend(row[2] for row in columns.acks)
        self._drained_drops.extend((row[0], row[3]) for row in columns.drop_timers)
        self._drained_local.extend(self._local)
        self._local = []
        return columns.drained()

    def commit(self, messages: Sequence[Row], timers: Iterable[Row]) -> None:
        """What was drained is applied, and this is what the same step has read.

        The next `ingest` delivers it before anything else. Closed runs with nothing left to do are
        forgotten.

        Args:
            messages: Rows (id, lane, run id, frame, ..., journaled at index 8).
            timers: Rows (lane, due_ms, run id, key).
        """
        for message_id in self._drained_acks:
            self._claims.settle(message_id)
        for run_id, key in self._drained_drops:
            self._output.timers.settle(run_id, key)
        touched, self._output.touched = self._output.touched, set()
        self._drained_acks = []
        self._drained_drops = []
        self._drained_local = []
        for run_id in touched:
            self._drop_if_done(run_id)
        self._read.extend(messages)
        for row in timers:
            lane, due_ms, run_id, key = cast("tuple[int, int, bytes, int]", tuple(row)[:4])
            self._output.timers.add(run_id, lane, due_ms, key)

    def rollback(self) -> list[bytes]:
        """What was drained was not applied: forget the runs it touched, and all they had.

        Their messages and timers must be read again. Only what this process made itself, and
        nobody could read again, is kept: such a run is known, cold, and among the next `loads`.

        Returns:
            The runs that were touched, ordered.
        """
        touched = sorted(self._output.touched)
        made_here = self._local_of(touched)
        self._forget_runs(touched)
        self._drained_acks = []
        self._drained_drops = []
        self._take_back(made_here)
        return touched

    def start_over(self) -> None:
        """The store may not be what it was: forget all that was read from it or drained.

        Whatever it holds must be read again. Only what this process made itself, and nobody could
        read again, is kept: such runs are known, cold, and among the next `loads`.
        """
        made_here = self._local_of(sorted(self._runs))
        now_ms, whole = self._now_ms, self._output.whole
        self._reset()
        self._now_ms, self._output.whole = now_ms, whole
        self._take_back(made_here)

    def _take_back(self, made_here: dict[bytes, tuple[int, list[Arrival]]]) -> None:
        for run_id, (lane, arrivals) in made_here.items():
            run = self._runs[run_id] = Run(run_id, lane, FIND[GONE])
            run.backlog = arrivals
            self._recovered.append(run_id)

    # Memory

    def evict(self, run_id: bytes) -> bool:
        """Forget a warm run that has nothing going on; false if it must be kept.

        A run is kept while it has jobs, a backlog, an anchor, or rows not committed yet.
        """
        run = self._runs.get(run_id)
        if run is None or run.state not in EVICT or run.backlog or run.anchor is not None:
            return False
        if self._output.is_pending(run_id):
            return False
        del self._runs[run_id]
        return True

    def forget(self, lanes: Collection[int] | None) -> None:
        """Forget everything of these lanes (None: of all), rows not drained included."""
        if lanes is None:
            self._reset()
            return
        lanes = frozenset(lanes)
        self._read = [row if row is None or row[1] not in lanes else None for row in self._read]
        gone = {run_id for run_id, run in self._runs.items() if run.lane in lanes}
        gone.update(self._output.timers.in_lanes(lanes))
        self._forget_runs(gone)

    def next_due(self) -> int | None:
        """When the next timer held here fires (backend milliseconds), or None."""
        return self._output.timers.next_due()

    def has_ready(self) -> bool:
        """Whether an `ingest` would deliver something that waits already."""
        return bool(self._ready or self._read)

    def known(self, run_id: bytes) -> bool:
        """Whether the run is in memory, warm or cold."""
        return run_id in self._runs

    def run_state(self, run_id: bytes) -> tuple[int, int, int]:
        """(next journal seq, open local work, state) of a run; see `run_states`.

        Raises:
            RouterError: The run is unknown.
        """
        run = self._runs.get(run_id)
        if run is None:
            raise RouterError("unknown", run_id)
        return run.journal_seq, run.ledger.local, run.state

    def stats(self) -> dict[str, int]:
        """How much of everything is in memory."""
        runs = list(self._runs.values())
        return {
            "runs": len(runs),
            "cold": sum(run.state == COLD for run in runs),
            "busy": sum(bool(run.jobs) for run in runs),
            "anchored": sum(run.anchor is not None for run in runs),
            "backlog": sum(len(run.backlog) for run in runs),
            "claims": len(self._claims),
            "timers": len(self._output.timers),
        }

    # Within: messages

    def _take_message(self, index: int, row: Row, batch: Batch) -> None:
        message_id, lane, run_id, frame = cast("tuple[int, int, bytes, bytes]", tuple(row)[:4])
        if not self._claims.take(message_id, run_id):
            return
        origin = MessageOrigin(lane, message_id)
        try:
            event = decode_event(frame)
        except CodecError as error:
            batch.errors.append((message_id, lane, run_id, str(error)))
            self._output.acknowledge_message(run_id, origin)
            return
        run = self._runs.get(run_id)
        if run is None:
            if event[0] == kinds.START and not row[8]:
                run = self._runs[run_id] = Run(run_id, lane, BEGIN[GONE])
                batch.fresh[run_id] = index
            else:
                run = self._discover(run_id, lane, batch)
        self._output.offer(run, Arrival(event, frame, origin), batch)

    def _discover(self, run_id: bytes, lane: int, batch: Batch) -> Run:
        run = self._runs[run_id] = Run(run_id, lane, FIND[GONE])
        batch.loads.append(run_id)
        return run

    def _flush(self, batch: Batch) -> None:
        ready, self._ready = self._ready, {}
        for run_id in ready:
            run = self._runs[run_id]
            backlog, run.backlog = run.backlog, []
            for arrival in backlog:
                self._output.offer(run, arrival, batch)
            self._drop_if_done(run_id)

    # Within: memory

    def _warm(self, run_id: bytes) -> Run:
        run = self._runs.get(run_id)
        if run is None:
            raise RouterError("unknown", run_id)
        if run.state == COLD:
            raise RouterError("cold", run_id)
        return run

    def _cold(self, run_id: bytes) -> Run:
        run = self._runs.get(run_id)
        if run is None:
            raise RouterError("unknown", run_id)
        if run.state not in LEAVE:
            raise RouterError("warm", run_id)
        return run

    def _drop_if_done(self, run_id: bytes) -> None:
        """Forget a closed run to which nothing is owed; one with a backlog is delivered it."""
        run = self._runs.get(run_id)
        if run is None or run.state not in FINISH:
            return
        if run.backlog:
            self._ready[run_id] = None
        elif not self._output.is_pending(run_id):
            del self._runs[run_id]

    def _local_of(self, run_ids: Sequence[bytes]) -> dict[bytes, tuple[int, list[Arrival]]]:
        """Lane and local events, committed ones apart, of those runs that have any."""
        written: dict[bytes, list[Arrival]] = {}
        for owner, arrival in (*self._drained_local, *self._local):
            written.setdefault(owner, []).append(arrival)
        found: dict[bytes, tuple[int, list[Arrival]]] = {}
        for run_id in run_ids:
            run = self._runs.get(run_id)
            if run is not None:
                arrivals = written.get(run_id, []) + run.local_arrivals()
                if arrivals:
                    found[run_id] = (run.lane, arrivals)
        return found

    def _forget_runs(self, run_ids: Collection[bytes]) -> None:
        gone = frozenset(run_ids)
        for run_id in gone:
            self._runs.pop(run_id, None)
            self._ready.pop(run_id, None)
        self._output.columns.discard(gone)
        self._local = [each for each in self._local if each[0] not in gone]
        self._drained_local = [each for each in self._drained_local if each[0] not in gone]
        self._recovered = [run_id for run_id in self._recovered if run_id not in gone]
        self._output.dirty -= gone
        self._output.touched -= gone
        self._claims.forget(gone)
        self._output.timers.forget(gone)


class _Decoded:
    """Journal rows, decoded one at a time whenever they are walked through."""

    def __init__(self, frames: Sequence[bytes]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[Transition]:
        return map(decode_transition, self._frames)


def _rebuild(transitions: Iterable[Transition]) -> Ledger:
    ledger = Ledger()
    for _, jobs, commands in transitions:
        for job in jobs:
            if not ledger.accept(job):
                raise LedgerError("not_accepted", job[0], job[1])
        for command in commands:
            ledger.command(command)
    ledger.take_released()
    return ledger


def _opening_commands(transitions: Iterable[Transition], seqs: set[int]) -> list[Event]:
    """The commands that opened these sequence numbers, in journal order."""
    return [
        command
        for _, _, commands in transitions
        for command in commands
        if command[0] in MAY_BE_LOCAL and command[1] in seqs
    ]
