"""The benchmarks' own arithmetic: goals, regressions, and the documents made of figures."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "benches"
OWN = ("cases", "measuring", "results", "report", "special")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a module of the benches; none stays behind."""
    monkeypatch.syspath_prepend(str(BENCHES))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in [each for each in sys.modules if each.partition(".")[0] in OWN]:
        del sys.modules[name]


def measured(rate: float) -> dict[str, Any]:
    return {
        "workflows_per_s": rate,
        "latency_ms": {"p50": 2.0, "p99": 30.0},
        "database": {"log_bytes_per_workflow": 3_000.0, "round_trips_per_workflow": 0.05},
    }


@pytest.fixture
def results(bench: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of one case with two further figures, three rounds each."""
    measuring, cases = bench("measuring"), bench("cases")
    rates = iter([300.0, 500.0, 400.0])
    monkeypatch.setattr(measuring, "measure_engine", lambda case, url: measured(next(rates)))
    monkeypatch.setattr(
        measuring, "measure_floor", lambda case, url: {**measured(1_000.0), "database": {}}
    )
    case = next(each for each in cases.cases() if each.name == "postgres-one")
    found: dict[str, Any] = measuring.in_turns(case, "url", 3)
    return found


def test_a_case_has_a_figure_for_each_goal(bench: Any, results: dict[str, Any]) -> None:
    judged = bench("results").judged
    assert {name: (each["engine"], judged(each)) for name, each in results.items()} == {
        "postgres-one": (400.0, ">= 0.4"),
        "postgres-one log_bytes_per_workflow": (3_000.0, "<= 2500, missed"),
        "postgres-one round_trips_per_workflow": (0.05, "<= 0.1"),
    }
    assert results["postgres-one"]["ratio"] == 0.4
    assert "ratio" not in results["postgres-one log_bytes_per_workflow"]


@pytest.mark.parametrize(
    ("change", "smaller_is_better", "told"),
    [(0.9, False, ""), (0.8, False, "25% worse"), (1.1, True, ""), (1.2, True, "20% worse")],
)
def test_more_than_15_percent_worse_is_a_regression(
    bench: Any, change: float, smaller_is_better: bool, told: str
) -> None:
    last = {"engine": 100.0, "smaller_is_better": smaller_is_better}
    text = bench("results").regression(last, {**last, "engine": 100.0 * change})
    assert text.endswith(told) if told else text == ""


def test_a_figure_that_was_never_measured_is_no_regression(bench: Any) -> None:
    now = {"engine": 1.0, "smaller_is_better": False}
    assert bench("results").regression(None, now) == ""


def test_what_was_not_measured_again_stays(bench: Any, tmp_path: Path) -> None:
    write, file = bench("results").write, tmp_path / "results.json"
    write(file, {"one": {"engine": 1}, "two": {"engine": 2}}, rounds=1)
    write(file, {"two": {"engine": 3}}, rounds=2)
    document = json.loads(file.read_text())
    assert document["cases"] == {"one": {"engine": 1}, "two": {"engine": 3}}
    assert document["rounds"] == 2


def test_the_readme_names_the_command_of_each_figure(
    bench: Any, results: dict[str, Any], tmp_path: Path
) -> None:
    report = bench("report")
    document = {"machine": bench("measuring").machine(), "rounds": 3, "cases": results}
    block = report.readme_block([document])
    rows = block.splitlines()[4:]
    assert len(rows) == len(results)
    assert all("`hotmesh bench --url URL --workload one" in row for row in rows)
    assert "| postgres-one | 400 workflows/s | 1,000 | 0.40 | >= 0.4 |" in rows[0]

    readme = tmp_path / "README.md"
    readme.write_text((BENCHES.parent / "README.md").read_text())
    report.replace_block(readme, block)
    assert block in readme.read_text()


def test_a_history_is_replayed_to_its_end(bench: Any) -> None:
    place = bench("special.place").Place({}, 0.0001, 1, 0.0)
    figures = bench("special.replay").measure(place)
    assert all(each["engine"] > 0 for each in figures.values())


def test_every_line_has_a_measurement(bench: Any) -> None:
    for name in ("cores", "fan", "history", "overload", "replay", "sleeping", "workers"):
        assert callable(bench(f"special.{name}").measure)
