"""What a database says it has done: CPU, log bytes, rows, round trips."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, fields
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, urlencode

from hotmesh.backends.protocol import Backend
from hotmesh.bench import processes

STATISTICS_SECONDS = 3.0
"""How long Postgres may take to publish what its backends have counted."""

STATISTICS_POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters since some fixed moment; None where nobody counts."""

    cpu_s: float | None = None
    log_bytes: int | None = None
    rows: int | None = None
    """Rows inserted, updated and deleted; on Redis, commands that scripts ran."""
    round_trips: int | None = None
    """Transactions; on Redis, requests read from sockets."""

    def since(self, before: Reading) -> Reading:
        """What was added after ``before``."""
        return Reading(
            *(
                None
                if (end := getattr(self, each.name)) is None
                or (start := getattr(before, each.name)) is None
                else end - start
                for each in fields(Reading)
            )
        )


class Meter(Protocol):
    """Reads one database's counters."""

    async def read(self) -> Reading:
        """Read them now."""
        ...

    async def close(self) -> None:
        """Give the connection back."""
        ...


async def meter_for(backend: Backend) -> Meter:
    """The meter of a connected backend's database."""
    if backend.name == "postgres":
        return await _PostgresMeter.connect(backend.url)
    if backend.name == "redis":
        return _RedisMeter(backend.url)
    return _NoMeter()


def _for_driver(url: str) -> str:
    """A Postgres URL without the parameters that only HotMesh understands."""
    place, _, query = url.partition("?")
    theirs = [(k, v) for k, v in parse_qsl(query) if k not in ("schema", "pooler")]
    return f"{place}?{urlencode(theirs)}" if theirs else place


class _NoMeter:
    """SQLite runs inside the client and the workers; their own counters say everything."""

    async def read(self) -> Reading:
        return Reading()

    async def close(self) -> None:
        pass


class _PostgresMeter:
    _COUNTERS = """
        select xact_commit, tup_inserted + tup_updated + tup_deleted,
            (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint
        from pg_stat_database where datname = current_database()
    """

    def __init__(self, connection: Any, postmaster: int | None) -> None:
        self._connection = connection
        self._postmaster = postmaster
        self._own = 0
        """Transactions that the meter itself has made."""

    @classmethod
    async def connect(cls, url: str) -> _PostgresMeter:
        """Connect beside the backend."""
        import asyncpg

        connection: Any = await cast("Any", asyncpg).connect(_for_driver(url))
        backend_pid = await connection.fetchval("select pg_backend_pid()")
        meter = cls(connection, processes.parent_of(backend_pid))
        meter._own = 1
        return meter

    async def read(self) -> Reading:
        transactions, rows, log_bytes = await self._settled()
        cpu_s = None
        if self._postmaster is not None:
            cpu_s = processes.family_cpu(self._postmaster, "postgres")
        return Reading(cpu_s, log_bytes, rows, transactions - self._own)

    async def _settled(self) -> tuple[int, int, int]:
        """The counters once they stand still: backends publish them with a delay."""
        last = await self._counters()
        until = time.monotonic() + STATISTICS_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(STATISTICS_POLL_SECONDS)
            now = await self._counters()
            if now[1] == last[1]:
                return now
            last = now
        return last

    async def _counters(self) -> tuple[int, int, int]:
        await self._connection.execute("select pg_stat_clear_snapshot()")
        self._own += 2
        row = await self._connection.fetchrow(self._COUNTERS)
        return int(row[0]), int(row[1]), int(row[2])

    async def close(self) -> None:
        await self._connection.close()


class _RedisMeter:
    def __init__(self, url: str) -> None:
        import redis.asyncio

        self._redis: Any = cast("Any", redis.asyncio).from_url(url)

    async def read(self) -> Reading:
        facts: dict[str, Any] = await self._redis.info("all")
        cpu_s = float(facts["used_cpu_sys"]) + float(facts["used_cpu_user"])
        return Reading(
            cpu_s,
            int(facts["aof_current_size"]) if "aof_current_size" in facts else None,
            int(facts["total_commands_processed"]),
            int(facts["total_reads_processed"]) if "total_reads_processed" in facts else None,
        )

    async def close(self) -> None:
        await self._redis.aclose()
