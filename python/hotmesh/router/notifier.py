"""Wake-up hints, gathered while the last ones are on their way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from hotmesh.backends.protocol import Backend
from hotmesh.exceptions import HotMeshError
from hotmesh.limits import EVENT_BYTES_MAX, LANES_PER_QUEUE

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""How long a router that goes waits for its last hints to be sent."""

_IDS_PER_HINT = EVENT_BYTES_MAX // 33


class Notifier:
    """Sends hints beside the commits, never inside one, and never waits for a full batch."""

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._backend = backend
        self._done_channel = f"done:{namespace}"
        self._lanes: dict[int, int] = {}
        """Queue id → bit mask of the lanes that have messages."""
        self._tasks: dict[int, str] = {}
        self._done: list[bytes] = []
        self._routers: set[int] = set()
        self._task: asyncio.Task[None] | None = None

    def lanes(self, lanes: Iterable[int]) -> None:
        """These lanes have new messages."""
        for lane in lanes:
            queue_id, number = divmod(lane, LANES_PER_QUEUE)
            self._lanes[queue_id] = self._lanes.get(queue_id, 0) | 1 << number
        self._kick()

    def tasks(self, queue_id: int, payload: str = "") -> None:
        """This queue has new activity tasks (payload "c": cancellations to look for)."""
        self._tasks[queue_id] = self._tasks.get(queue_id, "") or payload
        self._kick()

    def routers(self, queue_id: int) -> None:
        """Lanes of this queue are free, or routers have come or gone."""
        self._routers.add(queue_id)
        self._kick()

    def done(self, ids: Iterable[bytes]) -> None:
        """These runs have closed, or replies been written."""
        self._done.extend(ids)
        self._kick()

    def _kick(self) -> None:
        if self._task is None and self._has_any():
            self._task = asyncio.get_running_loop().create_task(self._send())

    def _has_any(self) -> bool:
        return bool(self._lanes or self._tasks or self._done or self._routers)

    async def _send(self) -> None:
        try:
            while self._has_any():
                await self._backend.notify(self._take())
        except HotMeshError as error:
            # Hints carry no truth: whoever waits looks by itself after a while.
            logger.debug("wake-up hints were not sent: %s", error)
        finally:
            self._task = None

    def _take(self) -> list[tuple[str, str]]:
        hints = [(f"lanes:{queue_id}", f"{mask:x}") for queue_id, mask in self._lanes.items()]
        hints += [(f"tasks:{queue_id}", payload) for queue_id, payload in self._tasks.items()]
        hints += [(f"routers:{queue_id}", "") for queue_id in self._routers]
        for at in range(0, len(self._done), _IDS_PER_HINT):
            ids = ",".join(each.hex() for each in self._done[at : at + _IDS_PER_HINT])
            hints.append((self._done_channel, ids))
        self._lanes, self._tasks, self._done, self._routers = {}, {}, [], set()
        return hints

    async def close(self) -> None:
        """Send what is left, unless that takes long."""
        task = self._task
        if task is not None:
            _, late = await asyncio.wait([task], timeout=CLOSE_SECONDS)
            for each in late:
                each.cancel()
