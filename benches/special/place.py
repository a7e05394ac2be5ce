"""What every special measurement is given, and how it runs `hotmesh bench`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cases import Case
from measuring import measure_engine
from results import Result

LEAST = 20
"""Workflows that are run whatever the scale."""


@dataclass(frozen=True)
class Place:
    """Where and how large."""

    urls: Mapping[str, str]
    scale: float
    rounds: int
    minutes: float
    """Age of the old transaction."""

    def many(self, count: int) -> int:
        """A number of workflows, to scale."""
        return max(LEAST, round(count * self.scale))

    def bench(
        self, workload: str, count: int, open_max: int, *options: str, url: str | None = None
    ) -> dict[str, Any]:
        """One run of `hotmesh bench`, on Postgres unless a URL is given."""
        return measure_engine(self.case(workload, count, open_max, *options), url or self.postgres)

    def case(self, workload: str, count: int, open_max: int, *options: str) -> Case:
        """What :meth:`bench` runs; its words are the command."""
        return Case("postgres", workload, count, open_max, "workflows_per_s", options=options)

    def command(self, workload: str, count: int, open_max: int, *options: str) -> str:
        """The command of :meth:`bench`, for people."""
        words = self.case(workload, count, open_max, *options).engine_words()
        return " ".join(["hotmesh bench --url URL", *words])

    @property
    def postgres(self) -> str:
        """The URL of the Postgres."""
        return self.urls["postgres"]


Measure = Callable[[Place], dict[str, Result]]
"""One line of the table: its figures by name."""


def own_command(line: str, place: Place) -> str:
    """The command that measures one line again."""
    return f"python benches/lines.py --only {line} --scale {place.scale:g}"
