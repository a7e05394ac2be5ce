"""What makes large values, and a worker for it whose memory is measured.

``python memory_app.py URL`` runs a worker until its standard input ends.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from datetime import timedelta
from typing import Any

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.worker import Worker

TASK_QUEUE = "memory"
PAYLOAD_LIMIT = 100 * 1024 * 1024
LONG = timedelta(minutes=10)


def text_of(size: int) -> str:
    """Text that no store makes much smaller."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


@activity.defn
async def made(size: int) -> str:
    """A large result."""
    return text_of(size)


@activity.defn
async def length(text: str) -> int:
    """What takes a large argument."""
    return len(text)


@workflow.defn
class Takes:
    """Is given something large, and has an activity look at it."""

    @workflow.run
    async def run(self, text: str) -> int:
        return await workflow.execute_activity(length, text, start_to_close_timeout=LONG)


@workflow.defn
class Gathers:
    """Holds many large results."""

    @workflow.run
    async def run(self, count: int, size: int) -> int:
        calls = (
            workflow.execute_activity(made, size, start_to_close_timeout=LONG) for _ in range(count)
        )
        return sum(map(len, await asyncio.gather(*calls)))


@workflow.defn
class Passes:
    """Gives many activities, or children, the same large argument."""

    @workflow.run
    async def run(self, count: int, size: int, to: str) -> int:
        text = "x" * size
        if to == "children":
            lengths = [workflow.execute_child_workflow(Takes.run, text) for _ in range(count)]
        else:
            lengths = [
                workflow.execute_activity(length, text, start_to_close_timeout=LONG)
                for _ in range(count)
            ]
        return sum(await asyncio.gather(*lengths))


@workflow.defn
class Answers:
    """Holds nothing, and answers at length: at once, or once it is let go."""

    def __init__(self) -> None:
        self.seen = 0
        self.is_open = False
        self.waiting = 0

    @workflow.run
    async def run(self, count: int) -> int:
        await workflow.wait_condition(lambda: self.seen == count)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.seen

    @workflow.signal
    def go(self) -> None:
        self.is_open = True

    @workflow.signal
    def take(self, text: str) -> None:
        self.seen += bool(text)

    @workflow.update
    async def tell(self, size: int) -> str:
        self.seen += 1
        return "x" * size

    @workflow.update
    async def tell_later(self, size: int) -> str:
        self.waiting += 1
        await workflow.wait_condition(lambda: self.is_open)
        self.seen += 1
        return "x" * size

    @workflow.query
    def begun(self) -> int:
        return self.waiting

    @workflow.query
    def ask(self, size: int) -> str:
        return "x" * size


@workflow.defn
class Small:
    """What everything of a worker is warmed up with."""

    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(length, "x", start_to_close_timeout=LONG)


async def serve(url: str) -> None:
    """Work until standard input ends."""
    workflows: list[Any] = [Takes, Gathers, Passes, Answers, Small]
    async with (
        await Client.connect(url, payload_limit=PAYLOAD_LIMIT) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=workflows, activities=[made, length]),
    ):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
