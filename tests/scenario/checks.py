"""What must be true after any fault: results, attempts, journals, and an empty store."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from hotmesh.client import Client, WorkflowHandle
from hotmesh.client._check import look
from hotmesh.core import decode_transition
from hotmesh.engine import wire
from scenario.cluster import attempts, highest_attempts
from scenario.fault_app import ATTEMPTS_MAX, TASK_QUEUE, expected
from scenario.leftovers import doubled_jobs, unread

Trees = list[WorkflowHandle]


async def start_trees(client: Client, count: int, first: int = 0) -> Trees:
    """Start trees and poke each twice."""
    trees = await asyncio.gather(
        *(
            client.start_workflow("Tree", value, id=f"tree-{value}", task_queue=TASK_QUEUE)
            for value in range(first, first + count)
        )
    )
    await asyncio.gather(*(tree.signal("poke", 2) for tree in trees))
    await asyncio.gather(*(tree.signal("poke", 1) for tree in trees))
    return trees


async def check_trees(client: Client, trees: Trees, log: Path, seconds: float = 60.0) -> None:
    """Every result is right, no step and no attempt was made twice."""
    results = await results_of(client, trees, seconds)
    assert results == [expected(int(tree.id.removeprefix("tree-"))) for tree in trees]
    assert not {line: count for line, count in attempts(log).items() if count > 1}
    assert max(highest_attempts(log).values()) <= ATTEMPTS_MAX
    for tree in trees:
        run_id = tree.first_execution_run_id or tree.result_run_id
        assert run_id is not None
        frames = await client.backend.journal(client.namespace, wire.run_id_bytes(run_id))
        assert doubled_jobs(frames) == []


async def results_of(client: Client, trees: Trees, seconds: float) -> list[list[int]]:
    """The results; if they don't come in time, it says what is stuck where."""
    waiting = [asyncio.ensure_future(tree.result()) for tree in trees]
    _, late = await asyncio.wait(waiting, timeout=seconds)
    if late:
        stuck: list[str] = []
        for tree, future in zip(trees, waiting, strict=True):
            if future in late:
                described = await tree.describe()
                frames = await client.backend.journal(
                    client.namespace, wire.run_id_bytes(described.run_id)
                )
                last = decode_transition(frames[-1]) if frames else "no journal"
                stuck.append(f"{tree.id} {described.status} {len(frames)} transitions, {last}")
        raise AssertionError("\n".join([f"{len(late)} stuck", *stuck[:5]]))
    return [future.result() for future in waiting]


async def check_nothing_left(client: Client) -> None:
    """Nothing is left in stream, timers, tasks, lanes once the last worker has gone."""
    deadline = time.monotonic() + 10
    while True:
        left = await unread(client.backend, client.namespace, TASK_QUEUE)
        if left == {"lanes": 64, "messages": 0, "timers": 0, "tasks": 0}:
            break
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.2)  # a killed worker's lease has to run out
    assert await look(client.backend, client.namespace) == []
