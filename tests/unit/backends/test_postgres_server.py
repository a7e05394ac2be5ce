"""What only Postgres can do wrong: lost connections, late commits, plans, old schemas, poolers."""

import asyncio
import contextlib
import os
import time
import zlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from hotmesh.backends.postgres import PostgresBackend
from hotmesh.backends.postgres.schema import SCHEMA_VERSION
from hotmesh.backends.postgres.session import PostgresSession
from hotmesh.backends.protocol import MessageKind, Registration, SendItem, StartItem, Step
from hotmesh.exceptions import (
    BackendAccessError,
    BackendError,
    BackendUnavailableError,
    SchemaVersionError,
)
from servers import PostgresServer

ROUTER = b"router-1"


def start_item(lane: int, workflow_id: str, run_id: bytes | None = None) -> StartItem:
    return StartItem(
        "default",
        workflow_id,
        run_id or time.time_ns().to_bytes(8) + os.urandom(8),
        "Flow",
        lane,
        1,
        1,
        0,
        -1,
        b"",
        b"[]",
        b"start",
        (),
        (),
    )


class Place:
    """A backend with one router that owns every lane, and a connection to look from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.backend = PostgresBackend(url)
        self.lanes: list[int] = []

    async def open(self) -> None:
        await self.backend.connect()
        queue = await self.backend.queue_id("default", "work")
        await self.join(queue)

    async def join(self, queue: int) -> None:
        beat = await self.backend.beat(Registration(ROUTER, "default", queue, True, 60_000, b"{}"))
        self.lanes = list(beat.lanes)
        self.session: PostgresSession = await self.backend.session("default", ROUTER, 5_000)
        self.outside = await asyncpg.connect(self.url)

    def lane(self, workflow_id: str) -> int:
        return self.lanes[0] + zlib.crc32(workflow_id.encode()) % 64

    async def start(self, *workflow_ids: str) -> list[bytes]:
        items = [start_item(self.lane(name), name) for name in workflow_ids]
        return [outcome.run_id for outcome in await self.backend.start(items)]

    def step(self, room: int = 500) -> Step:
        return Step(ROUTER, lanes=self.lanes, room=room)

    async def frames(self) -> list[object]:
        return [row[3] for row in (await self.session.step(self.step())).messages]

    async def cut_connections(self) -> None:
        await self.outside.fetch(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )

    async def close(self) -> None:
        await self.outside.close()
        await self.session.close()
        await self.backend.close()


@pytest.fixture
async def place(postgres_url: str) -> AsyncIterator[Place]:
    place = Place(postgres_url)
    await place.open()
    yield place
    await place.close()


async def test_a_message_that_is_committed_late_is_read(place: Place) -> None:
    (run_id,) = await place.start("one")
    assert await place.frames() == [b"start"]
    insert = "insert into hotmesh.stream (lane, kind, run_id, frame) values ($1, 2, $2, $3)"
    lane = place.lane("one")
    async with place.outside.transaction():
        await place.outside.execute("select pg_current_xact_id()")
        await place.outside.execute(insert, lane, run_id, b"late")
        item = SendItem("default", "one", b"", MessageKind.RESULT, b"early", False)
        await place.backend.send([item])
        assert await place.frames() == [b"early"]
        assert await place.frames() == []
    assert await place.frames() == [b"late"]
    assert await place.frames() == []


async def test_a_step_on_a_cut_connection_fails_and_the_next_reads_all_again(place: Place) -> None:
    await place.start("one")
    assert await place.frames() == [b"start"]
    lock_key = await place.outside.fetchval("select lock_key from hotmesh.router")
    await place.outside.execute("select pg_advisory_lock($1)", lock_key)
    step = asyncio.create_task(place.frames())
    while not await place.outside.fetchval(
        "select count(*) from pg_stat_activity where wait_event = 'advisory'"
    ):
        pass
    await place.cut_connections()
    with pytest.raises(BackendUnavailableError):
        await step
    await place.outside.execute("select pg_advisory_unlock($1)", lock_key)
    assert await place.frames() == [b"start"]


async def test_calls_of_clients_survive_a_cut_connection(place: Place) -> None:
    for workflow_id in ("one", "two"):
        await place.cut_connections()
        (run_id,) = await place.start(workflow_id)
    item = SendItem("default", "two", b"", MessageKind.EVENT, b"signal", False)
    await place.cut_connections()
    assert (await place.backend.send([item]))[0].run_id == run_id
    await place.cut_connections()
    assert await place.backend.results("default", [run_id]) == []


async def test_listeners_are_told_to_look_when_the_connection_was_cut(place: Place) -> None:
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    await place.backend.listen("lanes:1", heard.put_nowait)
    await place.backend.notify([("lanes:1", "64")])
    while await heard.get() != "64":
        pass
    await place.cut_connections()
    assert await heard.get() is None
    with contextlib.suppress(BackendUnavailableError):  # its connection was cut as well
        await place.backend.notify([("lanes:1", "65")])
    await place.backend.notify([("lanes:1", "66")])
    while await heard.get() != "66":
        pass


async def test_a_restarted_server_is_found_again(
    restartable_postgres: PostgresServer, restartable_postgres_url: str
) -> None:
    place = Place(restartable_postgres_url)
    await place.open()
    (run_id,) = await place.start("one")
    assert await place.frames() == [b"start"]
    restartable_postgres.kill9()
    restartable_postgres.restart()
    found = await place.backend.find([("default", "one", b"")])
    assert found[0] is not None
    assert found[0].run_id == run_id
    with pytest.raises(BackendUnavailableError, match="was replaced"):
        await place.frames()
    assert await place.frames() == [b"start"]
    place.outside.terminate()
    await place.close()


async def test_the_reason_is_given_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotmesh.backends.postgres.link.CONNECT_PATIENCE_S", 0)
    backend = PostgresBackend("postgresql://user:secret@127.0.0.1:1/app")
    with pytest.raises(BackendUnavailableError, match=r"user:\*\*\*@127.0.0.1:1/app is not"):
        await backend.connect()


async def test_a_wrong_database_is_reported_at_once(postgres_url: str) -> None:
    with pytest.raises(BackendAccessError, match="does not exist"):
        await PostgresBackend(f"{postgres_url}_absent").connect()


async def test_closing_updates_stay_heap_only(place: Place) -> None:
    run_ids = sorted(await place.start(*(f"workflow-{i}" for i in range(400))))
    step = place.step()
    step.close_run = run_ids
    step.close_lane = [0] * 400
    step.close_status = [2] * 400
    step.close_result = [b"a result"] * 400
    step.close_waits = [False] * 400
    async with place.outside.transaction():
        await run_step(place, step)
        updates = await place.outside.fetchrow(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_xact_user_tables where relname = 'run'"
        )
    updated, heap_only = updates
    assert updated == 400
    assert heap_only >= 380


async def run_step(place: Place, step: Step) -> None:
    """Run a step's statement on the outside connection, whose statistics can be looked at."""
    real = place.session._link._connection  # type: ignore[attr-defined]
    place.session._link._connection = place.outside  # type: ignore[attr-defined]
    try:
        reply = await place.session.step(step)
        assert not reply.fenced
    finally:
        place.session._link._connection = real  # type: ignore[attr-defined]


async def test_steps_probe_indexes_even_when_tables_are_thought_empty(place: Place) -> None:
    await place.outside.execute("vacuum analyze")  # of empty tables
    await place.start(*(f"workflow-{i}" for i in range(300)))
    messages = (await place.session.step(place.step())).messages
    step = place.step(room=10)
    step.ack_lane = [row[1] for row in messages[:20]]
    step.ack_id = [row[0] for row in messages[:20]]
    step.close_run = sorted(row[2] for row in messages[:20])
    step.close_lane = step.ack_lane
    step.close_status = [2] * 20
    step.close_result = [b""] * 20
    step.close_waits = [False] * 20
    async with place.outside.transaction():
        await run_step(place, step)
        touched = await place.outside.fetch(
            "select relname, seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables "
            "where relname in ('stream', 'run')"
        )
    assert {name: count < 100 for name, count in touched} == {"stream": True, "run": True}


async def test_routers_that_close_runs_and_send_to_each_others_do_not_deadlock(
    place: Place,
) -> None:
    names = [f"workflow-{i}" for i in range(40)]
    run_ids = dict(zip(names, await place.start(*names), strict=True))
    other = await place.backend.session("default", ROUTER, 5_000)

    def crossing(closed: list[str], told: list[str]) -> Step:
        step = Step(ROUTER)
        step.close_run = [run_ids[name] for name in closed]
        step.close_lane = [place.lane(name) for name in closed]
        step.close_status = [2] * len(closed)
        step.close_result = [b""] * len(closed)
        step.close_waits = [False] * len(closed)
        step.sends = [SendItem("default", name, b"", 2, b"hello", False) for name in told]
        return step

    await asyncio.gather(
        place.session.step(crossing(names[:20], names[20:])),
        other.step(crossing(names[20:][::-1], names[:20][::-1])),
    )
    await other.close()
    closed = await place.backend.results("default", list(run_ids.values()))
    assert len(closed) == 40
    deadlocks = await place.outside.fetchval(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    assert deadlocks == 0


async def test_a_mistake_in_a_call_is_not_taken_for_a_lost_connection(place: Place) -> None:
    with pytest.raises(BackendError, match="start") as caught:
        await place.start("a workflow id with \0 in it")
    assert not isinstance(caught.value, BackendUnavailableError)


async def test_schemas_of_one_database_are_apart(place: Place) -> None:
    await place.start("one")
    other = PostgresBackend(f"{place.url}?schema=second")
    await other.connect()
    assert await other.find([("default", "one", b"")]) == [None]
    assert await other.routers("default") == []
    assert await other.queue_id("default", "work") == await place.backend.queue_id(
        "default", "work"
    )
    await other.close()


async def test_a_newer_schema_is_refused(place: Place) -> None:
    await place.outside.execute("update hotmesh.meta set version = $1", SCHEMA_VERSION + 1)
    with pytest.raises(SchemaVersionError, match=str(SCHEMA_VERSION + 1)):
        await PostgresBackend(place.url).connect()


async def test_everything_but_listen_works_without_prepared_statements(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    place = Place(postgres_url)
    place.backend = PostgresBackend(f"{postgres_url}?pooler=1")
    await place.open()
    heard: asyncio.Queue[str | None] = asyncio.Queue()
    await place.backend.listen("lanes:1", heard.put_nowait)
    await place.backend.listen("tasks:1", heard.put_nowait)
    assert await heard.get() is None
    assert sum("pooler" in record.message for record in caplog.records) == 1
    await place.start("one")
    assert await place.frames() == [b"start"]
    assert await place.frames() == []
    prepared = await place.outside.fetchval("select count(*) from pg_prepared_statements")
    assert prepared <= 1
    await place.close()
