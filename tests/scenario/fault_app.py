"""The application of the fault tests: a worker process, and what its workflows must return.

``python fault_app.py URL LOG LEASE BUILD`` runs a worker until it is killed. Every attempt of
every activity is appended to LOG before it does anything, so that a test can see what ran how
often.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.common import RetryPolicy
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    TimeoutError,  # noqa: A004
)
from hotmesh.worker import Worker

TASK_QUEUE = "faults"
ATTEMPTS_MAX = 50
RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=20),
    maximum_interval=timedelta(milliseconds=200),
    maximum_attempts=ATTEMPTS_MAX,
)
TIMEOUT = timedelta(seconds=30)

log_path = Path(os.devnull)
"""Where attempts are noted; set by whoever runs the activities."""


def _note() -> None:
    info = activity.info()
    line = f"{info.workflow_run_id} {info.activity_id} {info.attempt}\n"
    with log_path.open("ab", buffering=0) as log:
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
        raise ApplicationError("expected", category=ApplicationErrorCategory.BENIGN)
    return value + 1


@activity.defn
async def beating(value: int) -> int:
    """Goes through the task queue, for it beats."""
    _note()
    activity.heartbeat(value)
    await asyncio.sleep(0.005)
    return value + 3


@activity.defn
async def slow(seconds: float) -> str:
    """Long enough to be killed in."""
    _note()
    await asyncio.sleep(seconds)
    return "done"


async def _run(function: Any, argument: Any, **options: Any) -> Any:
    options.setdefault("retry_policy", RETRY)
    return await workflow.execute_activity(
        function, argument, start_to_close_timeout=TIMEOUT, **options
    )


@workflow.defn
class Leaf:
    @workflow.run
    async def run(self, value: int) -> int:
        await workflow.sleep(0.02)
        return await _run(double, value)


@workflow.defn
class Tree:
    """Activities of both ways, timers, a child, a chain of runs, signals from both sides."""

    def __init__(self) -> None:
        self.signals: list[int] = []

    @workflow.signal
    def poke(self, value: int) -> None:
        self.signals.append(value)

    @workflow.run
    async def run(self, value: int) -> list[int]:
        me = workflow.info().workflow_id
        results = await asyncio.gather(
            _run(double, value),
            _run(flaky, value),
            _run(beating, value, heartbeat_timeout=timedelta(seconds=10)),
            workflow.execute_child_workflow(Leaf.run, value, id=f"{me}-leaf"),
            workflow.execute_child_workflow(Chain.run, args=[2, me], id=f"{me}-chain"),
        )
        await workflow.sleep(0.05)
        results.append(await _run(double, results[0]))
        await workflow.wait_condition(lambda: len(self.signals) >= 3)
        return [*results, *sorted(self.signals)]


@workflow.defn
class Chain:
    """Continues as new, and signals its parent from its last run."""

    @workflow.run
    async def run(self, rest: int, parent: str) -> int:
        if rest:
            workflow.continue_as_new(args=[rest - 1, parent])
        await workflow.get_external_workflow_handle(parent).signal(Tree.poke, 3)
        return await _run(double, 21)


def expected(value: int) -> list[int]:
    """What ``Tree`` returns when it was poked with 1 and 2."""
    return [value * 2, value + 1, value + 3, value * 2, 42, value * 4, 1, 2, 3]


@workflow.defn
class Once:
    """An activity that may be attempted once: killed with its worker, it fails."""

    @workflow.run
    async def run(self, seconds: float) -> str:
        try:
            return await _run(slow, seconds, retry_policy=RetryPolicy(maximum_attempts=1))
        except ActivityError as error:
            return "lost" if isinstance(error.cause, TimeoutError) else repr(error.cause)


def worker_of(client: Client, lease: float, build_id: str | None = None) -> Worker:
    """A worker with all of it."""
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[Leaf, Tree, Chain, Once],
        activities=[double, flaky, beating, slow],
        lease=lease,
        build_id=build_id,
    )


@contextlib.asynccontextmanager
async def _told_to_stop() -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    yield stop


async def main(url: str, lease: float, build_id: str) -> None:
    """Work until SIGTERM."""
    async with (
        _told_to_stop() as stop,
        await Client.connect(url) as client,
        worker_of(client, lease, build_id),
    ):
        print("ready", flush=True)  # noqa: T201
        await stop.wait()
    print("left", flush=True)  # noqa: T201


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    log_path = Path(sys.argv[2])
    asyncio.run(main(sys.argv[1], float(sys.argv[3]), sys.argv[4]))
