"""What a measurement came to, its goal, and whether it has got worse: for people and for files."""

import datetime
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from measuring import RESULTS, machine

from hotmesh import __version__

REGRESSION = 0.15
"""The part by which a figure may be worse than the last one before it is called a regression."""

Result = dict[str, Any]
"""One figure: `engine` in `unit`, its `goal` (to reach, or with `most` not to exceed), the
`command` that measures it; where there is a floor, `floor` and the `ratio` to it, which the goal
is then about."""


def figure(
    value: float,
    unit: str,
    command: str,
    *,
    goal: float | None = None,
    most: bool = False,
    **more: Any,
) -> Result:
    """A result without floor; where only a smaller value can be better, say ``most``."""
    return {
        "engine": round(value, 4),
        "unit": unit,
        "goal": goal,
        "most": most,
        "smaller_is_better": most,
        "command": command,
        **more,
    }


def judged(result: Mapping[str, Any]) -> str:
    """The goal, and whether it was missed; empty without goal."""
    if result["goal"] is None:
        return ""
    reached = result.get("ratio", result["engine"])
    missed = reached > result["goal"] if result["most"] else reached < result["goal"]
    sign = "<=" if result["most"] else ">="
    return f"{sign} {result['goal']:g}{', missed' if missed else ''}"


def line(name: str, result: Mapping[str, Any]) -> str:
    """One result for people."""
    text = f"{name:30} {result['engine']:12,.2f} {result['unit']:26}"
    if "floor" in result:
        text += f" floor {result['floor']:12,.2f}  ratio {result['ratio']:6.2f}"
    goal = judged(result)
    return f"{text}  goal {goal}" if goal else text


def regression(last: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """What got worse by more than :data:`REGRESSION`; empty if nothing did."""
    key = "ratio" if "ratio" in now else "engine"
    if last is None or not last.get(key) or not now[key]:
        return ""
    before, after = last[key], now[key]
    worse = after / before if now["smaller_is_better"] else before / after
    if worse <= 1 + REGRESSION:
        return ""
    return f"{key} {before:g} -> {after:g}, {worse - 1:.0%} worse"


def results_file(suffix: str = "") -> Path:
    """Where results of this kind of machine are kept."""
    return RESULTS / f"{machine()['kind']}{suffix}.json"


def compare(file: Path, results: Mapping[str, Result]) -> None:
    """Print every figure that got worse since those that were committed."""
    if not file.exists():
        print(f"There is no {file.name} to compare with.")
        return
    last = json.loads(file.read_text())
    regressions = [
        f"{name}: {text}"
        for name, result in results.items()
        if (text := regression(last["cases"].get(name), result))
    ]
    print(f"Compared with {file.name} of {last['date']}:", end=" ")
    print("\n  ".join(["regressions", *regressions]) if regressions else "no regression over 15 %")


def write(file: Path, results: Mapping[str, Result], **more: Any) -> None:
    """Make these the results to compare with; what was not measured this time stays."""
    known: dict[str, Any] = json.loads(file.read_text())["cases"] if file.exists() else {}
    document = {
        "machine": machine(),
        "hotmesh": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **more,
        "cases": {**known, **results},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"Wrote {file}; `python benches/report.py` puts it into the README")


def chosen(names: Iterable[str], words: Iterable[str]) -> list[str]:
    """The names that contain a word; all without words."""
    wanted = list(words)
    return [name for name in names if not wanted or any(word in name for word in wanted)]
