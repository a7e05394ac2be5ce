"""A backend whose calls fail at seeded random instants, before or after they were applied.

What a broken connection does to a caller, without a server and thousands of times a second: the
caller never knows whether its batch counts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hotmesh.backends.protocol import Backend, Loads, Session, Step, StepReply
from hotmesh.exceptions import BackendUnavailableError

_CALLS = frozenset(
    (
        *("queue_id", "start", "send", "mail", "results", "find", "prune", "beat"),
        *("release", "leave", "tasks", "complete_task", "notify"),
    )
)


class Faults:
    """When calls fail.

    Args:
        seed: Decides which calls do.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.rate = 0.0
        """Share of the calls that fail: one half before, one half after they were applied."""
        self.count = 0
        self._open = asyncio.Event()
        self._open.set()

    def freeze(self) -> None:
        """Hold every call and every answer from now on, as SIGSTOP does to a process."""
        self._open.clear()

    def thaw(self) -> None:
        """Let calls and answers through, however late."""
        self._open.set()

    async def around(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call, or fail."""
        roll = self._random.random()
        if roll < self.rate / 2:
            self.count += 1
            raise BackendUnavailableError(f"{what} failed before it was applied")
        await self._open.wait()
        answer = await call()
        await self._open.wait()
        if roll < self.rate:
            self.count += 1
            raise BackendUnavailableError(f"{what} failed after it was applied")
        return answer


class UnsteadySession:
    """A session with faults."""

    def __init__(self, session: Session, faults: Faults) -> None:
        self._session = session
        self._faults = faults

    async def step(self, step: Step) -> StepReply:
        """See the protocol."""
        return await self._faults.around("step", lambda: self._session.step(step))

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        """See the protocol."""
        return await self._faults.around("load", lambda: self._session.load(run_ids))

    def forget(self, lanes: Sequence[int] | None = None) -> None:
        """See the protocol."""
        self._session.forget(lanes)

    async def close(self) -> None:
        """See the protocol."""
        await self._session.close()


class UnsteadyBackend:
    """A backend with faults in every call that reaches the store."""

    def __init__(self, backend: Backend, faults: Faults) -> None:
        self._backend = backend
        self._faults = faults

    async def session(self, namespace: str, router_id: bytes, horizon_ms: int) -> UnsteadySession:
        """See the protocol."""
        session = await self._backend.session(namespace, router_id, horizon_ms)
        return UnsteadySession(session, self._faults)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._backend, name)
        if name not in _CALLS:
            return attribute

        async def call(*args: Any) -> Any:
            return await self._faults.around(name, lambda: attribute(*args))

        return call
