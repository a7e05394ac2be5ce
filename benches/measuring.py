"""Runs one measurement each: of the engine, of a floor; in turns, on private servers."""

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cases import Also, Case

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = ROOT / "docs" / "benchmarks"

UNITS = {
    "workflows_per_s": "workflows/s",
    "steps_per_s": "steps/s",
    "log_bytes_per_workflow": "bytes of log per workflow",
    "rows_per_workflow": "row writes per workflow",
    "round_trips_per_workflow": "round trips per workflow",
    "p50": "ms p50",
    "p90": "ms p90",
    "p99": "ms p99",
    "max": "ms at most",
}


def machine() -> dict[str, Any]:
    """What kind of machine this is; results are compared between machines of one kind."""
    kind = f"{platform.system()}-{platform.machine()}-{os.cpu_count()}cpu".lower()
    return {"kind": kind, "python": platform.python_version()}


@contextlib.contextmanager
def servers(*kinds: str) -> Iterator[dict[str, str]]:
    """URLs of private, durable servers and of an SQLite file, for as long as it is entered."""
    sys.path.insert(0, str(ROOT / "tests"))
    from servers import DurablePostgresServer, RedisServer

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hotmesh-bench-"))
        urls = {"sqlite": f"sqlite:///{folder}/bench.db"}
        for name, make in {"postgres": DurablePostgresServer, "redis": RedisServer}.items():
            if name in kinds:
                server = make()
                stack.callback(server.close)
                server.start()
                urls[name] = server.url
        yield urls


def measure_engine(case: Case, url: str, core: str | None = None) -> dict[str, Any]:
    """One run of `hotmesh bench`."""
    with tempfile.TemporaryDirectory(prefix="hotmesh-bench-") as folder:
        file = Path(folder, "measured.json")
        words = [sys.executable, "-m", "hotmesh", "bench", "--url", url, "--json", str(file)]
        words += case.engine_words()
        if core is not None:
            words += ["--core", core]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(file.read_text())
        return found


def measure_floor(case: Case, url: str) -> dict[str, Any]:
    """One run of the floor's program."""
    if case.backend == "sqlite":
        url = url.replace("bench.db", "floor.db")
    program = HERE / "floor" / f"on_{case.backend}.py"
    words = [sys.executable, str(program), "--url", url, *case.floor_words()]
    found: dict[str, Any] = json.loads(
        subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    return found


def value(metric: str, measured: Mapping[str, Any]) -> float:
    """One figure of a measurement: a rate, a percentile, or what the database counted."""
    for part in (measured, measured["latency_ms"], measured.get("database", {})):
        if part.get(metric) is not None:
            return float(part[metric])
    raise SystemExit(f"the measurement says nothing of {metric}")


def median(values: list[float]) -> float:
    """The middle one; of two, the lower."""
    return sorted(values)[(len(values) - 1) // 2]


def in_turns(case: Case, url: str, rounds: int) -> dict[str, dict[str, Any]]:
    """Measure floor and engine alternately; the case's results by name."""
    floors: list[dict[str, Any]] = []
    engines: list[dict[str, Any]] = []
    for _ in range(rounds):
        if case.floor_steps:
            floors.append(measure_floor(case, url))
        engines.append(measure_engine(case, url))
    own = Also(case.metric, case.goal, case.most, of_floor=bool(floors))
    found = {case.name: _result(case, own, engines, floors)}
    for also in case.also:
        found[f"{case.name} {also.metric}"] = _result(case, also, engines, floors)
    return found


def _result(
    case: Case, figure: Also, engines: list[dict[str, Any]], floors: list[dict[str, Any]]
) -> dict[str, Any]:
    values = [value(figure.metric, each) for each in engines]
    middle = median(values)
    result: dict[str, Any] = {
        "backend": case.backend,
        "workload": case.workload,
        "metric": figure.metric,
        "unit": UNITS[figure.metric],
        "goal": figure.goal,
        "most": figure.most,
        "smaller_is_better": figure.metric not in ("workflows_per_s", "steps_per_s"),
        "engine": middle,
        "engine_rounds": values,
        "details": engines[values.index(middle)],
        "command": " ".join(["hotmesh bench --url URL", *case.engine_words()]),
    }
    if figure.of_floor:
        result["floor_rounds"] = [value(figure.metric, each) for each in floors]
        result["floor"] = median(result["floor_rounds"])
        result["ratio"] = round(middle / result["floor"], 3)
        result["floor_command"] = " ".join(
            [f"python benches/floor/on_{case.backend}.py --url URL", *case.floor_words()]
        )
    return result
