"""Wake-up hints: LISTEN on a connection of its own, polling where a pooler forbids that."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

import asyncpg

from hotmesh.backends.postgres.address import Address
from hotmesh.backends.postgres.failures import DRIVER_ERRORS
from hotmesh.backends.postgres.link import (
    Connection,
    close_connection,
    open_connection,
)
from hotmesh.backends.postgres.statements import statements
from hotmesh.exceptions import BackendError
from hotmesh.forks import Guard
from hotmesh.retrying import Backoff, complain

_log = logging.getLogger(__name__)

QUIET_S = 20.0
"""How often the listening connection is asked for a sign of life: a broken one says nothing."""

TELL_S = 5.0
"""How long it may take to answer."""

CANCEL_AGAIN_S = 0.05
"""How long a cancelled task may take to end before it is cancelled again."""

POLL_S = 0.075
"""How often listeners are told to look when there is no LISTEN."""

PAYLOAD_CHARS_MAX = 7_900
"""Longer payloads (ASCII) are sent as "", which means many; Postgres refuses 8,000 bytes."""

Callback = Callable[[str | None], None]


class Listener:
    """Calls back on hints. Its connection is opened when first needed, and again when it breaks."""

    def __init__(self, address: Address, *, pooled: bool) -> None:
        self._address = address
        self._pooled = pooled
        self._sign_of_life = statements(address.schema)["clock"]
        self._callbacks: dict[str, list[Callback]] = {}
        self._connection: Connection | None = None
        self._broken = asyncio.Event()
        self._listening = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._guard = Guard("connection to Postgres")

    async def add(self, name: str, callback: Callback) -> None:
        """Call back with hints on a channel; when this returns, none is missed.

        Without a connection it returns all the same: once there is one, every listener is called
        with None.
        """
        self._guard.check()
        channel = self._address.channel(name)
        self._callbacks.setdefault(channel, []).append(callback)
        if self._task is None:
            keep = self._poll if self._pooled else self._keep_listening
            self._task = asyncio.create_task(keep(), name="hotmesh-postgres-listener")
        await self._listening.wait()
        if self._connection is not None:  # also when another is just about to listen to it
            await self._tell(self._connection, "add", channel)

    async def remove(self, name: str, callback: Callback) -> None:
        """Stop calling back; nothing happens if it was not added."""
        channel = self._address.channel(name)
        callbacks = self._callbacks.get(channel, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks and self._callbacks.pop(channel, None) is not None and self._connection:
            await self._tell(self._connection, "remove", channel)

    async def close(self) -> None:
        """Stop listening."""
        task, self._task = self._task, None
        while task is not None and not task.done():
            # Up to Python 3.11 a `wait_for` within a library may swallow a cancellation.
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_S)
        self._callbacks.clear()

    async def _tell(self, connection: Connection, what: str, channel: str = "") -> None:
        """LISTEN, UNLISTEN or just ask; a connection that breaks here is replaced by the keeper."""
        try:
            async with self._turn, asyncio.timeout(TELL_S):
                if what == "add":
                    await connection.add_listener(channel, self._hinted)
                elif what == "remove":
                    await connection.remove_listener(channel, self._hinted)
                else:
                    await connection.execute(self._sign_of_life)
        except (asyncpg.PostgresError, *DRIVER_ERRORS, OSError) as error:
            _log.debug("listening connection broke: %s", error)
            self._broken.set()

    async def _keep_listening(self) -> None:
        backoff = Backoff()
        try:
            while True:
                try:
                    connection = await self._open()
                except BackendError as error:
                    complain(_log, self._address.dsn, "not listening for hints: %s", error)
                    self._listening.set()
                    await backoff.pause()
                    continue
                backoff.reset()
                old, self._connection = self._connection, connection
                await self._listen_to_all(connection)  # those added since it was opened
                self._listening.set()
                await close_connection(old)
                self._tell_all()
                while not (self._broken.is_set() or connection.is_closed()):
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(QUIET_S * random.uniform(0.8, 1.2)):
                            await self._broken.wait()
                    if not self._broken.is_set():
                        await self._tell(connection, "ask")
        finally:
            self._listening.set()
            connection, self._connection = self._connection, None
            await close_connection(connection)

    async def _open(self) -> Connection:
        """A connection that listens to every channel in use."""
        connection = await open_connection(self._address, pooled=False)
        self._broken.clear()
        connection.add_termination_listener(self._terminated)
        try:
            await self._listen_to_all(connection)
        except asyncio.CancelledError:
            connection.terminate()
            raise
        return connection

    async def _listen_to_all(self, connection: Connection) -> None:
        for channel in list(self._callbacks):
            await self._tell(connection, "add", channel)

    def _terminated(self, connection: object) -> None:
        if connection is self._connection:
            self._broken.set()

    def _hinted(self, _connection: object, _pid: int, channel: str, payload: object) -> None:
        for callback in tuple(self._callbacks.get(channel, ())):
            callback(str(payload))

    def _tell_all(self) -> None:
        for callbacks in tuple(self._callbacks.values()):
            for callback in tuple(callbacks):
                callback(None)

    async def _poll(self) -> None:
        _log.warning(
            "Postgres at %s is behind a transaction pooler, where LISTEN does not work: "
            "polling every %d ms instead; events can't be subscribed to here",
            self._address.shown,
            POLL_S * 1000,
        )
        self._listening.set()
        while True:
            await asyncio.sleep(POLL_S * random.uniform(0.7, 1.3))
            self._tell_all()
