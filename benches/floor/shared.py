"""What the floors have in common: the workload, the client's loop and the worker's loop.

A floor is the least that a database has to do for durable workflows: start them, hand them to
another process, journal each step, store the result. No retries, no timers, no recovery. The
engine's throughput is quoted as a ratio to it.
"""

import argparse
import asyncio
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

try:
    from uvloop import run as run_loop
except ModuleNotFoundError:
    run_loop = asyncio.run

NAP_SECONDS = 0.0005
"""The pause between two looks that found nothing."""

READY_TIMEOUT_SECONDS = 30.0


@dataclass(slots=True)
class Batch:
    """What a worker writes in one round trip."""

    journal_run: list[int] = field(default_factory=list)
    journal_seq: list[int] = field(default_factory=list)
    journal_payload: list[bytes] = field(default_factory=list)
    closed_run: list[int] = field(default_factory=list)
    closed_result: list[bytes] = field(default_factory=list)
    handled: list[Any] = field(default_factory=list)
    """Ids of messages to delete: those of the closed runs."""


class Store(Protocol):
    """One connection to a floor's tables or keys."""

    async def prepare(self) -> None:
        """Make everything anew."""

    async def start(self, runs: Sequence[int]) -> None:
        """Insert runs and a message for each."""

    async def closed(self, runs: Sequence[int]) -> set[int]:
        """Which of these runs have a result."""

    async def claim(self, room: int, idle: bool) -> list[tuple[Any, int]]:
        """Take up to ``room`` messages: (message id, run). ``idle``: it may wait for some."""

    async def commit(self, batch: Batch) -> None:
        """Apply a batch in one transaction."""

    async def written(self) -> int:
        """Bytes of log written so far; 0 where nobody counts them."""

    async def close(self) -> None: ...


Connect = Callable[[str], Coroutine[Any, Any, Store]]


class Step:
    """A workflow's request for one activity."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value

    def __await__(self) -> Generator["Step", int, int]:
        return (yield self)


async def workflow(steps: int) -> int:
    """Steps one after the other."""
    total = 0
    for value in range(steps):
        total += await Step(value)
    return total


async def activity(value: int) -> int:
    """What a step does: nothing."""
    return value


@dataclass(slots=True)
class Live:
    """A run in the worker's hands."""

    message: Any
    run: int
    code: Generator[Step, Any, int]
    seq: int = 0
    result: int | None = None


async def work(store: Store, count: int, steps: int, batch_max: int) -> None:
    """Run workflows until ``count`` have closed: every turn moves each live run by one step."""
    live: list[Live] = []
    done = 0
    while done < count:
        if len(live) < batch_max:
            for message, run in await store.claim(batch_max, idle=not live):
                live.append(Live(message, run, workflow(steps).__await__()))
        if not live:
            await asyncio.sleep(NAP_SECONDS)
            continue
        batch = Batch()
        going: list[Live] = []
        for each in live:
            try:
                step = each.code.send(each.result)
            except StopIteration as stop:
                batch.closed_run.append(each.run)
                batch.closed_result.append(orjson.dumps(stop.value))
                batch.handled.append(each.message)
                continue
            each.result = await activity(step.value)
            batch.journal_run.append(each.run)
            batch.journal_seq.append(each.seq)
            batch.journal_payload.append(
                orjson.dumps({"result": each.result, "input": step.value, "name": "activity"})
            )
            each.seq += 1
            going.append(each)
        await store.commit(batch)
        done += len(live) - len(going)
        live = going


async def drive(store: Store, count: int, open_max: int, batch_max: int) -> list[float]:
    """Start ``count`` workflows, ``open_max`` open at once; how long each took, in seconds."""
    sent = 0
    began: dict[int, float] = {}
    took: list[float] = []
    while len(took) < count:
        room = min(batch_max, open_max - len(began), count - sent)
        if room > 0:
            runs = range(sent, sent + room)
            began.update(dict.fromkeys(runs, time.perf_counter()))
            await store.start(runs)
            sent += room
        closed = await store.closed(list(began))
        now = time.perf_counter()
        took += [now - began.pop(run) for run in closed]
        if not closed:
            await asyncio.sleep(NAP_SECONDS)
    return took


def main(name: str, connect: Connect, default_url: str) -> None:
    """The command line of one floor; prints one line of JSON."""
    parser = argparse.ArgumentParser(description=f"The floor on {name}.")
    parser.add_argument("--url", default=default_url)
    parser.add_argument("-n", type=int, default=10_000, help="workflows")
    parser.add_argument("-s", type=int, default=1, help="sequential steps of each")
    parser.add_argument("-c", type=int, default=1000, help="open at once")
    parser.add_argument("-b", type=int, default=500, help="batch")
    print(json.dumps(run_loop(_measure(name, connect, parser.parse_args()))))


async def _measure(name: str, connect: Connect, options: argparse.Namespace) -> dict[str, Any]:
    store = await connect(options.url)
    await store.prepare()
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    worker = context.Process(
        target=_worker_main,
        args=(connect, options.url, options.n, options.s, options.b, ready),
        daemon=True,
    )
    worker.start()
    if not await asyncio.to_thread(ready.wait, READY_TIMEOUT_SECONDS):
        raise SystemExit(f"the worker of the floor on {name} did not start")
    log_before = await store.written()
    cpu_before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    took = sorted(await drive(store, options.n, options.c, options.b))
    seconds = time.perf_counter() - began
    cpu_after = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.to_thread(worker.join)
    log_bytes = await store.written() - log_before
    await store.close()
    return {
        "floor": name,
        "workflows": options.n,
        "steps": options.s,
        "open": options.c,
        "batch": options.b,
        "workflows_per_s": round(options.n / seconds, 1),
        "steps_per_s": round(options.n * options.s / seconds, 1),
        "latency_ms": {
            "p50": round(took[len(took) // 2] * 1000, 2),
            "p99": round(took[len(took) * 99 // 100] * 1000, 2),
        },
        "log_bytes_per_workflow": round(log_bytes / options.n),
        "client_cpu_s": round(
            cpu_after.ru_utime + cpu_after.ru_stime - cpu_before.ru_utime - cpu_before.ru_stime, 2
        ),
    }


def _worker_main(
    connect: Connect, url: str, count: int, steps: int, batch_max: int, ready: Any
) -> None:
    async def run() -> None:
        store = await connect(url)
        ready.set()
        await work(store, count, steps, batch_max)
        await store.close()

    run_loop(run())
