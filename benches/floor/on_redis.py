"""The floor on Redis: one script to start a batch, one read to claim, one script to commit.

Deletes and makes only keys that begin with `{hotmesh_floor}`.
"""

from collections.abc import Sequence
from typing import Any

import redis.asyncio
import redis.exceptions
import shared

PREFIX = "{hotmesh_floor}"
INBOX = f"{PREFIX}:inbox"
GROUP = "workers"
BLOCK_MS = 1000

START = """
local prefix, input = ARGV[1], ARGV[2]
for i = 3, #ARGV, 2 do
  if redis.call('HSETNX', prefix .. ':run:' .. ARGV[i], 'name', ARGV[i + 1]) == 1 then
    redis.call('HSET', prefix .. ':run:' .. ARGV[i], 'input', input, 'closed', '0')
    redis.call('XADD', KEYS[1], '*', 'run', ARGV[i], 'input', input)
  end
end
"""
COMMIT = """
local prefix, group = ARGV[1], ARGV[2]
local journaled, closed, handled = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local at = 6
for _ = 1, journaled do
  redis.call('RPUSH', prefix .. ':journal:' .. ARGV[at], ARGV[at + 1])
  at = at + 2
end
for _ = 1, closed do
  redis.call('HSET', prefix .. ':run:' .. ARGV[at], 'closed', '1', 'result', ARGV[at + 1])
  at = at + 2
end
if handled > 0 then
  local ids = {unpack(ARGV, at, at + handled - 1)}
  redis.call('XACK', KEYS[1], group, unpack(ids))
  redis.call('XDEL', KEYS[1], unpack(ids))
  redis.call('PUBLISH', prefix .. ':closed', closed)
end
"""


class RedisStore:
    """A connection."""

    def __init__(self, connection: Any) -> None:
        self._redis = connection
        self._start = connection.register_script(START)
        self._commit = connection.register_script(COMMIT)

    async def prepare(self) -> None:
        keys = [key async for key in self._redis.scan_iter(f"{PREFIX}*", count=10_000)]
        for at in range(0, len(keys), 1000):
            await self._redis.unlink(*keys[at : at + 1000])
        await self._redis.xgroup_create(INBOX, GROUP, id="0", mkstream=True)

    async def start(self, runs: Sequence[int]) -> None:
        words: list[Any] = [PREFIX, b"[1]"]
        for run in runs:
            words += (run, f"workflow-{run}")
        await self._start(keys=[INBOX], args=words)

    async def closed(self, runs: Sequence[int]) -> set[int]:
        pipeline = self._redis.pipeline(transaction=False)
        for run in runs:
            pipeline.hget(f"{PREFIX}:run:{run}", "closed")
        states = await pipeline.execute()
        return {run for run, state in zip(runs, states, strict=True) if state == b"1"}

    async def claim(self, room: int, idle: bool) -> list[tuple[Any, int]]:
        found = await self._redis.xreadgroup(
            GROUP, "worker", {INBOX: ">"}, count=room, block=BLOCK_MS if idle else None
        )
        streams = found.items() if isinstance(found, dict) else found or ()
        messages: list[tuple[Any, int]] = []
        for _, entries in streams:
            for entry in entries:
                # redis-py 8 may nest the entries of a stream once more.
                for message, fields in entry if isinstance(entry, list) else (entry,):
                    messages.append((message, int(fields[b"run"])))
        return messages

    async def commit(self, batch: shared.Batch) -> None:
        words: list[Any] = [
            PREFIX,
            GROUP,
            len(batch.journal_run),
            len(batch.closed_run),
            len(batch.handled),
        ]
        for pair in zip(batch.journal_run, batch.journal_payload, strict=True):
            words += pair
        for pair in zip(batch.closed_run, batch.closed_result, strict=True):
            words += pair
        words += batch.handled
        await self._commit(keys=[INBOX], args=words)

    async def written(self) -> int:
        return int((await self._redis.info("persistence")).get("aof_current_size", 0))

    async def close(self) -> None:
        await self._redis.aclose()


async def connect(url: str) -> shared.Store:
    """Connect to the server at ``url``."""
    return RedisStore(redis.asyncio.from_url(url))


if __name__ == "__main__":
    shared.main("redis", connect, "redis://127.0.0.1:6379/0")
