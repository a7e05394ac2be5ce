"""What is measured by `make bench`, and what it is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass

BATCH = 500
"""Of the floor; the engine's own batches are as large."""


@dataclass(frozen=True)
class Also:
    """One more figure of a case: like the case's own, it must reach its goal or not exceed it."""

    metric: str
    goal: float | None
    most: bool = True
    of_floor: bool = False
    """Whether the goal is about the ratio to the floor."""


LOG_BYTES = Also("log_bytes_per_workflow", 2_500)
ROUND_TRIPS = Also("round_trips_per_workflow", 0.1)


@dataclass(frozen=True)
class Case:
    """The engine's workload beside the same work on the bare database."""

    backend: str
    workload: str
    count: int
    open: int
    metric: str
    """A key of both documents; for latencies, a percentile."""
    floor_steps: int = 0
    """Sequential steps of the floor's workflows; 0: there is no floor for it."""
    floor_count: int = 0
    """Workflows of the floor; default is as many as the engine's."""
    most: bool = False
    """Whether the value must not exceed the goal; else it must reach it."""
    goal: float | None = None
    """The ratio to the floor to reach or, without floor, the value."""
    options: tuple[str, ...] = ()
    """More options of `hotmesh bench`."""
    also: tuple["Also", ...] = ()
    """More figures of the same runs."""

    @property
    def name(self) -> str:
        """What it is called in results."""
        idle = "-idle" if self.open == 1 and self.is_latency else ""
        return f"{self.backend}-{self.workload}{idle}"

    @property
    def is_latency(self) -> bool:
        """Whether smaller is better."""
        return self.metric.startswith("p")

    def engine_words(self) -> Sequence[str]:
        """The arguments of `hotmesh bench`, without the URL."""
        words = ("--workload", self.workload, "-n", str(self.count), "--open", str(self.open))
        return (*words, *self.options)

    def floor_words(self) -> Sequence[str]:
        """The arguments of the floor's program, without the URL."""
        count = self.floor_count or self.count
        batch = 1 if self.open == 1 and self.is_latency else BATCH
        open_max = self.open if self.is_latency else 1000
        words = {"-n": count, "-s": self.floor_steps, "-c": open_max, "-b": batch}
        return [str(word) for pair in words.items() for word in pair]


def cases(scale: float = 1.0) -> list[Case]:
    """The short set.

    Args:
        scale: Factor of the numbers of workflows.
    """

    def many(count: int) -> int:
        return max(20, round(count * scale))

    found: list[Case] = []
    for backend in ("postgres", "redis", "sqlite"):
        also = (LOG_BYTES, ROUND_TRIPS) if backend == "postgres" else (ROUND_TRIPS,)
        one = Case(backend, "one", many(10_000), 1000, "workflows_per_s", 1, goal=0.4, also=also)
        ten = Case(backend, "ten", many(3_000), 1000, "steps_per_s", 10, goal=0.4)
        found += [one, ten]
    postgres = "postgres"
    found += [
        Case(postgres, "remote", many(5_000), 1000, "workflows_per_s", 1, goal=0.2),
        Case(postgres, "child", many(3_000), 1000, "workflows_per_s", 1),
        Case(postgres, "fan", 10, 10, "steps_per_s", 10, many(3_000)),
        _latency(postgres, "one", many(500), also=(Also("p99", 10.0, of_floor=True),)),
        _latency(postgres, "signal", many(300)),
        Case(postgres, "sleep", 1000, 1000, "p99", most=True, goal=50.0, also=(Also("p50", 10.0),)),
    ]
    return found


def _latency(backend: str, workload: str, count: int, also: tuple[Also, ...] = ()) -> Case:
    """One workflow at a time, beside one step of the floor at a time."""
    return Case(backend, workload, count, 1, "p50", 1, count, most=True, goal=3.0, also=also)
