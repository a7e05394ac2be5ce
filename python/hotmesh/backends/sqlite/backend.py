"""The SQLite backend: every call is one hop to the thread that owns the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from hotmesh.backends.pending_task import PendingTask, RunTasks
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
from hotmesh.backends.sqlite import routers, store, tasks, visibility
from hotmesh.backends.sqlite.queues import ensure_queue
from hotmesh.backends.sqlite.session import SqliteSession
from hotmesh.backends.sqlite.starts import mail_all, note_all, send_all, start_all
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.exceptions import BackendUnavailableError, InvalidArgumentError
from hotmesh.redaction import shown_url

T = TypeVar("T")

PRUNE_BATCH = 500
"""Runs that one transaction prunes, so that steps get their turn in between."""


class SqliteBackend:
    """Runs in a SQLite file, or in this process's memory.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, or ``sqlite://`` (also
            ``sqlite:///:memory:``) for a database in memory, one for the whole process, that lives
            as long as any backend of it has it open.
        clock: The backend's time in milliseconds; whoever opens a database first decides. The
            default is the machine's.

    Raises:
        InvalidArgumentError: the URL names no database file.
    """

    name = "sqlite"

    def __init__(self, url: str, *, clock: Callable[[], int] = store.wall_clock_ms) -> None:
        self.url = url
        self._path = _path_of(url)
        self._clock = clock
        self._store: store.Store | None = None

    async def exists(self) -> bool:
        """See the protocol; an empty file is none yet."""
        return await asyncio.to_thread(store.exists, self._path)

    async def connect(self) -> None:
        """See the protocol."""
        if self._store is None:
            self._store = await asyncio.to_thread(store.acquire, self._path, self._clock)

    async def close(self) -> None:
        """See the protocol."""
        if self._store is not None:
            opened, self._store = self._store, None
            await asyncio.to_thread(store.release, opened)

    def work(self) -> tuple[int, int]:
        """Rows written and transactions made by this process so far; for measurements."""
        return self._opened().work()

    def _opened(self) -> store.Store:
        if self._store is None:
            raise BackendUnavailableError(f"SQLite database {self._path} is not connected")
        return self._store

    async def _write(self, work: Callable[[Transaction], T]) -> T:
        return await self._opened().write(work)

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        return await self._opened().read(work)

    async def queue_id(self, namespace: str, task_queue: str, side: str = "") -> int:
        """See the protocol."""
        key = (namespace, task_queue, side)
        known = self._opened().queue_ids
        found = known.get(key)
        if found is None:
            if side:
                await self.queue_id(namespace, task_queue)
            found = known[key] = await self._write(lambda tx: ensure_queue(tx, key))
        return found

    # -- Client --

    async def start(self, items: Sequence[StartItem]) -> Sequence[StartOutcome]:
        """See the protocol."""
        return await self._write(lambda tx: start_all(tx, items))

    async def send(self, items: Sequence[SendItem]) -> Sequence[SendOutcome]:
        """See the protocol."""
        return await self._write(lambda tx: send_all(tx, items))

    async def mail(self, items: Sequence[MailItem]) -> Sequence[int]:
        """See the protocol."""
        return await self._write(lambda tx: mail_all(tx, items))

    async def results(
        self, namespace: str, run_ids: Sequence[bytes]
    ) -> Sequence[tuple[bytes, int, bytes]]:
        """See the protocol."""
        return await self._read(lambda tx: visibility.results(tx, namespace, run_ids))

    async def replies(
        self, namespace: str, reply_ids: Sequence[bytes], received: Sequence[bytes] = ()
    ) -> Sequence[tuple[bytes, bytes]]:
        """See the protocol."""
        return await self._opened().look(
            lambda tx: visibility.replies(tx, namespace, reply_ids, received)
        )

    async def find(self, keys: Sequence[tuple[str, str, bytes]]) -> Sequence[RunRow | None]:
        """See the protocol."""
        return await self._read(lambda tx: visibility.find(tx, keys))

    async def runs(self, filter: RunFilter) -> RunPage:  # noqa: A002
        """See the protocol."""
        return await self._read(lambda tx: visibility.runs(tx, filter))

    async def attribute_names(
        self, namespace: str, wanted: Sequence[str], others: int
    ) -> Collection[str]:
        """See the protocol."""
        return await self._read(
            lambda tx: visibility.attribute_names(tx, namespace, wanted, others)
        )

    async def journal(self, namespace: str, run_id: bytes) -> Sequence[bytes]:
        """See the protocol."""
        return await self._read(lambda tx: visibility.journal(tx, namespace, run_id))

    async def pending(
        self, namespace: str, cursor: bytes, limit: int
    ) -> tuple[Sequence[Pending], bytes]:
        """See the protocol."""
        return await self._read(lambda tx: visibility.pending(tx, namespace, cursor, limit))

    async def tasks_of(
        self, namespace: str, run_id: bytes, seqs: Sequence[int]
    ) -> Sequence[PendingTask]:
        """See the protocol."""
        return await self._read(lambda tx: visibility.tasks_of(tx, namespace, run_id, seqs))

    async def tasks_of_runs(
        self, namespace: str, run_ids: Sequence[bytes], limit: int
    ) -> Sequence[RunTasks]:
        """See the protocol."""
        return await self._read(lambda tx: visibility.tasks_of_runs(tx, namespace, run_ids, limit))

    async def routers(self, namespace: str) -> Sequence[RouterRow]:
        """See the protocol."""
        return await self._read(lambda tx: routers.listing(tx, namespace))

    async def prune(self, namespace: str, older_than_ms: int) -> int:
        """See the protocol."""
        total = 0
        while True:
            pruned = await self._write(
                lambda tx: visibility.prune(tx, namespace, tx.wall_ms - older_than_ms, PRUNE_BATCH)
            )
            total += pruned
            if pruned < PRUNE_BATCH:
                return total

    # -- Routers --

    async def beat(self, registration: Registration) -> Beat:
        """See the protocol."""
        beat = await self._write(lambda tx: routers.beat(tx, registration))
        if not beat.alive:
            # Perhaps the file's content was restored; its task queues may be gone, too.
            self._opened().queue_ids.clear()
        return beat

    async def release(self, namespace: str, router_id: bytes, lanes: Sequence[int]) -> None:
        """See the protocol."""
        await self._write(lambda tx: routers.release(tx, namespace, router_id, lanes))

    async def leave(self, namespace: str, router_id: bytes) -> None:
        """See the protocol."""
        await self._write(lambda tx: routers.leave(tx, namespace, router_id))

    async def stand_down(
        self, namespace: str, router_id: bytes, lease_ms: int, held: Sequence[HeldTask]
    ) -> None:
        """See the protocol."""
        await self._write(lambda tx: routers.stand_down(tx, namespace, router_id, lease_ms, held))

    def for_another_loop(self) -> SqliteBackend:
        """See the protocol; the process's one store serves any event loop."""
        other = SqliteBackend(self.url, clock=self._clock)
        other._store = store.share(self._opened())
        return other

    async def session(self, namespace: str, router_id: bytes, horizon_ms: int) -> SqliteSession:
        """See the protocol; steps name their router themselves."""
        return SqliteSession(self._opened(), namespace, horizon_ms)

    async def tasks(self, batch: Tasks) -> TasksReply:
        """See the protocol."""
        return await self._opened().look(lambda tx: tasks.run_batch(tx, batch))

    async def complete_task(
        self, namespace: str, run_id: bytes, seq: int, attempt: int, frame: bytes
    ) -> int | None:
        """See the protocol."""
        return await self._write(
            lambda tx: tasks.complete_from_outside(tx, namespace, run_id, seq, attempt, frame)
        )

    async def note(self, items: Sequence[NoteItem]) -> None:
        """See the protocol."""
        await self._write(lambda tx: note_all(tx, items))

    # -- Wake-up hints --

    async def notify(self, hints: Sequence[tuple[str, str]]) -> None:
        """See the protocol; other processes notice the commit itself, within milliseconds."""
        self._opened().hints.publish(hints)

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """See the protocol."""
        self._opened().hints.listen(channel, callback)

    async def unlisten(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """See the protocol."""
        self._opened().hints.unlisten(channel, callback)


def _path_of(url: str) -> str:
    """The absolute path that a URL names, or ``:memory:``."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    if query:
        names = [piece.partition("=")[0] for piece in query.split("&")]
        raise InvalidArgumentError(
            f"SQLite URLs have no parameters; leave out {', '.join(map(repr, names))} "
            f"in {shown_url(url)!r}. A file is always opened for reading and writing, with a "
            "write-ahead log; sqlite:// is a database in memory."
        )
    host, slash, path = place.partition("/")
    if not scheme.lower().startswith("sqlite") or (host and host != store.MEMORY) or "#" in place:
        raise InvalidArgumentError(
            f"Not a SQLite URL: {shown_url(url)!r}. Use sqlite:///relative.db (three slashes), "
            "sqlite:////absolute.db (four), or sqlite:// for a database in memory."
        )
    path = unquote(path) if slash else host
    if path in ("", store.MEMORY):
        return store.MEMORY
    if path.startswith("file:"):
        raise InvalidArgumentError(
            f"SQLite's own URIs are not taken: {shown_url(url)!r}. Use sqlite:///relative.db or "
            "sqlite:// for a database in memory."
        )
    return str(Path(path).absolute())
