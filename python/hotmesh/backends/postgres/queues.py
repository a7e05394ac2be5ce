"""The ids of task queues, and rows of theirs that are damaged."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from hotmesh.backends.queue_ids import IDS_TRIED, Key, id_to_take, is_sound, wanted_queue_id

Fetch = Callable[..., Awaitable[Sequence[Any]]]
"""Runs a statement by its name; returns rows."""


async def queue_ids(fetch: Fetch, keys: Sequence[Key]) -> list[int]:
    """The ids of queues, made on first use.

    An id follows from the names; a row where it does not is damaged, and is put right.
    """
    columns = list(zip(*((*key, wanted_queue_id(*key)) for key in keys), strict=True))
    found = [row[0] for row in await fetch("queue_ids", *columns)]
    return [
        queue_id if is_sound(queue_id, key) else await _put(fetch, key)
        for key, queue_id in zip(keys, found, strict=True)
    ]


async def _put(fetch: Fetch, key: Key) -> int:
    """Another queue, or a damaged row, has the wanted id; or the queue's own row is damaged."""
    wanted = wanted_queue_id(*key)
    rows = await fetch("queues_of_ids", wanted, wanted + IDS_TRIED)
    ((queue_id,),) = await fetch("put_queue", *key, id_to_take(key, [tuple(row) for row in rows]))
    return queue_id
