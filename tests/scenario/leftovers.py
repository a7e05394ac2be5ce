"""What is left in a store, seen through the protocol alone: so it is the same on every backend."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hotmesh.backends.protocol import Backend, Registration, Step, Tasks
from hotmesh.core import decode_transition

FAR_MS = 60_000


async def unread(backend: Backend, namespace: str, task_queue: str) -> dict[str, int]:
    """How many messages, timers and tasks nobody has handled; call it when no router is left."""
    queue_id = await backend.queue_id(namespace, task_queue)
    router_id = os.urandom(16)
    beat = await backend.beat(Registration(router_id, namespace, queue_id, True, 5_000, b"{}"))
    session = await backend.session(namespace, router_id, FAR_MS)
    try:
        reply = await session.step(Step(router_id, beat.lanes, 500))
        tasks = await backend.tasks(Tasks(namespace, router_id, queue_id, 1_000, 500))
        return {
            "lanes": len(beat.lanes),
            "messages": len(reply.messages),
            "timers": len(reply.timers),
            "tasks": len(tasks.tasks) + (tasks.next_due_ms is not None),
        }
    finally:
        await session.close()
        await backend.leave(namespace, router_id)


def doubled_jobs(journal: Sequence[bytes]) -> list[tuple[int, int]]:
    """(kind, seq) of results that a run's journal holds more than once."""
    seen: set[tuple[int, int]] = set()
    doubled: list[tuple[int, int]] = []
    for frame in journal:
        _, jobs, _ = decode_transition(frame)
        for kind, seq, *_ in jobs:
            if not seq:
                continue
            family = 2 if 2 <= kind <= 5 else kind
            if (family, seq) in seen:
                doubled.append((kind, seq))
            seen.add((family, seq))
    return doubled
