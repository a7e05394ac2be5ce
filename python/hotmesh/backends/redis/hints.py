"""Wake-up hints over PUBLISH and SUBSCRIBE: may be lost or repeated, carry no truth.

One connection of its own listens for all channels. When it is lost it comes back by itself, and
every callback is told that something may have changed meanwhile. A cluster passes published
messages on to all its nodes, so any node will do for both sides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as redis_errors

from hotmesh.backends.redis import codec, scripts
from hotmesh.backends.redis.link import Link
from hotmesh.backends.redis.servers import Route, Servers
from hotmesh.exceptions import BackendAccessError, BackendError, BackendUnavailableError
from hotmesh.forks import Guard
from hotmesh.retrying import Backoff, complain

Callback = Callable[[str | None], None]

RECONNECT_PAUSE_S = 0.05
RECONNECT_PAUSE_MAX_S = 5.0
QUIET_S = 20.0
"""A connection silent for this long is asked for a sign of life; twice as long, it is given up."""
SUBSCRIBE_TIMEOUT_S = 5.0
CANCEL_AGAIN_S = 0.05
"""How long a cancelled task may take to end before it is cancelled again."""

_logger = logging.getLogger(__name__)


class Hints:
    """Publishes hints and calls back with those of others.

    Args:
        servers: Where to listen.
        route: Connections to publish on.
        prefix: Put before each channel, so that databases don't hear each other.
    """

    def __init__(self, servers: Servers, route: Route, prefix: str) -> None:
        self._servers = servers
        self._route = route
        self._prefix = f"{prefix}:".encode()
        self._callbacks: dict[bytes, list[Callback]] = {}
        self._confirmed: dict[bytes, asyncio.Event] = {}
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._refusal: BackendAccessError | None = None
        """Why this user may not listen, as long as that is so."""
        self._closed = False
        self._guard = Guard("connection to Redis")

    async def notify(self, hints: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, payload) hints to every process, this one included."""
        words: codec.Words = [codec.EMPTY_HEADER]
        for channel, payload in hints:
            words += (self._channel(channel), payload)
        await self._route.evaluate(scripts.PUBLISH, words)

    async def listen(self, channel: str, callback: Callback) -> None:
        """Call back with each payload; returns when the server has confirmed, or after a while.

        A subscription that can't be confirmed now is made on the next connection, which also
        calls back with None.

        Raises:
            BackendAccessError: This user may not listen; the callback is not called.
            BackendUnavailableError: It was closed.
        """
        self._guard.check()
        if self._closed:
            raise BackendUnavailableError("this connection to Redis was closed")
        name = self._channel(channel)
        self._callbacks.setdefault(name, []).append(callback)
        confirmed = self._confirmed.setdefault(name, asyncio.Event())
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="hotmesh-redis-hints")
        elif not confirmed.is_set():
            await self._say(b"SUBSCRIBE", name)
        try:
            async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
                await confirmed.wait()
            if self._refusal is not None:
                await self.unlisten(channel, callback)
                raise self._refusal
        except TimeoutError:
            confirmed.set()  # the confirmation, when it comes, is then told to the callbacks
            _logger.warning("Redis has not confirmed the subscription to %s yet", channel)

    async def unlisten(self, channel: str, callback: Callback) -> None:
        """Stop calling back; unknown callbacks are ignored."""
        name = self._channel(channel)
        callbacks = self._callbacks.get(name, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks and self._callbacks.pop(name, None) is not None:
            self._confirmed.pop(name, None)
            await self._say(b"UNSUBSCRIBE", name)

    async def close(self) -> None:
        """Stop listening."""
        self._closed = True
        task, self._task = self._task, None
        while task is not None and not task.done():
            # Up to Python 3.11 a `wait_for` within redis-py may swallow a cancellation.
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_S)

    def _channel(self, channel: str) -> bytes:
        return self._prefix + channel.encode()

    async def _say(self, *words: bytes) -> None:
        """Send without waiting for an answer; a lost connection subscribes again by itself."""
        link = self._link
        if link is None:
            return
        try:
            await link.say(*words)
        except (redis_errors.RedisError, OSError) as error:
            _logger.debug("hints: %s not sent, connection lost: %s", words[0], error)

    async def _run(self) -> None:
        """Listen for ever, over one connection after another."""
        backoff = Backoff(RECONNECT_PAUSE_S, RECONNECT_PAUSE_MAX_S)
        while True:
            try:
                self._link = await self._servers.open_any()
                for name in tuple(self._callbacks):
                    await self._say(b"SUBSCRIBE", name)
                backoff.reset()
                await self._read(self._link)
            except (BackendError, redis_errors.RedisError, OSError) as error:
                self._refuse(error)
                complain(_logger, f"{self._prefix!r} hints", "not listening for hints: %s", error)
            finally:
                link, self._link = self._link, None
                if link is not None:
                    await link.close()
            await backoff.pause()

    def _refuse(self, error: Exception) -> None:
        """Have those told who wait to be subscribed, if it is for want of a right."""
        if isinstance(error, redis_errors.NoPermissionError) and self._link is not None:
            self._refusal = BackendAccessError(
                f"Redis at {self._link.address} does not let us listen: {error}. "
                "docs/operations.md lists the rights it needs"
            )
            for confirmed in self._confirmed.values():
                confirmed.set()

    async def _read(self, link: Link) -> None:
        """Pass on what arrives, until the connection is silent for too long."""
        asked = False
        while True:
            message: Any = await link.connection.read_response(True, timeout=QUIET_S)
            if message is None:
                if asked:
                    raise redis_errors.ConnectionError("no sign of life")
                await self._say(b"PING")
                asked = True
                continue
            asked = False
            kind, name = bytes(message[0]), bytes(message[1])
            if kind == b"message":
                self._tell(name, bytes(message[2]).decode())
            elif kind == b"subscribe":
                self._refusal = None
                self._confirm(name)

    def _confirm(self, name: bytes) -> None:
        """Wake who waits to be subscribed; on a later connection, say that hints may be lost."""
        confirmed = self._confirmed.get(name)
        if confirmed is None:
            return
        if confirmed.is_set():
            self._tell(name, None)
        confirmed.set()

    def _tell(self, name: bytes, payload: str | None) -> None:
        for callback in tuple(self._callbacks.get(name, ())):
            try:
                callback(payload)
            except Exception:
                _logger.exception("hints: a callback of %s failed", name.decode())
