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

from cases import Case

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = ROOT / "docs" / "benchmarks"


def machine() -> dict[str, Any]:
    """What kind of machine this is; results are compared between machines of one kind."""
    kind = f"{platform.system()}-{platform.machine()}-{os.cpu_count()}cpu".lower()
    return {"kind": kind, "python": platform.python_version()}


@contextlib.contextmanager
def servers(*kinds: str) -> Iterator[dict[str, str]]:
    """URLs of private, durable servers and of an SQLite file, for as long as it is entered."""
    sys.path.insert(0, str(ROOT / "tests"))
    from servers import PostgresServer, RedisServer

    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hotmesh-bench-"))
        urls = {"sqlite": f"sqlite:///{folder}/bench.db"}
        for name, make in {"postgres": PostgresServer, "redis": RedisServer}.items():
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


def value(case: Case, measured: Mapping[str, Any]) -> float:
    """The figure that a case is about."""
    return float(measured["latency_ms"][case.metric] if case.is_latency else measured[case.metric])


def median(values: list[float]) -> float:
    """The middle one; of two, the lower."""
    return sorted(values)[(len(values) - 1) // 2]


def in_turns(case: Case, url: str, rounds: int) -> dict[str, Any]:
    """Measure floor and engine alternately; medians, their ratio, and what was needed for it."""
    floors: list[float] = []
    engines: list[dict[str, Any]] = []
    for _ in range(rounds):
        if case.floor_steps:
            floors.append(value(case, measure_floor(case, url)))
        engines.append(measure_engine(case, url))
    middle = median([value(case, each) for each in engines])
    result: dict[str, Any] = {
        "backend": case.backend,
        "workload": case.workload,
        "metric": case.metric,
        "goal": case.goal,
        "most": case.most,
        "engine": middle,
        "engine_rounds": [value(case, each) for each in engines],
        "details": next(each for each in engines if value(case, each) == middle),
        "command": " ".join(["hotmesh bench --url URL", *case.engine_words()]),
    }
    if floors:
        result["floor"] = median(floors)
        result["floor_rounds"] = floors
        result["ratio"] = round(middle / result["floor"], 3)
        result["floor_command"] = " ".join(
            [f"python benches/floor/on_{case.backend}.py --url URL", *case.floor_words()]
        )
    return result
