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


TIMES_USED_MAX = 40
"""How often a Postgres database is emptied before it is dropped: its catalog grows."""

_empty: dict[str, list[tuple[str, int]]] = {}
"""Emptied databases by their server's URL, and how often each was used."""

_EMPTIED = """
DO $$
DECLARE name text;
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR name IN SELECT nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
END $$
"""

_CHANGED = """
SELECT 1 FROM pg_database d WHERE d.datname = current_database() AND (
    d.datconnlimit <> -1 OR d.datacl IS NOT NULL OR EXISTS (SELECT FROM pg_default_acl)
    OR EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
    OR EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace))
"""


@contextlib.contextmanager
def postgres_place(server_url: str) -> Iterator[str]:
    """An empty database on the server, emptied afterwards along with its sessions.

    To make and drop one takes longer than most tests, so they are used again, unless a test has
    changed more than its schemas.
    """
    waiting = _empty.setdefault(server_url, [])
    name, used = waiting.pop() if waiting else (f"test_{uuid.uuid4().hex}", 0)
    if not used:
        _run_apart(lambda: _execute(server_url, f"CREATE DATABASE {name}"))
    url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    is_empty = False
    try:
        yield url
        is_empty = used + 1 < TIMES_USED_MAX and _is_emptied(url)
    finally:
        if is_empty:
            waiting.append((name, used + 1))
        else:
            drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
            _run_apart(lambda: _execute(server_url, drop))


def drop_postgres_places(server_url: str) -> None:
    """Drop what was kept to be used again."""
    for name, _ in _empty.pop(server_url, ()):
        drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
        _run_apart(lambda drop=drop: _execute(server_url, drop))


def _is_emptied(url: str) -> bool:
    """Whether a database could be emptied, and is as it was when it was made."""
    left: list[bool] = []

    async def empty() -> None:
        try:
            session = await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError):
            return  # the test has renamed it, or closed it to connections
        try:
            await session.execute(_EMPTIED)
            left.append(await session.fetchval(_CHANGED) is None)
        finally:
            await session.close()

    _run_apart(empty)
    return left == [True]


@contextlib.contextmanager
def redis_place(server_url: str, *, keep: bool = False) -> Iterator[str]:
    """A new key prefix on the server or cluster, whose keys are deleted afterwards.

    Args:
        server_url: The server.
        keep: Leave the keys: the server is deleted as a whole.
    """
    prefix = f"test-{uuid.uuid4().hex}"
    query = urlsplit(server_url).query
    joined = f"{query}&prefix={prefix}" if query else f"prefix={prefix}"
    try:
        yield urlunsplit(urlsplit(server_url)._replace(query=joined))
    finally:
        if not keep:
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
