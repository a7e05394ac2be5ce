"""A thing that happens once: cheap to have, to ask, and to wait for in threads and coroutines."""

from __future__ import annotations

import asyncio
import threading
from typing import Protocol


class Latch:
    """Set once, from any thread. Costs nothing more than a flag until somebody waits."""

    __slots__ = ("_is_set", "_thread_event", "_waiters")

    def __init__(self) -> None:
        self._is_set = False
        self._thread_event: threading.Event | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._is_set

    def set(self) -> None:
        """Make it happen: wakes all waiters. Setting it again changes nothing."""
        self._is_set = True
        if self._thread_event is not None:
            self._thread_event.set()
        # A sync activity may run an event loop of its own, so the waiter's loop is woken.
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            loop = waiter.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, waiter)

    async def wait(self) -> None:
        """Wait in a coroutine until it has happened."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        if self._is_set:  # Asked after joining the waiters, so that no set() is missed.
            return
        await waiter

    def wait_sync(self, timeout: float | None = None) -> None:
        """Wait in a thread until it has happened.

        Args:
            timeout: Longest wait in seconds.
        """
        event = self._thread_event
        if event is None:
            event = self._event()
        if not self._is_set:  # Asked after making the event, so that no set() is missed.
            event.wait(timeout)

    def _event(self) -> threading.Event:
        with _making_event:
            if self._thread_event is None:
                self._thread_event = threading.Event()
            return self._thread_event


_making_event = threading.Lock()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class EventLike(Protocol):
    """The part of ``threading.Event`` that crosses processes."""

    def is_set(self) -> bool:
        """Whether it is set."""
        ...

    def set(self) -> None:
        """Set it."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set."""
        ...


class SharedLatch:
    """A latch over an event that other processes see as well."""

    __slots__ = ("event",)

    def __init__(self, event: EventLike) -> None:
        self.event = event

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self.event.is_set()

    def set(self) -> None:
        """Make it happen, in every process."""
        self.event.set()

    async def wait(self) -> None:
        """Refuse: activities in other processes are not ``async def``.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("Only async def activities can await; use the _sync function")

    def wait_sync(self, timeout: float | None = None) -> None:
        """Wait until it has happened, at most ``timeout`` seconds."""
        self.event.wait(timeout)
