"""Measures engines beside each other: the same two workloads, in turns, medians of all rounds.

Each has a client process and a worker process of its own (Restate and Temporal a server as well)
and this machine to itself while it runs. Results go to `docs/benchmarks/versus-MACHINE.json`;
`benches/report.py` makes a page and plots of them. Needs `requirements.txt`.
"""

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from engines import ENGINES, Engine  # noqa: E402
from measuring import RESULTS, machine, median, servers  # noqa: E402

WORKLOADS = {"one": (1, "workflows_per_s"), "ten": (10, "steps_per_s")}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the workflows run")
    parser.add_argument("--open", type=int, default=1000, help="workflows open at once")
    parser.add_argument("--only", nargs="*", default=[], help="engines whose name contains a word")
    options = parser.parse_args()
    wanted = [
        engine
        for engine in ENGINES
        if not options.only or any(word in engine.name.lower() for word in options.only)
    ]
    rounds: dict[str, dict[str, list[Any]]] = {e.name: {"one": [], "ten": []} for e in wanted}
    for _ in range(options.rounds):
        with servers("postgres", "redis") as urls:
            for engine in wanted:
                for workload, measured in _measure(engine, urls, options).items():
                    rounds[engine.name][workload].append(measured)
                    metric = WORKLOADS[workload][1]
                    print(f"{engine.name:22} {workload} {measured[metric]:,.0f} {metric}")
    _write(wanted, rounds, options.rounds)


def _measure(
    engine: Engine, urls: dict[str, str], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    program = str(HERE / f"{engine.program}_app.py")
    found: dict[str, dict[str, Any]] = {}
    with engine.place(urls) as url:
        worker = subprocess.Popen(
            [sys.executable, program, "worker", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            if worker.stdout.readline() != "ready\n":
                raise SystemExit(f"the worker of {engine.name} did not start")
            for workload, (steps, _) in WORKLOADS.items():
                count = max(20, round(getattr(engine, workload) * options.scale))
                amounts = [str(steps), str(count), str(options.open)]
                client = [sys.executable, program, "client", url, *amounts]
                out = subprocess.run(client, check=True, stdout=subprocess.PIPE, text=True).stdout
                found[workload] = json.loads(out.splitlines()[-1])
        finally:
            worker.stdin.close()
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
    return found


def _write(wanted: list[Engine], rounds: dict[str, Any], count: int) -> None:
    file = RESULTS / f"versus-{machine()['kind']}.json"
    engines: dict[str, Any] = json.loads(file.read_text())["engines"] if file.exists() else {}
    for engine in wanted:
        engines[engine.name] = {
            "version": engine.version,
            **{name: _middle(each, name) for name, each in rounds[engine.name].items()},
        }
    document = {
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rounds": count,
        "command": "python benches/versus/run.py",
        "engines": engines,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")
    print(f"Wrote {file}; `python benches/report.py` makes a page and plots of it")


def _middle(measured: list[dict[str, Any]], workload: str) -> dict[str, Any]:
    metric = WORKLOADS[workload][1]
    middle = median([each[metric] for each in measured])
    found = next(each for each in measured if each[metric] == middle)
    return {**found, "rounds": [each[metric] for each in measured]}


if __name__ == "__main__":
    main()
