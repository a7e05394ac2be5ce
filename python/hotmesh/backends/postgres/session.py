"""A pipe's own connection: steps and loads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import asyncpg

from hotmesh.backends.postgres.address import Address
from hotmesh.backends.postgres.columns import StartBatch, send_outcomes, step_columns
from hotmesh.backends.postgres.cursor import TIMER_ROOM, Bounds, MessageCursor, TimerCursor
from hotmesh.backends.postgres.large import any_large, journal, receive, row_with_large
from hotmesh.backends.postgres.link import Link
from hotmesh.backends.postgres.rows import loaded_run
from hotmesh.backends.protocol import LoadedRun, Loads, Step, StepReply
from hotmesh.backends.shelf import Shelf, Shelved, size_of
from hotmesh.backends.written import WrittenJournals
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.limits import BATCH_BYTES_MAX

_UNREAD_EVENTS = "HM001"
"""What ``close_runs`` raises when a run can't close."""

_STALE_RUNS = "HM003"
"""What ``step`` raises when runs are not stored as it believes."""

_FIELDS_READ = (
    "message_ids",
    "message_lanes",
    "message_runs",
    "message_frames",
    "message_workflows",
    "message_types",
    "message_headers",
    "message_inputs",
    "message_journaled",
)
_FRAMES = 3
_COUNTED = (_FRAMES, 6, 7)
"""Places of the frames, and of headers and inputs, among these."""


class PostgresSession:
    """See :class:`hotmesh.backends.protocol.Session`."""

    def __init__(
        self, address: Address, namespace: str, router_id: bytes, horizon_ms: int, link: Link
    ) -> None:
        self._address = address
        self._namespace = namespace
        self._lock_key = address.lock_key("router", router_id)
        self._router_id = router_id
        self._link = link
        self._connection = 0
        """The number of the connection that everything was read over; 0 when nothing was."""
        self._server: int | None = None
        """When the server started that everything was read from: a pooler may change servers."""
        self._messages = MessageCursor()
        self._shelf = Shelf()
        self._timers = TimerCursor(horizon_ms)
        self._written = WrittenJournals()

    async def step(self, step: Step) -> StepReply:
        """Apply a batch and read the next one."""
        if await self._link.open() != self._connection:
            await self._meet_connection()
        lanes, shelf = step.lanes, self._shelf
        room = 0 if shelf.is_full else step.room
        if not self._messages.knows(lanes):
            self._timers.forget()
        messages = self._messages.query(lanes, room)
        idle = not step.journal_run and not step.ack_id
        timers = self._timers.query(idle=idle) if lanes else None
        starts = StartBatch(step.starts)
        unsure = self._written.unsure(step.journal_run, step.journal_seq)
        row_of = (
            partial(row_with_large, self._link)
            if any_large(step.journal_frame, step.reply_data)
            else self._link.row
        )
        try:
            row = await row_of(
                "step",
                self._namespace,
                step.router_id,
                self._lock_key,
                step.latest_ms,
                lanes or None,
                messages.cursors,
                room,
                messages.lane_room,
                BATCH_BYTES_MAX,
                messages.behind,
                messages.known,
                messages.probe,
                messages.mark,
                timers and timers.horizon_ms,
                timers and timers.seen_ms,
                timers and timers.xid,
                TIMER_ROOM,
                *step_columns(step, starts, unsure),
            )
        except (BackendUnavailableError, asyncio.CancelledError):
            self._lose_all()
            raise
        except BackendError as error:
            return await self._not_applied(step, error)
        if row["fenced"]:
            return StepReply(row["now"], fenced=True)
        if row["server"] != self._server:
            self._meet_server(row["server"])

        if not self._link.pooled:  # a pooler may change servers at any time
            gone = [*step.close_run, *step.move_run]
            self._written.wrote(step.journal_run, step.journal_seq, gone)
        self._messages.settle(step.ack_id)
        found: Sequence[Sequence[Any]] = ()
        sizes: Sequence[int] = ()
        if lanes and room > 0:
            columns = [row[field] or () for field in _FIELDS_READ]
            sizes, read = row["message_sizes"] or (), _bytes_read(columns)
            if sizes:
                rest = iter(sizes)
                columns[_FRAMES] = [next(rest) if f is None else f for f in columns[_FRAMES]]
            found = list(zip(*columns, strict=True))
            if read >= BATCH_BYTES_MAX:
                room = len(found)  # there may be more that had to stay behind
                await self._forget_answer()
            self._messages.read(
                messages,
                lanes,
                room,
                columns[0],
                columns[1],
                Bounds(row["oldest_xid"], row["mark_xid"], row["last_id"]),
            )
        if step.room > 0 and (sizes or shelf):
            found = await self._read_shelved(step, found)
        due: Sequence[Sequence[object]] = ()
        if timers is not None:
            due = _timer_rows(row)
            self._timers.read(len(due), row["timer_covered"], row["oldest_xid"])
        return StepReply(
            row["now"],
            messages=found,
            large_waits=shelf.has_large,
            timers=due,
            start_outcomes=starts.outcomes(
                row["started"], row["start_holders"], row["start_statuses"]
            ),
            send_outcomes=send_outcomes(
                row["sent"], row["send_receivers"], row["send_statuses"], row["send_lanes"]
            ),
            mail_lanes=row["mail_lanes"] or (),
        )

    async def _read_shelved(
        self, step: Step, rows: Sequence[Sequence[Any]]
    ) -> Sequence[Sequence[Any]]:
        """Put large messages by, and read those whose turn it is."""
        shelf = self._shelf
        given = shelf.sort(rows)
        room, read = step.room - len(given), sum(map(size_of, given))
        found: list[Sequence[Any]] = []
        while not found and (picked := shelf.pick(room, read, step.size_max)):
            found = await self._fetch(picked)  # nothing, if they are gone
            shelf.take(picked)
        if found:
            await self._forget_answer()
        return given + found

    async def _fetch(self, picked: Sequence[Shelved]) -> list[Sequence[Any]]:
        lanes, ids = [each.lane for each in picked], [each.id for each in picked]
        try:
            found = [tuple(row) for row in await self._link.fetch("messages", lanes, ids)]
            if found:
                found[-1] = await self._in_pieces(found[-1])
        except (BackendUnavailableError, asyncio.CancelledError):
            self._lose_all()
            raise
        if await self._link.open() != self._connection:
            await self._meet_connection()
        self._messages.settle(set(ids).difference(row[0] for row in found))  # those are gone
        return [*found]

    async def _in_pieces(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """A message with what is large of it: it can only be the last one that is read.

        Raises:
            BackendUnavailableError: It is not there any more, or the connection broke.
        """
        message, lane, run_id, frame, workflow, name, header, body, journaled = row
        if frame is None:
            frame = await receive(self._link, "message_piece", lane, message)
        if body is None and workflow is not None:
            body = await receive(self._link, "input_piece", run_id)
            frame = frame if body is not None else None
        if frame is None:
            raise BackendUnavailableError(
                "what was to be read is gone from Postgres: everything is read again"
            )
        return message, lane, run_id, frame, workflow, name, header, body, journaled

    async def _forget_answer(self) -> None:
        """Say a word: the driver keeps a large answer until it is given the next one."""
        await self._link.value("clock")

    async def _meet_connection(self) -> None:
        """Take note of a new connection.

        Raises:
            BackendUnavailableError: There was one before: the database may have gone back.
        """
        known, number = self._connection, await self._link.open()
        self._lose_all()
        self._connection = number
        if known:
            raise BackendUnavailableError(
                f"the connection to Postgres at {self._address.shown} was replaced by another: "
                "everything is read again"
            )

    def _meet_server(self, started: int) -> None:
        """Take note of the server; as :meth:`_meet_connection`, after a step that was applied."""
        known = self._server
        if known is not None:
            self._lose_all()
            raise BackendUnavailableError(
                f"another server than before answers for Postgres at {self._address.shown}: "
                "everything is read again"
            )
        self._server = started

    def _lose_all(self) -> None:
        self.forget()
        self._connection, self._server = 0, None

    async def _not_applied(self, step: Step, error: BackendError) -> StepReply:
        """The reply to a step that Postgres rolled back for a reason that the protocol knows."""
        self._written.forget()
        cause = error.__cause__
        if isinstance(cause, asyncpg.UniqueViolationError) and cause.table_name == "journal":
            rows = await self._link.fetch("journaled", step.journal_run, step.journal_seq)
            # Whoever wrote the row may be about to delete it: then it could be any of them.
            stale = [row[0] for row in rows] or step.journal_run
            return StepReply(await self._link.value("clock"), stale=stale)
        if isinstance(cause, asyncpg.PostgresError) and cause.sqlstate == _UNREAD_EVENTS:
            return StepReply(await self._link.value("clock"), refused=_run_ids(cause))
        if isinstance(cause, asyncpg.PostgresError) and cause.sqlstate == _STALE_RUNS:
            return StepReply(await self._link.value("clock"), stale=_run_ids(cause))
        raise error

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        """The runs with their journals, in seq order; unknown ones are left out."""
        asked, left = list(run_ids), list[bytes]()
        while asked:
            # Each may have its share; those with more are asked for again, fewer at a time.
            share = BATCH_BYTES_MAX // len(asked)
            rows = await self._link.fetch("load", self._namespace, asked, share)
            large: list[bytes] = [row["run_id"] for row in rows if row["header"] is None]
            if len(large) < len(rows) or not large:
                fit = [loaded_run(row) for row in rows if row["header"] is not None]
                return Loads(fit, large + left)
            if len(asked) == 1:
                return Loads(await self._load_large(asked[0]), left)
            half = len(large) // 2 or 1
            asked, left = large[:half], large[half:] + left
        return Loads((), ())

    async def _load_large(self, run_id: bytes) -> Sequence[LoadedRun]:
        rows = await self._link.fetch("load_large", self._namespace, run_id)
        frames = await journal(self._link, self._namespace, run_id)
        found = [loaded_run(row)._replace(frames=frames) for row in rows]
        if found and cast("bytes | None", found[0].input) is None:
            body = await receive(self._link, "input_piece", run_id)
            return [] if body is None else [found[0]._replace(input=body)]
        return found

    def forget(self, lanes: Sequence[int] | None = None) -> None:
        """Return the messages of these lanes (None: all) again, whatever was read before."""
        self._messages.forget(lanes)
        self._shelf.forget(lanes)
        self._timers.forget()
        self._written.forget()

    async def close(self) -> None:
        """Give the connection back."""
        await self._link.close()


def _run_ids(error: asyncpg.PostgresError) -> list[bytes]:
    """The run ids that one of our own errors names."""
    return [bytes.fromhex(text) for text in str(error.detail).split(",")]


def _bytes_read(columns: Sequence[Sequence[Any]]) -> int:
    """What the messages count for, as ``read_messages`` counts it: large ones for nothing."""
    counted = (columns[at] for at in _COUNTED)
    return sum(sum(len(each) for each in column if each is not None) for column in counted)


def _timer_rows(row: asyncpg.Record) -> list[tuple[object, ...]]:
    columns = (row["timer_lanes"], row["timer_dues"], row["timer_runs"], row["timer_keys"])
    return [] if columns[0] is None else list(zip(*columns, strict=True))
