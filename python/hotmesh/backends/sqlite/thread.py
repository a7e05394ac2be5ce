"""A thread that owns one SQLite connection and serves a group of batches per transaction.

Whoever waits for the thread shares its next commit: the longer a sync takes, the larger the next
group. One batch that fails is undone to its savepoint and fails alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
import random
import sqlite3
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.connection import BUSY_TIMEOUT_MS, is_busy, translate
from hotmesh.backends.sqlite.transaction import AbortError, Transaction, WriteNeededError
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.forks import Guard
from hotmesh.limits import BATCH_BYTES_MAX

T = TypeVar("T")

GROUP_MAX = 64
"""Batches that share one transaction at most."""

CLOSING_BUSY_S = 1.0
"""How long a database that is being closed waits for the lock of another process."""

LOCK_POLL_S = 0.001
"""How often to ask for a lock that another process holds, at least."""

HOLD_MAX_S = 0.05
"""How long to hold the write lock, on and off, before others are let in."""

_LOG = logging.getLogger("hotmesh.backends.sqlite")

_SQL = statements.load("connection")
_BEGIN_WRITE = _SQL["begin_write"]
_BEGIN_READ = _SQL["begin_read"]
_COMMIT = _SQL["commit"]
_SHRINK = _SQL["shrink"]
_FULL_CACHE = _SQL["full_cache"]
_ROLLBACK = _SQL["rollback"]
_SAVEPOINT = _SQL["savepoint"]
_RELEASE = _SQL["release"]
_ROLLBACK_BATCH = _SQL["rollback_batch"]


_NOT_SEEN = -1
"""No database has this data version."""

FileIdentity = tuple[int, int]


class _Job(NamedTuple):
    work: Callable[[Transaction], Any]
    writes: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class _Outcome(NamedTuple):
    job: _Job
    result: Any
    error: BaseException | None


threads: weakref.WeakSet[DatabaseThread] = weakref.WeakSet()
"""Those that are open in this process."""


class DatabaseThread:
    """Runs work on its own connection.

    Args:
        path: The database, for messages.
        open_connection: Opens the connection; called on the thread.
        clock: The backend's time in milliseconds.
        poll_s: How often to look for commits of other processes.
        on_foreign_commit: Called on the thread with its connection when there were some; None
            doesn't look.
        follows_file: Whether to look if another file was put in this one's place, and open that.
        on_new_file: Called on the thread with a transaction on such a file.
    """

    def __init__(
        self,
        path: str,
        open_connection: Callable[[str], sqlite3.Connection],
        clock: Callable[[], int],
        *,
        poll_s: float = 0.0,
        on_foreign_commit: Callable[[sqlite3.Connection], None] | None = None,
        follows_file: bool = False,
        on_new_file: Callable[[Transaction], None] | None = None,
    ) -> None:
        self._path = path
        self._open_connection = open_connection
        self._clock = clock
        self._poll_s = poll_s
        self._on_foreign_commit = on_foreign_commit
        self._follows_file = follows_file
        self._on_new_file = on_new_file
        self._file: FileIdentity | None = None
        self._generation = 0
        """How many files have been in the place of the first one."""
        self._data_version = 0
        self._next_poll_s = 0.0
        self._held_s = 0.0
        """How long the write lock was held since others were let in."""
        self._submitting = threading.Lock()
        self._closing = False
        self._guard = Guard(f"connection to SQLite database {path}")
        self.inside = threading.Lock()
        """Held by the thread whenever it is inside SQLite: a fork must not happen then."""
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._serve, name=f"hotmesh-sqlite {path}", daemon=True
        )
        self._opened: BaseException | None = None
        self.commits = 0
        """Transactions so far, those that only read among them."""
        self.rows = 0
        """Rows inserted, updated and deleted so far."""
        self._ready = threading.Event()

    def open(self) -> None:
        """Start the thread and wait for its connection (blocks; not for an event loop).

        Raises:
            BackendError: the connection can't be opened; the thread has ended.
        """
        self._guard.check()
        threads.add(self)
        self._thread.start()
        self._ready.wait()
        if self._opened is not None:
            raise self._opened

    def close(self) -> None:
        """Finish what was submitted, close the connection and end the thread (blocks)."""
        self._guard.check()
        with self._submitting:
            self._closing = True
            self._jobs.put(None)
        self._thread.join()
        threads.discard(self)

    async def submit(self, work: Callable[[Transaction], T], *, writes: bool) -> T:
        """Run work in the next transaction; return when that is committed.

        Work submitted as a read may raise :class:`WriteNeededError` to be run again as a write.

        Raises:
            BackendUnavailableError: the transaction failed or its outcome is unknown.
        """
        self._guard.check()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._submitting:  # nothing may follow the mark that ends the thread
            if self._closing:
                raise BackendUnavailableError(f"SQLite database {self._path} is closed")
            self._jobs.put(_Job(work, writes, loop, future))
        return await future

    # -- On the thread --

    def _serve(self) -> None:
        try:
            with self.inside:
                connection = self._open_connection(self._path)
        except sqlite3.Error as error:
            self._opened = translate(error, self._path)
            self._ready.set()
            return
        except BaseException as error:  # noqa: BLE001 - raised by open(), which waits for it
            self._opened = error
            self._ready.set()
            return
        with self.inside:
            self._data_version = _data_version(connection)
        self._file = self._find_file()
        self._ready.set()
        try:
            stopping = False
            while not stopping:
                jobs, stopping = self._gather()
                with self.inside:
                    connection = self._serve_group(connection, jobs)
                    del jobs  # what they have written and read may be large, and the next be long
                    self._look_around(connection)
                self._let_others_in()
        finally:
            with self.inside:
                connection.close()

    def _serve_group(self, connection: sqlite3.Connection, jobs: list[_Job]) -> sqlite3.Connection:
        """Run what waits and say how it went; the connection from now on."""
        if not jobs:
            return connection
        try:
            connection = self._follow_file(connection)
        except Exception as error:  # noqa: BLE001 - raised by each await
            _hand_over([_Outcome(job, None, error) for job in jobs])
        else:
            _hand_over(self._run_group(connection, jobs))
        return connection

    def _find_file(self) -> FileIdentity | None:
        """Which file the path names now; None if there is none, or if nobody wants to know."""
        if not self._follows_file:
            return None
        try:
            found = os.stat(self._path)  # noqa: PTH116 - a third of the time of a Path's
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _follow_file(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        """The connection to the file that the path names: the one before may have been replaced.

        Raises:
            BackendUnavailableError: there is no file now. None is made: whoever took it away may
                be about to put another in its place.
            BackendError: the new file can't be opened.
        """
        if not self._follows_file:
            return connection
        found = self._find_file()
        if found == self._file:
            return connection
        if found is None:
            raise BackendUnavailableError(
                f"SQLite database {self._path} is gone. Put a file in its place."
            )
        try:
            new = self._open_connection(self._path)
        except sqlite3.Error as error:
            raise translate(error, self._path) from error
        try:
            if self._on_new_file is not None:
                new.execute(_BEGIN_WRITE)
                self._on_new_file(Transaction(new, self._clock(), self._generation, writes=True))
                new.execute(_COMMIT)
        except BaseException as error:
            new.close()
            if isinstance(error, sqlite3.Error):
                raise translate(error, self._path) from error
            raise
        _LOG.warning("SQLite database %s was replaced by another file", self._path)
        connection.close()
        self._file = found
        self._generation += 1
        self._data_version = _NOT_SEEN
        self._next_poll_s = 0.0
        return new

    def _gather(self) -> tuple[list[_Job], bool]:
        """Everything that waits, up to a limit; whether the thread is to end afterwards."""
        jobs: list[_Job] = []
        try:
            job = self._jobs.get(timeout=self._poll_s if self._on_foreign_commit else None)
            while job is not None:
                jobs.append(job)
                if len(jobs) == GROUP_MAX:
                    return jobs, False
                job = self._jobs.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _run_group(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[_Outcome]:
        try:
            outcomes = self._run_until_free(connection, jobs)
        except sqlite3.Error as error:
            return [_Outcome(job, None, translate(error, self._path)) for job in jobs]
        except Exception as error:  # noqa: BLE001 - raised by each await; the thread goes on
            return [_Outcome(job, None, error) for job in jobs]
        again = [outcome.job for outcome in outcomes if isinstance(outcome.error, WriteNeededError)]
        if again:
            outcomes = [out for out in outcomes if not isinstance(out.error, WriteNeededError)]
            outcomes += self._run_group(connection, [job._replace(writes=True) for job in again])
        return outcomes

    def _run_until_free(self, connection: sqlite3.Connection, jobs: list[_Job]) -> list[_Outcome]:
        """Run a transaction, again and again while another process holds the lock it needs.

        SQLite's own waiting sleeps for up to 100 ms at a time, too long to meet the gaps that a
        busy process leaves.
        """
        writes = any(job.writes for job in jobs)
        started_s = time.monotonic()
        while True:
            try:
                begun_s = time.monotonic()
                outcomes = self._run_transaction(connection, jobs, writes=writes)
                self._held_s += time.monotonic() - begun_s if writes else 0.0
                return outcomes
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute(_ROLLBACK)
                if not is_busy(error) or self._waits_no_more(jobs, time.monotonic() - started_s):
                    raise
            self.inside.release()
            try:
                time.sleep(random.uniform(0.5, 1.0) * LOCK_POLL_S)
            finally:
                self.inside.acquire()

    def _waits_no_more(self, jobs: list[_Job], waited_s: float) -> bool:
        """Whether the lock of another process has been waited for long enough."""
        patience_s = CLOSING_BUSY_S if self._closing else BUSY_TIMEOUT_MS / 1000
        return waited_s > patience_s or all(job.future.done() for job in jobs)

    def _let_others_in(self) -> None:
        """Leave a gap now and then that is long enough for another process to meet."""
        if self._on_foreign_commit is not None and self._held_s > HOLD_MAX_S:
            self._held_s = 0.0
            time.sleep(2 * LOCK_POLL_S)

    def _run_transaction(
        self, connection: sqlite3.Connection, jobs: list[_Job], *, writes: bool
    ) -> list[_Outcome]:
        connection.execute(_BEGIN_WRITE if writes else _BEGIN_READ)
        transaction = Transaction(connection, self._clock(), self._generation, writes=writes)
        try:
            return self._run_jobs(connection, jobs, transaction)
        finally:
            if transaction.is_sparing:
                connection.execute(_FULL_CACHE).close()

    def _run_jobs(
        self, connection: sqlite3.Connection, jobs: list[_Job], transaction: Transaction
    ) -> list[_Outcome]:
        writes = transaction.writes
        outcomes: list[_Outcome] = []
        # One that is alone has the whole transaction to undo; one that reads has nothing to undo.
        apart = writes and len(jobs) > 1
        for job in jobs:
            if apart:
                connection.execute(_SAVEPOINT)
            try:
                outcomes.append(_Outcome(job, job.work(transaction), None))
            except BaseException as error:  # undone here, raised where it is awaited
                if not connection.in_transaction or is_busy(error):
                    raise  # the whole transaction is over: nobody's work is kept
                outcomes.append(self._failed(job, error))
                if apart:
                    connection.execute(_ROLLBACK_BATCH)
                elif writes:
                    connection.execute(_ROLLBACK)
                    return outcomes
            if apart:
                connection.execute(_RELEASE)
        transaction.finish()
        connection.execute(_COMMIT)
        self.commits += 1
        self.rows = connection.total_changes
        if transaction.moved_bytes > BATCH_BYTES_MAX:
            # Pages of large values are of no use to others, and would stay.
            connection.execute(_SHRINK).close()
        return outcomes

    def _failed(self, job: _Job, error: BaseException) -> _Outcome:
        if isinstance(error, AbortError):
            return _Outcome(job, error.result, None)
        if isinstance(error, sqlite3.Error):
            return _Outcome(job, None, translate(error, self._path))
        if isinstance(error, WriteNeededError):
            # Its traceback leads to the outcomes, and so to itself: until the next collection it
            # would keep all the work of this moment, and what that is to write.
            error.__traceback__ = None
        return _Outcome(job, None, error)

    def _look_around(self, connection: sqlite3.Connection) -> None:
        """Notice commits of other processes; this connection's own don't change the number."""
        if self._on_foreign_commit is None or time.monotonic() < self._next_poll_s:
            return
        self._next_poll_s = time.monotonic() + self._poll_s
        try:
            version = _data_version(connection)
            if version != self._data_version:
                self._on_foreign_commit(connection)
                self._data_version = version
        except sqlite3.Error:
            _LOG.warning("Can't look for changes in SQLite database %s", self._path, exc_info=True)


def _data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection commits."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return version


def _hand_over(outcomes: list[_Outcome]) -> None:
    """Resolve the futures of a group, with one wake-up for each event loop."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[_Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_loop[outcome.job.loop].append(outcome)
    for loop, own in by_loop.items():
        try:
            loop.call_soon_threadsafe(_resolve, own)
        except RuntimeError:  # the loop was closed: nobody waits any more
            _LOG.debug("The event loop of %d batches is closed", len(own))


def _resolve(outcomes: list[_Outcome]) -> None:
    for job, result, error in outcomes:
        if job.future.done():  # cancelled by whoever waited
            continue
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
