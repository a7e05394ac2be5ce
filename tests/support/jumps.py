"""Wall clocks of databases that jump, at the tests' will."""

from __future__ import annotations

import hashlib
import time
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import redis.asyncio

from hotmesh.backends.redis import scripts
from hotmesh.backends.redis.names import namespace_key
from hotmesh.backends.sqlite import store


class JumpingClock:
    """The wall clock of one database, as all of this process that use it see it.

    Args:
        url: The database.
        patch: Undoes what is done to this process.
        namespace: Whose clock jumps, on Redis.
    """

    def __init__(self, url: str, patch: pytest.MonkeyPatch, namespace: str = "default") -> None:
        self._url = url
        self._by_ms = 0
        self._key = b""
        scheme = urlsplit(url).scheme
        if scheme == "sqlite":
            machine = time.time_ns
            shifted = SimpleNamespace(time_ns=lambda: machine() + self._by_ms * 1_000_000)
            patch.setattr(store, "time", shifted)
        elif scheme == "redis":
            (prefix,) = parse_qs(urlsplit(url).query)["prefix"]
            self._key = namespace_key(prefix, namespace) + b"test_jump"
            for name, script in list(vars(scripts).items()):
                if isinstance(script, scripts.Script):
                    patch.setattr(scripts, name, _jumping(script))

    async def jump(self, by_ms: int) -> None:
        """Set the clock forward (or back, below zero)."""
        self._by_ms += by_ms
        if self._key:
            async with redis.asyncio.from_url(self._url.split("?")[0]) as client:
                await client.set(self._key, self._by_ms)
        elif self._url.startswith("postgresql"):
            connection = await asyncpg.connect(self._url)
            await connection.execute(
                "create or replace function hotmesh.wall_ms() returns bigint language sql volatile "
                "as $$ select (extract(epoch from clock_timestamp()) * 1000)::bigint "
                f"+ ({self._by_ms}) $$"
            )
            await connection.close()


def _jumping(script: scripts.Script) -> scripts.Script:
    there = b"local wall = "
    assert there in script.text
    jump = b"(tonumber(call('GET', P .. 'test_jump') or 0)) + "
    text = script.text.replace(there, there + jump, 1)
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return script._replace(text=text, digest=digest.encode())
