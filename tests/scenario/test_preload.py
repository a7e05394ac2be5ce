"""gunicorn with --preload and Celery's pool of processes: children of a program that is loaded, and
of one that is at work."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from support.running import eventually
from tidy.tree import ROOT

CHILDREN = 2
ASKED = "7"
"""How often a child is asked before another one is forked in its place."""

AT_ONCE_S = 5.0
"""An error comes within it, however busy the machine: nothing waits for a connection or a lock."""

STOP_S = 30.0

Ask = Callable[[str], Awaitable[dict[str, Any]]]


@contextlib.contextmanager
def program(
    words: list[str], folder: Path, url: str, parent: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A server that has loaded the program; what it logs is shown if it fails."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(Path(ROOT) / "tests"), os.environ.get("PYTHONPATH", "")]
        ),
        "HOTMESH_PRELOADED_URL": url,
        "HOTMESH_PRELOADED_PARENT": parent,
        "HOTMESH_PRELOADED_FOLDER": str(folder),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=folder, env=environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield server
        assert server.poll() is None, "it ended by itself"
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_S) == 0
    except BaseException as error:
        error.add_note((folder / "log").read_text(errors="replace")[-4_000:])
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


class _Unix(http.client.HTTPConnection):
    """HTTP over a socket in a folder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


def _get(path: Path, way: str) -> dict[str, Any]:
    with contextlib.closing(_Unix(path)) as connection:
        connection.request("GET", f"/{way}")
        return json.loads(connection.getresponse().read())


@contextlib.asynccontextmanager
async def gunicorn(folder: Path, url: str, parent: str) -> Any:
    """The program under gunicorn, and how to ask it."""
    place = folder / "s"
    words = ["gunicorn", "--preload", "--workers", str(CHILDREN), "--bind", f"unix:{place}",
             "--max-requests", ASKED, "--graceful-timeout", "20", "--timeout", "60",
             "scenario.preloaded_app:app"]  # fmt: skip
    with program(words, folder, url, parent):

        async def listens() -> bool:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(place))
            except OSError:
                return False
            return True

        await eventually(listens, "gunicorn listens", STOP_S)
        yield lambda way: asyncio.to_thread(_get, place, way)


@contextlib.asynccontextmanager
async def celery(folder: Path, url: str, parent: str) -> Any:
    """The program under Celery, and how to ask it."""
    for name in ("queue", "control"):
        (folder / name).mkdir()
    words = ["celery", "-A", "scenario.preloaded_tasks", "worker", "--pool", "prefork",
             "--concurrency", str(CHILDREN), "--loglevel", "WARNING", "--without-gossip",
             "--without-mingle", "--without-heartbeat", "--max-tasks-per-child", ASKED]  # fmt: skip
    sender = Celery("sender", broker="filesystem://")
    sender.conf.broker_transport_options = {
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "control_folder": str(folder / "control"),
    }
    numbers = itertools.count()
    with program(words, folder, url, parent):

        async def ask(way: str) -> dict[str, Any]:
            number = next(numbers)
            await asyncio.to_thread(sender.send_task, "ask", [way, number])
            found = folder / f"{number}.json"

            async def answered() -> bool:
                return found.exists()

            await eventually(answered, f"{way} is answered", STOP_S)
            return json.loads(found.read_text())

        yield ask


SERVERS = {"gunicorn": gunicorn, "celery": celery}


async def ask_all(ask: Ask, way: str, said: str) -> set[int]:
    """Ask until each child has answered, all of them the same."""
    pids: set[int] = set()
    for _ in range(200):
        answers = await asyncio.gather(*(ask(way) for _ in range(CHILDREN)))
        for found in answers:
            assert found["said"] == said
            pids.add(found["pid"])
            if said == "ForkedError":
                assert found["seconds"] < AT_ONCE_S
        if len(pids) >= CHILDREN:
            return pids
    raise AssertionError(f"only {pids} answered")


@pytest.mark.parametrize("server", SERVERS)
async def test_what_is_made_before_the_fork_is_each_childs_own(
    server: str, database_url: str, tmp_path: Path
) -> None:
    async with SERVERS[server](tmp_path, database_url, "waits") as ask:
        pids = await ask_all(ask, "lazy", "hello")
        await ask_all(ask, "own", "hello")
        while pids & await ask_all(ask, "lazy", "hello"):
            pass  # children are forked in their place


@pytest.mark.parametrize("server", SERVERS)
async def test_children_of_a_program_at_work_are_told_what_is_not_theirs(
    server: str, database_url: str, tmp_path: Path
) -> None:
    async with SERVERS[server](tmp_path, database_url, "at work") as ask:
        # A SQLite file that the parent has open is the parent's: its locks are a process's.
        own = "ForkedError" if database_url.startswith("sqlite") else "hello"
        await ask_all(ask, "open", "ForkedError")
        await ask_all(ask, "own", own)
        await ask_all(ask, "parent", own)
        await ask_all(ask, "open", "ForkedError")
