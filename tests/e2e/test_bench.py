"""`hotmesh bench`: every workload runs through processes of its own, and says what it measured."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hotmesh.bench.workloads import WORKLOADS

COUNT = 3


def bench(tmp_path: Path, *words: str) -> tuple[str, Any]:
    """What it prints, and what it writes."""
    file = tmp_path / "measured.json"
    url = f"sqlite:///{tmp_path}/bench.db"
    command = [sys.executable, "-m", "hotmesh", "bench", "--url", url, "--json", str(file), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())


def test_every_database_says_what_a_workflow_costs(tmp_path: Path, database_url: str) -> None:
    shown, measured = bench(tmp_path, "--url", database_url, "-n", "50")
    database = measured["database"]
    assert database["rows_per_workflow"] >= 2
    assert 0 < database["round_trips_per_workflow"] < 20
    assert "row writes per workflow" in shown or "commands per workflow" in shown
    if measured["backend"] != "sqlite":
        assert database["log_bytes_per_workflow"] > 100
        assert database["cpu_s"] >= 0
    for process in (measured["client"], *measured["workers"]):
        assert process["cpu_s"] > 0
        assert process["memory_bytes"] > 1_000_000


def test_both_cores_are_compared(tmp_path: Path) -> None:
    shown, rounds = bench(tmp_path, "--workload", "noop", "-n", str(COUNT), "--compare")
    assert [(name, found["core"]) for each in rounds for name, found in each.items()] == [
        ("rust", "rust"),
        ("python", "python"),
    ] * len(rounds)
    assert "rust / python" in shown


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/db", "Unknown database URL scheme 'mysql'"),
        ("postgresql://127.0.0.1:1/none", "is not available"),
        ("redis://127.0.0.1:1/0", "can't be reached"),
    ],
)
def test_a_database_that_is_not_there_is_no_traceback(url: str, said: str) -> None:
    command = [sys.executable, "-m", "hotmesh", "bench", "--url", url, "-n", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workload", WORKLOADS)
def test_each_workload_is_measured(tmp_path: Path, workload: str) -> None:
    shown, measured = bench(
        tmp_path, "--workload", workload, "-n", str(COUNT), "--open", "2", "--width", "5"
    )
    assert measured["workload"] == workload
    assert measured["workflows"] == COUNT
    assert measured["workflows_per_s"] > 0
    assert 0 <= measured["latency_ms"]["p50"] <= measured["latency_ms"]["max"]
    assert len(measured["workers"]) == (2 if workload == "remote" else 1)
    assert "workflows/s" in shown


def test_the_parts_of_a_profile_fill_the_time(tmp_path: Path) -> None:
    shown, measured = bench(tmp_path, "-n", "50", "--profile")
    spent = measured["workers"][0]["profile_s"]
    assert spent["advance"] > 0
    assert sum(spent.values()) == pytest.approx(measured["seconds"], rel=0.5)
    assert "running workflow code" in shown


def test_a_duration_ends_it(tmp_path: Path) -> None:
    _, measured = bench(tmp_path, "--workload", "noop", "--duration", "0.3 seconds", "--open", "5")
    assert measured["workflows"] >= 1
    assert measured["seconds"] >= 0.3


def test_runs_are_pruned_unless_kept(tmp_path: Path) -> None:
    bench(tmp_path, "--workload", "noop", "-n", str(COUNT))
    listed = [sys.executable, "-m", "hotmesh", "list", "--namespace", "hotmesh-bench", "--json"]
    listed += ["--url", f"sqlite:///{tmp_path}/bench.db"]
    assert subprocess.run(listed, capture_output=True, check=True).stdout.strip() == b"[]"
    bench(tmp_path, "--workload", "noop", "-n", str(COUNT), "--keep")
    kept = json.loads(subprocess.run(listed, capture_output=True, check=True).stdout)
    assert len(kept) == 2 * COUNT  # the warm-up's as well
