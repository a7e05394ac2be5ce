"""Fans of 1,000 to 100,000 parallel activities: as fast as sequential ones, and linear."""

from measuring import median
from results import Result, figure

from special.place import Place

WIDTHS = {1_000: 20, 10_000: 5, 100_000: 1}
"""Activities of a workflow, and how many workflows."""

TEN = 3_000
LINEAR_LEAST = 0.8


def measure(place: Place) -> dict[str, Result]:
    """Steps a second by width, beside those of `ten`."""
    ten = place.bench("ten", place.many(TEN), 1000)["steps_per_s"]
    results: dict[str, Result] = {}
    rates: dict[int, float] = {}
    for wanted, count in WIDTHS.items():
        options = ("--width", str(place.many(wanted)))
        runs = [place.bench("fan", count, count, *options) for _ in range(place.rounds)]
        rates[wanted] = median([each["steps_per_s"] for each in runs])
        results[f"fan of {wanted:,}"] = figure(
            rates[wanted],
            "steps/s",
            place.command("fan", count, count, *options),
            goal=ten,
            ten_steps_per_s=ten,
        )
    results["fan linear"] = figure(
        rates[100_000] / rates[1_000],
        "speed at 100,000 / at 1,000",
        place.command("fan", 1, 1, "--width", str(place.many(100_000))),
        goal=LINEAR_LEAST,
    )
    return results
