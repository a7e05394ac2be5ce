"""The backend: what clients, routers and activity workers ask of Postgres."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from hotmesh.backends.outgoing import Tries
from hotmesh.backends.pending import following, pack, unpack
from hotmesh.backends.pending_task import PendingTask, RunTasks
from hotmesh.backends.postgres import pooling
from hotmesh.backends.postgres.address import Address, parse_address
from hotmesh.backends.postgres.columns import (
    StartBatch,
    TaskColumns,
    mail_columns,
    send_columns,
    send_outcomes,
)
from hotmesh.backends.postgres.filtering import Compiler
from hotmesh.backends.postgres.large import any_large, journal, row_with_large
from hotmesh.backends.postgres.link import SCHEMA_S, Connection, Link, LinkPool, Prepare
from hotmesh.backends.postgres.listener import PAYLOAD_CHARS_MAX, Callback, Listener
from hotmesh.backends.postgres.queues import queue_ids
from hotmesh.backends.postgres.rows import listed_run, run_row, tasks_reply
from hotmesh.backends.postgres.schema import ensure_schema, schema_exists
from hotmesh.backends.postgres.session import PostgresSession
from hotmesh.backends.postgres.statements import statements
from hotmesh.backends.protocol import (
    Beat,
    HeldTask,
    MailItem,
    NoteItem,
    Pending,
    Registration,
    RouterRow,
    RunFilter,
    RunPage,
    RunRow,
    SendItem,
    SendOutcome,
    StartItem,
    StartOutcome,
    Tasks,
    TasksReply,
)
from hotmesh.backends.queue_ids import misnamed_sides
from hotmesh.limits import BATCH_BYTES_MAX, NAMED_RUNS_MAX, SIDE_QUEUE_KEEP_MS
from hotmesh.retrying import at_once

CLIENT_LINKS = 4
"""Connections for calls of clients; one is open unless calls overlap."""

WORKER_LINKS = 2
"""Connections for batches of activity workers."""

TIMES = 2
"""How often a call that may be repeated is made: a connection that was idle may have been lost."""

PRUNE_RUNS = 1_000
"""Runs that one transaction of ``prune`` deletes."""

CLEAN_RUNS = 500
CLEAN_REPLIES = 5_000
"""Expired runs and stale replies that one beat deletes."""

REPLY_KEEP_MS = 10 * 60 * 1000
"""How long a reply waits for the client that asked."""

ROUTER_KEEP_MS = 60 * 60 * 1000
"""How long a dead router stays in the rollcall."""

_Result = TypeVar("_Result")


class _Links:
    """The connections of a backend, by what may hold them up. Each is opened when first used."""

    def __init__(self, address: Address, *, pooled: bool, prepare: Prepare) -> None:
        self.pooled = pooled
        self.clients = LinkPool(address, pooled=pooled, size=CLIENT_LINKS, prepare=prepare)
        self.workers = LinkPool(address, pooled=pooled, size=WORKER_LINKS, prepare=prepare)
        self.routers = LinkPool(address, pooled=pooled, size=1, prepare=prepare)
        self.hints = LinkPool(address, pooled=pooled, size=1)
        self.listener = Listener(address, pooled=pooled)

    async def close(self) -> None:
        """Close all, side by side: each farewell may take a while where nobody answers."""
        pools = (self.clients, self.workers, self.routers, self.hints)
        await asyncio.gather(self.listener.close(), *(pool.close() for pool in pools))


class PostgresBackend:
    """See :class:`hotmesh.backends.protocol.Backend`.

    Args:
        url: ``postgresql://user:password@host:port/database``. ``?schema=`` names the schema that
            everything lives in ("hotmesh"), ``?pooler=1`` says that a transaction pooler is in
            between, ``?pooler=0`` that none is (found out by itself); see
            :mod:`hotmesh.backends.postgres.parameters` for the others.
    """

    name = "postgres"

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = parse_address(url)
        self._closed = False
        self._statements = statements(self._address.schema)
        self._queue_ids: dict[tuple[str, str, str], int] = {}
        self._links = self._make_links(pooled=bool(self._address.pooler))

    # -- Opening and closing --

    async def exists(self) -> bool:
        """Whether the schema is there."""
        link = Link(self._address, pooled=True)
        try:
            return await schema_exists(link, self._address)
        finally:
            await link.close()

    async def connect(self) -> None:
        """Open it and create or migrate the schema under a lock.

        Raises:
            SchemaVersionError: the stored schema is newer than this code.
            BackendUnavailableError: it can't be reached.
            BackendAccessError: it does not let us in, or denies a right; the message says which.
            InvalidArgumentError: it does not take a parameter of the URL.
        """
        pooled = self._address.pooler
        if pooled is None:
            pooled = await pooling.in_transactions(self._address)
        # This connection takes nothing for granted, so that it works through any pooler.
        link = Link(self._address, pooled=True, call_s=SCHEMA_S)
        try:
            await ensure_schema(link, self._address)
        finally:
            await link.close()
        if self._closed or pooled != self._links.pooled:
            self._closed = False
            self._links = self._make_links(pooled=pooled)

    async def close(self) -> None:
        """Close every connection but those of sessions, which their users close."""
        self._closed = True
        await self._links.close()

    async def queue_id(self, namespace: str, task_queue: str, side: str = "") -> int:
        """The id of a task queue or side queue, made on first use and cached."""
        key = (namespace, task_queue, side)
        if key not in self._queue_ids:
            if side:  # whose row may be damaged since its id became known
                self._queue_ids.pop((namespace, task_queue, ""), None)
                await self.queue_id(namespace, task_queue)
            (self._queue_ids[key],) = await _repeat(
                lambda: queue_ids(self._links.clients.fetch, [key])
            )
        return self._queue_ids[key]

    def _make_links(self, *, pooled: bool) -> _Links:
        return _Links(self._address, pooled=pooled, prepare=self._meet_connection)

    async def _meet_connection(self, connection: Connection) -> None:
        """Make the known task queues again if the database behind a new connection lacks them."""
        keys = list(self._queue_ids)
        if keys:

            async def fetch(name: str, *arguments: object) -> Sequence[Any]:
                return await connection.fetch(self._statements[name], *arguments)

            self._queue_ids.update(zip(keys, await queue_ids(fetch, keys), strict=True))

    # -- Clients --

    async def start(self, items: Sequence[StartItem]) -> Sequence[StartOutcome]:
        """Start runs. Repeated by itself when a connection breaks: run ids tell repeats apart."""
        if not items:
            return ()
        batch, tries = StartBatch(items), Tries(items)
        large = any_large([item.input for item in items])
        row = await _repeat(
            lambda: self._row("start", large, *StartBatch(tries()).client_columns())
        )
        return batch.outcomes(row["started"], row["holders"], row["statuses"])

    async def send(self, items: Sequence[SendItem]) -> Sequence[SendOutcome]:
        """Send messages. Repeated by itself: receivers drop what comes twice, see `again_ms`."""
        if not items:
            return ()
        tries, large = Tries(items), any_large([item.frame for item in items])
        row = await _repeat(lambda: self._row("send", large, *send_columns(tries())))
        return send_outcomes(row["delivered"], row["receivers"], row["statuses"], row["lanes"])

    async def _row(self, name: str, large: bool, *arguments: object) -> Any:
        clients = self._links.clients
        if large:
            return await row_with_large(clients, name, *arguments)
        return await clients.row(name, *arguments)

    async def mail(self, items: Sequence[MailItem]) -> Sequence[int]:
        """Deliver or keep each; the lanes delivered to."""
        if not items:
            return ()
        return await self._links.clients.value("mail", *mail_columns(items))

    async def results(
        self, namespace: str, run_ids: Sequence[bytes]
    ) -> Sequence[tuple[bytes, int, bytes]]:
        """(run id, status, result) of those that are closed; missing runs have status 0."""
        rows = await _repeat(
            lambda: self._links.clients.fetch("results", namespace, run_ids, BATCH_BYTES_MAX)
        )
        return [(row[0], row[1], row[2]) for row in rows]

    async def replies(
        self, namespace: str, reply_ids: Sequence[bytes], received: Sequence[bytes] = ()
    ) -> Sequence[tuple[bytes, bytes]]:
        """The replies that have arrived; those that earlier calls have received are deleted."""
        clients, room = self._links.clients, BATCH_BYTES_MAX
        rows = await _repeat(lambda: clients.fetch("replies", namespace, reply_ids, received, room))
        return [(row[0], row[1]) for row in rows]

    async def find(self, keys: Sequence[tuple[str, str, bytes]]) -> Sequence[RunRow | None]:
        """The runs of (namespace, workflow id, run id or b"" for the newest)."""
        if not keys:
            return ()
        columns = list(zip(*keys, strict=True))
        rows = await _repeat(lambda: self._links.clients.fetch("find", *columns))
        found: dict[int, RunRow] = {row[0]: run_row(row) for row in rows}
        return [found.get(position) for position in range(1, len(keys) + 1)]

    async def runs(self, filter: RunFilter) -> RunPage:  # noqa: A002 - the protocol's
        """Runs, newest first."""
        pieces = statements(self._address.schema)
        compiler = Compiler(pieces, first=5)
        sql = pieces["runs"].replace("{where}", compiler.text(filter.where))
        arguments = (filter.namespace, filter.before, filter.limit + 1, BATCH_BYTES_MAX)
        rows = await _repeat(
            lambda: self._links.clients.query("runs", sql, *arguments, *compiler.parameters)
        )
        is_full = sum(row["bytes"] for row in rows) >= BATCH_BYTES_MAX
        more = is_full or len(rows) > filter.limit
        return RunPage([listed_run(row) for row in rows[: filter.limit]], more)

    async def attribute_names(
        self, namespace: str, wanted: Sequence[str], others: int
    ) -> Collection[str]:
        """Those of the wanted names that records have, and some others."""
        arguments = (namespace, list(wanted), others, NAMED_RUNS_MAX)
        rows = await _repeat(lambda: self._links.clients.fetch("attribute_names", *arguments))
        return {row[0] for row in rows}

    async def journal(self, namespace: str, run_id: bytes) -> Sequence[bytes]:
        """The frames of a run's journal, in order."""
        return await _repeat(lambda: journal(self._links.clients, namespace, run_id))

    async def pending(
        self, namespace: str, cursor: bytes, limit: int
    ) -> tuple[Sequence[Pending], bytes]:
        """One page of all that waits in a namespace."""
        kind, place = unpack(cursor)
        rows = await _repeat(
            lambda: self._links.clients.fetch(f"pending_{kind}", namespace, *place, limit)
        )
        found = [tuple(row.values()) for row in rows]
        ended = len(found) < limit
        columns = len(place)
        following_page = following(kind) if ended else pack(kind, found[-1][:columns])
        return [Pending(kind, *row[columns:]) for row in found], following_page

    async def tasks_of(
        self, namespace: str, run_id: bytes, seqs: Sequence[int]
    ) -> Sequence[PendingTask]:
        """Those of a run's activities that are tasks, by their seqs."""
        rows = await _repeat(
            lambda: self._links.clients.fetch("tasks_of", namespace, run_id, list(seqs))
        )
        return [PendingTask(*row) for row in rows]

    async def tasks_of_runs(
        self, namespace: str, run_ids: Sequence[bytes], limit: int
    ) -> Sequence[RunTasks]:
        """The most tried activity tasks of each run."""
        clients, room = self._links.clients, BATCH_BYTES_MAX
        rows = await _repeat(
            lambda: clients.fetch("tasks_of_runs", namespace, list(run_ids), limit, room)
        )
        found: defaultdict[int, list[PendingTask]] = defaultdict(list)
        totals: dict[int, int] = {}
        for position, total, *columns, _ in rows:
            totals[position] = total or 0
            if total:
                found[position].append(PendingTask(*columns))
        return [RunTasks(totals[position], found[position]) for position in sorted(totals)]

    async def routers(self, namespace: str) -> Sequence[RouterRow]:
        """The rollcall of a namespace."""
        rows = await _repeat(lambda: self._links.clients.fetch("routers", namespace))
        return [RouterRow(*row) for row in rows]

    async def prune(self, namespace: str, older_than_ms: int) -> int:
        """Delete runs that closed so long ago or longer, with their journals; how many."""
        total, last = 0, b""
        while last is not None:
            deleted, last = await self._links.clients.row(
                "prune", namespace, older_than_ms, last, PRUNE_RUNS
            )
            total += deleted
        return total

    # -- Routers --

    async def beat(self, registration: Registration) -> Beat:
        """Join or renew; declare silent routers dead and free their lanes; take a fair share."""
        row = await _repeat(
            lambda: self._links.routers.row(
                "beat",
                registration.router_id,
                self._address.lock_key("router", registration.router_id),
                registration.namespace,
                registration.queue_id,
                registration.hosts_workflows,
                registration.workflow_types,
                SIDE_QUEUE_KEEP_MS,
                registration.lease_ms,
                registration.info,
                registration.beats,
                registration.latest_ms,
                registration.jump_ms,
                registration.jump_shift_ms,
                self._address.lock_key("queue", str(registration.queue_id)),
                CLEAN_RUNS,
                REPLY_KEEP_MS,
                CLEAN_REPLIES,
                ROUTER_KEEP_MS,
            )
        )
        *columns, side_names = row
        beat = Beat(*columns)
        if not beat.alive:
            # Perhaps for want of its task queue, behind a pooler that hides new connections.
            self._queue_ids.clear()
        elif side_names is not None:
            await self._mend_sides(registration, json.loads(side_names))
        return beat

    async def _mend_sides(self, registration: Registration, rows: Sequence[Sequence[Any]]) -> None:
        """Put the damaged names of a task queue's side queues right."""
        for (namespace, name, side), queue_id in list(self._queue_ids.items()):
            if queue_id == registration.queue_id and not side:
                for _, key in misnamed_sides((namespace, name), registration.workflow_types, rows):
                    self._queue_ids.pop(key, None)
                    await self.queue_id(*key)

    async def release(self, namespace: str, router_id: bytes, lanes: Sequence[int]) -> None:
        """Give these lanes back; everything this router did in them is committed."""
        await _repeat(lambda: self._links.routers.fetch("release", namespace, router_id, lanes))

    async def leave(self, namespace: str, router_id: bytes) -> None:
        """Give everything back at once: lanes, and claimed tasks as if their lease were over."""
        lock_key = self._address.lock_key("router", router_id)
        await _repeat(lambda: self._links.routers.fetch("leave", namespace, router_id, lock_key))

    async def stand_down(
        self, namespace: str, router_id: bytes, lease_ms: int, held: Sequence[HeldTask]
    ) -> None:
        """Give up the lanes, keep what has begun; see the protocol."""
        lock_key = self._address.lock_key("router", router_id)
        columns = list(zip(*held, strict=True)) if held else [()] * len(HeldTask._fields)
        await _repeat(
            lambda: self._links.routers.fetch(
                "stand_down", namespace, router_id, lock_key, lease_ms, *columns
            )
        )

    def for_another_loop(self) -> PostgresBackend:
        """The same database for another event loop."""
        other = PostgresBackend(self.url)
        other._links = other._make_links(pooled=self._links.pooled)
        return other

    async def session(self, namespace: str, router_id: bytes, horizon_ms: int) -> PostgresSession:
        """A pipe's own connection."""
        link = Link(self._address, pooled=self._links.pooled, reopens=False)
        return PostgresSession(self._address, namespace, router_id, horizon_ms, link)

    async def tasks(self, batch: Tasks) -> TasksReply:
        """Finish, retry, renew and claim activity tasks in one round trip."""
        columns = TaskColumns(batch)
        row = await self._links.workers.row(
            "tasks",
            batch.namespace,
            batch.router_id,
            batch.queue_id,
            batch.lease_ms,
            batch.room,
            batch.types,
            BATCH_BYTES_MAX,
            batch.latest_ms,
            *columns.arguments(),
        )
        return tasks_reply(columns, row)

    async def complete_task(
        self, namespace: str, run_id: bytes, seq: int, attempt: int, frame: bytes
    ) -> int | None:
        """Finish an activity from outside its worker; see the protocol."""
        arguments = (namespace, run_id, seq, attempt, frame)
        return await _repeat(lambda: self._links.clients.value("complete_task", *arguments))

    async def note(self, items: Sequence[NoteItem]) -> None:
        """Write values into the records of runs; those of runs that are not there are dropped."""
        for namespace in {item.namespace for item in items}:
            own = [item[1:] for item in items if item.namespace == namespace]
            columns = [list(column) for column in zip(*own, strict=True)]
            await self._links.clients.fetch("note", namespace, *columns)

    # -- Hints --

    async def notify(self, hints: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, payload) hints to every process, this one included."""
        if not hints:
            return
        await self._links.hints.fetch(
            "notify",
            [self._address.channel(name) for name, _ in hints],
            [payload if len(payload) <= PAYLOAD_CHARS_MAX else "" for _, payload in hints],
        )

    async def listen(self, channel: str, callback: Callback) -> None:
        """Call back with each hint's payload; None means "something may have changed"."""
        await self._links.listener.add(channel, callback)

    async def unlisten(self, channel: str, callback: Callback) -> None:
        """Stop calling back."""
        await self._links.listener.remove(channel, callback)


async def _repeat(call: Callable[[], Awaitable[_Result]]) -> _Result:
    """Carry out a call that may be carried out twice, again when its connection broke."""
    return await at_once(call, TIMES)
