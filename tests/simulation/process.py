"""A simulated process: an event loop of its own, a client, and a worker if it has one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from hotmesh.client import Client
from hotmesh.client._connection import Connection
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.worker import Worker
from simulation.clock import VirtualClock
from simulation.loop import VirtualLoop
from simulation.server import Network, SimulatedBackend, SimulatedHints

AGAIN_S = 0.2
"""Pause before a worker is started again that could not reach the database."""


class Process:
    """One process of a world; see :meth:`World.spawn`."""

    def __init__(
        self, name: str, clock: VirtualClock, network: Network, hints: SimulatedHints
    ) -> None:
        self.name = name
        self.loops = [VirtualLoop(clock)]
        self.loops.append(VirtualLoop(clock, beside=self.loops[0]))
        self.loop = self.loops[1]
        """The main thread's; the other one is that of the router's deputy."""
        self.backend = SimulatedBackend(name, network, hints)
        self.paused_until_s = 0.0
        """Until then the process does nothing at all."""
        self.tasks: list[asyncio.Task[Any]] = []
        self._stop: asyncio.Event | None = None

    def ready(self, now_s: float) -> list[VirtualLoop]:
        """The loops that have something to do at once."""
        if now_s < self.paused_until_s:
            return []
        times = [(each, each.next_turn_s()) for each in self.loops]
        return [each for each, next_s in times if next_s is not None and next_s <= now_s]

    def next_turn_s(self) -> float | None:
        """When there is next something to do."""
        times = [each.next_turn_s() for each in self.loops]
        next_s = min((each for each in times if each is not None), default=None)
        return None if next_s is None else max(next_s, self.paused_until_s)

    def connect(self) -> Client:
        """A client of the database."""
        return Client(Connection(self.backend, identity=self.name), namespace="simulated")

    def run(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin something in the process."""
        task = self.loop.create_task(work)
        self.tasks.append(task)
        return task

    def host(self, **options: Any) -> asyncio.Task[Any]:
        """Begin a worker; it works until :meth:`stop`."""
        return self.run(self._work(options))

    async def _work(self, options: dict[str, Any]) -> None:
        """As a program does that is started again when it could not begin."""
        stop = self._stop = asyncio.Event()
        client = self.connect()
        while not stop.is_set():
            worker = Worker(client, **options)
            try:
                await worker.__aenter__()
            except BackendUnavailableError:
                await asyncio.sleep(AGAIN_S)
                continue
            await stop.wait()
            await worker.__aexit__(None, None, None)

    def stop(self) -> None:
        """Ask the worker to end as on SIGTERM."""
        self.loop.call_soon(lambda: self._stop and self._stop.set())
