"""The waiter: one listener and one fetch in flight for everything a client waits for.

Hints on the ``done:`` channel say what to look at. They may be lost or say nothing, so a slow poll
looks at everything from time to time; the truth is always read from the backend.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Generic, NamedTuple, Protocol, TypeVar

from hotmesh.exceptions import BackendUnavailableError
from hotmesh.retrying import Backoff, complain

Datum = TypeVar("Datum")
_Value = TypeVar("_Value")

FETCH_MAX = 500
"""Keys looked up in one fetch."""

FIRST_LOOK_S = 0.05
"""When something new is looked at if no hint named it before."""

POLL_MIN_S = 0.05
POLL_MAX_S = 1.0
"""How often everything is looked at: starts at the first, doubles up to the second."""

UNLISTEN_S = 1.0
"""How long it may take to stop listening."""

REMEMBERED_MAX = 4096
"""Hints kept for those who ask a moment later."""

CANCEL_AGAIN_S = 0.05
"""How long a cancelled task may take to end before it is cancelled again."""

_log = logging.getLogger(__name__)


class Fetched(NamedTuple, Generic[Datum]):
    """What a look-up has found."""

    found: Sequence[tuple[bytes, Datum]]
    more: bool
    """Whether there may be more: it brought as many bytes as one may."""


class HintSource(Protocol):
    """The part of a backend that publishes hints."""

    url: str

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None: ...
    async def unlisten(self, channel: str, callback: Callable[[str | None], None]) -> None: ...


class Waiter(Generic[Datum]):
    """Waits for data that appear under 16-byte keys.

    Args:
        source: Where hints come from.
        channel: The channel to listen on.
        fetch: Looks keys up; returns those that have their datum now.
        received: Told of each datum that has reached somebody, so that it need not be kept.
    """

    def __init__(
        self,
        source: HintSource,
        channel: str,
        fetch: Callable[[Sequence[bytes]], Awaitable[Fetched[Datum]]],
        *,
        received: Callable[[bytes], None] | None = None,
    ) -> None:
        self._source = source
        self._channel = channel
        self._fetch = fetch
        self._received = received
        self._waiting: dict[bytes, list[asyncio.Future[Datum]]] = {}
        self._hinted: dict[bytes, None] = {}
        """Keys hinted while nobody waited for them, oldest first."""
        self._named: set[bytes] = set()
        """Keys to look at now."""
        self._unseen: set[bytes] = set()
        """Keys that no fetch has looked at."""
        self._unseen_due = 0.0
        self._poll_s = POLL_MIN_S
        self._poll_due = 0.0
        self._wake: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._listening = False

    def watch(self, key: bytes, *, fresh: bool = False) -> asyncio.Future[Datum]:
        """Begin to wait for a key. Pair it with :meth:`unwatch`.

        Args:
            key: What to wait for.
            fresh: True if its datum can't be there yet, so that a look now is wasted.

        Returns:
            The datum to come.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Datum] = loop.create_future()
        self._waiting.setdefault(key, []).append(future)
        if fresh and self._hinted.pop(key, self) is self:
            if not self._unseen:
                self._unseen_due = loop.time() + FIRST_LOOK_S
            self._unseen.add(key)
        else:
            self._named.add(key)
            self._rouse()
        if self._task is None:
            self._poll_s = POLL_MIN_S
            self._poll_due = loop.time() + POLL_MIN_S
            self._task = loop.create_task(self._run(), name=f"hotmesh waits on {self._channel}")
        return future

    def unwatch(self, key: bytes, future: asyncio.Future[Datum]) -> None:
        """Stop waiting; a datum that has come is left in the future."""
        futures = self._waiting.get(key)
        if futures is None or future not in futures:
            return
        futures.remove(future)
        if not futures:
            self._drop(key)
            if not self._waiting:
                self._rouse()

    async def wait(self, key: bytes, *, fresh: bool = False) -> Datum:
        """Wait for a key, through restarts of the database.

        Args:
            key: What to wait for.
            fresh: As for :meth:`watch`.

        Raises:
            BackendError: The backend refuses the look-up for another reason than being away.
        """
        future = self.watch(key, fresh=fresh)
        try:
            return await future
        finally:
            self.unwatch(key, future)

    async def close(self) -> None:
        """Cancel everything that is waited for and stop listening."""
        for futures in self._waiting.values():
            for future in futures:
                future.cancel()
        self._waiting.clear()
        self._rouse()
        while self._task is not None and not self._task.done():
            # Up to Python 3.11 a `wait_for` within a library may swallow a cancellation.
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CANCEL_AGAIN_S)
        if self._listening:
            self._listening = False
            try:
                async with asyncio.timeout(UNLISTEN_S):
                    await self._source.unlisten(self._channel, self._on_hint)
            except (BackendUnavailableError, TimeoutError) as error:
                _log.debug("No need to leave %s: %s", self._channel, error)

    # -- hints --

    def _on_hint(self, payload: str | None) -> None:
        keys = _keys(payload)
        if keys is None:
            self._named.update(self._waiting)
        else:
            for key in keys:
                if key in self._waiting:
                    self._named.add(key)
                else:
                    remember(self._hinted, key, None)
        if self._named:
            self._rouse()

    def _rouse(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    # -- the loop, which lives while anybody waits --

    async def _run(self) -> None:
        try:
            backoff = Backoff()
            while self._waiting:
                try:
                    if not self._listening:
                        await self._source.listen(self._channel, self._on_hint)
                        self._listening = True
                    await self._look()
                    backoff.reset()
                except BackendUnavailableError as error:
                    complain(
                        _log,
                        self._source.url,
                        "Still waiting on %s, database away: %s",
                        self._channel,
                        error,
                    )
                    await backoff.pause()
                except Exception as error:  # noqa: BLE001 - handed to those who wait
                    self._fail(list(self._waiting), error)
        finally:
            self._task = None

    async def _look(self) -> None:
        """Sleep until there is something to look at, and look at it once."""
        self._name_what_is_due()
        if not self._named:
            await self._sleep()
            self._name_what_is_due()
        named, self._named = self._named, set()
        keys = iter([key for key in named if key in self._waiting])
        self._unseen -= named
        while chunk := list(islice(keys, FETCH_MAX)):
            try:
                await self._take(chunk)
            except BackendUnavailableError:
                self._named.update(chunk, keys)
                raise
            except Exception as error:  # noqa: BLE001 - handed to those who wait
                self._fail(chunk, error)

    async def _take(self, keys: Sequence[bytes]) -> None:
        fetched = await self._fetch(keys)
        for key, datum in fetched.found:
            futures = [each for each in self._drop(key) if not each.done()]
            for future in futures:
                future.set_result(datum)
            if futures and self._received is not None:
                self._received(key)
        if fetched.more:
            self._named.update(key for key in keys if key in self._waiting)

    def _fail(self, keys: Iterable[bytes], error: Exception) -> None:
        for key in keys:
            for future in self._drop(key):
                if not future.done():
                    future.set_exception(error)

    def _drop(self, key: bytes) -> list[asyncio.Future[Datum]]:
        self._named.discard(key)
        self._unseen.discard(key)
        return self._waiting.pop(key, [])

    def _name_what_is_due(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._poll_due:
            self._named.update(self._waiting)
            self._poll_s = min(self._poll_s * 2, POLL_MAX_S)
            self._poll_due = now + self._poll_s
        elif self._unseen and now >= self._unseen_due:
            self._named |= self._unseen
            self._unseen.clear()

    async def _sleep(self) -> None:
        loop = asyncio.get_running_loop()
        due = min(self._poll_due, self._unseen_due) if self._unseen else self._poll_due
        self._wake = loop.create_future()
        alarm = loop.call_at(due, self._rouse)
        try:
            await self._wake
        finally:
            alarm.cancel()
            self._wake = None


def remember(memory: dict[bytes, _Value], key: bytes, value: _Value) -> None:
    """Add to a memory that forgets its oldest entries."""
    memory[key] = value
    if len(memory) > REMEMBERED_MAX:
        del memory[next(iter(memory))]


def _keys(payload: str | None) -> list[bytes] | None:
    """The keys a hint names; None if it names none (or is damaged: then look at everything)."""
    if not payload:
        return None
    try:
        return [bytes.fromhex(each) for each in payload.split(",")]
    except ValueError:
        return None
