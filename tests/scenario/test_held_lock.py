"""An activity whose call of C keeps the interpreter's lock for longer than the lease.

No thread of its process can renew anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hotmesh.client import Client
from scenario.holding_app import LEASE_S, TASK_QUEUE, Calls, Innocent, worker_of
from support.running import eventually, execute, start

APP = Path(__file__).with_name("holding_app.py")
SOON_S = 60.0


@contextlib.asynccontextmanager
async def process(url: str, log: Path) -> AsyncIterator[int]:
    """The worker in a process of its own; its id."""
    with log.open("wb") as errors:
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, str(APP), url), stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    assert worker.stdout is not None
    try:
        assert await worker.stdout.readline() == b"ready\n", f"see {log}"
        yield worker.pid
    finally:
        worker.kill()
        await worker.wait()


def read(file: Path) -> str:
    """What is in a file; nothing if it is not there yet."""
    return file.read_text() if file.exists() else ""


async def until_holding(notes: Path) -> None:
    async def has_begun() -> bool:
        return bool(read(notes))

    await eventually(has_begun, "the first attempt has begun", SOON_S)


def attempts(notes: Path) -> list[str]:
    """The numbers of the attempts that were made."""
    return [line.split()[0] for line in read(notes).splitlines()]


async def told(log: Path) -> None:
    """The worker's log says what happened, once it can say anything.

    It names the activity as a rule: one that is over and stored by then nobody knows any more.
    """

    async def is_there() -> bool:
        return "no Python ran in this process for" in read(log)

    await eventually(is_there, "the log tells of it", SOON_S)


@pytest.mark.parametrize("name", ["holds", "holds_in_a_thread"])
async def test_the_attempt_is_lost_to_another_worker_and_the_others_go_on(
    database_url: str, tmp_path: Path, name: str
) -> None:
    notes, log = tmp_path / "notes", tmp_path / "log"
    held_s = 8
    async with await Client.connect(database_url) as client:
        async with process(database_url, log) as pid:
            handle = await start(client, Calls.run, name, str(notes), held_s, task_queue=TASK_QUEUE)
            await until_holding(notes)
            async with worker_of(client), asyncio.timeout(SOON_S):
                innocent = [execute(client, Innocent.run, task_queue=TASK_QUEUE) for _ in range(8)]
                assert pid not in await asyncio.gather(*innocent)
                assert (await handle.result()).startswith("attempt 2 in")
                await told(log)
                # Whoever comes back changes nothing, and has work like everybody else.
                assert attempts(notes) == ["1", "2"]
                assert (await handle.result()).startswith("attempt 2 in")
        assert (await handle.describe()).pending_activities == ()


@pytest.mark.parametrize("name", ["holds", "holds_in_a_thread"])
async def test_the_result_counts_while_nobody_has_begun_the_next_attempt(
    database_url: str, tmp_path: Path, name: str
) -> None:
    notes, log = tmp_path / "notes", tmp_path / "log"
    async with await Client.connect(database_url) as client, process(database_url, log) as pid:
        handle = await start(
            client, Calls.run, name, str(notes), round(3 * LEASE_S), task_queue=TASK_QUEUE
        )
        async with asyncio.timeout(SOON_S):
            assert await handle.result() == f"attempt 1 in {pid}"
            await told(log)
            assert await execute(client, Innocent.run, task_queue=TASK_QUEUE) == pid
    assert attempts(notes) == ["1"]
