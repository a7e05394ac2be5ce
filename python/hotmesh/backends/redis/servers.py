"""Which node serves a key, and connections to it: one server, or the masters of a cluster.

Every key of a namespace has the namespace's hash tag, so a call goes to one node as a whole. A
cluster's answer that a slot has moved is followed here, and is safe to follow: the call did not
run. A lost connection is not repeated here.

While a slot is being moved its keys are on both nodes, and a script must run on neither. The key
that routes a script never exists, so both nodes refuse it (ASK, MOVED) until the move is over: the
namespace pauses. That is why ASK is waited out and not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from redis import exceptions as redis_errors
from redis.asyncio import connection as redis_connection
from redis.crc import key_slot

from hotmesh.backends.redis.link import REDIRECTS, Address, Connection, Link, Word
from hotmesh.backends.redis.scripts import Script
from hotmesh.exceptions import BackendError, BackendUnavailableError, InvalidArgumentError

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0
OLDEST_VERSION = (6, 2)
REDIRECTS_MAX = 8
"""Answers of "not here" or "not now" that one call follows."""
REDIRECT_PAUSE_S = 0.05
"""Grows with each "not now"."""


class ClosedError(BackendUnavailableError):
    """Raised when a call comes after `close`; there is nothing to wait for."""


class Servers:
    """The server or cluster behind a URL.

    Args:
        url: redis://, rediss:// or unix://, with redis-py's query options.

    Raises:
        InvalidArgumentError: the URL is not one of those.
    """

    def __init__(self, url: str) -> None:
        try:
            options = cast("dict[str, Any]", redis_connection.parse_url(url))
        except ValueError as error:
            raise InvalidArgumentError(f"not a Redis URL: {error}") from error
        self._class: Any = options.pop("connection_class", redis_connection.Connection)
        self._options: dict[str, Any] = {
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "socket_timeout": CALL_TIMEOUT_S,
            **options,
            "protocol": 2,  # one shape of answers, whatever redis-py's default
            "decode_responses": False,
        }
        if path := options.get("path"):
            self._seed = Address(str(path), 0)
        else:
            host, port = self._options.pop("host", "localhost"), self._options.pop("port", 6379)
            self._seed = Address(str(host), int(port))
        self._nodes: list[Address] = [self._seed]
        self._slots: list[tuple[int, int, Address]] = []

    async def discover(self) -> None:
        """Find out whether this is a cluster, and its slots if it is.

        Raises:
            BackendUnavailableError: the server can't be reached.
            BackendError: it is too old.
        """
        link = await self._connect(self._seed)
        try:
            facts = _facts(cast("bytes", await link.command("INFO")))
            version = facts.get("redis_version", "0.0")
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
                raise BackendError(
                    f"Redis at {self._seed} is version {version}; HotMesh needs "
                    f"{'.'.join(map(str, OLDEST_VERSION))} or newer"
                )
            if facts.get("cluster_enabled") == "1":
                await self._read_slots(link)
        finally:
            await link.close()

    @property
    def is_cluster(self) -> bool:
        return bool(self._slots)

    def masters(self) -> Sequence[Address]:
        """Every node that holds keys."""
        return tuple(self._nodes)

    async def open(self, key: bytes) -> Link:
        """A new connection to the node that serves `key`.

        Raises:
            BackendUnavailableError: it can't be reached; a cluster is asked for its new master.
        """
        try:
            return await self._connect(self._address(key))
        except BackendUnavailableError:
            if self.is_cluster:
                await self.refresh()
            raise

    async def open_any(self) -> Link:
        """A new connection to whichever node answers first, for what any node can do."""
        failure: BackendUnavailableError | None = None
        for address in (*self._nodes, self._seed):
            try:
                return await self._connect(address)
            except BackendUnavailableError as error:
                failure = error
        assert failure is not None
        raise failure

    async def open_at(self, address: Address) -> Link:
        """A new connection to a certain node."""
        return await self._connect(address)

    async def refresh(self) -> None:
        """Read the cluster's slots again, from any node that answers."""
        try:
            link = await self.open_any()
        except BackendUnavailableError:
            return  # the caller has an error of its own to report
        try:
            await self._read_slots(link)
        finally:
            await link.close()

    async def _connect(self, address: Address) -> Link:
        options = dict(self._options)
        if address.port:
            options |= {"host": address.host, "port": address.port}
        try:
            connection = cast("Connection", self._class(**options))
        except TypeError as error:
            raise InvalidArgumentError(f"unknown option in the Redis URL: {error}") from error
        link = Link(connection, address)
        await link.open()
        return link

    async def _read_slots(self, link: Link) -> None:
        ranges = cast("list[list[Any]]", await link.command("CLUSTER", "SLOTS"))
        self._slots = [
            (first, last, Address(bytes(master[0] or b"").decode() or link.address.host, master[1]))
            for first, last, master, *_ in ranges
        ]
        self._nodes = sorted({address for _, _, address in self._slots}) or [self._seed]

    def _address(self, key: bytes) -> Address:
        if not self._slots:
            return self._seed
        slot = key_slot(key)
        for first, last, address in self._slots:
            if first <= slot <= last:
                return address
        raise BackendUnavailableError(f"no node of the Redis Cluster serves slot {slot}")


class Route:
    """The way to one namespace: a few connections to the node that holds it.

    Args:
        servers: Where to connect.
        key: The namespace's first key, "{prefix:namespace}:".
        size: Calls under way at once, and connections kept.
        prepare: Called with each new connection before it is used: what it leads to may not be
            what the one before led to.
    """

    def __init__(
        self,
        servers: Servers,
        key: bytes,
        size: int,
        prepare: Callable[[Link], Awaitable[None]] | None = None,
    ) -> None:
        self._servers = servers
        self._key = key
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Link] = []
        self._closed = False
        self._opened = 0
        self._prepare = prepare

    async def ready(self) -> int:
        """Make sure that there is a connection; how many were opened so far.

        Raises:
            BackendUnavailableError: It can't be opened.
        """
        if not self._idle:
            async with self._turns:
                await self._give_back(await self._take())
        return self._opened

    async def evaluate(self, script: Script, arguments: Sequence[bytes | str]) -> Any:
        """Run a script where the namespace lives.

        Raises:
            BackendUnavailableError: see `Link.evaluate`.
        """
        async with self._turns:
            for attempt in range(REDIRECTS_MAX):
                link = await self._take()
                try:
                    answer = await link.evaluate(script, self._key, arguments)
                except redis_errors.MovedError:
                    await link.close()
                    await self._servers.refresh()
                except REDIRECTS:
                    await link.close()
                    await asyncio.sleep(REDIRECT_PAUSE_S * (attempt + 1))
                    await self._servers.refresh()
                except (BackendError, asyncio.CancelledError):
                    await link.close()
                    await self.drop_idle()  # what broke this one has broken them, most likely
                    raise
                else:
                    await self._give_back(link)
                    return answer
        raise BackendUnavailableError(
            f"the Redis Cluster has no node for {self._key!r} after {REDIRECTS_MAX} redirections"
        )

    async def command(self, *words: Word) -> Any:
        """Send one plain command; for keys that no cluster moves mid-way use `evaluate`."""
        async with self._turns:
            link = await self._take()
            try:
                answer = await link.command(*words)
            except REDIRECTS as error:
                await link.close()
                await self._servers.refresh()
                raise BackendUnavailableError(f"the Redis Cluster is moving: {error}") from error
            except BackendError:
                await link.close()
                raise
            await self._give_back(link)
            return answer

    async def close(self) -> None:
        """Drop the connections; calls under way finish first."""
        self._closed = True
        await self.drop_idle()

    async def _take(self) -> Link:
        if self._closed:
            raise ClosedError("this connection to Redis was closed")
        if self._idle:
            return self._idle.pop()
        link = await self._servers.open(self._key)
        self._opened += 1
        if self._prepare is not None:
            try:
                await self._prepare(link)
            except REDIRECTS as error:
                await link.close()
                await self._servers.refresh()
                raise BackendUnavailableError(f"the Redis Cluster is moving: {error}") from error
            except BaseException:
                await link.close()
                raise
        return link

    async def drop_idle(self) -> None:
        """Close the connections that no call is using; new ones are made when needed."""
        while self._idle:
            await self._idle.pop().close()

    async def _give_back(self, link: Link) -> None:
        if self._closed:
            await link.close()
        else:
            self._idle.append(link)


def _facts(info: bytes) -> dict[str, str]:
    """The name:value lines of INFO."""
    lines = info.decode().splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
