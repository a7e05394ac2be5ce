"""The simulation finds the faults that it is there to find."""

from __future__ import annotations

import pytest

from simulation.mutants import MUTANTS
from simulation.scenario import simulate
from unit.core import cores

SEEDS = 300
"""Within so many seeds each fault is found, and mostly far earlier."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_that_is_put_back_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotmesh.router.memory.Router", cores.load("python").Router)
    with MUTANTS[mutant]():
        for seed in range(SEEDS):
            try:
                simulate(seed)
            except AssertionError:
                return
    pytest.fail(f"{mutant}: not found by {SEEDS} seeds")
