"""Databases that go back: a copy is made, and takes the database's place a while later.

That is what a failover to a standby does which had not received the last moments, and a restore.
"""

from __future__ import annotations

import abc
import contextlib
import shutil
import sqlite3
from pathlib import Path

from support.processes import Server


class Copied(abc.ABC):
    """A database of which a copy can be made and put in its place. Both calls block."""

    @abc.abstractmethod
    def copy(self) -> None:
        """Keep what is stored now; workers and clients may be connected."""

    @abc.abstractmethod
    def go_back(self) -> None:
        """What has been stored since the copy is lost."""


class CopiedServer(Copied):
    """A server's data directory.

    Args:
        server: Running; it is stopped for a moment by both calls.
        data: Where its data is.
    """

    def __init__(self, server: Server, data: Path) -> None:
        self._server = server
        self._data = data
        self._copy = data.with_name(f"{data.name}-copy")

    def copy(self) -> None:
        """See above."""
        self._server.stop()
        shutil.rmtree(self._copy, ignore_errors=True)
        _copy_tree(self._data, self._copy)
        self._server.start()

    def go_back(self) -> None:
        """See above; the server ends as in a crash."""
        self._server.kill9()
        shutil.rmtree(self._data)
        _copy_tree(self._copy, self._data)
        self._server.start()


class CopiedFile(Copied):
    """An SQLite file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._copy = path.with_name(f"{path.name}-copy")

    def copy(self) -> None:
        """See above."""
        self._copy.unlink(missing_ok=True)
        with (
            contextlib.closing(sqlite3.connect(self._path)) as source,
            contextlib.closing(sqlite3.connect(self._copy)) as target,
        ):
            source.backup(target)

    def go_back(self) -> None:
        """See above; the log and its index go with the file that they belong to."""
        restored = self._path.with_name("restored")
        shutil.copyfile(self._copy, restored)
        for name in ("-wal", "-shm"):
            self._path.with_name(self._path.name + name).unlink(missing_ok=True)
        restored.replace(self._path)


def _copy_tree(source: Path, target: Path) -> None:
    """Copy a directory with its owners and rights: a server runs as a user of its own."""
    shutil.copytree(source, target, copy_function=shutil.copy2)
    for path in (source, *source.rglob("*")):
        found, copy = path.stat(), target / path.relative_to(source)
        copy.chmod(found.st_mode)
        with contextlib.suppress(PermissionError):
            shutil.chown(copy, found.st_uid, found.st_gid)
