"""`make bench`: the engine beside the bare database, in turns, and beside the last results.

Prints a line per figure and every one that is more than 15 % worse, as a ratio to the floor where
there is one, than in `docs/benchmarks/` for this kind of machine. `--write` makes the new results
those.
"""

import argparse

from cases import Case, cases
from measuring import in_turns, servers
from results import Result, chosen, compare, line, results_file, write


def main() -> None:
    """Measure, compare, and write if asked to."""
    options = _options()
    every = {case.name: case for case in cases(options.scale)}
    results = _measure([every[name] for name in chosen(every, options.only)], options.rounds)
    file = results_file()
    compare(file, results)
    if options.write:
        write(file, results, rounds=options.rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many (default: 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the workflows run")
    parser.add_argument("--only", nargs="*", default=[], help="cases whose name contains a word")
    parser.add_argument("--write", action="store_true", help="make these the results to compare to")
    return parser.parse_args()


def _measure(wanted: list[Case], rounds: int) -> dict[str, Result]:
    results: dict[str, Result] = {}
    with servers(*{case.backend for case in wanted}) as urls:
        for case in wanted:
            for name, result in in_turns(case, urls[case.backend], rounds).items():
                results[name] = result
                print(line(name, result), flush=True)
    return results


if __name__ == "__main__":
    main()
