"""A measurement as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PARTS = {
    "idle": "waiting for work",
    "claim": "the round trip that commits one batch and claims the next",
    "decode": "reading messages into the core",
    "advance": "running workflow code",
    "encode": "building the next batch",
    "commit": "what follows from a commit",
    "activities": "running activities",
    "load": "reading journals for replay",
}
"""Parts of a router's time, as `--profile` reports them."""


def facts(measured: Mapping[str, Any]) -> dict[str, str]:
    """Names and values of a measurement, in the order to show them."""
    shown = {
        "measured": f"{measured['workload']} on {measured['backend']}, {measured['core']} core, "
        f"{measured['open']:,} open, {measured['worker_processes']} worker process(es), "
        f"{measured['loop']}, Python {measured['python']}",
        "workflows": f"{measured['workflows']:,} in {measured['seconds']:,.2f} s",
        "workflows/s": f"{measured['workflows_per_s']:,.1f}",
        "steps/s": f"{measured['steps_per_s']:,.1f}",
        f"ms, {measured['latency_of']}": _latency(measured["latency_ms"]),
        "CPU seconds": _cpu(measured),
        "memory": _memory(measured),
    }
    database = measured["database"]
    names = {
        "log_bytes_per_workflow": "bytes of log per workflow",
        "rows_per_workflow": "row writes per workflow",
        "round_trips_per_workflow": "round trips per workflow",
    }
    if measured["backend"] == "sqlite":
        names["log_bytes_per_workflow"] = "bytes written per workflow"
    if measured["backend"] == "redis":
        names["rows_per_workflow"] = "commands per workflow"
    for key, name in names.items():
        shown[name] = "not counted" if database[key] is None else f"{database[key]:,.3f}"
    for number, worker in enumerate(measured["workers"], 1):
        if "profile_s" in worker:
            shown |= _profile(worker["profile_s"], number, measured["seconds"])
    return shown


def comparison(rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, str]:
    """The Rust core beside the Python core.

    Args:
        rounds: A measurement of each core, by the core's name, for each round.
    """
    shown: dict[str, str] = {}
    for core in ("rust", "python"):
        rates = [f"{each[core]['workflows_per_s']:,.1f}" for each in rounds]
        shown[f"{core} core, workflows/s"] = "  ".join(rates)
    ratios = [
        each["rust"]["workflows_per_s"] / each["python"]["workflows_per_s"] for each in rounds
    ]
    shown["rust / python"] = f"{median(ratios):.2f} (median of {len(ratios)})"
    return shown


def median(values: Sequence[float]) -> float:
    """The middle value; the lower one of two."""
    return sorted(values)[(len(values) - 1) // 2]


def _latency(latency: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:,.2f}" for name, value in latency.items()) or "none"


def _cpu(measured: Mapping[str, Any]) -> str:
    database = measured["database"]["cpu_s"]
    workers = "  ".join(f"{each['cpu_s']:.2f}" for each in measured["workers"])
    said = "not known" if database is None else f"{database:.2f}"
    if measured["backend"] == "sqlite":
        said = "in the others"
    return f"client {measured['client']['cpu_s']:.2f}, workers {workers}, database {said}"


def _memory(measured: Mapping[str, Any]) -> str:
    def size(used: Mapping[str, Any]) -> str:
        used_bytes = used["memory_bytes"]
        return "not known" if used_bytes is None else f"{used_bytes / 2**20:.0f} MiB"

    workers = "  ".join(map(size, measured["workers"]))
    return f"client {size(measured['client'])}, workers {workers}"


def _profile(spent: Mapping[str, float], number: int, seconds: float) -> dict[str, str]:
    shown = {f"worker {number}, seconds": "share of the time measured"}
    for part, meaning in PARTS.items():
        value = spent.get(part, 0.0)
        shown[f"  {part}"] = f"{value:8.3f} {value / seconds:5.0%}  {meaning}"
    other = max(0.0, seconds - sum(spent.values()))
    shown["  other"] = f"{other:8.3f} {other / seconds:5.0%}  everything else in the process"
    return shown
