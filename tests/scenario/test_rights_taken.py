"""Rights are taken away from a worker at work and given back: what was refused is done then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.client._check import look
from support.running import AT_ONCE, SOON, eventually, start, working

RUNS = 10
REFUSALS = 3
"""Calls that are refused before a right comes back: the pipes', beats and the tasks'."""

Take = Callable[[], contextlib.AbstractAsyncContextManager[None]]


@activity.defn
async def second_time() -> None:
    """Fails once."""
    if activity.info().attempt == 1:
        raise RuntimeError("once more")


@workflow.defn
class Child:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(0.01)


@workflow.defn
class Busy:
    """Moves on all the time, over timers, retries, the task queue and children."""

    def __init__(self) -> None:
        self.enough = False

    @workflow.signal
    def stop(self) -> None:
        self.enough = True

    @workflow.run
    async def run(self) -> str:
        while not self.enough:
            await workflow.sleep(0.01)
            await workflow.execute_activity(
                second_time, start_to_close_timeout=SOON, retry_policy=AT_ONCE
            )
            await workflow.execute_activity(
                second_time,
                start_to_close_timeout=SOON,
                heartbeat_timeout=SOON,
                retry_policy=AT_ONCE,
            )
            await workflow.execute_child_workflow(Child.run)
        return "done"


class Refusals(logging.Handler):
    """Counts what is said about calls that were refused, those said at DEBUG included."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See the base class."""
        text = record.getMessage()
        if "permission" in text or "may not run" in text:
            self.count += 1


@pytest.fixture
def redis_rights(redis_user: tuple[Any, str]) -> tuple[str, list[Take]]:
    """The user's URL, and how to take away each kind of right."""
    server, url = redis_user
    name = urlsplit(url).username

    def taking(rule: str, back: list[str]) -> Take:
        @contextlib.asynccontextmanager
        async def take() -> AsyncIterator[None]:
            server.execute_command("ACL SETUSER", name, rule)
            yield
            server.execute_command("ACL SETUSER", name, *back)

        return take

    commands = ["zadd", "hset", "rpush", "xadd", "xdel", "del", "zrem", "lrange"]
    takes = [taking(f"-{each}", [f"+{each}"]) for each in commands]
    (keys,) = (user for user in server.acl_list() if f"user {name} " in user)
    patterns = [word for word in keys.split() if word.startswith("~")]
    return url, [*takes, taking("resetkeys", patterns)]


@pytest.fixture
async def postgres_rights(postgres_user: tuple[Any, str]) -> tuple[str, list[Take]]:
    """The same for each of the tables that a worker writes all the time."""
    server, url = postgres_user
    name = urlsplit(url).username

    def taking(table: str) -> Take:
        @contextlib.asynccontextmanager
        async def take() -> AsyncIterator[None]:
            await server.execute(f"REVOKE ALL ON hotmesh.{table} FROM {name}")
            yield
            await server.execute(
                f"GRANT SELECT, INSERT, UPDATE, DELETE ON hotmesh.{table} TO {name}"
            )

        return take

    tables = ["journal", "stream", "timer", "task", "run", "router", "lane"]
    return url, [taking(table) for table in tables]


@pytest.fixture(params=["redis", "postgres"])
def rights(request: pytest.FixtureRequest) -> tuple[str, list[Take]]:
    """On both kinds of server."""
    return request.getfixturevalue(f"{request.param}_rights")


async def test_what_was_refused_is_done_once_it_is_allowed_again(
    rights: tuple[str, list[Take]],
) -> None:
    url, takes = rights
    refusals, log = Refusals(), logging.getLogger("hotmesh")
    level = log.level
    log.addHandler(refusals)
    log.setLevel(logging.DEBUG)
    try:
        async with (
            await Client.connect(url) as client,
            working(client, Busy, Child, activities=[second_time]),
        ):
            handles = [await start(client, Busy.run) for _ in range(RUNS)]
            for take in takes:
                await asyncio.sleep(0.1)  # they are under way again
                refusals.count = 0
                async with take():
                    await eventually(lambda: _refused(refusals), "calls are refused")
            for handle in handles:
                await handle.signal(Busy.stop)
            async with asyncio.timeout(20):
                assert {await handle.result() for handle in handles} == {"done"}
            assert await look(client.backend, client.namespace) == []
    finally:
        log.removeHandler(refusals)
        log.setLevel(level)


def _refused(refusals: Refusals) -> Awaitable[bool]:
    async def enough() -> bool:
        return refusals.count >= REFUSALS

    return enough()
