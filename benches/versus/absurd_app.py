"""Absurd: tasks and checkpoints in Postgres. Its schema is made by `absurdctl init`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from absurd_sdk import AsyncAbsurd
from load import RunOne, main, until_told

QUEUE = "versus"
CONCURRENCY = 100
POLL_SECONDS = 0.005
"""250 ms by default."""

CONNECTIONS = 16
"""Of the client: one can do one thing at a time."""


async def worker(url: str) -> None:
    app = AsyncAbsurd(url, queue_name=QUEUE)
    await app.create_queue(QUEUE)

    @app.register_task("steps")
    async def steps_task(params: Any, context: Any) -> int:
        total = 0
        for value in range(params["count"]):

            async def echo(value: int = value) -> int:
                return value

            total += await context.step(f"echo-{value}", echo)
        return total

    working = asyncio.create_task(
        app.start_worker(concurrency=CONCURRENCY, poll_interval=POLL_SECONDS)
    )
    await until_told()
    app.stop_worker()
    await working
    await app.close()


@asynccontextmanager
async def client(url: str) -> AsyncIterator[RunOne]:
    pool: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        pool.put_nowait(AsyncAbsurd(url, queue_name=QUEUE))

    @asynccontextmanager
    async def borrowed() -> AsyncIterator[Any]:
        app = await pool.get()
        try:
            yield app
        finally:
            pool.put_nowait(app)

    async def run_one(steps: int, name: str) -> int:
        async with borrowed() as app:
            spawned = await app.spawn("steps", {"count": steps}, queue=QUEUE, idempotency_key=name)
        while True:
            async with borrowed() as app:
                found = await app.fetch_task_result(spawned["task_id"], QUEUE)
            if found is not None and found.state == "completed":
                return int(found.result)
            await asyncio.sleep(0.05)

    yield run_one
    while not pool.empty():
        await pool.get_nowait().close()


if __name__ == "__main__":
    main(worker, client)
