"""Every column of every table that is nobody's run, damaged under a live worker: runs finish."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
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
from support.neighbours import Neighbour, neighbours_finish
from support.places import postgres_place, redis_place, sqlite_place
from support.running import SOON, eventually, start, working
from support.table_flips import GLOBAL_KINDS, all_columns, damage, documented_kinds, put_rare

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
    """Columns of several tables at a time, but one of each."""
    columns = await all_there_is(place)
    alone = [[column] for column in columns if column in REFUSES]
    tables: dict[str, list[Column]] = {}
    for column in columns:
        if column not in REFUSES:
            tables.setdefault(column[0], []).append(column)
    beside = itertools.zip_longest(*tables.values())
    await in_turns(place, alone + [[each for each in group if each] for group in beside])


@pytest.mark.full
async def test_a_damaged_column_stops_no_worker(place: Place) -> None:
    """Each column alone: what one hides, others don't."""
    await in_turns(place, [[column] for column in await all_there_is(place)])


async def in_turns(place: Place, groups: Sequence[Sequence[Column]]) -> None:
    """Damage each group of columns in a place of its own, some at a time."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(columns: Sequence[Column]) -> None:
        async with turns, _Entered(place("-".join(columns[0]))) as url:
            try:
                await goes_on_without(url, columns)
            except BaseException as error:
                error.add_note(f"while damaged: {columns}")
                raise

    await asyncio.gather(*map(one, groups))


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
    return [column for column in columns if column[0] not in RUNS]


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
    unhosted = await start(client, "Unhosted", bytes(ROPE_BYTES))  # SQLite has it in pieces
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
    await unhosted.signal("large", bytes(ROPE_BYTES))  # Redis has its frame apart
    await put_rare(url)


async def goes_on_without(url: str, columns: Sequence[Column]) -> None:
    """Damage columns; the live worker, and those that begin later, have runs finish."""
    refuses = not REFUSES.isdisjoint(columns)
    refused = pytest.raises(HotMeshError) if refuses else contextlib.nullcontext()
    started = False
    with contextlib.suppress(HotMeshError) if refuses else contextlib.nullcontext():
        async with await Client.connect(url) as client, hosting(client):
            await fill(client, url)
            started = True
            for column in columns:
                assert await damage(url, column) > 0, column
            await asyncio.sleep(BEAT_S)
            await neighbours_finish(client)
    assert started
    with refused:
        async with await Client.connect(url) as client, hosting(client):
            await neighbours_finish(client)
