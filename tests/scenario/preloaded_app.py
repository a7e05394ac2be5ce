"""A program that gunicorn loads before it forks, and a Celery worker before it makes its pool.

What it makes without using it is each child's own; what the parent has open, and its worker, are
the parent's.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any

from hotmesh import workflow
from hotmesh.client import Client
from hotmesh.exceptions import HotMeshError
from hotmesh.worker import Worker

URL = os.environ["HOTMESH_PRELOADED_URL"]
PARENT_IS_AT_WORK = os.environ["HOTMESH_PRELOADED_PARENT"] == "at work"
PARENT_QUEUE = "parent"
PATIENCE_S = 30.0


@workflow.defn
class Greets:
    @workflow.run
    async def run(self) -> str:
        return "hello"


class Loop:
    """An event loop in a thread of its own: the program's own code is synchronous."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Have work done there."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)


_loops: dict[int, Loop] = {}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Have work done on this process's loop."""
    loop = _loops.get(os.getpid()) or _loops.setdefault(os.getpid(), Loop())
    return loop.run(work)


async def greeted(client: Client) -> str:
    """What a workflow says that this process hosts."""
    queue = f"of-{os.getpid()}"
    async with Worker(client, task_queue=queue, workflows=[Greets]):
        handle = await client.start_workflow(Greets.run, id=os.urandom(8).hex(), task_queue=queue)
        return await handle.result()


async def by_the_lazy_client() -> str:
    return await greeted(lazy)


async def by_the_open_client() -> str:
    return await greeted(opened)


async def by_a_client_of_its_own() -> str:
    async with await Client.connect(URL) as client:
        return await greeted(client)


async def by_the_parents_worker() -> str:
    """Start a workflow for the parent."""
    async with await Client.connect(URL) as client:
        handle = await client.start_workflow(
            Greets.run, id=os.urandom(8).hex(), task_queue=PARENT_QUEUE
        )
        return await handle.result()


WAYS: Mapping[str, Callable[[], Coroutine[Any, Any, str]]] = {
    "lazy": by_the_lazy_client,
    "open": by_the_open_client,
    "own": by_a_client_of_its_own,
    "parent": by_the_parents_worker,
}


def answer(way: str) -> dict[str, Any]:
    """What came of it, or the name of the error, who was asked, and how long it took."""
    began = time.monotonic()
    try:
        said = run(WAYS[way]())
    except HotMeshError as error:
        said = type(error).__name__
    return {"said": said, "pid": os.getpid(), "seconds": time.monotonic() - began}


def app(environ: Mapping[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The program as gunicorn serves it."""
    body = json.dumps(answer(environ["PATH_INFO"].strip("/"))).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def _at_work() -> tuple[Client, Awaitable[None]]:
    client = await Client.connect(URL)
    worker = Worker(client, task_queue=PARENT_QUEUE, workflows=[Greets])
    return client, asyncio.create_task(worker.run())


lazy: Client = run(Client.connect(URL, lazy=True))
if PARENT_IS_AT_WORK:
    opened, _work = run(_at_work())
