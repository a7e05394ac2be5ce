"""Postgres behind PgBouncer: everything works; in transaction mode hints are polled for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotmesh.backends.registry import backend_for
from hotmesh.exceptions import InvalidArgumentError
from scenario.test_databases import at_work, go_on
from support.pgbouncer import PgBouncerServer

pytestmark = pytest.mark.timeout(170)


@pytest.fixture
def session_pooler(postgres_url: str) -> Iterator[PgBouncerServer]:
    """In front of an empty database, each client with a server of its own."""
    with contextlib.closing(PgBouncerServer(postgres_url, "session")) as server:
        server.start()
        yield server


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[PgBouncerServer]:
    """In front of an empty database."""
    with contextlib.closing(PgBouncerServer(postgres_url)) as server:
        server.start()
        yield server


def polls(log: Path) -> int:
    """How often the workers have said that they poll for hints."""
    return log.with_suffix(".err").read_text().count("LISTEN does not work")


@pytest.mark.parametrize("query", ["", "?pooler=0"])
async def test_in_session_mode_it_is_as_if_nobody_was_in_between(
    session_pooler: PgBouncerServer, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    backends = [backend_for(session_pooler.url + query) for _ in range(2)]
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    for backend in backends:
        await backend.connect()
    await backends[0].listen("lanes:1", heard.put_nowait)
    await backends[1].notify([("lanes:1", "said")])
    async with asyncio.timeout(10):
        while await heard.get() != "said":
            pass
    for backend in backends:
        await backend.close()
    assert "LISTEN does not work" not in caplog.text


async def test_what_a_pooler_does_not_take_is_refused_by_name(pooler: PgBouncerServer) -> None:
    backend = backend_for(f"{pooler.url}?search_path=x")
    with pytest.raises(InvalidArgumentError, match=r"'search_path'.*pooler"):
        await backend.connect()


async def test_workers_behind_a_pooler(pooler: PgBouncerServer, tmp_path: Path) -> None:
    """They find out by themselves, and each says it once; two restarts of the pooler later too."""
    async with at_work(pooler.url, tmp_path) as (client, trees, workers):
        for _ in range(2):
            await asyncio.to_thread(pooler.restart, kill9=True)
            await go_on(client, trees)
    assert polls(workers.log) == 2
