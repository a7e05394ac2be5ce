"""Two worker processes against one, with CPU free for both; and what an idle one costs."""

import time

from measuring import median
from results import Result, figure

from special.place import Place, own_command
from special.process import WorkerProcess

OPEN = 50
"""Few enough to leave CPU free."""

COUNT = 5_000
JOIN_SECONDS = 3.0
IDLE_SECONDS = 20.0
IDLE_SECONDS_LEAST = 5.0
"""A shorter look would count a beat too many or too few."""


def measure(place: Place) -> dict[str, Result]:
    """Throughput and latency of two as a part of those of one; CPU of an idle one."""
    count = place.many(COUNT)
    throughput: list[float] = []
    latency: dict[str, list[float]] = {"p50": [], "p99": []}
    for _ in range(place.rounds):
        one = place.bench("one", count, OPEN)
        two = place.bench("one", count, OPEN, "--workers", "2")
        throughput.append(two["workflows_per_s"] / one["workflows_per_s"])
        for name, ratios in latency.items():
            ratios.append(two["latency_ms"][name] / one["latency_ms"][name])
    command = place.command("one", count, OPEN, "--workers", "2")
    results = {
        "workers throughput": figure(
            median(throughput), "two / one", command, goal=1.0, rounds=throughput
        )
    }
    for name, ratios in latency.items():
        results[f"workers {name}"] = figure(
            median(ratios), f"{name}, two / one", command, goal=1.0, most=True, rounds=ratios
        )
    seconds = max(IDLE_SECONDS_LEAST, IDLE_SECONDS * min(1.0, place.scale))
    for backend, url in place.urls.items():
        results[f"workers idle {backend}"] = figure(
            100 * _idle(url, seconds),
            "% of a CPU, idle",
            own_command("workers", place),
            goal=1.0,
            most=True,
        )
    return results


def _idle(url: str, seconds: float) -> float:
    with WorkerProcess(url, "bench-idle", "1000") as worker:
        time.sleep(JOIN_SECONDS)  # Joining is over.
        before = worker.usage()["cpu_s"]
        began = time.perf_counter()
        time.sleep(seconds)
        spent = worker.usage()["cpu_s"] - before
        return spent / (time.perf_counter() - began)
