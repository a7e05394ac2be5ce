"""The simulation finds the faults that it is there to find."""

from __future__ import annotations

import pytest

from simulation.mutants import MUTANTS
from simulation.scenario import simulate
from unit.core import cores

SEEDS = 100
"""Within so many seeds of its profile each fault is found, and mostly far earlier."""


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_that_is_put_back_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotmesh.router.memory.Router", cores.load("python").Router)
    put_back, profile = MUTANTS[mutant]
    with put_back():
        for seed in range(SEEDS):
            try:
                simulate(seed, profile)
            except AssertionError:
                return
    pytest.fail(f"not found by {SEEDS} seeds of {profile!r}")
