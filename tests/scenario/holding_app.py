"""A worker in a process of its own, whose activities keep the interpreter's lock in a call of C."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.worker import Worker

TASK_QUEUE = "holding"
LEASE_S = 1.0
MINUTE = timedelta(minutes=1)


def hold(seconds: int) -> None:
    """No thread of this process runs Python meanwhile: `PyDLL` keeps the lock while C runs."""
    ctypes.PyDLL(None).sleep(seconds)


def _first(notes: str) -> bool:
    """Note an attempt; whether it is the first one."""
    number = activity.info().attempt
    with Path(notes).open("a") as file:
        file.write(f"{number} {os.getpid()}\n")
    return number == 1


def _said() -> str:
    return f"attempt {activity.info().attempt} in {os.getpid()}"


@activity.defn
async def holds(notes: str, seconds: int) -> str:
    """In the worker's event loop."""
    if _first(notes):
        hold(seconds)
    return _said()


@activity.defn
def holds_in_a_thread(notes: str, seconds: int) -> str:
    """Elsewhere, which is no better."""
    if _first(notes):
        hold(seconds)
    return _said()


@workflow.defn
class Calls:
    @workflow.run
    async def run(self, name: str, notes: str, seconds: int) -> str:
        return await workflow.execute_activity(
            name, args=[notes, seconds], result_type=str, start_to_close_timeout=MINUTE
        )


@workflow.defn
class Innocent:
    @workflow.run
    async def run(self) -> int:
        await workflow.sleep(0.001)
        return os.getpid()


def worker_of(client: Client) -> Worker:
    """A worker of these."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[Calls, Innocent],
        activities=[holds, holds_in_a_thread],
        activity_executor=ThreadPoolExecutor(4),
        lease=LEASE_S,
    )


async def main(url: str) -> None:
    """Work until the end."""
    logging.basicConfig(level=logging.WARNING)
    async with await Client.connect(url) as client, worker_of(client):
        print("ready", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
