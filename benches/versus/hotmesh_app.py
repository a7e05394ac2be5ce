"""HotMesh."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from load import RunOne, main, until_told

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.worker import Worker

QUEUE = "versus"


@activity.defn
async def echo(value: int) -> int:
    return value


@workflow.defn
class Steps:
    @workflow.run
    async def run(self, count: int) -> int:
        total = 0
        for value in range(count):
            total += await workflow.execute_activity(
                echo, value, start_to_close_timeout=timedelta(minutes=5)
            )
        return total


async def worker(url: str) -> None:
    async with (
        await Client.connect(url, namespace="versus") as client,
        Worker(client, task_queue=QUEUE, workflows=[Steps], activities=[echo]),
    ):
        await until_told()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[RunOne]:
    async with await Client.connect(url, namespace="versus") as connected:

        async def run_one(steps: int, name: str) -> int:
            return await connected.execute_workflow(Steps.run, steps, id=name, task_queue=QUEUE)

        yield run_one


if __name__ == "__main__":
    main(worker, client)
