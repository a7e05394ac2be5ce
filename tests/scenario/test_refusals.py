"""Calls that fail in ways nobody expects: never in silence, and nothing is left half done."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from hotmesh import activity, workflow
from hotmesh.backends.sqlite import SqliteBackend
from hotmesh.client import Client
from hotmesh.client._connection import Connection
from hotmesh.exceptions import BackendError
from hotmesh.worker import Worker
from support.running import QUEUE, SOON, execute, working


class Refusing:
    """A backend that answers calls with errors, as long as it has any."""

    def __init__(self) -> None:
        self._backend = SqliteBackend("sqlite://")
        self.errors: list[Exception] = []
        self.listen_errors: list[Exception] = []

    async def listen(self, channel: str, callback: Any) -> None:
        """See the protocol."""
        if self.listen_errors:
            raise self.listen_errors.pop()
        await self._backend.listen(channel, callback)

    async def tasks(self, batch: Any) -> Any:
        """See the protocol."""
        if self.errors:
            raise self.errors.pop()
        return await self._backend.tasks(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)


@pytest.fixture
def refusing() -> Refusing:
    """A backend in memory."""
    return Refusing()


@pytest.fixture
async def client(refusing: Refusing) -> AsyncIterator[Client]:
    """A client of it."""
    connection = Connection(cast("Any", refusing))
    await connection.open()
    yield Client(connection, namespace=uuid.uuid4().hex)
    await connection.close()


@activity.defn
async def beating() -> str:
    """Goes through the queue, for it beats."""
    activity.heartbeat()
    return "done"


@workflow.defn
class Beats:
    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            beating, start_to_close_timeout=SOON, heartbeat_timeout=SOON
        )


async def test_a_refused_call_is_made_again(client: Client, refusing: Refusing) -> None:
    refusing.errors = [BackendError("refused")] * 3
    async with working(client, Beats, activities=[beating]):
        assert await execute(client, Beats.run) == "done"


async def test_a_worker_that_can_take_no_more_tasks_ends(
    client: Client, refusing: Refusing
) -> None:
    refusing.errors = [RuntimeError("a bug")]
    told: list[BaseException] = []

    async def on_fatal_error(error: BaseException) -> None:
        told.append(error)

    worker = Worker(client, task_queue=QUEUE, activities=[beating], on_fatal_error=on_fatal_error)
    with pytest.raises(RuntimeError, match="a bug"):
        await worker.run()
    assert [str(error) for error in told] == ["a bug"]


async def test_a_worker_that_fails_while_it_joins_leaves_again(
    client: Client, refusing: Refusing
) -> None:
    refusing.listen_errors = [RuntimeError("a bug")]
    with pytest.raises(RuntimeError, match="a bug"):
        await Worker(client, task_queue=QUEUE, workflows=[Beats]).run()
    assert list(await client.backend.routers(client.namespace)) == []
