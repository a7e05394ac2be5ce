"""Overload: ever more workflows started at once. Throughput levels off, memory stays flat."""

from results import Result, figure

from special.place import Place

OPEN = (1_000, 10_000, 100_000)
LEVEL_LEAST = 0.8
"""Throughput with the most open, as a part of the best."""

MEMORY_MOST = 1.5
"""Memory of the worker with the most open, as a multiple of that with the fewest."""


def measure(place: Place) -> dict[str, Result]:
    """Throughput and the worker's memory by number of workflows open at once."""
    results: dict[str, Result] = {}
    rates: list[float] = []
    memories: list[float] = []
    for open_max in OPEN:
        opened = place.many(open_max)
        count = max(opened, place.many(10_000))
        measured = place.bench("one", count, opened)
        rates.append(measured["workflows_per_s"])
        memories.append((measured["workers"][0]["memory_bytes"] or 0) / 2**20)
        command = place.command("one", count, opened)
        name = f"overload {open_max:,} at once"
        results[name] = figure(rates[-1], "workflows/s", command)
        results[f"{name}, worker"] = figure(memories[-1], "MiB", command)
    results["overload level"] = figure(
        rates[-1] / max(rates), "throughput / best", command, goal=LEVEL_LEAST
    )
    results["overload memory"] = figure(
        memories[-1] / memories[0],
        "worker's memory / at 1,000",
        command,
        goal=MEMORY_MOST,
        most=True,
    )
    return results
