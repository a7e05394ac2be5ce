"""Connections: opened when first used, opened again after they broke, errors in our own types."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from hotmesh.backends.postgres.address import Address, Place
from hotmesh.backends.postgres.arrays import use_own_arrays
from hotmesh.backends.postgres.failures import (
    DRIVER_ERRORS,
    LOST,
    connect_failure,
    unavailable,
)
from hotmesh.backends.postgres.parameters import Keepalives
from hotmesh.backends.postgres.statements import statements
from hotmesh.exceptions import (
    BackendAccessError,
    BackendError,
    BackendUnavailableError,
    HotMeshError,
)
from hotmesh.forks import Guard
from hotmesh.retrying import Backoff

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

_log = logging.getLogger(__name__)

CONNECT_PATIENCE_S = 1.0
"""How long opening a connection is retried before the database counts as unavailable: it may be
short of connections for a moment. Whoever called waits longer if it wants to."""

CALL_S = 30.0
"""How long a call may take before its connection is given up: it may be open at this end only."""

SCHEMA_S = 600.0
"""The same for the making of a schema, which may wait for another process that makes it."""

CLOSE_S = 2.0
"""How long a farewell may take."""

CONFLICT_RETRIES = 20
"""Attempts of a batch that Postgres rolled back for a deadlock or a serialisation conflict."""

_CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


async def open_connection(
    address: Address, *, pooled: bool, call_s: float | None = None
) -> Connection:
    """Connect, trying again for a moment.

    Args:
        address: Where; of several hosts the first one that will do.
        pooled: Whether a transaction pooler is in between: then statements are not kept.
        call_s: How long a call may take; default is the URL's ``command_timeout``, else ``CALL_S``.

    Raises:
        BackendUnavailableError: It can't be reached.
        BackendAccessError: It does not let us in.
        InvalidArgumentError: It does not take a parameter of the URL.
    """
    deadline = time.monotonic() + CONNECT_PATIENCE_S
    backoff = Backoff()
    while True:
        failure: HotMeshError | None = None
        for place in address.places or (None,):
            try:
                return await _open_at(address, place, pooled=pooled, call_s=call_s)
            except (OSError, ValueError, asyncpg.PostgresError, *DRIVER_ERRORS) as error:
                failure = connect_failure(address, place, error)
            if not isinstance(failure, BackendUnavailableError):
                raise failure  # of no other host, and at no other time, would it be different
        assert failure is not None
        if time.monotonic() > deadline:
            raise failure
        await backoff.pause()


async def _open_at(
    address: Address, place: Place | None, *, pooled: bool, call_s: float | None
) -> Connection:
    """Connect to one host, once."""
    options: dict[str, Any] = {"target_session_attrs": address.session_attributes}
    if place is not None:
        options |= {"host": place[0], "port": place[1]}
    connection = await asyncpg.connect(
        address.dsn,
        timeout=address.connect_s,
        command_timeout=call_s or address.call_s or CALL_S,
        statement_cache_size=0 if pooled else address.statements_cached,
        max_cached_statement_lifetime=0,
        server_settings=dict(address.settings),
        direct_tls=address.direct_tls,
        **options,
    )
    try:
        keep_alive(connection, address.keepalives)
        use_own_arrays(connection)
        if not pooled:
            # Not among the settings: a pooler refuses those that it does not know.
            await connection.execute(statements(address.schema)["session"])
    except BaseException:
        connection.terminate()
        raise
    return connection


def keep_alive(connection: Connection, keepalives: Keepalives) -> None:
    """Have the system ask now and then whether the other end of a connection is still there."""
    # The driver has no way to the socket of its own.
    transport: asyncio.Transport = cast("Any", connection)._transport
    link = transport.get_extra_info("socket")
    if link is None or link.family == getattr(socket, "AF_UNIX", None):
        return
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalives.on))
    for option, value in keepalives.options.items():
        link.setsockopt(socket.IPPROTO_TCP, option, value)


async def close_connection(connection: Connection | None) -> None:
    """Close it; cut it where a farewell does not get through."""
    if connection is None or connection.is_closed():
        return
    try:
        async with asyncio.timeout(CLOSE_S):
            await connection.close()
    except (OSError, asyncpg.PostgresError, *DRIVER_ERRORS):
        connection.terminate()  # it was broken, so this loses nothing


Prepare = Callable[[Connection], Awaitable[None]]
"""What a new connection is given to before its first call."""


class Link:
    """One connection with one call in flight.

    Args:
        address: Where.
        pooled: Whether a transaction pooler is in between.
        call_s: How long a call may take; default is ``CALL_S``.
        prepare: Called with each new connection before it is used: what it leads to may not be
            what the one before led to.
        reopens: Whether a call opens another connection where the one before is gone. Else only
            :meth:`open` does, for who has to know first.
    """

    def __init__(
        self,
        address: Address,
        *,
        pooled: bool,
        call_s: float | None = None,
        prepare: Prepare | None = None,
        reopens: bool = True,
    ) -> None:
        self._address = address
        self._reopens = reopens
        self.pooled = pooled
        """Whether a transaction pooler is in between."""
        self._call_s = call_s
        self._prepare = prepare
        self._opened = 0
        self.statements = statements(address.schema)
        """Of queries.sql, by name."""
        self._connection: Connection | None = None
        self._guard = Guard("connection to Postgres")
        self._closed = False

    async def fetch(self, name: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Run a statement of queries.sql; its rows. Raises as :meth:`query`."""
        return await self.query(name, self.statements[name], *arguments)

    async def query(self, name: str, sql: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """Run a statement that was put together from those of queries.sql; its rows.

        Args:
            name: What it is called in errors.
            sql: The statement.
            arguments: Of its parameters.

        Raises:
            BackendUnavailableError: The connection could not be made, or broke: whether the
                statement was carried out is unknown then.
            BackendError: Postgres refused it; nothing was applied. ``__cause__`` says why.
        """
        for attempt in range(1, CONFLICT_RETRIES + 1):
            try:
                return await self._run(sql, arguments)
            except _CONFLICTS as error:
                if attempt == CONFLICT_RETRIES:
                    raise BackendError(
                        f"Postgres rolled {name!r} back {attempt} times: {error}"
                    ) from error
                _log.debug("%r rolled back by Postgres, trying again: %s", name, error)
                await asyncio.sleep(random.uniform(0, 0.002 * attempt))
            except asyncpg.InsufficientPrivilegeError as error:
                raise BackendAccessError(
                    f"Postgres at {self._address.shown} refused {name!r}: {error}. "
                    f"{await self._missing_rights()}"
                ) from error
            except asyncpg.PostgresError as error:
                raise BackendError(f"Postgres refused {name!r}: {error}") from error
        raise AssertionError("unreachable")

    async def _missing_rights(self) -> str:
        """Which rights the user lacks, for people."""
        try:
            rows = await self._run(self.statements["missing_rights"], (self._address.schema,))
        except asyncpg.PostgresError as error:
            return f"Which rights are missing can't be found out: {error}"
        missing = [f"{row['rights']} on {row['object']}" for row in rows]
        user = rows[0]["role"] if rows else ""
        return f"User {user!r} lacks {'; '.join(missing)}" if missing else "No right is missing now"

    async def row(self, name: str, *arguments: object) -> asyncpg.Record:
        """As :meth:`fetch`, for a statement that returns one row."""
        return (await self.fetch(name, *arguments))[0]

    async def value(self, name: str, *arguments: object) -> Any:
        """As :meth:`fetch`, for a statement that returns one value."""
        return (await self.fetch(name, *arguments))[0][0]

    async def _run(self, sql: str, arguments: tuple[object, ...]) -> Sequence[asyncpg.Record]:
        # A transaction keeps one server connection for all the messages of a call.
        connected = self.transaction() if self.pooled else self.connected()
        async with connected as connection:
            return await connection.fetch(sql, *arguments)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """The open connection in a transaction, rolled back when a statement was refused.

        After any other error nothing more is said: an answer may never come, and Postgres rolls
        back by itself what it was not asked to commit.
        """
        async with self.connected() as connection:
            await connection.execute(self.statements["begin"])
            try:
                yield connection
            except asyncpg.PostgresError as error:
                if not isinstance(error, LOST):
                    await connection.execute(self.statements["rollback"])
                raise
            await connection.execute(self.statements["commit"])

    async def open(self) -> int:
        """Make sure that there is a connection; how many were opened so far.

        Raises:
            BackendUnavailableError: It can't be opened.
        """
        if self._connection is None or self._connection.is_closed():
            await self._open()
        return self._opened

    async def _open(self) -> Connection:
        if self._closed:
            raise BackendUnavailableError(
                f"The connection to Postgres at {self._address.shown} was closed by this process"
            )
        self._connection = await open_connection(
            self._address, pooled=self.pooled, call_s=self._call_s
        )
        self._opened += 1
        if self._prepare is not None:
            try:
                async with self.connected() as connection:
                    await self._prepare(connection)
            except BaseException:
                self.drop()
                raise
        return self._connection

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[Connection]:
        """The open connection; dropped when it breaks, or when its call is abandoned."""
        self._guard.check()
        connection = self._connection
        if connection is None or connection.is_closed():
            if self._opened and not self._reopens:
                raise BackendUnavailableError(
                    f"the connection to Postgres at {self._address.shown} was lost between calls"
                )
            connection = await self._open()
        try:
            yield connection
        except LOST as error:
            self.drop()
            raise unavailable(self._address, error) from error
        except DRIVER_ERRORS as error:
            # What the driver says of a connection that broke, and of a mistake in a call.
            broken = connection.is_closed()
            self.drop()
            if broken:
                raise unavailable(self._address, error) from error
            raise BackendError(f"The Postgres driver refused a call: {error}") from error
        except asyncpg.InvalidCachedStatementError:
            self.drop()  # the functions were replaced under us; nothing ran
            raise
        except asyncpg.PostgresError:
            raise  # a complete answer: the connection is fine
        except BaseException:
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
        await close_connection(connection)


class LinkPool:
    """A few links; the one used last is used first, so most stay unopened."""

    def __init__(
        self, address: Address, *, pooled: bool, size: int, prepare: Prepare | None = None
    ) -> None:
        self._links = [Link(address, pooled=pooled, prepare=prepare) for _ in range(size)]
        self._free: asyncio.LifoQueue[Link] = asyncio.LifoQueue()
        for link in self._links:
            self._free.put_nowait(link)
        self._guard = Guard("connection to Postgres")
        self.statements = statements(address.schema)
        """Of queries.sql, by name."""

    async def fetch(self, name: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """See :meth:`Link.fetch`."""
        self._guard.check()  # all may have been in use when this process was forked
        link = await self._free.get()
        try:
            return await link.fetch(name, *arguments)
        finally:
            self._free.put_nowait(link)

    async def query(self, name: str, sql: str, *arguments: object) -> Sequence[asyncpg.Record]:
        """See :meth:`Link.query`."""
        link = await self._free.get()
        try:
            return await link.query(name, sql, *arguments)
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
        await asyncio.gather(*(link.close() for link in self._links))
