"""Many seeds: whatever gets lost and whoever is killed, everything ends as if nothing had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.plan import PROFILES
from simulation.scenario import simulate
from unit.core import cores

SEEDS = int(os.environ.get("HOTMESH_TEST_SEEDS", "20"))
"""How many seeds of each profile are played on the core in use; of the mixed one three times as
many."""

SOAKED_SEEDS = int(os.environ.get("HOTMESH_SOAK_SEEDS", "500"))
"""How many are played on each core when there is time; 100 of all profiles on both take twelve
minutes of one processor."""

FOUND = (("attempts", 133), ("attempts", 151), ("handovers", 122))
"""Seeds beyond these that have found faults: an attempt that began after a later one, by a claim or
a tenure that was over, and a run that could not end for what was in a lane that was to go."""

SEEDS_PER_TEST = 10

SOAKED_PER_TEST = 50
"""Tests this short end at about the same time on all processors."""


def play(profile: str, first: int, last: int) -> None:
    """Play them all: who has waited for many seeds wants to know of each that fails."""
    failed = []
    for seed in range(first, last):
        try:
            simulate(seed, profile)
        except AssertionError as error:
            failed.append(error)
    if failed:
        raise ExceptionGroup(f"{len(failed)} of {last - first} seeds", failed)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_seed_ends_well(profile: str, first: int) -> None:
    play(profile, first, min(first + SEEDS_PER_TEST, SEEDS))


@pytest.mark.parametrize("first", range(SEEDS, 3 * SEEDS, SEEDS_PER_TEST))
def test_every_mixed_seed_ends_well(first: int) -> None:
    play("mixed", first, min(first + SEEDS_PER_TEST, 3 * SEEDS))


@pytest.mark.parametrize(("profile", "seed"), FOUND)
def test_seeds_that_have_found_faults_end_well(profile: str, seed: int) -> None:
    simulate(seed, profile)


@pytest.mark.soak
@pytest.mark.parametrize("core", cores.NAMES)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("first", range(0, SOAKED_SEEDS, SOAKED_PER_TEST))
def test_very_many_seeds_end_well(
    core: str, profile: str, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotmesh.router.memory.Router", cores.load(core).Router)
    play(profile, first, min(first + SOAKED_PER_TEST, SOAKED_SEEDS))


def test_a_seed_is_the_same_every_time() -> None:
    """Whatever the hashes of the process: what a seed has found can be found again."""
    code = "from simulation.scenario import trace_of; print(trace_of(1), trace_of(4))"
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONHASHSEED": hashes,
                "PYTHONPATH": str(Path(__file__).parent.parent),
            },
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hashes in ("1", "2", "3")
    }
    assert len(traces) == 1
