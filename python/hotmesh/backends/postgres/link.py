"""Connections: opened when first used, opened again after they broke, errors in our own types."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from hotmesh.backends.postgres.address import Address
from hotmesh.backends.postgres.statements import statements
from hotmesh.exceptions import BackendError, BackendUnavailableError

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

_log = logging.getLogger(__name__)

CONNECT_PATIENCE_S = 4.0
"""How long opening a connection is retried before the database counts as unavailable."""

CONNECT_ATTEMPT_S = 10.0
"""How long one attempt to connect may take."""

CALL_S = 120.0
"""How long a call may take before its connection is given up."""

CONFLICT_RETRIES = 20
"""Attempts of a batch that Postgres rolled back for a deadlock or a serialisation conflict."""

BACKOFF_MIN_S = 0.05
BACKOFF_MAX_S = 1.0

_POOLED_SETTINGS = {"application_name": "hotmesh"}
_DIRECT_SETTINGS = {
    **_POOLED_SETTINGS,
    # The functions count on each of their statements seeing what was committed just before.
    "default_transaction_isolation": "read committed",
}

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    OSError,  # TimeoutError is one
)
DRIVER_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver itself raises; on a connection that broke, either of the two."""

_CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


class Backoff:
    """Growing pauses with jitter, so that routers do not come back all at once."""

    def __init__(self) -> None:
        self._next_s = BACKOFF_MIN_S

    def reset(self) -> None:
        """Start with short pauses again."""
        self._next_s = BACKOFF_MIN_S

    async def pause(self) -> None:
        """Wait for the next pause."""
        pause_s = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, BACKOFF_MAX_S)
        await asyncio.sleep(pause_s)


async def open_connection(address: Address, *, pooled: bool) -> Connection:
    """Connect, trying again for a few seconds.

    Args:
        address: Where.
        pooled: Whether a transaction pooler is in between: then statements are not kept.

    Raises:
        BackendUnavailableError: It can't be reached, or does not let us in.
    """
    deadline = time.monotonic() + CONNECT_PATIENCE_S
    backoff = Backoff()
    while True:
        try:
            return await asyncpg.connect(
                address.dsn,
                timeout=CONNECT_ATTEMPT_S,
                command_timeout=CALL_S,
                statement_cache_size=0 if pooled else 100,
                max_cached_statement_lifetime=0,
                server_settings=_POOLED_SETTINGS if pooled else _DIRECT_SETTINGS,
            )
        except (*_LOST, *DRIVER_ERRORS) as error:
            if time.monotonic() > deadline:
                raise _unavailable(address, error) from error
        except (asyncpg.PostgresError, ValueError) as error:  # a password, a database, a DSN
            raise _unavailable(address, error) from error
        await backoff.pause()


def _unavailable(address: Address, error: BaseException) -> BackendUnavailableError:
    reason = str(error) or type(error).__name__
    return BackendUnavailableError(f"Postgres at {address.shown} is not available: {reason}")


class Link:
    """One connection with one call in flight."""

    def __init__(self, address: Address, *, pooled: bool) -> None:
        self._address = address
        self._pooled = pooled
        self._statements = statements(address.schema)
        self._connection: Connection | None = None
        self._closed = False

    async def fetch(self, name: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Run a statement of queries.sql; its rows.

        Raises:
            BackendUnavailableError: The connection could not be made, or broke: whether the
                statement was carried out is unknown then.
            BackendError: Postgres refused it; nothing was applied. ``__cause__`` says why.
        """
        for attempt in range(1, CONFLICT_RETRIES + 1):
            try:
                async with self.connected() as connection:
                    return await self._run(connection, self._statements[name], arguments)
            except _CONFLICTS as error:
                if attempt == CONFLICT_RETRIES:
                    raise BackendError(
                        f"Postgres rolled {name!r} back {attempt} times: {error}"
                    ) from error
                _log.debug("%r rolled back by Postgres, trying again: %s", name, error)
                await asyncio.sleep(random.uniform(0, 0.002 * attempt))
            except asyncpg.PostgresError as error:
                raise BackendError(f"Postgres refused {name!r}: {error}") from error
        raise AssertionError("unreachable")

    async def row(self, name: str, *arguments: object) -> asyncpg.Record:
        """As :meth:`fetch`, for a statement that returns one row."""
        return (await self.fetch(name, *arguments))[0]

    async def value(self, name: str, *arguments: object) -> Any:
        """As :meth:`fetch`, for a statement that returns one value."""
        return (await self.fetch(name, *arguments))[0][0]

    async def _run(
        self, connection: Connection, sql: str, arguments: tuple[object, ...]
    ) -> Sequence[asyncpg.Record]:
        if not self._pooled:
            return await connection.fetch(sql, *arguments)
        # A transaction keeps one server connection for all the messages of a call.
        async with connection.transaction(isolation="read_committed"):
            return await connection.fetch(sql, *arguments)

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Connection]:
        """The open connection; dropped when it breaks, or when its call is abandoned."""
        if self._closed:
            raise BackendUnavailableError(
                f"The connection to Postgres at {self._address.shown} was closed by this process"
            )
        if self._connection is None or self._connection.is_closed():
            self._connection = await open_connection(self._address, pooled=self._pooled)
        try:
            yield self._connection
        except asyncpg.InvalidCachedStatementError:
            # The functions were replaced under us; nothing ran.
            self.drop()
            raise
        except _LOST as error:
            self.drop()
            raise _unavailable(self._address, error) from error
        except DRIVER_ERRORS as error:
            # What the driver says of a connection that broke, and of a mistake in a call.
            broken = self._connection.is_closed()
            self.drop()
            if broken:
                raise _unavailable(self._address, error) from error
            raise BackendError(f"The Postgres driver refused a call: {error}") from error
        except asyncio.CancelledError:
            self.drop()
            raise

    def drop(self) -> None:
        """Cut the connection without a word; the next call opens another."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection, for good."""
        self._closed = True
        connection, self._connection = self._connection, None
        if connection is None or connection.is_closed():
            return
        try:
            await connection.close(timeout=1.0)
        except (*_LOST, asyncpg.PostgresError, *DRIVER_ERRORS):
            connection.terminate()  # it was broken, so this loses nothing


class LinkPool:
    """A few links; the one used last is used first, so most stay unopened."""

    def __init__(self, address: Address, *, pooled: bool, size: int) -> None:
        self._links = [Link(address, pooled=pooled) for _ in range(size)]
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        for link in self._links:
            self._free.put_nowait(link)

    async def fetch(self, name: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """See :meth:`Link.fetch`."""
        link = await self._free.get()
        try:
            return await link.fetch(name, *arguments)
        finally:
            self._free.put_nowait(link)

    async def row(self, name: str, *arguments: object) -> asyncpg.Record:
        """See :meth:`Link.row`."""
        return (await self.fetch(name, *arguments))[0]

    async def value(self, name: str, *arguments: object) -> Any:
        """See :meth:`Link.value`."""
        return (await self.fetch(name, *arguments))[0][0]

    async def close(self) -> None:
        """Close all links."""
        for link in self._links:
            await link.close()
