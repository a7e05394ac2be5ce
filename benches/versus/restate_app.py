"""Restate: its server keeps the journal, the service is called by it over HTTP/2.

The URL names the server's ingress and administration, and where the service listens:
`INGRESS ADMIN SERVICE`, separated by commas.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiohttp
import hypercorn.asyncio
import hypercorn.config
import restate
from load import RunOne, main, until_told

steps_workflow = restate.Workflow("Steps")


async def echo(value: int) -> int:
    return value


@steps_workflow.main()
async def run(context: restate.WorkflowContext, count: int) -> int:
    total = 0
    for value in range(count):
        total += await context.run_typed(f"echo-{value}", echo, value=value)
    return total


async def worker(url: str) -> None:
    _, admin, service = url.split(",")
    config = hypercorn.config.Config()
    config.bind = [urlsplit(service).netloc]
    config.h2_max_concurrent_streams = 100_000
    config.loglevel = "ERROR"
    stop = asyncio.Event()
    serving = asyncio.create_task(
        hypercorn.asyncio.serve(
            restate.app([steps_workflow]), config, shutdown_trigger=stop.wait, mode="asgi"
        )
    )
    await _register(admin, service)
    await until_told()
    stop.set()
    await serving


async def _register(admin: str, service: str) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(100):  # until the service listens
            document = {"uri": service, "force": True}
            async with http.post(f"{admin}/deployments", json=document) as answer:
                if answer.ok:
                    return
            await asyncio.sleep(0.1)
        raise SystemExit(f"the service could not be registered: {answer.status}")


@asynccontextmanager
async def client(url: str) -> AsyncIterator[RunOne]:
    ingress = url.split(",")[0]
    connector = aiohttp.TCPConnector(limit=1000)
    async with aiohttp.ClientSession(connector=connector) as http:

        async def run_one(steps: int, name: str) -> int:
            async with http.post(f"{ingress}/Steps/{name}/run", json=steps) as answer:
                answer.raise_for_status()
                return int(await answer.json())

        yield run_one


if __name__ == "__main__":
    main(worker, client)
