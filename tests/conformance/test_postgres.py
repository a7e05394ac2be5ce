"""What only Postgres can get wrong: transactions that end late, in another order, or not at all."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from conformance.mesh import Mesh, Router, task_columns, until
from conformance.test_standing_down import BEGUN, held, stand_down
from hotmesh.backends.postgres.address import parse_address
from hotmesh.backends.postgres.large import LARGE_BYTES, PIECE_BYTES
from hotmesh.backends.postgres.link import Link
from hotmesh.backends.protocol import LOST
from hotmesh.core.rope import Rope
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


def largest(value: object) -> int:
    """Bytes of the largest value in arguments or rows."""
    if isinstance(value, (list, tuple, asyncpg.Record)):
        return max(map(largest, value), default=0)
    return len(value) if isinstance(value, (bytes, memoryview, Rope)) else 0


async def test_no_large_value_is_in_the_drivers_hands(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, writers: list[Any]
) -> None:
    """It would make two or three copies of it."""
    seen: list[int] = []
    run = Link._run

    async def noting(link: Link, sql: str, arguments: tuple[object, ...]) -> Any:
        rows = await run(link, sql, arguments)
        seen.append(max(largest(arguments), largest(list(rows))))
        return rows

    monkeypatch.setattr(Link, "_run", noting)
    large = os.urandom(3 * LARGE_BYTES)
    router = await mesh.join()
    run_id = await mesh.start("order", input=large)
    await mesh.send("order", large)
    start, event = await router.read_all(2)
    rope = Rope((b"head", large, b"tail"))
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[rope])
    (loaded,) = (await router.session.load([run_id])).runs
    (frame,) = await mesh.backend.journal("default", run_id)
    assert (start.input, event.frame, loaded.input) == (large,) * 3
    assert frame == loaded.frames[0] == bytes(rope)
    assert PIECE_BYTES <= max(seen) < 2 * PIECE_BYTES

    stale = await router.step(journal_run=[run_id], journal_seq=[2], journal_frame=[rope])
    assert stale.stale == [run_id]
    assert await writers[0].fetchval("select count(*) from hotmesh.piece") == 0


async def test_a_step_never_runs_on_another_connection_than_it_was_made_for(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the session knows of the database is not known of what that one leads to."""
    router = await mesh.join()
    run_id = await mesh.start("order")
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[b"x"])
    run = Link._run

    async def refused_first(link: Link, sql: str, arguments: tuple[object, ...]) -> Any:
        monkeypatch.setattr(Link, "_run", run)
        link.drop()  # while the call waits to be tried again
        raise asyncpg.DeadlockDetectedError("a deadlock")

    monkeypatch.setattr(Link, "_run", refused_first)
    with pytest.raises(BackendUnavailableError, match="lost between calls"):
        await router.step(journal_run=[run_id], journal_seq=[1], journal_frame=[b"y"])
    assert await mesh.backend.journal("default", run_id) == [b"x"]
    await router.commit(journal_run=[run_id], journal_seq=[1], journal_frame=[b"y"])


async def test_a_journal_gets_no_hole_where_the_content_is_restored_in_place(
    mesh: Mesh, writers: list[Any]
) -> None:
    """The connection stays, and no beat has told the router yet."""
    router = await mesh.join()
    runs = [await mesh.start(f"order-{number}") for number in range(3)]
    for seq in (0, 1):
        await router.commit(
            journal_run=runs, journal_seq=[seq] * 3, journal_frame=[f"{seq}".encode()] * 3
        )
    await router.commit(journal_run=runs[1:2], journal_seq=[2], journal_frame=[b"2"])
    await writers[0].execute("delete from hotmesh.journal where seq > 0")
    columns = {"journal_run": [runs[0]], "journal_seq": [2], "journal_frame": [b"2"]}
    assert list((await router.step(**columns)).stale) == [runs[1]]
    assert list((await router.step(**columns)).stale) == [runs[0]]
    assert await mesh.backend.journal("default", runs[0]) == [b"0"]


@pytest.mark.parametrize("lost", ["true", "number = 1"])
async def test_a_large_value_that_is_not_all_there_is_not_stored(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch, writers: list[Any], lost: str
) -> None:
    """A server that crashes, or a standby that takes over, has nothing of what was sent ahead."""
    run = Link._run

    async def losing(link: Link, sql: str, arguments: tuple[object, ...]) -> Any:
        if "hotmesh.whole" in sql:
            await writers[0].execute(f"delete from hotmesh.piece where {lost}")
        return await run(link, sql, arguments)

    router = await mesh.join()
    run_id = await mesh.start("order")
    await router.read_all(1)
    monkeypatch.setattr(Link, "_run", losing)
    with pytest.raises(BackendUnavailableError, match="sent ahead"):
        await router.commit(
            journal_run=[run_id], journal_seq=[0], journal_frame=[os.urandom(LARGE_BYTES)]
        )
    with pytest.raises(BackendUnavailableError, match="sent ahead"):
        await mesh.start("other", input=os.urandom(LARGE_BYTES))
    monkeypatch.undo()
    assert await mesh.backend.journal("default", run_id) == []
    assert await mesh.start("other") is not None


async def test_a_task_waits_for_who_ends_the_activity_just_now(
    postgres_url: str, mesh: Mesh
) -> None:
    """What has stood down and is finished, in a transaction that is not over, is not made anew."""
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await stand_down(silent, held(mesh, run_id, BEGUN))
    await other.beat()
    connection = await asyncpg.connect(postgres_url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("delete from hotmesh.task where run_id = $1", run_id)
    await connection.execute("insert into hotmesh.ended (run_id, seq) values ($1, 7)", run_id)
    making = asyncio.create_task(
        other.commit(**task_columns(mesh, run_id, "order", 7, attempt=LOST))
    )

    async def waits() -> bool:
        return await connection.fetchval(
            "select exists (select from pg_locks where not granted and transactionid is not null)"
        )

    await until(waits)
    await transaction.commit()
    await making
    await connection.close()
    reply = await other.work(room=1)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)
