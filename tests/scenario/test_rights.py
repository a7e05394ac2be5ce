"""The rights that the documents name are enough, and one that is missing is named."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

import pytest

from hotmesh import activity, workflow
from hotmesh.backends.registry import backend_for
from hotmesh.client import Client
from hotmesh.exceptions import BackendAccessError
from support.running import QUEUE, SOON, eventually, execute, start, working


@activity.defn
async def beats() -> str:
    activity.heartbeat()
    return "done"


@workflow.defn
class Child:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(0.01)


@workflow.defn
class Everything:
    """Touches what there is: an activity by the queue, a child, a timer, a record, events."""

    def __init__(self) -> None:
        self.told = False

    @workflow.signal
    def tell(self) -> None:
        self.told = True

    @workflow.query
    def is_told(self) -> bool:
        return self.told

    @workflow.run
    async def run(self) -> str:
        workflow.emit({"topic": 1})
        await workflow.execute_child_workflow(Child.run)
        await workflow.wait_condition(lambda: self.told)
        return await workflow.execute_activity(
            beats, start_to_close_timeout=SOON, heartbeat_timeout=SOON
        )


async def work(url: str) -> None:
    """Do everything that a program does."""
    async with await Client.connect(url) as client:
        async with working(client, Everything, Child, activities=[beats]):
            handle = await start(client, Everything.run)
            await handle.signal(Everything.tell)
            assert await handle.result() == "done"
            assert await handle.query(Everything.is_told)
            stopped = await start(client, Everything.run, start_delay=SOON)
            await stopped.terminate()
        assert [each async for each in client.list_workflows()]
        await client.backend.prune(client.namespace, 0)


async def test_the_rights_of_a_redis_user(
    redis_user: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hotmesh"):
        await work(redis_user[1])
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("command", "named"), [("evalsha", "evalsha"), ("hset", "hset.*rights"), ("info", "info")]
)
async def test_a_right_that_a_redis_user_lacks_is_named(
    redis_user: tuple[Any, str], command: str, named: str
) -> None:
    server, url = redis_user
    server.execute_command("ACL SETUSER", urlsplit(url).username, f"-{command}")
    backend = backend_for(url)

    async def use() -> None:
        await backend.connect()
        await backend.queue_id("default", "work")

    with pytest.raises(BackendAccessError, match=named) as caught:
        await use()
    assert "secret" not in str(caught.value)
    await backend.close()


@pytest.mark.parametrize("rule", ["-subscribe", "resetchannels"])
async def test_a_worker_that_may_not_listen_ends_at_once(
    redis_user: tuple[Any, str], rule: str
) -> None:
    server, url = redis_user
    server.execute_command("ACL SETUSER", urlsplit(url).username, rule)
    async with await Client.connect(url) as client:
        with pytest.raises(BackendAccessError, match=r"listen.*rights"):
            async with asyncio.timeout(4), working(client, Child):
                pass


async def test_a_client_that_may_not_publish_says_so(
    redis_user: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    server, url = redis_user
    server.execute_command("ACL SETUSER", urlsplit(url).username, "-publish")
    async with await Client.connect(url) as client:
        with caplog.at_level(logging.WARNING, "hotmesh"):
            await start(client, Child.run)

            async def said() -> bool:
                return "no hints to workers" in caplog.text

            await eventually(said, "a warning")


async def test_the_rights_of_a_postgres_user(
    postgres_user: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hotmesh"):
        await work(postgres_user[1])
    assert caplog.text == ""


async def test_a_right_that_is_taken_away_is_named_and_waited_for(
    postgres_user: tuple[Any, str], caplog: pytest.LogCaptureFixture
) -> None:
    server, url = postgres_user
    name = urlsplit(url).username
    async with await Client.connect(url) as client, working(client, Child):
        with caplog.at_level(logging.WARNING, "hotmesh"):
            await server.execute(f"REVOKE INSERT ON hotmesh.journal FROM {name}")
            handle = await start(client, Child.run)

            async def named() -> bool:
                return "INSERT on table hotmesh.journal" in caplog.text

            await eventually(named, "the missing right is named")
            await server.execute(f"GRANT INSERT ON hotmesh.journal TO {name}")
            await handle.result()
    assert "declared dead" not in caplog.text
    assert "secret" not in caplog.text


async def test_a_worker_that_may_not_begin_ends_at_once(postgres_user: tuple[Any, str]) -> None:
    server, url = postgres_user
    name = urlsplit(url).username
    await server.execute(f"REVOKE SELECT, UPDATE ON hotmesh.router FROM {name}")
    async with await Client.connect(url) as client:
        with pytest.raises(BackendAccessError, match=r"hotmesh\.router"):
            async with asyncio.timeout(5), working(client, Child):
                pass


async def test_a_client_that_may_not_start_is_told_at_once(postgres_user: tuple[Any, str]) -> None:
    server, url = postgres_user
    name = urlsplit(url).username
    await server.execute(f"REVOKE INSERT ON hotmesh.run FROM {name}")
    async with await Client.connect(url) as client:
        with pytest.raises(BackendAccessError, match=r"INSERT on table hotmesh\.run"):
            async with asyncio.timeout(5):
                await execute(client, Child.run, task_queue=QUEUE)
