"""The simulation finds the faults that it is there to find."""

from __future__ import annotations

import pytest

from simulation.mutants import MUTANTS
from simulation.scenario import simulate
from unit.core import cores

pytestmark = pytest.mark.timeout(900)  # hundreds of seeds, on a machine that has more to do

SEEDS = 200
"""Within so many seeds of its profile each fault is found, and mostly far earlier."""


OF_THE_PYTHON_CORE = ("events_after_activities", "anchors_let_go_early")
"""Faults that are put back into that core itself; the Rust core would not have them."""

OF_BOTH_CORES = [name for name in MUTANTS if name not in OF_THE_PYTHON_CORE]


def is_found(mutant: str, seeds: list[int], core: str, patch: pytest.MonkeyPatch) -> bool:
    patch.setattr("hotmesh.router.memory.Router", cores.load(core).Router)
    put_back, profile, _ = MUTANTS[mutant]
    with put_back():
        for seed in seeds:
            try:
                simulate(seed, profile)
            except AssertionError:
                return True
    return False


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_fault_that_is_put_back_is_found(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorded seed finds it at once, until what a seed plays is changed: others do then."""
    assert is_found(mutant, [MUTANTS[mutant][2], *range(SEEDS)], "python", monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("mutant", MUTANTS)
def test_no_seed_is_rare_that_finds_a_fault(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = MUTANTS[mutant][2]
    others = [seed for seed in range(SEEDS) if seed != recorded]
    assert is_found(mutant, others, "python", monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("core", cores.NAMES)
@pytest.mark.parametrize("mutant", OF_BOTH_CORES)
def test_a_fault_is_found_with_each_core(
    mutant: str, core: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_found(mutant, [MUTANTS[mutant][2], *range(SEEDS)], core, monkeypatch)
