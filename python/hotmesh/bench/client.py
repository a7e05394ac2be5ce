"""`python -m hotmesh.bench.client PLAN`: the client process; prints the measurement as JSON."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any

from hotmesh._version import __version__
from hotmesh.bench.driving import Drive, drive
from hotmesh.bench.fleet import Fleet
from hotmesh.bench.loops import loop_name, run_loop
from hotmesh.bench.meters import Meter, added, meter_for
from hotmesh.bench.plan import NAMESPACE, Plan
from hotmesh.bench.worker import usage
from hotmesh.bench.workloads import WORKLOADS, Workload
from hotmesh.client import Client
from hotmesh.core import core_info
from hotmesh.exceptions import HotMeshError

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


async def measure(plan: Plan) -> dict[str, Any]:
    """Carry out a plan.

    Raises:
        HotMeshError: The database can't be reached, or a worker process failed.
    """
    async with await Client.connect(plan.url, namespace=NAMESPACE) as client:
        # It has made the schema; that is no part of what is measured.
        meter = await meter_for(client.backend)
    try:
        before = await meter.work()
        measured = await _measure(plan, meter)
        after = await meter.work()
    finally:
        await meter.close()
    if not plan.keep:
        async with await Client.connect(plan.url, namespace=NAMESPACE) as client:
            await client.backend.prune(NAMESPACE, 0)
    if after.rows is not None:
        count = measured["workflows"] + plan.warm_up
        measured["database"] |= {
            "rows_per_workflow": _share(added(before.rows, after.rows), count),
            "round_trips_per_workflow": _share(added(before.round_trips, after.round_trips), count),
        }
    return measured


async def _measure(plan: Plan, meter: Meter) -> dict[str, Any]:
    workload = WORKLOADS[plan.workload]
    async with (
        await Client.connect(plan.url, namespace=NAMESPACE) as client,
        Fleet(plan, remote=workload.remote) as fleet,
    ):
        await drive(client, plan, workload, count=plan.warm_up, measured=False)
        own, theirs, database = usage(client.backend), await fleet.usage(), await meter.use()
        driven = await drive(client, plan, workload, count=plan.count, measured=True)
        own_after, theirs_after = usage(client.backend), await fleet.usage()
        database_after = await meter.use()
    count = len(driven.latencies)
    log_bytes = added(database.log_bytes, database_after.log_bytes)
    starts, ends = [own, *theirs], [own_after, *theirs_after]
    if client.backend.name == "sqlite":
        log_bytes = _together(starts, ends, "disk_bytes")
    return {
        **_document(plan, workload, driven, client.backend.name),
        "database": {
            "cpu_s": _rounded(added(database.cpu_s, database_after.cpu_s)),
            "log_bytes_per_workflow": _share(log_bytes, count),
            "rows_per_workflow": _share(_together(starts, ends, "rows"), count),
            "round_trips_per_workflow": _share(_together(starts, ends, "round_trips"), count),
        },
        "client": _used(own, own_after, count),
        "workers": [
            _used(start, end, count) for start, end in zip(theirs, theirs_after, strict=True)
        ],
    }


def _document(plan: Plan, workload: Workload, driven: Drive, backend: str) -> dict[str, Any]:
    count = len(driven.latencies)
    steps = workload.steps(plan)
    return {
        "hotmesh": __version__,
        "core": core_info().implementation,
        "python": platform.python_version(),
        "loop": loop_name(),
        "cpus": os.cpu_count(),
        "backend": backend,
        "workload": plan.workload,
        "workflows": count,
        "open": plan.open,
        "worker_processes": plan.workers,
        "seconds": round(driven.seconds, 3),
        "workflows_per_s": round(count / driven.seconds, 1),
        "steps_per_s": round(count * steps / driven.seconds, 1),
        "latency_of": workload.latency,
        "latency_ms": _percentiles(driven.latencies),
    }


def _percentiles(latencies: list[float]) -> dict[str, float]:
    if not latencies:
        return {}
    last = len(latencies) - 1
    found = {name: latencies[round(last * share)] for name, share in PERCENTILES.items()}
    found["max"] = latencies[-1]
    return {name: round(value * 1000, 3) for name, value in found.items()}


def _used(before: dict[str, Any], after: dict[str, Any], count: int) -> dict[str, Any]:
    cpu_s = after["cpu_s"] - before["cpu_s"]
    used: dict[str, Any] = {
        "cpu_s": round(cpu_s, 3),
        "cpu_us_per_workflow": round(cpu_s * 1e6 / count, 1) if count else None,
        "memory_bytes": after["memory_bytes"],
        "disk_bytes": None
        if after["disk_bytes"] is None
        else after["disk_bytes"] - before["disk_bytes"],
    }
    if "profile" in after:
        start: dict[str, float] = before["profile"]
        end: dict[str, float] = after["profile"]
        used["profile_s"] = {k: round(v - start.get(k, 0.0), 4) for k, v in end.items()}
    return used


def _together(
    starts: Sequence[dict[str, Any]], ends: Sequence[dict[str, Any]], key: str
) -> float | None:
    """What the processes have counted together; None if one of them can't count."""
    counted = [added(start.get(key), end.get(key)) for start, end in zip(starts, ends, strict=True)]
    return None if None in counted else sum(each or 0 for each in counted)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _share(value: float | None, count: int) -> float | None:
    return None if value is None or not count else round(value / count, 3)


def main(words: list[str]) -> None:
    """Run with the words of the command line."""
    logging.basicConfig(level=logging.WARNING)
    try:
        measured = run_loop(measure(Plan.from_json(words[0])))
    except HotMeshError as error:
        # One line, which is shown beside what the command says itself.
        raise SystemExit(f"hotmesh bench: {error}") from None
    sys.stdout.write(json.dumps(measured) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
