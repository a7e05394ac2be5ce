"""The simulation finds the faults that it is there to find."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from simulation.mutants import MUTANTS
from simulation.scenario import simulate
from unit.core import cores

SEEDS = 300
"""Within so many seeds each fault is found, and mostly far earlier."""

RECORDED = {
    "repeats_not_looked_for": 640,
    "moves_that_wake_nobody": 642,
    "jumps_believed": 156,
}
"""Seeds that have found what is found more rarely. Whatever changes what a seed does, such as one
more request, may take its story away: then another one is to be looked for."""

RARE = ("cancelled_whatever_the_attempt", "results_lost_with_the_tenure")
"""Faults that take thousands of seeds."""

RARE_SEEDS = 10_000


def is_found(mutant: str, seeds: Iterable[int], monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr("hotmesh.router.memory.Router", cores.load("python").Router)
    with MUTANTS[mutant]():
        for seed in seeds:
            try:
                simulate(seed)
            except AssertionError:
                return True
    return False


@pytest.mark.parametrize("mutant", [name for name in MUTANTS if name not in RARE])
def test_a_fault_that_is_put_back_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = [RECORDED[mutant]] if mutant in RECORDED else []
    assert is_found(mutant, [*recorded, *range(SEEDS)], monkeypatch), f"{SEEDS} seeds"


@pytest.mark.soak
@pytest.mark.parametrize("mutant", RARE)
def test_a_rare_fault_that_is_put_back_is_found(
    mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_found(mutant, range(RARE_SEEDS), monkeypatch), f"{RARE_SEEDS} seeds"
