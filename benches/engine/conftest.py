"""A worker on each database in turn, on private servers that are started when first needed."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hotmesh.bench.workloads import WORKFLOWS, echo
from hotmesh.client import Client
from hotmesh.worker import Worker
from servers import DurablePostgresServer, RedisServer

QUEUE = "bench"


class Mesh:
    """A client and a worker on a loop of their own, for benchmarks that know no loop."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self._stack = contextlib.AsyncExitStack()
        self._number = 0
        self._client: Client = self._runner.run(self._open(url))

    async def _open(self, url: str) -> Client:
        client = await self._stack.enter_async_context(await Client.connect(url))
        worker = Worker(client, task_queue=QUEUE, workflows=WORKFLOWS, activities=[echo])
        await self._stack.enter_async_context(worker)
        return client

    def run(self, workflow: Any, args: list[Any], count: int) -> list[Any]:
        """So many workflows at once; their results."""
        return self._runner.run(self._run(workflow, args, count))

    async def _run(self, workflow: Any, args: list[Any], count: int) -> list[Any]:
        first, self._number = self._number, self._number + count
        return await asyncio.gather(
            *(
                self._client.execute_workflow(
                    workflow, args=args, id=f"bench-{number}", task_queue=QUEUE
                )
                for number in range(first, self._number)
            )
        )

    def close(self) -> None:
        """Hand over and end."""
        self._runner.run(self._stack.aclose())
        self._runner.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A private Postgres."""
    with contextlib.closing(DurablePostgresServer()) as server:
        server.start()
        yield server.url


@pytest.fixture(scope="session")
def redis() -> Iterator[str]:
    """A private Redis that syncs every write."""
    with contextlib.closing(RedisServer()) as server:
        server.start()
        yield server.url


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A new file."""
    folder: Path = tmp_path_factory.mktemp("bench")
    return f"sqlite:///{folder}/bench.db"


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """A worker on each database in turn."""
    with contextlib.closing(Mesh(request.getfixturevalue(request.param))) as mesh:
        yield mesh
