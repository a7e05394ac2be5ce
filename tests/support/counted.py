"""What a call makes its database look at: counted, since time would depend on who else is busy."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hotmesh.backends.postgres import link
from hotmesh.backends.postgres.backend import PostgresBackend
from hotmesh.backends.protocol import Backend
from hotmesh.backends.redis import scripts
from hotmesh.backends.redis.backend import RedisBackend
from hotmesh.backends.sqlite.backend import SqliteBackend

Call = Callable[[], Awaitable[object]]

_ROWS = (
    "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables"
)

_CALL = b"local call = redis.call\n"
_COUNTING = b"""
local elements = 0
local function call(...)
  local answer = redis.call(...)
  elements = elements + (type(answer) == 'table' and #answer or 1)
  return answer
end
"""
_END = b"lost_beats, lost_finishes }"
_COUNTED = b"lost_beats, lost_finishes, elements }"


async def looked_at(backend: Backend, patch: pytest.MonkeyPatch, call: Call) -> int:
    """How much one batch of activity tasks makes its database look at.

    Returns:
        Steps of SQLite's virtual machine, rows that Postgres reads, or elements of what Redis's
        commands answer to the script.
    """
    with patch.context() as within:
        if isinstance(backend, SqliteBackend):
            return await _steps(backend, call)
        if isinstance(backend, PostgresBackend):
            return await _rows(within, call)
        assert isinstance(backend, RedisBackend)
        return await _elements(within, call)


async def _steps(backend: SqliteBackend, call: Call) -> int:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    async def watch(handler: Callable[[], None] | None) -> None:
        await backend._store.look(lambda tx: tx._connection.set_progress_handler(handler, 1))

    await watch(step)
    try:
        await call()
    finally:
        await watch(None)
    return steps


async def _rows(patch: pytest.MonkeyPatch, call: Call) -> int:
    rows = 0

    async def run(self: link.Link, sql: str, arguments: tuple[object, ...]) -> Any:
        nonlocal rows
        async with self.transaction() as connection:
            before = await connection.fetchval(_ROWS)
            answer = await connection.fetch(sql, *arguments)
            rows += await connection.fetchval(_ROWS) - before
        return answer

    patch.setattr(link.Link, "_run", run)
    await call()
    return rows


async def _elements(patch: pytest.MonkeyPatch, call: Call) -> int:
    script, elements = scripts.TASKS, 0
    text = script.text
    for there, instead in ((_CALL, _COUNTING), (_END, _COUNTED)):
        assert text.count(there) == 1
        text = text.replace(there, instead)
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    patch.setattr(scripts, "TASKS", script._replace(text=text, digest=digest))
    once = RedisBackend._once

    async def run(*args: Any) -> Any:
        nonlocal elements
        *answer, count = await once(*args)
        elements += count
        return answer

    patch.setattr(RedisBackend, "_once", run)
    await call()
    return elements
