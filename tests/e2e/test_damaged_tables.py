"""Every column of every table that is nobody's run, damaged under a live worker: runs finish."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest

from hotmesh import activity, meshflow, workflow
from hotmesh.backends.protocol import MailItem
from hotmesh.client import Client, WorkflowQueryFailedError
from hotmesh.common import RetryPolicy
from hotmesh.exceptions import HotMeshError, RPCError
from hotmesh.limits import ROPE_BYTES
from support.flips import TABLES, Column
from support.places import postgres_place, redis_place, sqlite_place
from support.running import SOON, eventually, start, working
from support.table_flips import GLOBAL_KINDS, all_columns, damage, documented_kinds, put_rare

NEIGHBOURS = 40
AT_ONCE = 6
LEASE = timedelta(seconds=3)
BEAT_S = 1.2
"""Within that a live worker has looked at the rollcall."""

LATE = timedelta(seconds=50)
"""A delay that its reader's horizon does reach, so that it is told."""

RUNS = {*TABLES, "timers", "waits"}
"""Tables that ``test_damaged_rows`` is about."""

REFUSES = {
    ("state", "id"),
    ("state", "message_id"),
    ("state", "posted_timers"),
    ("state", "clock_shift_ms"),
    ("clock_shift", "value"),
    ("meta", "version"),
    ("schema", "value"),
}
"""Without these nothing can be right: whoever asks is told."""

Place = Callable[[str], AbstractContextManager[str]]


@activity.defn
async def fails_once() -> None:
    if activity.info().attempt < 2:
        raise RuntimeError("once more")


@activity.defn
async def goes_on() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.2)


@workflow.defn
class Neighbour:
    @workflow.run
    async def run(self) -> str:
        return "fine"


@workflow.defn
class Busy:
    """Has something of everything that can wait."""

    @workflow.query
    def slow(self) -> str:
        time.sleep(0.3)
        return "late"

    @workflow.run
    async def run(self) -> None:
        workflow.upsert_search_attributes({"kind": ["busy"]})
        self.waits = [
            asyncio.ensure_future(meshflow.workflow.wait_for("busy")),
            asyncio.ensure_future(asyncio.sleep(3600)),
            workflow.start_activity(
                fails_once,
                start_to_close_timeout=SOON,
                retry_policy=RetryPolicy(initial_interval=timedelta(minutes=2)),
            ),
            workflow.start_activity(
                goes_on,
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(minutes=1),
            ),
        ]
        await workflow.wait_condition(lambda: False)


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Makes an empty place on a backend."""
    if request.param == "sqlite":

        def in_a_folder(name: str) -> AbstractContextManager[str]:
            (tmp_path / name).mkdir()
            return sqlite_place(tmp_path / name)

        return in_a_folder
    server = request.getfixturevalue(f"{request.param}_server")
    make = postgres_place if request.param == "postgres" else redis_place
    return lambda name: make(server.url)


async def test_a_damaged_table_stops_no_worker(place: Place) -> None:
    columns = await all_there_is(place)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(column: Column) -> None:
        async with turns, _Entered(place("-".join(column))) as url:
            try:
                await goes_on_without(url, column)
            except BaseException as error:
                error.add_note(f"while {column} was damaged")
                raise

    await asyncio.gather(*(one(column) for column in columns if column[0] not in RUNS))


class _Entered:
    """A place, made and dropped without holding up the loop."""

    def __init__(self, place: AbstractContextManager[str]) -> None:
        self.place = place

    async def __aenter__(self) -> str:
        return await asyncio.to_thread(self.place.__enter__)

    async def __aexit__(self, *raised: object) -> None:
        await asyncio.to_thread(self.place.__exit__, None, None, None)


async def all_there_is(place: Place) -> list[Column]:
    """What can be damaged; nothing is missing that is known to be there."""
    async with (
        _Entered(place("first")) as url,
        await Client.connect(url) as client,
        hosting(client),
    ):
        await fill(client, url)
        columns = await all_columns(url)
    assert len(columns) > 60
    if url.startswith("redis"):
        assert {kind for kind, _ in columns} - GLOBAL_KINDS == documented_kinds()
    return columns


def hosting(client: Client) -> contextlib.AbstractAsyncContextManager[object]:
    return working(
        client,
        Busy,
        Neighbour,
        activities=[fails_once, goes_on],
        lease=LEASE,
        graceful_shutdown_timeout=timedelta(0),
    )


async def fill(client: Client, url: str) -> None:
    """Leave rows in every table."""
    busy = await start(client, Busy.run)
    await start(client, "Unhosted", bytes(ROPE_BYTES))  # SQLite has it in pieces
    await start(client, Neighbour.run, start_delay=LATE)
    await (await start(client, Neighbour.run, expire=timedelta(hours=1))).result()
    await client.connection.backend.mail([MailItem("default", "nobody", b"data")])
    with contextlib.suppress(RPCError, WorkflowQueryFailedError):
        await busy.query(Busy.slow, rpc_timeout=timedelta(milliseconds=100))

    async def has_retry() -> bool:
        return (await busy.describe()).raw_info.transitions >= 2

    await eventually(has_retry, "it waits for its retry")
    # The answer that nobody takes is stored, the run that nobody hosts moved.
    await asyncio.sleep(0.5)
    await put_rare(url)


async def goes_on_without(url: str, column: Column) -> None:
    """Damage a column; the live worker, and those that begin later, have runs finish."""
    refused = pytest.raises(HotMeshError) if column in REFUSES else contextlib.nullcontext()
    started = False
    with contextlib.suppress(HotMeshError) if column in REFUSES else contextlib.nullcontext():
        async with await Client.connect(url) as client, hosting(client):
            await fill(client, url)
            started = True
            assert await damage(url, column) > 0
            await asyncio.sleep(BEAT_S)
            await neighbours_finish(client)
    assert started
    with refused:
        async with await Client.connect(url) as client, hosting(client):
            await neighbours_finish(client)


async def neighbours_finish(client: Client) -> None:
    async with asyncio.timeout(3 * SOON.total_seconds()):
        handles = await asyncio.gather(*(start(client, Neighbour.run) for _ in range(NEIGHBOURS)))
        for handle in handles:
            assert await handle.result() == "fine"
