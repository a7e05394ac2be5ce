"""Temporal, its development server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from load import RunOne, main, until_told
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

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
    client = await Client.connect(url)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Steps],
        activities=[echo],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await until_told()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[RunOne]:
    connected = await Client.connect(url)

    async def run_one(steps: int, name: str) -> int:
        return await connected.execute_workflow(Steps.run, steps, id=name, task_queue=QUEUE)

    yield run_one


if __name__ == "__main__":
    main(worker, client)
