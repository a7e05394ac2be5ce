"""The figures that take more than one run of `hotmesh bench`: `make bench BENCH=benches/lines.py`.

    replay     a history of 1,000 to 100,000 steps
    cores      Rust against Python, end to end and part by part
    fan        1,000 to 100,000 parallel activities
    workers    two worker processes against one, and an idle one
    overload   up to 100,000 workflows started at once
    history    1,000,000 closed runs in the tables; an old transaction open elsewhere
    large      600 workflows of 1.9 MiB, 30 of 90 MiB, one that gathers 600 results of 1.9 MiB
    sleeping   1,000,000 sleeping workflows, cached and evicted; 10,000 due at once

At full size it takes about an hour, most of it the last two; `--scale 0.001` tries everything in a
minute or two. `--write` keeps the figures in `docs/benchmarks/`.
"""

import argparse

from measuring import servers
from results import Result, chosen, compare, line, results_file, write
from special import cores, fan, history, large, overload, replay, sleeping, workers
from special.place import Measure, Place

LINES: dict[str, Measure] = {
    "replay": replay.measure,
    "cores": cores.measure,
    "fan": fan.measure,
    "workers": workers.measure,
    "overload": overload.measure,
    "history": history.measure,
    "large": large.measure,
    "sleeping": sleeping.measure,
}


def main() -> None:
    """Measure, compare, and write if asked to."""
    options = _options()
    results: dict[str, Result] = {}
    for name in chosen(LINES, options.only):
        # A fresh server for each: none measures what another has left behind.
        with servers("postgres", "redis") as urls:
            place = Place(urls, options.scale, options.rounds, options.minutes)
            found = LINES[name](place)
        results |= found
        for figure_name, result in found.items():
            print(line(figure_name, result), flush=True)
    file = results_file("-lines")
    compare(file, results)
    if options.write:
        write(file, results, rounds=options.rounds, scale=options.scale)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], help="lines whose name contains a word")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all sizes")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default: 3)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="age of the old transaction (default: 10)"
    )
    parser.add_argument("--write", action="store_true", help="make these the results to compare to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
