"""The worker processes of a measurement, seen from the client."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from hotmesh.bench.plan import Plan
from hotmesh.bench.worker import READY
from hotmesh.exceptions import HotMeshError

READY_SECONDS = 30.0
"""How long a worker process may take to start."""

END_SECONDS = 30.0
"""How long it may take to hand over and end."""


class WorkerProcess:
    """One process. Make it with :meth:`spawn`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def spawn(cls, plan: Plan, *, activities_only: bool) -> WorkerProcess:
        """Start one.

        Raises:
            HotMeshError: It did not get ready; what it says about that is on standard error.
        """
        words = [sys.executable, "-m", "hotmesh.bench.worker", plan.to_json()]
        if activities_only:
            words.append("--activities")
        process = await asyncio.create_subprocess_exec(
            *words, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        worker = cls(process)
        try:
            line = await asyncio.wait_for(worker._line(), READY_SECONDS)
        except TimeoutError:
            line = ""
        if line != READY:
            await worker.end()
            raise HotMeshError("A worker process of the benchmark did not start")
        return worker

    async def usage(self) -> dict[str, Any]:
        """What it has used so far.

        Raises:
            HotMeshError: It has ended.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(b"usage\n")
        line = await self._line()
        if not line:
            raise HotMeshError("A worker process of the benchmark has ended by itself")
        found: dict[str, Any] = json.loads(line)
        return found

    async def end(self) -> None:
        """Let it hand over and end; by force if it takes too long."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()


class Fleet:
    """All worker processes of a plan; an asynchronous context."""

    def __init__(self, plan: Plan, *, remote: bool) -> None:
        self._plan = plan
        self._remote = remote
        self._routers: list[WorkerProcess] = []
        self._others: list[WorkerProcess] = []

    async def __aenter__(self) -> Fleet:
        try:
            for _ in range(self._plan.workers):
                self._routers.append(await WorkerProcess.spawn(self._plan, activities_only=False))
            if self._remote:
                self._others.append(await WorkerProcess.spawn(self._plan, activities_only=True))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*(each.end() for each in (*self._routers, *self._others)))

    async def usage(self) -> list[dict[str, Any]]:
        """What each has used so far, those with routers first."""
        return list(await asyncio.gather(*(w.usage() for w in (*self._routers, *self._others))))
