"""A client's link to its backend: what is written together, waited for together, and hinted.

Clients made from one another's configuration share a connection, and with it its batches.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Self

from hotmesh.backends.outgoing import Tries
from hotmesh.backends.protocol import Backend, SendItem, SendOutcome, StartItem, StartOutcome
from hotmesh.backends.registry import backend_for
from hotmesh.client._coalescer import Coalescer
from hotmesh.client._patient import PatientCalls
from hotmesh.client._waiter import Fetched, Waiter
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.forks import Guard
from hotmesh.limits import BATCH_BYTES_MAX, LANES_PER_QUEUE
from hotmesh.retrying import complain

Result = tuple[int, bytes]
"""Status and result of a closed run; status 0 says that there is no such run."""

LAST_HINTS_S = 1.0
"""How long a client that closes waits for its last hints to be sent."""

_log = logging.getLogger(__name__)


class Connection:
    """A backend with the batching that clients need. Belongs to one process and one event loop.

    Args:
        backend: The backend; opened on first use or by :meth:`open`.
        identity: Who this client says it is. Default is process id and host name.
    """

    def __init__(self, backend: Backend, *, identity: str | None = None) -> None:
        self.backend = backend
        self.identity = identity or default_identity()
        self.named_identity = identity
        """The identity if it was chosen, not made up here."""
        self.starts: Coalescer[StartItem, StartOutcome] = Coalescer(
            backend.start, Tries, self._started, _start_bytes
        )
        self.sends: Coalescer[SendItem, SendOutcome] = Coalescer(
            backend.send, Tries, self._sent, _send_bytes
        )
        self.patient = PatientCalls(backend)
        """Calls that are made again while the database can't be reached."""
        self._results: dict[str, Waiter[Result]] = {}
        self._replies: dict[str, Waiter[bytes]] = {}
        self._hints: dict[int, int] = {}
        """Queue id → bit mask of its lanes that received something."""
        self._hinting: asyncio.Task[None] | None = None
        self._opening: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard = Guard("client")
        self._open = False
        self._closed = False

    @classmethod
    def to(cls, url: str, *, identity: str | None = None) -> Self:
        """A connection to the backend that a URL names, not opened yet.

        Raises:
            InvalidArgumentError: No backend has such URLs.
            MissingExtraError: The backend's library is not installed.
        """
        return cls(backend_for(url), identity=identity)

    async def open(self) -> None:
        """Open the backend, once.

        Raises:
            BackendUnavailableError: It can't be reached.
            SchemaVersionError: Its schema is newer than this code.
            RuntimeError: See :meth:`ready`.
        """
        self._check()
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if not self._open:
                self._guard.check()
                if self.named_identity is None:  # made here, perhaps in a child of its maker
                    self.identity = default_identity()
                await self.backend.connect()
                self._loop = asyncio.get_running_loop()
                self._open = True

    async def ready(self) -> None:
        """Make sure that this connection may be used here and now; opens it if need be.

        Raises:
            RuntimeError: It is closed, or was made in another process (before a fork) or for
                another event loop.
            BackendUnavailableError: The backend can't be reached.
        """
        if not self._open:
            await self.open()
        else:
            self._check()

    async def close(self) -> None:
        """Finish the writes under way, cancel the waits, and close the backend. Idempotent."""
        if self._closed:
            return
        if self._open:
            self._check()
        self._closed = True
        if not self._open:
            return
        await self.starts.drain()
        await self.sends.drain()
        if self._hinting is not None:
            _, late = await asyncio.wait([self._hinting], timeout=LAST_HINTS_S)
            for task in late:
                task.cancel()
        for waiter in [*self._results.values(), *self._replies.values()]:
            await waiter.close()
        self._open = False
        await self.backend.close()

    def _check(self) -> None:
        if self._open:
            self._guard.check()
        if self._closed:
            raise RuntimeError("This client is closed. Call Client.connect for a new one.")
        if self._loop is not None and asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "This client belongs to another event loop. Call Client.connect in the loop that "
                "uses it."
            )

    def results(self, namespace: str) -> Waiter[Result]:
        """What waits for runs of a namespace to close, by run id."""
        waiter = self._results.get(namespace)
        if waiter is None:
            waiter = self._results[namespace] = Waiter(
                self.backend,
                f"done:{namespace}",
                functools.partial(self._fetch_results, namespace),
            )
        return waiter

    def replies(self, namespace: str) -> Waiter[bytes]:
        """What waits for replies from runs of a namespace, by reply id."""
        waiter = self._replies.get(namespace)
        if waiter is None:
            received: list[bytes] = []  # the backend need not keep them any longer
            waiter = self._replies[namespace] = Waiter(
                self.backend,
                f"done:{namespace}",
                functools.partial(self._fetch_replies, namespace, received),
                received=received.append,
            )
        return waiter

    def hint_lanes(self, lanes: Iterable[int]) -> None:
        """Tell routers that lanes received something; goes out beside the caller's work."""
        for lane in lanes:
            queue_id, number = divmod(lane, LANES_PER_QUEUE)
            self._hints[queue_id] = self._hints.get(queue_id, 0) | 1 << number
        if self._hints and self._hinting is None:
            self._hinting = asyncio.get_running_loop().create_task(
                self._publish(), name="hotmesh client hints"
            )

    async def _fetch_results(self, namespace: str, run_ids: Sequence[bytes]) -> Fetched[Result]:
        rows = await self.backend.results(namespace, run_ids)
        found = [(bytes(run_id), (status, result)) for run_id, status, result in rows]
        return Fetched(found, sum(len(row[2]) for row in rows) >= BATCH_BYTES_MAX)

    async def _fetch_replies(
        self, namespace: str, received: list[bytes], reply_ids: Sequence[bytes]
    ) -> Fetched[bytes]:
        count = len(received)
        rows = await self.backend.replies(namespace, reply_ids, received[:count])
        del received[:count]
        return Fetched(rows, sum(len(row[1]) for row in rows) >= BATCH_BYTES_MAX)

    def _started(self, items: Sequence[StartItem], outcomes: Sequence[StartOutcome]) -> None:
        self.hint_lanes(
            {
                item.lane
                for item, outcome in zip(items, outcomes, strict=True)
                if outcome.started or item.events
            }
        )

    def _sent(self, items: Sequence[SendItem], outcomes: Sequence[SendOutcome]) -> None:
        self.hint_lanes({outcome.lane for outcome in outcomes if outcome.delivered})

    async def _publish(self) -> None:
        try:
            while self._hints:
                hints = [(f"lanes:{each}", f"{mask:x}") for each, mask in self._hints.items()]
                self._hints.clear()
                try:
                    await self.backend.notify(hints)
                except BackendUnavailableError as error:
                    # Routers look by themselves from time to time; a hint only saves them a wait.
                    _log.debug("Hints %s were lost: %s", hints, error)
                except BackendError as error:
                    complain(_log, f"{self.backend.url} hints", "no hints to workers: %s", error)
        finally:
            self._hinting = None


def _start_bytes(item: StartItem) -> int:
    size = len(item.header) + len(item.input)
    if item.attributes:
        size += sum(len(value) for _, value in item.attributes)
    return size + sum(map(len, item.events)) if item.events else size


def _send_bytes(item: SendItem) -> int:
    return len(item.frame)


def default_identity() -> str:
    """``pid@host``, as the identity of a process that chose none."""
    return f"{os.getpid()}@{socket.gethostname()}"
