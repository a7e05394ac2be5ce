"""DBOS: a queue in Postgres.

Its polls are set to 50 ms (1 s by default).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from dbos import DBOS, DBOSClient
from load import RunOne, main, until_told

POLL_SECONDS = 0.05
QUEUE = "versus"


@DBOS.step()
async def echo(value: int) -> int:
    return value


@DBOS.workflow(name="steps")
async def steps_workflow(count: int) -> int:
    total = 0
    for value in range(count):
        total += await echo(value)
    return total


async def worker(url: str) -> None:
    DBOS(config={"name": "versus", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    await DBOS.register_queue_async(QUEUE, polling_interval_sec=POLL_SECONDS)
    await until_told()
    DBOS.destroy()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[RunOne]:
    connected = DBOSClient(system_database_url=url)

    async def run_one(steps: int, name: str) -> int:
        options: Any = {"queue_name": QUEUE, "workflow_name": "steps", "workflow_id": name}
        handle = await connected.enqueue_async(options, steps)
        return await handle.get_result(polling_interval_sec=POLL_SECONDS)

    yield run_one
    connected.destroy()


if __name__ == "__main__":
    main(worker, client)
