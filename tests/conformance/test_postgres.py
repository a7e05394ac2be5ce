"""What only Postgres can get wrong: transactions that end late, in another order, or not at all."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from conformance.mesh import Mesh, Router
from hotmesh.backends.postgres.address import parse_address
from hotmesh.backends.postgres.link import Link
from hotmesh.exceptions import BackendUnavailableError

BEGIN = "select pg_current_xact_id()"
PUT = "insert into hotmesh.stream (lane, kind, run_id, frame) values ($1, 1, $2, $3)"


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """An empty Postgres database."""
    return postgres_url


@pytest.fixture
async def writers(postgres_url: str) -> AsyncIterator[list[Any]]:
    """Connections for two transactions."""
    connections = [await asyncpg.connect(postgres_url) for _ in range(2)]
    yield connections
    for each in connections:
        await each.close()


@pytest.fixture
async def router(mesh: Mesh) -> Router:
    """A router that has read the start message of run "order"."""
    await mesh.start("order")
    router = await mesh.join()
    await router.acknowledge(await router.read_all(1))
    return router


async def put(mesh: Mesh, writer: Any, frame: bytes) -> None:
    """Write a message for "order"."""
    (row,) = await mesh.backend.find([("default", "order", b"")])
    assert row is not None
    await writer.execute(PUT, row.lane, row.run_id, frame)


async def test_a_message_is_read_though_its_transaction_is_the_last_to_end(
    mesh: Mesh, router: Router, writers: list[Any]
) -> None:
    """It has a smaller id than what was read meanwhile, and was written by the newest transaction:
    one that lies beyond what a snapshot knows of."""
    early, late = writers
    async with late.transaction():
        async with early.transaction():
            await early.execute(BEGIN)
            await late.execute(BEGIN)
            await put(mesh, late, b"late")
            await put(mesh, early, b"early")
        assert await router.frames(1) == [b"early"]
        for _ in range(20):
            assert await router.read() == []
    assert await router.frames(1) == [b"late"]


async def test_a_router_that_comes_while_a_message_is_written_reads_it(
    mesh: Mesh, router: Router, writers: list[Any]
) -> None:
    """That one transaction is all that goes on when the router looks for the first time."""
    router.session.forget()
    (writer, _) = writers
    async with writer.transaction():
        await writer.execute(BEGIN)
        await put(mesh, writer, b"late")
        for _ in range(20):
            assert await router.read() == []
    assert await router.frames(1) == [b"late"]


async def test_a_transaction_that_is_left_open_holds_its_locks_for_a_moment_only(
    postgres_url: str, writers: list[Any]
) -> None:
    """As that of a worker behind a pooler that is stopped between a step and its commit."""
    link = Link(parse_address(postgres_url), pooled=True)
    lock = "select pg_advisory_xact_lock(1)"

    async def leave_open() -> None:
        async with link.transaction() as connection:
            await connection.execute(lock)
            await writers[0].execute(lock)  # waits until the other's is gone

    with pytest.raises(BackendUnavailableError):
        await leave_open()
    await link.close()
