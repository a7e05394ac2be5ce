"""The load that every engine gets, and the command line of each engine's program.

`python ENGINE_app.py worker URL` runs workflows until standard input ends, after saying "ready";
`python ENGINE_app.py client URL STEPS COUNT OPEN` starts workflows and prints one line of JSON.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

try:
    from uvloop import run as run_loop
except ModuleNotFoundError:
    run_loop = asyncio.run

WARM_UP = 100

RunOne = Callable[[int, str], Awaitable[int]]
"""Starts a workflow of so many steps under an id, and waits for its result."""


async def drive(run_one: RunOne, steps: int, count: int, open_max: int) -> dict[str, object]:
    """Run workflows, so many open at once; what came of it."""
    prefix = f"versus-{time.time_ns()}"
    await _run(run_one, steps, min(WARM_UP, count), open_max, f"{prefix}-warm")
    began = time.perf_counter()
    took = sorted(await _run(run_one, steps, count, open_max, prefix))
    seconds = time.perf_counter() - began
    return {
        "workflows": count,
        "open": open_max,
        "workflows_per_s": round(count / seconds, 1),
        "steps_per_s": round(count * steps / seconds, 1),
        "latency_ms": {
            "p50": round(took[len(took) // 2] * 1000, 2),
            "p99": round(took[len(took) * 99 // 100] * 1000, 2),
        },
    }


async def _run(run_one: RunOne, steps: int, count: int, open_max: int, prefix: str) -> list[float]:
    took: list[float] = []
    numbers = iter(range(count))

    async def slot() -> None:
        for number in numbers:
            began = time.perf_counter()
            result = await run_one(steps, f"{prefix}-{number}")
            took.append(time.perf_counter() - began)
            if result != sum(range(steps)):
                raise SystemExit(f"a workflow of {steps} steps returned {result!r}")

    async with asyncio.TaskGroup() as group:
        for _ in range(min(open_max, count)):
            group.create_task(slot())
    return took


async def until_told() -> None:
    """Say that the worker is ready, then wait until standard input ends."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def main(
    worker: Callable[[str], Awaitable[None]],
    client: Callable[[str], AbstractAsyncContextManager[RunOne]],
) -> None:
    """The command line of an engine's program."""
    logging.basicConfig(level=logging.ERROR)
    role, url, *amounts = sys.argv[1:]

    async def measure() -> None:
        steps, count, open_max = map(int, amounts)
        async with client(url) as run_one:
            print(json.dumps(await drive(run_one, steps, count, open_max)), flush=True)

    async def work() -> None:
        await worker(url)

    run_loop(work() if role == "worker" else measure())
