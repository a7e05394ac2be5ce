"""The application of the fault tests: a worker process, and what its workflows must return.

``python fault_app.py URL LOG LEASE`` runs a worker until it is killed. Every attempt of every
activity is appended to LOG before it does anything, so that a test can see what ran how often.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from datetime import timedelta

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.common import RetryPolicy
from hotmesh.exceptions import ApplicationError
from hotmesh.worker import Worker

TASK_QUEUE = "faults"
ATTEMPTS_MAX = 50
RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=20),
    maximum_interval=timedelta(milliseconds=200),
    maximum_attempts=ATTEMPTS_MAX,
)
TIMEOUT = timedelta(seconds=20)
LOG = sys.argv[2] if len(sys.argv) > 2 else os.devnull


def _note() -> None:
    info = activity.info()
    line = f"{info.workflow_run_id} {info.activity_id} {info.attempt}\n"
    with open(LOG, "ab", buffering=0) as log:
        log.write(line.encode())


@activity.defn
async def double(value: int) -> int:
    _note()
    await asyncio.sleep(0.005)
    return value * 2


@activity.defn
async def flaky(value: int) -> int:
    _note()
    if activity.info().attempt < 2:
        raise ApplicationError("first attempt fails")
    return value + 1


@workflow.defn
class Leaf:
    @workflow.run
    async def run(self, value: int) -> int:
        await workflow.sleep(0.02)
        return await workflow.execute_activity(
            double, value, start_to_close_timeout=TIMEOUT, retry_policy=RETRY
        )


@workflow.defn
class Tree:
    """Activities, timers, a child, and a signal that must arrive exactly once."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    @workflow.signal
    def poke(self, value: int) -> None:
        self.signals.append(value)

    @workflow.run
    async def run(self, value: int) -> list[int]:
        first, second, child = await asyncio.gather(
            workflow.execute_activity(
                double, value, start_to_close_timeout=TIMEOUT, retry_policy=RETRY
            ),
            workflow.execute_activity(
                flaky, value, start_to_close_timeout=TIMEOUT, retry_policy=RETRY
            ),
            workflow.execute_child_workflow(
                Leaf.run, value, id=f"{workflow.info().workflow_id}-leaf"
            ),
        )
        await workflow.sleep(0.05)
        third = await workflow.execute_activity(
            double, first, start_to_close_timeout=TIMEOUT, retry_policy=RETRY
        )
        await workflow.wait_condition(lambda: len(self.signals) >= 2)
        return [first, second, child, third, *sorted(self.signals)]


def expected(value: int) -> list[int]:
    """What ``Tree`` returns when it was poked with 1 and 2."""
    return [value * 2, value + 1, value * 2, value * 4, 1, 2]


async def main(url: str, lease: float) -> None:
    client = await Client.connect(url)
    worker = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[Leaf, Tree],
        activities=[double, flaky],
        lease=lease,
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        print("ready", flush=True)
        await stop.wait()
    await client.close()
    print("left", flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main(sys.argv[1], float(sys.argv[3])))
