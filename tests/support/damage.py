"""Changes stored journals behind the engine's back, in each database."""

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import asyncpg
import redis

from hotmesh.backends.redis.names import namespace_key

Change = Callable[[bytes], bytes]
"""From a frame as it was stored to what is to be found in its place."""


async def damage_journal(url: str, run_id: bytes, change: Change) -> None:
    """Change the first frame of a run."""
    if url.startswith("postgresql:"):
        await _in_postgres(url, run_id, change)
    else:
        await asyncio.to_thread(
            _in_sqlite if url.startswith("sqlite:") else _in_redis, url, run_id, change
        )


async def _in_postgres(url: str, run_id: bytes, change: Change) -> None:
    connection = await asyncpg.connect(url)
    try:
        frame = await connection.fetchval(
            "SELECT frame FROM hotmesh.journal WHERE run_id = $1 AND seq = 0", run_id
        )
        await connection.execute(
            "UPDATE hotmesh.journal SET frame = $2 WHERE run_id = $1 AND seq = 0",
            run_id,
            change(frame),
        )
    finally:
        await connection.close()


def _in_sqlite(url: str, run_id: bytes, change: Change) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        (frame,) = database.execute(
            "SELECT frame FROM journal WHERE run_id = ? AND seq = 0", (run_id,)
        ).fetchone()
        database.execute(
            "UPDATE journal SET frame = ? WHERE run_id = ? AND seq = 0", (change(frame), run_id)
        )


def _in_redis(url: str, run_id: bytes, change: Change) -> None:
    prefix = parse_qs(urlsplit(url).query)["prefix"][0]
    key = namespace_key(prefix, "default") + b"journal:" + run_id
    with redis.Redis.from_url(url.partition("?")[0]) as server:
        frame = server.lindex(key, 0)
        assert isinstance(frame, bytes)
        server.lset(key, 0, change(frame))
