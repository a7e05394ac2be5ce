"""Large values: how much memory a worker needs for them, and whether others move meanwhile."""

import asyncio
import time
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from results import Result, figure

from hotmesh.bench.loops import run_loop
from hotmesh.client import Client
from special.large_app import text_of
from special.place import Place, own_command
from special.process import WorkerProcess

APP = Path(__file__).parent / "large_app.py"
MIB = 1024 * 1024

COUNT, SIZE = 600, 19 * MIB // 10
FEW, HUGE = 30, 90 * MIB
LIMIT = 100 * MIB

SPARE_MIB = 256
"""What a worker may need beside 1.5 times what its workflows' code holds."""

NEIGHBOUR_S_MOST = 2.0


def measure(place: Place) -> dict[str, Result]:
    """Peak of the worker's memory, seconds, and the slowest neighbour of each case."""
    results: dict[str, Result] = {}
    count, few = place.many(COUNT), max(3, round(FEW * place.scale))
    for name, case, held in (
        (f"starts {COUNT} of 1.9 MiB", _takes(place, count, SIZE), SIZE),
        (f"starts {FEW} of 90 MiB", _takes(place, few, HUGE), HUGE),
        (f"gather {COUNT} of 1.9 MiB", _gathers(place, count, SIZE), count * SIZE),
    ):
        peak, seconds, slowest_s = run_loop(case)
        command = own_command("large", place)
        allowed = 1.5 * held / MIB + SPARE_MIB
        results[f"large: {name}"] = figure(
            peak / MIB, "MiB at the peak", command, goal=allowed, most=True
        )
        results[f"large: {name}, time"] = figure(seconds, "s", command)
        results[f"large: {name}, neighbour"] = figure(
            slowest_s, "s for the slowest", command, goal=NEIGHBOUR_S_MOST, most=True
        )
    return results


async def _takes(place: Place, count: int, size: int) -> tuple[int, float, float]:
    """Workflows that wait with large arguments when the worker comes."""
    async with await _client(place) as client:
        queue = f"bench-large-{uuid.uuid4().hex[:8]}"
        handles: list[Any] = []
        for _ in range(count):
            handles.append(  # noqa: PERF401 - one at a time: this process is to stay small
                await client.start_workflow(
                    "bench_takes", text_of(size), id=uuid.uuid4().hex, task_queue=queue
                )
            )
        work = asyncio.gather(*(handle.result() for handle in handles))
        return await _work(place, client, queue, work)


async def _gathers(place: Place, count: int, size: int) -> tuple[int, float, float]:
    """One workflow that holds many large results."""
    async with await _client(place) as client:
        queue = f"bench-large-{uuid.uuid4().hex[:8]}"
        handle = await client.start_workflow(
            "bench_gathers", args=[count, size], id=uuid.uuid4().hex, task_queue=queue
        )
        return await _work(place, client, queue, handle.result())


async def _work(
    place: Place, client: Client, queue: str, work: Coroutine[Any, Any, Any] | asyncio.Future[Any]
) -> tuple[int, float, float]:
    with WorkerProcess(place.postgres, queue, str(LIMIT), app=APP) as worker:
        began = time.perf_counter()
        done = asyncio.ensure_future(work)
        slowest_s = 0.0
        while not done.done():
            asked = time.perf_counter()
            await client.execute_workflow("bench_neighbour", id=uuid.uuid4().hex, task_queue=queue)
            slowest_s = max(slowest_s, time.perf_counter() - asked)
        await done
        seconds = time.perf_counter() - began
        return worker.usage()["peak_bytes"], seconds, slowest_s


async def _client(place: Place) -> Client:
    return await Client.connect(place.postgres, namespace="hotmesh-bench", payload_limit=LIMIT)
