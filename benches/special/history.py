"""A database with 1,000,000 closed runs, and one beside an old transaction, against an empty one.

The closed runs are written by one set-based statement, as the engine would have left them.
"""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from measuring import median
from results import Result, figure

from special.place import Place, own_command

CLOSED = 1_000_000
COUNT = 10_000
OPEN = 1_000
WITH_HISTORY_LEAST = 0.9
WITH_OLD_TRANSACTION_LEAST = 0.5

_SQL = Path(__file__).parent / "sql"


def measure(place: Place) -> dict[str, Result]:
    """Throughput as a part of what an empty database gives."""
    count = place.many(COUNT)
    empty, full = _database(place, "bench_empty"), _database(place, "bench_full")
    try:
        place.bench("one", 20, 20, "--keep", url=full)  # makes the schema
        asyncio.run(_run(full, "fill_closed.sql", place.many(CLOSED)))
        ratios: list[float] = []
        for _ in range(place.rounds):
            without = place.bench("one", count, OPEN, "--keep", url=empty)
            filled = place.bench("one", count, OPEN, "--keep", url=full)
            ratios.append(filled["workflows_per_s"] / without["workflows_per_s"])
        old = asyncio.run(_beside_old_transaction(place, empty, count))
    finally:
        for name in ("bench_empty", "bench_full"):
            asyncio.run(_drop(place.postgres, name))
    command = own_command("history", place)
    return {
        f"history of {CLOSED:,} closed runs": figure(
            median(ratios),
            "throughput with / without",
            command,
            goal=WITH_HISTORY_LEAST,
            rounds=ratios,
            closed_runs=place.many(CLOSED),
        ),
        "history beside an old transaction": figure(
            old,
            f"throughput with one of {place.minutes:g} minutes / without",
            f"{command} --minutes {place.minutes:g}",
            goal=WITH_OLD_TRANSACTION_LEAST,
        ),
    }


async def _beside_old_transaction(place: Place, url: str, count: int) -> float:
    """Work for as long as the transaction is to be old, then measure; without it first."""

    def bench() -> float:
        return float(place.bench("one", count, OPEN, "--keep", url=url)["workflows_per_s"])

    without = await asyncio.to_thread(bench)
    old = await asyncpg.connect(url)
    try:
        transaction = old.transaction(isolation="repeatable_read")
        await transaction.start()
        await old.execute((_SQL / "look.sql").read_text())
        until = asyncio.get_running_loop().time() + place.minutes * 60
        beside = await asyncio.to_thread(bench)
        while asyncio.get_running_loop().time() < until:
            beside = await asyncio.to_thread(bench)
        await transaction.rollback()
    finally:
        await old.close()
    return beside / without


def _database(place: Place, name: str) -> str:
    asyncio.run(_drop(place.postgres, name))
    asyncio.run(_statement(place.postgres, f"create database {name}"))
    return urlunsplit(urlsplit(place.postgres)._replace(path=f"/{name}"))


async def _drop(url: str, name: str) -> None:
    await _statement(url, f"drop database if exists {name} with (force)")


async def _statement(url: str, text: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(text)
    finally:
        await connection.close()


async def _run(url: str, file: str, count: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in (_SQL / file).read_text().split(";\n"):
            if "$1" in statement:
                await connection.execute(statement, count)
            elif statement.strip():
                await connection.execute(statement)
    finally:
        await connection.close()
