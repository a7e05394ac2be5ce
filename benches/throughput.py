"""`make bench`: the engine beside the bare database, in turns, and beside the last results.

Prints a line per case and every ratio to the floor that is more than 15 % worse than in
`docs/benchmarks/` for this kind of machine. `--write` makes the new results those.
"""

import argparse
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cases import Case, cases
from measuring import RESULTS, in_turns, machine, servers

from hotmesh import __version__

REGRESSION = 0.15


def main() -> None:
    """Measure, compare, and write if asked to."""
    options = _options()
    wanted = [
        case
        for case in cases(options.scale)
        if any(word in case.name for word in options.only) or not options.only
    ]
    results = _measure(wanted, options.rounds)
    document = {
        "machine": machine(),
        "hotmesh": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rounds": options.rounds,
        "cases": results,
    }
    file = RESULTS / f"{document['machine']['kind']}.json"
    if file.exists():
        _compare(json.loads(file.read_text()), results, file)
    if options.write:
        _write(file, document)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default: 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the workflows run")
    parser.add_argument("--only", nargs="*", default=[], help="cases whose name contains a word")
    parser.add_argument("--write", action="store_true", help="make these the results to compare to")
    return parser.parse_args()


def _measure(wanted: list[Case], rounds: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    with servers(*{case.backend for case in wanted}) as urls:
        for case in wanted:
            result = in_turns(case, urls[case.backend], rounds)
            results[case.name] = result
            print(line(case.name, result), flush=True)
    return results


def line(name: str, result: Mapping[str, Any]) -> str:
    """One result for people."""
    unit = "ms " + result["metric"] if result["metric"][0] == "p" else result["metric"]
    text = f"{name:22} {result['engine']:12,.1f} {unit:16}"
    if "floor" in result:
        text += f" floor {result['floor']:12,.1f}  ratio {result['ratio']:6.2f}"
    if result["goal"] is not None:
        reached = result.get("ratio", result["engine"])
        missed = reached > result["goal"] if result["most"] else reached < result["goal"]
        sign = "<=" if result["most"] else ">="
        text += f"  goal {sign} {result['goal']:g}{': missed' if missed else ''}"
    return text


def _compare(last: Mapping[str, Any], results: Mapping[str, Any], file: Path) -> None:
    regressions = [
        f"{name}: {text}"
        for name, result in results.items()
        if (text := regression(last["cases"].get(name), result))
    ]
    print(f"Compared with {file.name} of {last['date']}:", end=" ")
    print("\n  ".join(["regressions", *regressions]) if regressions else "no regression over 15 %")


def regression(last: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """What got worse by more than :data:`REGRESSION`; empty if nothing did."""
    key = "ratio" if "ratio" in now else "engine"
    if last is None or not last.get(key):
        return ""
    before, after = last[key], now[key]
    worse = after / before if now["metric"][0] == "p" else before / after
    if worse <= 1 + REGRESSION:
        return ""
    return f"{key} {before:g} -> {after:g}, {worse - 1:.0%} worse"


def _write(file: Path, document: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():  # What was not measured this time stays.
        document["cases"] = json.loads(file.read_text())["cases"] | document["cases"]
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"Wrote {file}; `python benches/report.py` puts it into the README")


if __name__ == "__main__":
    main()
