"""Which node serves a key, and connections to it: one server, or the masters of a cluster.

Of several servers that are no cluster the master is looked for with each new connection, by asking
them, or sentinels: after a failover the next connection finds the new one.

Every key of a namespace has the namespace's hash tag, so a call goes to one node as a whole. A
cluster's answer that a slot has moved is followed here, and is safe to follow: the call did not
run. A lost connection is not repeated here.

While a slot is being moved its keys are on both nodes, and a script must run on neither. The key
that routes a script never exists, so both nodes refuse it (ASK, MOVED) until the move is over: the
namespace pauses. That is why ASK is waited out and not followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from redis import exceptions as redis_errors
from redis.crc import key_slot

from hotmesh.backends.redis.link import REDIRECTS, Connection, Link, Node
from hotmesh.backends.redis.packing import Word
from hotmesh.backends.redis.scripts import Script
from hotmesh.backends.redis.url import RedisUrl
from hotmesh.core.rope import Rope
from hotmesh.exceptions import BackendAccessError, BackendError, BackendUnavailableError
from hotmesh.forks import Guard

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
        url: Where to look for it.
    """

    def __init__(self, url: RedisUrl) -> None:
        self._url = url
        self._nodes: list[Node] = []
        self._slots: list[tuple[int, int, Node]] = []

    async def discover(self) -> None:
        """Find out whether this is a cluster, and its slots if it is.

        Raises:
            BackendUnavailableError: the server can't be reached.
            BackendAccessError: it does not let us in.
            BackendError: it is too old.
        """
        link = await self._open_home()
        try:
            facts = await _facts(link)
            version = facts.get("redis_version", "0.0")
            if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
                raise BackendError(
                    f"Redis at {link.address} is version {version}; HotMesh needs "
                    f"{'.'.join(map(str, OLDEST_VERSION))} or newer"
                )
            self._nodes = [link.address]
            if facts.get("cluster_enabled") == "1":
                await self._read_slots(link)
        finally:
            await link.close()

    def know(self, other: Servers) -> None:
        """Take over what another has found out of the same URL."""
        self._nodes, self._slots = list(other._nodes), list(other._slots)

    @property
    def is_cluster(self) -> bool:
        return bool(self._slots)

    def masters(self) -> Sequence[Node]:
        """Every node that holds keys."""
        return tuple(self._nodes)

    async def open(self, key: bytes) -> Link:
        """A new connection to the node that serves `key`.

        Raises:
            BackendUnavailableError: it can't be reached; a cluster is asked for its new master.
            BackendAccessError: it does not let us in.
        """
        if not self.is_cluster:
            return await self._open_home()
        try:
            return await self._connect(self._node_of(key))
        except BackendUnavailableError:
            await self.refresh()
            raise

    async def open_any(self) -> Link:
        """A new connection to whichever node answers first, for what any node can do."""
        if not self.is_cluster:
            return await self._open_home()
        return await self._first((*self._nodes, *self._url.seeds))

    async def open_at(self, node: Node) -> Link:
        """A new connection to a certain node."""
        return await self._connect(node)

    async def refresh(self) -> None:
        """Read the cluster's slots again, from any node that answers."""
        if not self.is_cluster:
            return  # the master is looked for with each connection
        try:
            link = await self.open_any()
        except BackendUnavailableError:
            return  # the caller has an error of its own to report
        try:
            await self._read_slots(link)
        finally:
            await link.close()

    async def _open_home(self) -> Link:
        """A connection to the master, or to a node of a cluster."""
        seeds = self._url.seeds
        if self._url.service:
            node = await self._ask_sentinels()
        elif len(seeds) == 1:
            return await self._connect(seeds[0])
        else:
            return await self._first(seeds, is_home=_is_home)
        link = await self._connect(node)
        if await _is_home(link):
            return link
        await link.close()
        raise BackendUnavailableError(
            f"Redis at {node}, of which sentinels say that it is the master of "
            f"{self._url.service!r}, is a replica: it fails over"
        )

    async def _first(
        self,
        nodes: Sequence[Node],
        is_home: Callable[[Link], Awaitable[bool]] | None = None,
    ) -> Link:
        """A connection to the first that answers, and will do."""
        failure: BackendUnavailableError | None = None
        for node in nodes:
            try:
                link = await self._connect(node)
            except BackendUnavailableError as error:
                failure = error
                continue
            if is_home is None or await is_home(link):
                return link
            await link.close()
            failure = BackendUnavailableError(f"Redis at {node} is a replica")
        assert failure is not None
        raise failure

    async def _ask_sentinels(self) -> Node:
        service = self._url.service
        failure: BackendError | None = None
        for sentinel in self._url.seeds:
            try:
                link = await self._connect(sentinel, self._url.sentinel_options)
                try:
                    found: Any = await link.command("SENTINEL", "get-master-addr-by-name", service)
                finally:
                    await link.close()
            except BackendUnavailableError as error:
                failure = failure or error
                continue
            if found is not None:
                return Node(bytes(found[0]).decode(), int(found[1]))
            failure = BackendAccessError(
                f"the Redis sentinel at {sentinel} knows no service {service!r}"
            )
        assert failure is not None
        raise failure

    async def _connect(self, node: Node, other: Mapping[str, Any] | None = None) -> Link:
        options = dict(self._url.options if other is None else other)
        if node.port:
            options |= {"host": node.host, "port": node.port}
        else:
            options["path"] = node.host
        connection = cast("Connection", self._url.connection_class(**options))
        link = Link(connection, node, self._url.redaction)
        await link.open()
        return link

    async def _read_slots(self, link: Link) -> None:
        ranges = cast("list[list[Any]]", await link.command("CLUSTER", "SLOTS"))
        self._slots = [
            (first, last, Node(bytes(master[0] or b"").decode() or link.address.host, master[1]))
            for first, last, master, *_ in ranges
        ]
        self._nodes = sorted({node for _, _, node in self._slots}) or list(self._url.seeds)

    def _node_of(self, key: bytes) -> Node:
        slot = key_slot(key)
        for first, last, node in self._slots:
            if first <= slot <= last:
                return node
        raise BackendUnavailableError(f"no node of the Redis Cluster serves slot {slot}")


async def _facts(link: Link, *sections: str) -> dict[str, str]:
    """The name:value lines of INFO."""
    info = cast("bytes", await link.command("INFO", *sections))
    lines = info.decode().splitlines()
    return {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}


async def _is_home(link: Link) -> bool:
    """Whether this server takes what is written: a master, or any node of a cluster."""
    try:
        facts = await _facts(link)
    except BaseException:
        await link.close()
        raise
    return facts.get("role") == "master" or facts.get("cluster_enabled") == "1"


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
        self._guard = Guard("connection to Redis")
        self._closed = False
        self._opened = 0
        self._prepare = prepare

    async def ready(self) -> int:
        """Make sure that there is a connection; how many were opened so far.

        Raises:
            BackendUnavailableError: It can't be opened.
        """
        if not self._idle:
            self._guard.check()  # all turns may have been taken when this process was forked
        async with self._turns:
            await self._give_back(await self._take())
        return self._opened

    async def evaluate(self, script: Script, arguments: Sequence[bytes | str | Rope]) -> Any:
        """Run a script where the namespace lives.

        Raises:
            BackendUnavailableError: see `Link.evaluate`.
        """
        self._guard.check()  # all turns may have been taken when this process was forked
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
        self._guard.check()  # all turns may have been taken when this process was forked
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

    async def forget_answer(self) -> None:
        """Say a word: the driver keeps the memory of a large answer until it reads the next one."""
        await self.command("PING")

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
