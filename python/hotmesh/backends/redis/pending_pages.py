"""Reads what waits in a namespace, a lane or a task queue at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from hotmesh.backends.pending import Place, following, pack, unpack
from hotmesh.backends.protocol import PENDING_KINDS, Pending
from hotmesh.backends.redis.names import Names
from hotmesh.limits import LANES_PER_QUEUE

Ask = Callable[[Mapping[str, Any], bytes], Awaitable[Any]]
"""Runs pending.lua: numbers and where the page begins."""

_FIRST_PLACES: dict[str, Place] = dict.fromkeys(PENDING_KINDS, (0, b""))
"""The first lane or task queue, from its beginning."""

_TASK_COLUMNS = 4


async def pending_page(
    names: Names, ask: Ask, namespace: str, cursor: bytes, limit: int
) -> tuple[list[Pending], bytes]:
    """See :meth:`hotmesh.backends.protocol.Backend.pending`."""
    kind, place = unpack(cursor, _FIRST_PLACES)
    index, start = cast("tuple[int, bytes]", place)
    if kind == "wait":
        next_start, flat = await ask({"kind": kind, "limit": limit}, start)
        rows = [Pending(kind, *pair, None, "") for pair in zip(flat[::2], flat[1::2], strict=True)]
        return rows, pack(kind, (0, next_start)) if next_start else b""
    queues = await names.queues_of(namespace)
    per_queue = 1 if kind == "task" else LANES_PER_QUEUE
    if index >= len(queues) * per_queue:
        return [], following(kind, _FIRST_PLACES)
    queue_id = queues[index // per_queue]
    lane = queue_id * LANES_PER_QUEUE + index % per_queue
    next_start, flat = await ask(
        {"kind": kind, "limit": limit, "queue": queue_id, "lane": lane}, start
    )
    if kind == "task":
        rows = [
            await _task(names, queue_id, flat[at : at + _TASK_COLUMNS])
            for at in range(0, len(flat), _TASK_COLUMNS)
        ]
    else:
        _, task_queue = await names.queue(queue_id)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        rows = [Pending(kind, *pair, lane, task_queue) for pair in pairs]
    return rows, pack(kind, (index, next_start) if next_start else (index + 1, b""))


async def _task(names: Names, queue_id: int, row: list[Any]) -> Pending:
    run_id, seq, lane, activity_type = row
    number = int(lane) if lane.isdigit() else -1
    task_queue = await names.name_of(number // LANES_PER_QUEUE)
    return Pending(
        "task", run_id, seq, number, task_queue, queue_id, activity_type.decode(errors="replace")
    )
