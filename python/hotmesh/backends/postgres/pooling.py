"""Whether a transaction pooler is in between: one that gives each transaction another server.

Behind it nothing that belongs to a session works: no LISTEN, no prepared statements. A pooler in
session mode is as good as none.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg

from hotmesh.backends.postgres.address import Address
from hotmesh.backends.postgres.link import Link
from hotmesh.exceptions import BackendError

HEARD_S = 1.0
"""How long a notification may take to arrive."""


async def in_transactions(address: Address) -> bool:
    """Whether the server behind a connection may be another one in the next transaction.

    Raises:
        BackendError: see :func:`hotmesh.backends.postgres.link.open_connection`.
    """
    one, other = Link(address, pooled=True), Link(address, pooled=True)
    try:
        async with one.connected() as connection:
            announced = connection.get_server_pid()
        server = await one.value("backend_pid")
        if server == announced:
            return False  # nobody is in between
        if await other.value("backend_pid") == server:
            return True  # two connections share a server
        return not await _hears(one, other, address.channel(f"probe {os.urandom(8).hex()}"))
    finally:
        await asyncio.gather(one.close(), other.close())


async def _hears(one: Link, other: Link, channel: str) -> bool:
    """Whether one connection hears what is said on the other, which takes a session of its own."""
    heard = asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    try:
        async with one.connected() as connection:
            await connection.add_listener(channel, hear)
            await other.fetch("notify", [channel], [""])
            async with asyncio.timeout(HEARD_S):
                await heard.wait()
    except (TimeoutError, asyncpg.PostgresError, BackendError):
        return False
    return True
