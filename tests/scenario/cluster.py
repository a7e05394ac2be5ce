"""Worker processes of the fault tests, and what the store holds when all is done."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

APP = Path(__file__).with_name("fault_app.py")


class WorkerProcess:
    """One worker, to be killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, url: str, log: Path, lease: float = 1.0) -> WorkerProcess:
        """Start one; returns once it has joined (or died)."""
        with log.with_suffix(".err").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(APP),
                url,
                str(log),
                str(lease),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                env={**os.environ},
            )
        assert process.stdout is not None
        await process.stdout.readline()
        return cls(process)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def kill(self) -> None:
        """kill -9, at this very instant."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self._close()

    async def terminate(self) -> str:
        """SIGTERM; what it printed while leaving."""
        self.process.terminate()
        assert self.process.stdout is not None
        text = (await self.process.stdout.read()).decode()
        await self.process.wait()
        self._close()
        return text

    def _close(self) -> None:
        transport = getattr(self.process, "_transport", None)
        if transport is not None:
            transport.close()


class RestartingWorkers:
    """A number of workers that are killed and started again all the time."""

    def __init__(self, url: str, log: Path, count: int, seed: int, lease: float = 1.0) -> None:
        self._url = url
        self._log = log
        self._count = count
        self._random = random.Random(seed)
        self._lease = lease
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self.kills = 0

    async def __aenter__(self) -> RestartingWorkers:
        self._tasks = [asyncio.create_task(self._one()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)

    async def _one(self) -> None:
        while not self._stop.is_set():
            worker = await WorkerProcess.start(self._url, self._log, self._lease)
            lifetime = self._random.uniform(0.3, 3.0)
            try:
                await asyncio.wait_for(self._stop.wait(), lifetime)
            except asyncio.TimeoutError:
                self.kills += 1
            await worker.kill()


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
