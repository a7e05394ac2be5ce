"""`python large_app.py URL QUEUE PAYLOAD_LIMIT`: a worker of workflows with large values.

It says "ready" on standard output, then answers each line of standard input with one line of JSON,
and ends when standard input does.
"""

import asyncio
import base64
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from hotmesh import activity, workflow
from hotmesh.bench.loops import run_loop
from hotmesh.client import Client
from hotmesh.worker import Worker

LONG = timedelta(minutes=10)


def text_of(size: int) -> str:
    """Text that no store makes much smaller."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


@activity.defn(name="bench_large")
async def large(size: int) -> str:
    """A large result."""
    return text_of(size)


@activity.defn(name="bench_length")
async def length(text: str) -> int:
    """What takes a large argument."""
    return len(text)


@workflow.defn(name="bench_takes")
class Takes:
    """Is given something large, and lets go of it."""

    @workflow.run
    async def run(self, text: str) -> int:
        """Look how large it is, in an activity."""
        return await workflow.execute_activity(length, text, start_to_close_timeout=LONG)


@workflow.defn(name="bench_gathers")
class Gathers:
    """Holds many large results."""

    @workflow.run
    async def run(self, count: int, size: int) -> int:
        """Gather so many of such a size."""
        found = await asyncio.gather(
            *(
                workflow.execute_activity(large, size, start_to_close_timeout=LONG)
                for _ in range(count)
            )
        )
        return sum(map(len, found))


@workflow.defn(name="bench_neighbour")
class Neighbour:
    """Wants to move on meanwhile."""

    @workflow.run
    async def run(self) -> int:
        """One activity."""
        return await workflow.execute_activity(length, "x", start_to_close_timeout=LONG)


def peak_memory() -> int:
    """The most that this process had in memory at once."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kib) * 1024


async def serve(url: str, task_queue: str, payload_limit: int) -> None:
    """Work until standard input ends."""
    workflows: list[Any] = [Takes, Gathers, Neighbour]
    async with (
        await Client.connect(url, namespace="hotmesh-bench", payload_limit=payload_limit) as client,
        Worker(client, task_queue=task_queue, workflows=workflows, activities=[large, length]),
    ):
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"peak_bytes": peak_memory()}), flush=True)


if __name__ == "__main__":
    run_loop(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
