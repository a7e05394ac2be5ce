"""Postgres behind PgBouncer in transaction mode: everything works, only hints are polled for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenario.test_databases import at_work, go_on
from support.pgbouncer import PgBouncerServer

pytestmark = pytest.mark.timeout(170)


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[PgBouncerServer]:
    """In front of an empty database."""
    with contextlib.closing(PgBouncerServer(postgres_url)) as server:
        server.start()
        yield server


def polls(log: Path) -> int:
    """How often the workers have said that they poll for hints."""
    return log.with_suffix(".err").read_text().count("LISTEN does not work")


async def test_workers_behind_a_pooler(pooler: PgBouncerServer, tmp_path: Path) -> None:
    """They find out by themselves, and each says it once; two restarts of the pooler later too."""
    async with at_work(pooler.url, tmp_path) as (client, trees, workers):
        for _ in range(2):
            await asyncio.to_thread(pooler.restart, kill9=True)
            await go_on(client, trees)
    assert polls(workers.log) == 2
