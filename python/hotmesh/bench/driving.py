"""The load: so many workflows open at once, a new one as soon as one has ended."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from hotmesh.bench.plan import Plan
from hotmesh.bench.workloads import Workload
from hotmesh.client import Client

PROGRESS_SECONDS = 0.5


@dataclass(slots=True)
class Drive:
    """What came of driving."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list[float])
    """Seconds each, sorted."""


async def drive(
    client: Client, plan: Plan, workload: Workload, *, count: int, measured: bool
) -> Drive:
    """Run workflows through.

    Args:
        client: Starts them.
        plan: How many at once, and for how long.
        workload: What they are.
        count: How many; 0: until the plan's duration is over.
        measured: Whether it is the measurement itself, with a progress line on a terminal, or the
            warm-up before it.
    """
    result = Drive()
    arguments = workload.arguments(plan)
    began = time.perf_counter()
    prefix = f"{plan.task_queue}-{'run' if measured else 'warm'}"
    numbers = _numbers(count, began + plan.duration if plan.duration and measured else None)

    async def slot() -> None:
        for number in numbers:
            started = time.perf_counter()
            handle = await client.start_workflow(
                workload.workflow,
                args=arguments,
                id=f"{prefix}-{number}",
                task_queue=plan.task_queue,
            )
            latency = await workload.finish(handle)
            if latency is None:
                latency = time.perf_counter() - started
            result.latencies.append(latency)

    slots = min(plan.open, count) if count else plan.open
    watch = asyncio.create_task(_watch(result, count)) if measured and sys.stderr.isatty() else None
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(slots):
                group.create_task(slot())
    finally:
        if watch is not None:
            watch.cancel()
            sys.stderr.write("\r\033[K")
    result.seconds = time.perf_counter() - began
    result.latencies.sort()
    return result


def _numbers(count: int, until: float | None) -> Iterator[int]:
    """The workflows' numbers; ends when all are given out or time is over."""
    number = 0
    while (not count or number < count) and (until is None or time.perf_counter() < until):
        yield number
        number += 1


async def _watch(result: Drive, count: int) -> None:
    """Keep a progress line."""
    last, then = 0, time.perf_counter()
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        done, now = len(result.latencies), time.perf_counter()
        of = f" of {count:,}" if count else ""
        rate = (done - last) / (now - then)
        sys.stderr.write(f"\r\033[K{done:,}{of} workflows, {rate:,.0f}/s")
        sys.stderr.flush()
        last, then = done, now
