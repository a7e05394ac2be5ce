"""A router's deputy without a thread: a loop of its own, turned whatever holds the router's up."""

from __future__ import annotations

import asyncio
from typing import Any

from hotmesh.router.deputy import JOIN_SECONDS, Deputy

POLL_S = 0.01


class SimulatedDeputy(Deputy):
    """Looks and acts as the real one; only what waits does so on virtual time."""

    _serving: asyncio.Task[None]
    _work: Any = None
    """What the last look has found to do."""

    def start(self) -> None:
        """See the deputy's."""
        loop: Any = asyncio.get_running_loop()
        self._loop = loop
        self._on_turn()
        self._serving = loop.beside.create_task(self._look_again_and_again())

    async def stop(self) -> None:
        """See the deputy's."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        for _ in range(round(JOIN_SECONDS / POLL_S)):
            if self._serving.done():
                return
            await asyncio.sleep(POLL_S)

    async def _look_again_and_again(self) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(self._look_seconds)
            if self._stop.is_set():
                return
            self.look()
            work, self._work = self._work, None
            if work is not None:
                await self._carry_out(work, self._backend)
                self._looked = self._clock()

    def _run(self, work: Any) -> None:
        self._work = work
