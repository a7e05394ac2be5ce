"""What the whole engine costs on each database: `pytest benches/engine`. Needs pytest-benchmark.

Client and worker share this process, so these are figures to compare versions by;
`hotmesh bench` measures as in production, with processes of their own.
"""

from typing import Any

import pytest

from hotmesh.bench.workloads import Fan, Noop, Parent, Steps

BATCH = 100


@pytest.mark.parametrize(
    ("workflow", "args", "result"),
    [
        pytest.param(Noop.run, [], 0, id="noop"),
        pytest.param(Steps.run, [1], 0, id="one"),
        pytest.param(Steps.run, [10], 45, id="ten"),
        pytest.param(Parent.run, [], 0, id="child"),
    ],
)
def test_a_batch(benchmark: Any, mesh: Any, workflow: Any, args: list[Any], result: int) -> None:
    """100 workflows at once, from start to result."""
    assert benchmark(mesh.run, workflow, args, BATCH) == [result] * BATCH


def test_one_alone(benchmark: Any, mesh: Any) -> None:
    """The latency of a workflow of one activity on an idle worker."""
    assert benchmark(mesh.run, Steps.run, [1], 1) == [0]


def test_a_fan(benchmark: Any, mesh: Any) -> None:
    """One workflow of 1,000 parallel activities."""
    assert benchmark(mesh.run, Fan.run, [1000], 1) == [sum(range(1000))]
