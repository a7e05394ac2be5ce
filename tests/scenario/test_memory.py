"""What a worker takes at most for large values: 1.5 times what its code holds, and 256 MiB.

The worker is a process of its own; what counts is by how much the most that it ever had in memory
(the kernel's VmHWM) exceeds what it had before. Nothing here goes by time.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hotmesh.client import Client
from scenario import memory_app
from scenario.memory_app import PAYLOAD_LIMIT, TASK_QUEUE, Answers, Gathers, Passes, Small, Takes

MIB = 1024 * 1024
PIECE = 19 * MIB // 10
HUGE = 90 * MIB
SPARE = 256 * MIB
SERVERS = [
    pytest.param("postgres", marks=pytest.mark.full),
    pytest.param("redis", marks=pytest.mark.full),
]


class WorkerProcess:
    """A worker, and what it has in memory."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._before = 0

    def peak(self) -> int:
        """The most that it ever had, in bytes."""
        lines = Path(f"/proc/{self._process.pid}/status").read_text("ascii").splitlines()
        (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(kib) * 1024

    def begin(self) -> None:
        """What it had until now does not count."""
        self._before = self.peak()

    def check(self, held: int) -> None:
        """It took no more than is allowed.

        Args:
            held: Bytes that workflow and activity code hold at once.
        """
        taken, allowed = self.peak() - self._before, held * 3 // 2 + SPARE
        assert taken <= allowed, f"{taken / MIB:.0f} MiB for {held / MIB:.0f} MiB of the code's own"


@contextlib.asynccontextmanager
async def worker_of(url: str) -> AsyncIterator[WorkerProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, memory_app.__file__, url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield WorkerProcess(process)
        process.stdin.close()
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


Load = Callable[[Client, int, int], Awaitable[None]]
"""Has workflows make so many values of such a size."""


async def gathered(client: Client, count: int, size: int) -> None:
    found = await client.execute_workflow(
        Gathers.run, args=[count, size], id="gathers", task_queue=TASK_QUEUE
    )
    assert found >= count * (size - 4)


def passed(to: str) -> Load:
    async def load(client: Client, count: int, size: int) -> None:
        found = await client.execute_workflow(
            Passes.run, args=[count, size, to], id="passes", task_queue=TASK_QUEUE
        )
        assert found == count * size

    return load


async def answered(client: Client, count: int, size: int) -> None:
    handle = await _answers(client, count)
    answers = await asyncio.gather(
        *(_size_of(handle.execute_update(Answers.tell, size)) for _ in range(count))
    )
    assert answers == [size] * count
    assert await handle.result() == count


async def answered_later(client: Client, count: int, size: int) -> None:
    handle = await _answers(client, count)
    async with asyncio.TaskGroup() as group:
        answers = [
            group.create_task(_size_of(handle.execute_update(Answers.tell_later, size)))
            for _ in range(count)
        ]
        while await handle.query(Answers.begun) < count:
            pass  # they are on their way
        await handle.signal(Answers.go)
    assert [each.result() for each in answers] == [size] * count
    assert await handle.result() == count


async def asked(client: Client, count: int, size: int) -> None:
    handle = await _answers(client, 1)
    answers = await asyncio.gather(
        *(_size_of(handle.query(Answers.ask, size)) for _ in range(count))
    )
    assert answers == [size] * count


async def _answers(client: Client, count: int) -> Any:
    return await client.start_workflow(Answers.run, count, id="answers", task_queue=TASK_QUEUE)


async def _size_of(answer: Awaitable[str]) -> int:
    """One is let go of before the next comes."""
    return len(await answer)


async def check_load(url: str, load: Load, count: int, size: int, held: int) -> None:
    async with worker_of(url) as worker, await _client(url) as client:
        for number in range(20):
            await client.execute_workflow(Small.run, id=f"small-{number}", task_queue=TASK_QUEUE)
        worker.begin()
        await load(client, count, size)
        worker.check(held)


async def check_waiting(url: str, kind: str, count: int, size: int) -> None:
    """Starts, or signals of one run, wait when the worker comes."""
    async with await _client(url) as client:
        if kind == "starts":
            handles = [await _start(client, number, size) for number in range(count)]
        else:
            handles = [await _answers(client, count)]
            for _ in range(count):
                await handles[0].signal(Answers.take, memory_app.text_of(size))
        async with worker_of(url) as worker:
            await asyncio.gather(*(handle.result() for handle in handles))
            worker.check(size)


async def _start(client: Client, number: int, size: int) -> Any:
    return await client.start_workflow(
        Takes.run, memory_app.text_of(size), id=f"takes-{number}", task_queue=TASK_QUEUE
    )


async def _client(url: str) -> Client:
    return await Client.connect(url, payload_limit=PAYLOAD_LIMIT)


@pytest.mark.parametrize("database_url", ["sqlite", *SERVERS], indirect=True)
@pytest.mark.parametrize(
    ("load", "count", "held"),
    [
        pytest.param(gathered, 60, 60 * PIECE, id="results of one workflow"),
        pytest.param(passed("activities"), 60, PIECE, id="arguments of activities"),
        pytest.param(passed("children"), 60, PIECE, id="arguments of children"),
        pytest.param(answered, 140, PIECE, id="answers to updates"),
        pytest.param(answered_later, 70, PIECE, id="answers to updates that waited"),
        pytest.param(asked, 100, PIECE, id="answers to queries"),
    ],
)
async def test_many_values(database_url: str, load: Load, count: int, held: int) -> None:
    await check_load(database_url, load, count, PIECE, held)


@pytest.mark.parametrize("database_url", ["sqlite", *SERVERS], indirect=True)
@pytest.mark.parametrize("kind", ["starts", "signals"])
async def test_many_that_wait(database_url: str, kind: str) -> None:
    await check_waiting(database_url, kind, 50, PIECE)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("database_url", ["sqlite", "postgres", "redis"], indirect=True)
async def test_a_few_of_90_mib(database_url: str) -> None:
    await check_waiting(database_url, "starts", 3, HUGE)
