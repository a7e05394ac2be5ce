"""One database as this process holds it open: its threads, shared by every backend on it."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from hotmesh.backends.sqlite.connection import open_reader, open_writer
from hotmesh.backends.sqlite.done import DoneReader
from hotmesh.backends.sqlite.hints import DONE, Hints
from hotmesh.backends.sqlite.queues import ensure_queue
from hotmesh.backends.sqlite.thread import DatabaseThread, FileIdentity, threads
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.exceptions import ForkedError
from hotmesh.forks import Guard

T = TypeVar("T")

MEMORY = ":memory:"

POLL_S = 0.02
"""How often commits of other processes are looked for."""


def wall_clock_ms() -> int:
    """The machine's time: a SQLite file is used by processes of one machine only."""
    return time.time_ns() // 1_000_000


class Store:
    """An open database: a thread that writes, one that reads, and the hints between loops.

    Readers see the last commit while the writer is busy. A database in memory has one connection,
    so one thread does both.
    """

    def __init__(self, path: str, clock: Callable[[], int]) -> None:
        self.path = path
        self.guard = Guard(f"SQLite database {path}")
        self.guard.check()
        self.hints = Hints()
        self.queue_ids: dict[tuple[str, str, str], int] = {}
        self._done = DoneReader()
        foreign = None if path == MEMORY else self._on_foreign_commit
        self._writer = DatabaseThread(
            path,
            open_writer,
            clock,
            poll_s=POLL_S,
            on_foreign_commit=foreign,
            follows_file=path != MEMORY,
            on_new_file=self._on_new_file,
        )
        self._writer.open()
        self._reader = self._writer
        if path != MEMORY:
            self._reader = DatabaseThread(path, open_reader, clock, follows_file=True)
            try:
                self._reader.open()
            except BaseException:
                self._writer.close()
                raise

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run work in the next write transaction."""
        return await self._writer.submit(work, writes=True)

    async def look(self, work: Callable[[Transaction], T]) -> T:
        """Run work in order with the writes, under the write lock only if it asks for that."""
        return await self._writer.submit(work, writes=False)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run work that only reads, beside the writes; it sees every finished one."""
        return await self._reader.submit(work, writes=False)

    def _on_new_file(self, tx: Transaction) -> None:
        """Another file is the database now: it has the task queues that are known here, too."""
        self._done.skip()
        for key in list(self.queue_ids):
            self.queue_ids[key] = ensure_queue(tx, key)

    def _on_foreign_commit(self, connection: sqlite3.Connection) -> None:
        """Wake everybody; those who wait for runs and replies only for what is done."""
        if self.hints.heard(DONE):
            self.hints.publish_foreign(self._done.news(connection))
        else:
            self._done.skip()
            self.hints.publish_foreign("")

    def work(self) -> tuple[int, int]:
        """Rows written and transactions made by this process so far."""
        threads = {self._writer, self._reader}
        return sum(each.rows for each in threads), sum(each.commits for each in threads)

    def close(self) -> None:
        """End the threads once what was submitted is done (blocks)."""
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()


_lock = threading.Lock()
_open: dict[str, tuple[Store, int]] = {}
_of_parents: set[FileIdentity] = set()
"""Files that processes had open from which this one was forked."""
_left_alone: list[Store] = []
"""Their stores, kept for ever: SQLite must not close in a child what a parent has opened."""


def exists(path: str) -> bool:
    """Whether there is something in a database: in a file that is not empty, or in memory."""
    if path == MEMORY:
        return path in _open
    try:
        return os.stat(path).st_size > 0  # noqa: PTH116 - as the thread does
    except OSError:
        return False


def acquire(path: str, clock: Callable[[], int]) -> Store:
    """The process's store of a database, opened on first use (blocks). Pair with ``release``.

    Raises:
        BackendError: it can't be opened, or its schema is newer than this code.
        ForkedError: a process from which this one was forked had the file open then.
    """
    with _lock:
        if _of_parents and _identity(path) in _of_parents:
            # Its locks are counted by process, and this one has a copy of the counts.
            raise ForkedError(
                f"SQLite database {path}",
                "Fork before it is opened or after all its clients are closed, or start the child "
                "without a fork (multiprocessing's 'spawn').",
            )
        store, users = _open.get(path, (None, 0))
        if store is None:
            store = Store(path, clock)
        _open[path] = (store, users + 1)
        return store


def share(store: Store) -> Store:
    """One user more of a store that is open. Pair with ``release``."""
    with _lock:
        _open[store.path] = (store, _open[store.path][1] + 1)
        return store


def release(store: Store) -> None:
    """Close the store when nobody uses it any more (blocks)."""
    store.guard.check()
    with _lock:
        _, users = _open[store.path]
        if users > 1:
            _open[store.path] = (store, users - 1)
            return
        del _open[store.path]
        store.close()


def _identity(path: str) -> FileIdentity | None:
    if path == MEMORY:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - as the thread does
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _before_fork() -> None:
    """Wait until no thread is inside SQLite: a child would wait for its locks for ever."""
    global _paused
    _paused = list(threads)
    for thread in _paused:
        thread.inside.acquire()


def _after_fork() -> None:
    for thread in _paused:
        thread.inside.release()
    _paused.clear()


def _in_child() -> None:
    """Forget what the parent has open, but not that it has."""
    global _lock
    _lock = threading.Lock()
    for path, (store, _) in _open.items():
        identity = _identity(path)
        if identity is not None:
            _of_parents.add(identity)
        _left_alone.append(store)
    _open.clear()
    threads.clear()


_paused: list[DatabaseThread] = []

if hasattr(os, "register_at_fork"):  # nothing forks on Windows
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
