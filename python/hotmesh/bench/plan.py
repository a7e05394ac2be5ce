"""What is to be measured; travels to the spawned processes as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

NAMESPACE = "hotmesh-bench"
"""The namespace of all measurements, so that they never meet real workflows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One measurement."""

    url: str
    workload: str
    open: int
    """Workflows open at once."""
    count: int
    """Workflows to run; 0: until ``duration`` is over."""
    duration: float
    """Seconds after which nothing new is started; 0: no limit."""
    workers: int
    """Worker processes."""
    width: int
    """Parallel activities of a `fan` workflow."""
    warm_up: int
    """Workflows run before measuring."""
    profile: bool
    keep: bool
    """Leave the closed runs in the database."""
    task_queue: str
    """Fresh for each measurement, so that no leftover of an aborted one is met."""

    @property
    def remote_queue(self) -> str:
        """Where the `remote` workload's activities run."""
        return f"{self.task_queue}-activities"

    def to_json(self) -> str:
        """The plan as text for a command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The plan that :meth:`to_json` wrote."""
        return cls(**json.loads(text))
