"""Workflows that sleep: memory of the router for each, and 10,000 that are due at once."""

import asyncio
import time
import uuid
from collections.abc import Iterable
from typing import Any

from results import Result, figure

from hotmesh.bench.loops import run_loop
from hotmesh.client import Client
from special.place import Place, own_command
from special.process import WorkerProcess

SLEEPING = 1_000_000
DUE_AT_ONCE = 10_000
WARM_UP = 1_000
OPEN = 2_000
"""Starts under way at once."""

STARTS_PER_S = 1_000
"""No slower than this should starts be; alarms are set so far ahead."""

AHEAD_S = 5.0
POLL_S = 0.2
KIB_MOST = {"evicted": 1.0, "cached": 12.0}


def measure(place: Place) -> dict[str, Result]:
    """KiB of memory by kind of cache, and seconds until the last alarm has gone off."""
    command = own_command("sleeping", place)
    results: dict[str, Result] = {}
    count = place.many(SLEEPING)
    for kind, most in KIB_MOST.items():
        kept = 2 * (count + WARM_UP + DUE_AT_ONCE) if kind == "cached" else 0
        kib, late_s = run_loop(_measure(place, count, kept))
        results[f"sleeping {kind}"] = figure(
            kib, "KiB of router memory each", command, goal=most, most=True, workflows=count
        )
        results[f"sleeping {kind}, due at once"] = figure(
            late_s, "s until the last is fired", command, goal=1.0, most=True
        )
    return results


async def _measure(place: Place, count: int, max_cached: int) -> tuple[float, float]:
    queue = f"bench-sleeping-{uuid.uuid4().hex[:8]}"
    with WorkerProcess(place.postgres, queue, str(max_cached)) as worker:
        async with await Client.connect(place.postgres, namespace="hotmesh-bench") as client:
            starts = _Starts(client, queue)
            await starts.run("bench_rest", WARM_UP, [])
            await _begun(worker, WARM_UP)
            before = worker.usage()["memory_bytes"]
            await starts.run("bench_rest", count, [])
            await _begun(worker, WARM_UP + count)
            after = worker.usage()["memory_bytes"]
            late_s = await _alarms(place, starts)
    return (after - before) / count / 1024, late_s


async def _alarms(place: Place, starts: "_Starts") -> float:
    count = min(DUE_AT_ONCE, place.many(10 * DUE_AT_ONCE))
    due_s = time.time() + AHEAD_S + count / STARTS_PER_S
    handles = await starts.run("bench_alarm", count, [due_s])
    if time.time() > due_s:
        raise SystemExit(f"starting {count:,} workflows took too long for them to be due at once")
    return max(await asyncio.gather(*(handle.result() for handle in handles)))


async def _begun(worker: WorkerProcess, count: int) -> None:
    """Wait until so many workflows have taken their first step."""
    while (await asyncio.to_thread(worker.usage))["begun"] < count:  # noqa: ASYNC110 - it is asked
        await asyncio.sleep(POLL_S)


class _Starts:
    """Starts many workflows, some at once."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._queue = task_queue

    async def run(self, workflow_type: str, count: int, args: list[Any]) -> list[Any]:
        handles: list[Any] = []
        numbers = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(OPEN, count)):
                group.create_task(self._start(workflow_type, numbers, args, handles))
        return handles

    async def _start(
        self, workflow_type: str, numbers: Iterable[int], args: list[Any], handles: list[Any]
    ) -> None:
        for _ in numbers:
            handle: Any = await self._client.start_workflow(
                workflow_type,
                args=args,
                id=uuid.uuid4().hex,
                task_queue=self._queue,
                result_type=float,
            )
            if args:  # Only the results of alarms are awaited.
                handles.append(handle)
