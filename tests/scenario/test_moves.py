"""kill -9 in the midst of a move between queues: no run is lost, and nothing is left over."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hotmesh.client import Client, WorkflowHandle
from hotmesh.client._check import check
from support.running import eventually

APP = Path(__file__).with_name("moving_app.py")
LEASE_S = "1.0"
RUNS = 12
SIGNALS = 3
TASK_QUEUE = "moves"

Process = asyncio.subprocess.Process


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    """A client that outlives every worker."""
    async with await Client.connect(database_url) as connected:
        yield connected


class Workers:
    """Processes of one test."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._processes: list[Process] = []

    async def add(self, type_name: str, when: str = "never") -> Process:
        """One that has joined; one that is to die may have done so by then."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(APP), self._url, LEASE_S, type_name, when),
            stdout=asyncio.subprocess.PIPE,
        )
        self._processes.append(process)
        assert process.stdout is not None
        said = await process.stdout.readline()
        assert said == b"ready\n" or (said == b"" and when != "never")
        return process

    async def end(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@pytest.fixture
async def workers(database_url: str) -> AsyncIterator[Workers]:
    """No workers yet; those that are left are killed in the end."""
    found = Workers(database_url)
    yield found
    await found.end()


async def started(client: Client) -> list[WorkflowHandle]:
    """Runs with signals that wait; children come with the parents."""
    entries = [
        await client.start_workflow("Entries", SIGNALS, id=f"e{n}", task_queue=TASK_QUEUE)
        for n in range(RUNS)
    ]
    for number in range(SIGNALS - 1):
        await asyncio.gather(*(each.signal("enter", number) for each in entries))
    parents = [
        await client.start_workflow("Parent", id=f"p{n}", task_queue=TASK_QUEUE)
        for n in range(RUNS)
    ]
    return [*entries, *parents]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_worker_that_dies_in_mid_move(client: Client, workers: Workers, when: str) -> None:
    victim = await workers.add("Parent", when)
    handles = await started(client)
    assert await asyncio.wait_for(victim.wait(), 20) == -signal.SIGKILL
    assert await lost_work(client) == []

    await workers.add("Entries", when)
    await workers.add("Parent")
    for handle in handles[:RUNS]:
        await handle.signal("enter", SIGNALS - 1)
    await workers.add("Entries")
    results = await asyncio.wait_for(asyncio.gather(*(each.result() for each in handles)), 30)
    assert results == [list(range(SIGNALS))] * RUNS + [[7]] * RUNS
    abandoned = [client.get_workflow_handle(f"p{n}-abandoned") for n in range(RUNS)]
    await asyncio.gather(*(each.signal("enter", 8) for each in abandoned))
    assert await asyncio.gather(*(each.result() for each in abandoned)) == [[8]] * RUNS

    async def nothing_waits() -> bool:
        return await left_over(client) == 0

    await eventually(nothing_waits, "no lane, side queues' among them, has anything left")
    assert await lost_work(client) == []


async def lost_work(client: Client) -> list[str]:
    """What `hotmesh check` finds, but for runs that nobody hosts just then: workers were killed."""
    found = await check(client.backend, client.namespace, pause_s=0.1)
    return [each.what for each in found if not each.what.startswith("no live worker")]


async def left_over(client: Client) -> int:
    """Rows that wait in the whole namespace."""
    count, cursor = 0, b""
    while True:
        rows, cursor = await client.backend.pending(client.namespace, cursor, 500)
        count += len(rows)
        if not cursor:
            return count
