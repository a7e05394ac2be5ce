"""Many seeds: whatever gets lost and whoever is killed, everything ends as if nothing had."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.scenario import simulate
from unit.core import cores

SEEDS = int(os.environ.get("HOTMESH_TEST_SEEDS", "120"))
"""How many seeds are played on each core."""

SEEDS_PER_TEST = 20


@pytest.mark.parametrize("core", cores.NAMES)
@pytest.mark.parametrize("first", range(0, SEEDS, SEEDS_PER_TEST))
def test_every_seed_ends_well(core: str, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hotmesh.router.memory.Router", cores.load(core).Router)
    for seed in range(first, min(first + SEEDS_PER_TEST, SEEDS)):
        simulate(seed)


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
