"""`python app.py URL QUEUE MAX_CACHED`: a worker of workflows that sleep.

It says "ready" on standard output, then answers each line of standard input with one line of JSON,
and ends when standard input does.
"""

import asyncio
import gc
import json
import sys
import time
from datetime import timedelta
from typing import Any

from hotmesh import workflow
from hotmesh.bench import processes
from hotmesh.bench.loops import run_loop
from hotmesh.client import Client
from hotmesh.worker import Worker

begun = 0
"""Activations of a first step; workflows that are not replayed begin once."""


@workflow.defn(name="bench_rest")
class Rest:
    """Sleeps for far longer than any measurement."""

    @workflow.run
    async def run(self) -> None:
        """Sleep for a day."""
        global begun
        begun += 1
        await workflow.sleep(timedelta(days=1))


@workflow.defn(name="bench_alarm")
class Alarm:
    """Sleeps until a moment that many share."""

    @workflow.run
    async def run(self, due_s: float) -> float:
        """Sleep until then.

        Returns:
            How late it woke, in seconds, by the machine's clock: for measuring only.
        """
        global begun
        begun += 1
        await workflow.sleep(max(0.0, due_s - workflow.time()))
        return time.time() - due_s


async def serve(url: str, task_queue: str, max_cached: int) -> None:
    """Work until standard input ends."""
    workflows: list[Any] = [Rest, Alarm]
    async with (
        await Client.connect(url, namespace="hotmesh-bench") as client,
        Worker(client, task_queue=task_queue, workflows=workflows, max_cached_workflows=max_cached),
    ):
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            gc.collect()
            usage = {
                "cpu_s": time.process_time(),
                "memory_bytes": processes.own_memory(),
                "begun": begun,
            }
            print(json.dumps(usage), flush=True)


if __name__ == "__main__":
    run_loop(serve(sys.argv[1], sys.argv[2], int(sys.argv[3])))
