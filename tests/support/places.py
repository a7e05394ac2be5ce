"""A fresh, empty place for one test in each database: what `database_url` hands out."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis


@contextlib.contextmanager
def sqlite_place(directory: Path) -> Iterator[str]:
    """A new database file in `directory`."""
    yield f"sqlite:///{directory / 'hotmesh.db'}"


@contextlib.contextmanager
def postgres_place(server_url: str) -> Iterator[str]:
    """A new database on the server, dropped afterwards along with its sessions."""
    name = f"test_{uuid.uuid4().hex}"
    _run_apart(lambda: _execute(server_url, f"CREATE DATABASE {name}"))
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        _run_apart(lambda: _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)"))


@contextlib.contextmanager
def redis_place(server_url: str) -> Iterator[str]:
    """A new key prefix on the server or cluster, whose keys are deleted afterwards."""
    prefix = f"test-{uuid.uuid4().hex}"
    query = urlsplit(server_url).query
    joined = f"{query}&prefix={prefix}" if query else f"prefix={prefix}"
    try:
        yield urlunsplit(urlsplit(server_url)._replace(query=joined))
    finally:
        delete_redis_keys(server_url, prefix)


def delete_redis_keys(server_url: str, prefix: str) -> None:
    """Delete every key with `prefix` in it, on each master where the server is a cluster."""
    for url in _master_urls(server_url):
        with redis.Redis.from_url(url) as node:
            for key in node.scan_iter(match=f"*{prefix}*", count=1000):
                node.unlink(key)


def _master_urls(server_url: str) -> list[str]:
    """The URLs of all masters: one, unless the server is part of a cluster."""
    with redis.Redis.from_url(server_url) as node:
        if node.info("cluster")["cluster_enabled"] == 0:
            return [server_url]
        masters = [
            address
            for address, facts in node.execute_command("CLUSTER NODES").items()
            if "master" in facts["flags"]
        ]
    return [urlunsplit(urlsplit(server_url)._replace(netloc=address)) for address in masters]


async def _execute(url: str, statement: str) -> None:
    session = await asyncpg.connect(url)
    try:
        await session.execute(statement)
    finally:
        await session.close()


def _run_apart(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` on a loop in a thread of its own: the test's loop is not to be disturbed."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
