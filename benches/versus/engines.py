"""The engines, and the servers that they need."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hotmesh

START_SECONDS = 60.0

Place = Callable[[dict[str, str]], contextlib.AbstractContextManager[str]]
"""Starts what an engine needs, given the URLs of the databases; yields its URL."""


@dataclass(frozen=True)
class Engine:
    """One that is measured."""

    name: str
    program: str
    package: str
    place: Place
    one: int
    """Workflows of one step to run: more for the faster ones."""
    ten: int

    @property
    def version(self) -> str:
        """Of its Python package."""
        return hotmesh.__version__ if self.package == "hotmesh" else version(self.package)


def _database(kind: str) -> Place:
    @contextlib.contextmanager
    def place(urls: dict[str, str]) -> Iterator[str]:
        yield urls[kind]

    return place


@contextlib.contextmanager
def _absurd(urls: dict[str, str]) -> Iterator[str]:
    program = str(Path(sys.executable).with_name("absurdctl"))
    environment = {**os.environ, "ABSURD_DATABASE_URL": urls["postgres"]}
    words = [program, "init"]
    subprocess.run(words, env=environment, check=True, stdout=subprocess.DEVNULL)
    yield urls["postgres"]


@contextlib.contextmanager
def _temporal(urls: dict[str, str]) -> Iterator[str]:
    del urls
    port = free_port()
    words = ["--headless", "--ip", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    program = str(Path(sys.executable).with_name("temporal"))
    with _process([program, "server", "start-dev", *words], {}):
        _wait_for_port(port)
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _restate(urls: dict[str, str]) -> Iterator[str]:
    del urls
    program = os.environ.get("RESTATE_SERVER") or shutil.which("restate-server")
    if program is None:
        raise SystemExit("Set RESTATE_SERVER to the restate-server of @restatedev/restate-server")
    ingress, admin, node, service = (free_port() for _ in range(4))
    with tempfile.TemporaryDirectory(prefix="restate-") as folder:
        environment = {
            "RESTATE_BASE_DIR": folder,
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(node),
            "RESTATE_INGRESS__BIND_PORT": str(ingress),
            "RESTATE_ADMIN__BIND_PORT": str(admin),
            "RESTATE_LOG_FILTER": "error",
        }
        with _process([program, "--no-logo"], environment):
            _wait_for_health(f"http://127.0.0.1:{admin}/health")
            places = (ingress, admin, service)
            yield ",".join(f"http://127.0.0.1:{port}" for port in places)


ENGINES = [
    Engine("HotMesh, Postgres", "hotmesh", "hotmesh", _database("postgres"), 8000, 2000),
    Engine("HotMesh, Redis", "hotmesh", "hotmesh", _database("redis"), 8000, 2000),
    Engine("HotMesh, SQLite", "hotmesh", "hotmesh", _database("sqlite"), 8000, 2000),
    Engine("Restate", "restate", "restate-sdk", _restate, 2000, 500),
    Engine("Absurd, Postgres", "absurd", "absurd-sdk", _absurd, 1000, 200),
    Engine("DBOS, Postgres", "dbos", "dbos", _database("postgres"), 1000, 150),
    Engine("Temporal dev server", "temporal", "temporalio", _temporal, 500, 100),
]


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def _process(words: list[str], environment: dict[str, str]) -> Iterator[None]:
    process: Any = subprocess.Popen(
        words,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(port: int) -> None:
    def look() -> None:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()

    _wait(look)


def _wait_for_health(url: str) -> None:
    def look() -> None:
        urllib.request.urlopen(url, timeout=1).close()

    _wait(look)


def _wait(look: Callable[[], None]) -> None:
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            look()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
