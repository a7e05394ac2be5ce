"""Opens database files: pragmas, migrations, and SQLite's errors as HotMesh's."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from hotmesh.backends.sqlite import statements
from hotmesh.exceptions import (
    BackendAccessError,
    BackendError,
    BackendUnavailableError,
    SchemaVersionError,
)

BUSY_TIMEOUT_MS = 10_000
"""How long to wait for another process that holds the write lock."""

APPLICATION_ID = 0x484D5348
"""Marks the file as HotMesh's ("HMSH")."""

SQLITE_MIN = (3, 38, 0)
"""The oldest SQLite with RETURNING and JSON functions built in."""

_CHECKPOINT_PAGES = 4_000
_WAL_BYTES_KEPT = 64 * 1024 * 1024
_STATEMENTS_CACHED = 256
_RETRY_S = 0.02

_SQL = statements.load("connection")

_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Primary result codes after which the same call may succeed another time."""

_NO_ACCESS = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_AUTH,
    }
)
"""Those that somebody must do something about first."""


def translate(error: sqlite3.Error, path: str) -> BackendError:
    """The HotMesh error that says the same, naming the database."""
    code = getattr(error, "sqlite_errorcode", None)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    text = f"SQLite database {path}: {error} ({name})"
    primary = None if code is None else code & 0xFF
    if primary in _NO_ACCESS or (primary == sqlite3.SQLITE_CANTOPEN and not _can_be_made(path)):
        return BackendAccessError(
            f"{text}. It must be a file in a folder that exists, and this user may write to both."
        )
    if primary in _UNAVAILABLE:
        return BackendUnavailableError(
            f"{text}. Check that there is space, and that no other program keeps the file locked."
        )
    return BackendError(text)


def _can_be_made(path: str) -> bool:
    """Whether a file could be opened or made there."""
    file = Path(path)
    if file.exists() and (file.is_dir() or not os.access(file, os.R_OK | os.W_OK)):
        return False
    return os.access(file.parent, os.W_OK | os.X_OK)


def is_busy(error: BaseException) -> bool:
    """Whether another process holds a lock that was needed: the transaction may be run again."""
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, sqlite3.Error) and code & 0xFF == sqlite3.SQLITE_BUSY


def open_writer(path: str) -> sqlite3.Connection:
    """A connection that writes, on a database whose schema is up to date.

    Args:
        path: The file, or ``:memory:``.

    Raises:
        SchemaVersionError: the stored schema is newer than this code.
        BackendError: the file is something else than a HotMesh database.
        sqlite3.Error: it can't be opened.
    """
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        raise BackendError(
            f"SQLite {sqlite3.sqlite_version} is too old: HotMesh needs "
            f"{'.'.join(map(str, SQLITE_MIN))}. Use a Python that brings a newer one."
        )
    connection = _open(path)
    try:
        _refuse_foreign(connection, path)
        if path != ":memory:":
            _enter_wal_mode(connection, path)
        _migrate(connection)
        connection.execute("PRAGMA busy_timeout = 0")  # the thread waits in its own way
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: str) -> sqlite3.Connection:
    """A connection to a migrated database file that only reads."""
    connection = _open(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


# A parameter of a type without an adapter costs more than all else that is done with it: each time
# two attributes are looked for that no bytes have, and the errors formatted. (To call the type is
# half as much again.) Whoever has registered an adapter of their own keeps it.
if (bytes, sqlite3.PrepareProtocol) not in sqlite3.adapters:
    sqlite3.register_adapter(bytes, bytes.__bytes__)


def _open(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_MS / 1000,
        isolation_level=None,
        check_same_thread=False,  # closed by whoever opened it if the thread can't start
        cached_statements=_STATEMENTS_CACHED,
    )
    # One damaged text must not fail the statement that reads it among others.
    connection.text_factory = _readable
    for pragma in (
        "synchronous = FULL",  # a commit that was reported survives a power cut
        "temp_store = MEMORY",
        "secure_delete = OFF",  # overwriting handled messages would double the log
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"journal_size_limit = {_WAL_BYTES_KEPT}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()
    connection.execute(_SQL["full_cache"]).close()
    return connection


def _readable(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _refuse_foreign(connection: sqlite3.Connection, path: str) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute(_SQL["has_tables"]).fetchone()
    if tables and application != APPLICATION_ID:
        raise BackendError(
            f"SQLite database {path} holds the tables of another application. "
            "Give HotMesh a file of its own."
        )


def _enter_wal_mode(connection: sqlite3.Connection, path: str) -> None:
    """Switch to write-ahead logging; several processes may be creating the file at once."""
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            # SQLite's own waiting does not cover this pragma.
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)
    if mode != "wal":
        raise BackendError(
            f"SQLite database {path} can't use write-ahead logging (it is in {mode!r} mode). "
            "Put it on a local file system."
        )


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema forward, under the write lock so that one process does it."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(_SQL["begin_write"])
        try:
            (found,) = cursor.execute("PRAGMA user_version").fetchone()
            steps = statements.migrations()
            if found > len(steps):
                raise SchemaVersionError(found, len(steps))
            for migration in steps[found:]:
                for statement in migration:
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {len(steps)}")
            cursor.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        except BaseException:
            if connection.in_transaction:  # a full disk has ended it
                cursor.execute(_SQL["rollback"])
            raise
        cursor.execute(_SQL["commit"])
