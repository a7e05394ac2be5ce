"""What a database says it has done: CPU, log bytes, rows, round trips."""

from __future__ import annotations

import asyncio
import importlib
import time
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, urlencode

from hotmesh.backends.protocol import Backend
from hotmesh.bench import processes

STATISTICS_SECONDS = 3.0
"""How long ended Postgres backends may take to publish what they have counted."""

STATISTICS_POLL_SECONDS = 0.25

OURS = ("schema", "pooler", "prefix")
"""Parameters of URLs that no driver knows."""


@dataclass(frozen=True, slots=True)
class Use:
    """What is known at any moment; None where nobody counts."""

    cpu_s: float | None = None
    log_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What is known for sure only once all connections are closed; None where nobody counts."""

    rows: int | None = None
    """Rows inserted, updated and deleted; on Redis, commands that scripts ran."""
    round_trips: int | None = None
    """Transactions; on Redis, requests read from sockets."""


class Meter(Protocol):
    """Reads one database's counters."""

    async def use(self) -> Use:
        """Read what is known at once."""
        ...

    async def work(self) -> Work:
        """Read the rest, when it stands still."""
        ...

    async def close(self) -> None:
        """Give the connection back."""
        ...


def added(before: float | None, after: float | None) -> float | None:
    """What a counter was advanced by; None where nobody counts, or it was set back meanwhile."""
    return None if before is None or after is None or after < before else after - before


async def meter_for(backend: Backend) -> Meter:
    """The meter of a connected backend's database."""
    if backend.name == "postgres":
        return await _PostgresMeter.connect(backend.url)
    if backend.name == "redis":
        return _RedisMeter(backend.url)
    return _NoMeter()


def _for_driver(url: str) -> str:
    """A URL without the parameters that only HotMesh understands."""
    place, _, query = url.partition("?")
    theirs = [(k, v) for k, v in parse_qsl(query) if k not in OURS]
    return f"{place}?{urlencode(theirs)}" if theirs else place


class _NoMeter:
    """SQLite runs inside the client and the workers, so these count: see `worker.usage`."""

    async def use(self) -> Use:
        return Use()

    async def work(self) -> Work:
        return Work()

    async def close(self) -> None:
        pass


class _PostgresMeter:
    _LOG = "select (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"
    _WORK = """
        select tup_inserted + tup_updated + tup_deleted, xact_commit
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

    async def use(self) -> Use:
        cpu_s = None
        if self._postmaster is not None:
            cpu_s = processes.family_cpu(self._postmaster, "postgres")
        self._own += 1
        return Use(cpu_s, await self._connection.fetchval(self._LOG))

    async def work(self) -> Work:
        last = await self._counters()
        until = time.monotonic() + STATISTICS_SECONDS
        while time.monotonic() < until:
            await asyncio.sleep(STATISTICS_POLL_SECONDS)
            now = await self._counters()
            if now.rows == last.rows:
                return now
            last = now
        return last

    async def _counters(self) -> Work:
        await self._connection.execute("select pg_stat_clear_snapshot()")
        self._own += 2
        rows, transactions = await self._connection.fetchrow(self._WORK)
        return Work(int(rows), int(transactions) - self._own)

    async def close(self) -> None:
        await self._connection.close()


class _RedisMeter:
    def __init__(self, url: str) -> None:
        library: Any = importlib.import_module("redis.asyncio")
        self._redis = library.from_url(_for_driver(url))

    async def use(self) -> Use:
        facts: dict[str, Any] = await self._redis.info("all")
        cpu_s = float(facts["used_cpu_sys"]) + float(facts["used_cpu_user"])
        return Use(cpu_s, facts.get("aof_current_size"))

    async def work(self) -> Work:
        facts: dict[str, Any] = await self._redis.info("stats")
        return Work(facts["total_commands_processed"], facts.get("total_reads_processed"))

    async def close(self) -> None:
        await self._redis.aclose()
