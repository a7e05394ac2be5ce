"""The Rust core against the Python core: end to end, and each part."""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import HERE, measure_engine, median
from results import Result, figure

from special.place import Place

END_TO_END_LEAST = 1.5
PART_LEAST = 10.0

LOADS = {"one": 10_000, "ten": 3_000}


def measure(place: Place) -> dict[str, Result]:
    """Ratios of speeds, Rust to Python."""
    results = {f"cores {name}": _end_to_end(place, name, count) for name, count in LOADS.items()}
    if importlib.util.find_spec("pytest_benchmark") is None:
        print("The parts of the core are not measured: pytest-benchmark is not installed.")
        return results
    command = "pytest benches/core"
    for part, ratio in _parts().items():
        results[f"cores {part}"] = figure(ratio, "rust / python", command, goal=PART_LEAST)
    return results


def _end_to_end(place: Place, workload: str, count: int) -> Result:
    case = place.case(workload, place.many(count), 1000)
    ratios: list[float] = []
    for _ in range(place.rounds):
        rates = {
            core: measure_engine(case, place.postgres, core)["workflows_per_s"]
            for core in ("rust", "python")
        }
        ratios.append(rates["rust"] / rates["python"])
    command = place.command(workload, case.count, 1000) + " --compare"
    return figure(median(ratios), "rust / python", command, goal=END_TO_END_LEAST, rounds=ratios)


def _parts() -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="hotmesh-bench-") as folder:
        file = Path(folder, "parts.json")
        words = [sys.executable, "-m", "pytest", "-q", str(HERE / "core"), "-p", "no:cacheprovider"]
        words += [f"--benchmark-json={file}", "--benchmark-max-time=0.3"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        measured = json.loads(file.read_text())["benchmarks"]
    seconds: dict[str, dict[str, float]] = {}
    for each in measured:
        name = each["name"].partition("[")[0].removeprefix("test_")
        seconds.setdefault(name, {})[each["param"]] = each["stats"]["median"]
    return {
        name: cores["python"] / cores["rust"] for name, cores in seconds.items() if "rust" in cores
    }
