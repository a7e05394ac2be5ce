"""Names and numbers of one database: key prefixes, namespaces, task queues.

Queue ids are unique over all namespaces, so that hints need no namespace beside a lane. Both ways
are kept under a hash tag of their own, "{prefix}", and never change: what was read once is cached,
and made again should a new connection lead to a database that lacks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import quote

from hotmesh.backends.queue_ids import wanted_queue_id
from hotmesh.backends.redis import codec, scripts
from hotmesh.backends.redis.link import Link
from hotmesh.backends.redis.servers import Route, Servers
from hotmesh.exceptions import BackendAccessError, BackendError, SchemaVersionError

SCHEMA_VERSION = 1
"""Layout of the keys; a newer one in the database is refused."""


def namespace_key(prefix: str, namespace: str) -> bytes:
    """The first key of a namespace. Braces are escaped: they would end the hash tag early."""
    return f"{{{quote(prefix, safe='')}:{quote(namespace, safe='')}}}:".encode()


class Names:
    """The registry of task queues and namespaces.

    Args:
        servers: Where the database is.
        prefix: Of every key, from the URL.
    """

    def __init__(self, servers: Servers, prefix: str) -> None:
        self._servers = servers
        self._key = f"{{{quote(prefix, safe='')}}}:".encode()
        self.route = Route(servers, self._key, size=2, prepare=self._meet_connection)
        self._ids: dict[tuple[str, str, str], int] = {}
        self._queues: dict[int, tuple[str, str]] = {}

    async def exists(self) -> bool:
        """Whether the schema version was ever written."""
        return await self.route.command("GET", self._key + b"schema") is not None

    async def check_rights(self) -> None:
        """Ask for the rights of all that may be called: one that is missing is named here, and not
        in the midst of the work that needs it.

        Raises:
            BackendAccessError: the user lacks some; the message names them.
        """
        words: codec.Words = [codec.EMPTY_HEADER, *scripts.COMMANDS]
        refused = cast("list[bytes]", await self.route.evaluate(scripts.RIGHTS, words))
        if refused:
            where = ", ".join(map(str, self._servers.masters()))
            raise BackendAccessError(
                f"Redis at {where} does not let this user run {b', '.join(refused).decode()} on "
                f"keys that begin with {self._key.decode()!r}. docs/operations.md lists the rights "
                "it needs"
            )

    async def check_schema(self) -> None:
        """Write the schema version into a new database, compare it in an old one.

        Raises:
            SchemaVersionError: the keys were laid out by a newer version.
        """
        key = self._key + b"schema"
        await self.route.command("SET", key, SCHEMA_VERSION, "NX")
        stored = cast("bytes", await self.route.command("GET", key))
        if not stored.isdigit():
            raise BackendError(
                f"the schema version in Redis is damaged, it is {stored!r}: set the key "
                f"{key.decode()!r} to {SCHEMA_VERSION} if that is what wrote it"
            )
        found = int(stored)
        if found > SCHEMA_VERSION:
            raise SchemaVersionError(found, SCHEMA_VERSION)

    async def queue_id(self, namespace: str, task_queue: str, side: str = "") -> int:
        """The id of a task queue or side queue, made on first use."""
        known = self._ids.get((namespace, task_queue, side))
        if known is not None:
            return known
        if side:
            await self.queue_id(namespace, task_queue)
        key = (namespace, task_queue, side)
        (queue_id,) = await self.route.evaluate(scripts.QUEUE_ID, _queue_words([key]))
        self._remember(queue_id, _full_name(key))
        return queue_id

    async def _meet_connection(self, link: Link) -> None:
        """Make the known task queues again if the database behind a new connection lacks them."""
        keys = list(self._ids)
        if not keys:
            return
        ids: list[int] = await link.evaluate(scripts.QUEUE_ID, self._key, _queue_words(keys))
        for key, queue_id in zip(keys, ids, strict=True):
            if self._ids[key] != queue_id:
                self._queues.pop(self._ids[key], None)
                self._remember(queue_id, _full_name(key))

    async def ids_of(self, namespace: str, task_queue: str) -> list[int]:
        """The ids of a task queue and of its side queues, without making one."""
        found: Any = await self.route.command("HGETALL", self._key + b"queue_names")
        flat = cast("list[bytes]", found)
        wanted = [namespace.encode(), task_queue.encode()]
        names = (name.split(b"\0")[:2] for name in flat[1::2])
        return [
            int(each)
            for each, name in zip(flat[::2], names, strict=True)
            if name == wanted and each.isdigit()
        ]

    async def queue(self, queue_id: int) -> tuple[str, str]:
        """Namespace and task queue of an id.

        Raises:
            BackendError: nobody has made this id.
        """
        known = self._queues.get(queue_id) or await self._find(queue_id)
        if known is None:
            raise BackendError(f"Redis knows no task queue with id {queue_id}")
        return known

    async def _find(self, queue_id: int) -> tuple[str, str] | None:
        name: Any = await self.route.command("HGET", self._key + b"queue_names", queue_id)
        return (
            None if name is None else self._remember(queue_id, bytes(name).decode(errors="replace"))
        )

    async def queues_of(self, namespace: str) -> list[int]:
        """The ids of all task queues of a namespace."""
        ids = cast("list[bytes]", await self.route.command("HKEYS", self._key + b"queue_names"))
        queues = [(int(each), await self.namespace_of(int(each))) for each in ids if each.isdigit()]
        return sorted(queue_id for queue_id, home in queues if home == namespace)

    async def namespace_of(self, queue_id: int) -> str | None:
        """The namespace of a task queue, None if nobody has made this id."""
        known = self._queues.get(queue_id) or await self._find(queue_id)
        return None if known is None else known[0]

    async def name_of(self, queue_id: int) -> str:
        """The name of a task queue, "" if nobody has made this id."""
        known = self._queues.get(queue_id) or await self._find(queue_id)
        return "" if known is None else known[1]

    def _remember(self, queue_id: int, name: str) -> tuple[str, str]:
        namespace, task_queue, side = [*name.split("\0", 2), ""][:3]
        self._ids[namespace, task_queue, side] = queue_id
        self._queues[queue_id] = (namespace, task_queue)
        return namespace, task_queue


def _full_name(key: tuple[str, str, str]) -> str:
    return "\0".join(key if key[2] else key[:2])


def _queue_words(keys: Sequence[tuple[str, str, str]]) -> codec.Words:
    """The arguments of queue_id.lua."""
    words: codec.Words = [codec.header({"wanted": [wanted_queue_id(*key) for key in keys]})]
    words += map(_full_name, keys)
    return words
