"""Worker processes of the fault tests, started, paused and killed; and what they have noted."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

APP = Path(__file__).with_name("fault_app.py")

LEASE_S = 1.0
LIFETIME_S = (0.2, 2.0)
"""Shortest and longest time that a restarting worker lives after it has joined."""


class WorkerProcess:
    """One worker, to be killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, url: str, log: Path, lease: float = LEASE_S, build_id: str = "one"
    ) -> WorkerProcess:
        """Start one; returns once it has joined.

        Args:
            url: The database.
            log: Where attempts are noted; what the worker logs goes beside it (".err").
            lease: Seconds.
            build_id: What the rollcall shows.
        """
        with log.with_suffix(".err").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(APP), url, str(log), str(lease), build_id),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        assert process.stdout is not None
        try:
            joined = await process.stdout.readline()
            assert joined == b"ready\n", f"the worker has not joined: see {log.with_suffix('.err')}"
        except BaseException:  # a test that fails meanwhile must not leave it behind
            process.kill()
            raise
        return cls(process)

    def pause(self) -> None:
        """SIGSTOP: it does nothing more, and notices nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT: it goes on where it was."""
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """kill -9, at this very instant; nothing happens if it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    async def leave(self) -> None:
        """SIGTERM; it must say that it has handed everything over."""
        self._process.terminate()
        output, _ = await self._process.communicate()
        assert output == b"left\n", (output, self._process.returncode)


class Fleet:
    """The workers of one test; those that are left are killed in the end.

    Args:
        url: The database.
        log: Where attempts are noted.
    """

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self.kills = 0
        self._workers: list[WorkerProcess] = []

    async def add(self, lease: float = LEASE_S, build_id: str = "one") -> WorkerProcess:
        """Start one more."""
        worker = await WorkerProcess.start(self.url, self.log, lease, build_id)
        self._workers.append(worker)
        return worker

    async def settle(self) -> None:
        """One last worker does what is left to do, and leaves as it should."""
        await self.end()
        worker = await self.add()
        self._workers.remove(worker)
        await worker.leave()

    async def end(self) -> None:
        """Kill those that run."""
        workers, self._workers = self._workers, []
        for worker in workers:
            await worker.kill()

    @contextlib.asynccontextmanager
    async def restarting(self, count: int, seed: int) -> AsyncIterator[None]:
        """Keep so many workers, each killed and started again all the time."""
        chance = random.Random(seed)
        stop = asyncio.Event()

        async def one() -> None:
            while not stop.is_set():
                worker = await self.add()
                try:
                    await asyncio.wait_for(stop.wait(), chance.uniform(*LIFETIME_S))
                except TimeoutError:
                    self.kills += 1
                self._workers.remove(worker)
                await worker.kill()

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(one())
            try:
                yield
            finally:
                stop.set()


@contextlib.asynccontextmanager
async def fleet(url: str, log: Path) -> AsyncIterator[Fleet]:
    """A fleet that ends with the test."""
    found = Fleet(url, log)
    try:
        yield found
    finally:
        await found.end()


def attempts(log: Path) -> Counter[str]:
    """How often each (run, activity, attempt) began."""
    return Counter(log.read_text().splitlines()) if log.exists() else Counter()


def highest_attempts(log: Path) -> dict[tuple[str, str], int]:
    """The highest attempt number that began, by run and activity."""
    highest: dict[tuple[str, str], int] = {}
    for line in attempts(log):
        run_id, activity_id, attempt = line.split()
        key = (run_id, activity_id)
        highest[key] = max(highest.get(key, 0), int(attempt))
    return highest
