"""A pipe's session: applies its steps and remembers how far its lanes have been read."""

from __future__ import annotations

from collections.abc import Sequence

from hotmesh.backends.protocol import LoadedRun, Loads, Step, StepReply
from hotmesh.backends.shelf import Shelf, Shelved, size_of
from hotmesh.backends.sqlite import pieces, statements
from hotmesh.backends.sqlite.reading import (
    Positions,
    read_messages,
    read_shelved,
    read_timers,
)
from hotmesh.backends.sqlite.rows import bytes_of
from hotmesh.backends.sqlite.step import apply, changes_anything
from hotmesh.backends.sqlite.store import Store
from hotmesh.backends.sqlite.transaction import Row, Transaction
from hotmesh.backends.written import WrittenJournals
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.limits import BATCH_BYTES_MAX

_SQL = statements.load("step")
_LOAD_RUN = _SQL["load_run"]
_READ_JOURNAL = _SQL["read_journal"]


class SqliteSession:
    """See :class:`hotmesh.backends.protocol.Session`."""

    def __init__(self, store: Store, namespace: str, horizon_ms: int) -> None:
        self._store = store
        self._namespace = namespace
        self._horizon_ms = horizon_ms
        self._positions = Positions()
        self._generation: int | None = None
        """The file that everything was read of; None when nothing was."""
        self._shelf = Shelf()
        self._written = WrittenJournals()
        self._reading: Sequence[int] = ()
        """Lanes of the latest step."""
        self._forgotten: set[int] = set()
        """Lanes forgotten while a step was in flight: what it read there does not count."""

    async def step(self, step: Step) -> StepReply:
        """See the protocol."""
        moved, shelf = Positions(), self._shelf
        room = 0 if shelf.is_full else step.room

        def work(tx: Transaction) -> StepReply:
            self._meet_file(tx)
            with tx.time_of(step.latest_ms):
                reply = apply(tx, self._namespace, step, self._written)
                reply.messages = read_messages(tx, step, room, self._positions, moved)
                reply.timers = read_timers(tx, step, self._horizon_ms, self._positions, moved)
            reply.now_ms = tx.now_ms
            return reply

        self._reading = step.lanes
        self._forgotten.clear()
        run = self._store.write if changes_anything(step) else self._store.look
        try:
            reply = await run(work)
        except BackendUnavailableError:
            self.forget()
            self._generation = None
            raise
        if reply.fenced or reply.refused or reply.stale:
            self._written.forget()
        else:
            gone = [*step.close_run, *step.move_run]
            self._written.wrote(step.journal_run, step.journal_seq, gone)
            self._positions.advance(moved, self._forgotten)
            if step.room > 0 and (shelf or moved.any_large):
                await self._read_shelved(step, reply)
        return reply

    async def _read_shelved(self, step: Step, reply: StepReply) -> None:
        """Put large messages by, and read those whose turn it is."""
        shelf, gone = self._shelf, self._forgotten
        given = shelf.sort(row for row in reply.messages if row[1] not in gone)
        room, read = step.room - len(given), sum(map(size_of, given))
        found: Sequence[Row] = ()
        while not found and (picked := shelf.pick(room, read, step.size_max)):
            found = await self._fetch(picked)  # nothing, if they are gone
            shelf.take(picked)
        given += found
        reply.messages, reply.large_waits = given, shelf.has_large

    async def _fetch(self, wanted: Sequence[Shelved]) -> list[Row]:
        def work(tx: Transaction) -> list[Row]:
            self._meet_file(tx)
            return read_shelved(tx, wanted, self._positions.told)

        try:
            return await self._store.read(work)
        except BackendUnavailableError:
            self.forget()
            self._generation = None
            raise

    def _meet_file(self, tx: Transaction) -> None:
        """Take note of the file; called on the database's thread.

        Raises:
            BackendUnavailableError: another was read before, of which this one may be a copy.
        """
        if self._generation is None:
            self._generation = tx.generation
        elif self._generation != tx.generation:
            raise BackendUnavailableError(
                "the SQLite database was replaced by another file: everything is read again"
            )

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        """See the protocol."""
        if not run_ids:
            return Loads((), ())
        return await self._store.read(lambda tx: _load(tx, self._namespace, run_ids))

    def forget(self, lanes: Sequence[int] | None = None) -> None:
        """See the protocol."""
        if lanes is None:
            forgotten = {*self._positions.message_id, *self._positions.timer_window_ms}
            forgotten.update(self._reading)
        else:
            forgotten = set(lanes)
        self._forgotten |= forgotten
        self._shelf.forget(lanes)
        self._written.forget()
        self._positions.forget(forgotten)

    async def close(self) -> None:
        """See the protocol; the connection belongs to the store."""


def _load(tx: Transaction, namespace: str, run_ids: Sequence[bytes]) -> Loads:
    loaded: list[LoadedRun] = []
    room = BATCH_BYTES_MAX
    for position, run_id in enumerate(run_ids):
        row = tx.one(_LOAD_RUN, (run_id, namespace))
        if row is None:
            continue
        *columns, attributes, journal_bytes = row
        room -= journal_bytes + bytes_of(columns[5], columns[6])
        if room < 0 and loaded:
            return Loads(loaded, run_ids[position:])
        journal = tx.all(_READ_JOURNAL, (run_id,))
        next_seq = journal[-1][1] + 1 if journal else 0
        if columns[6] is None:
            columns[6] = pieces.read(tx, run_id, pieces.INPUT)
        frames = [(pieces.read(tx, run_id, seq) or b"") if f is None else f for f, seq in journal]
        loaded.append(LoadedRun._make((*columns, frames, attributes.encode(), next_seq)))
    return Loads(loaded, ())
