"""The ids of task queues: they follow from their names."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

QUEUE_IDS = 33_000_000
"""Task queues get ids from 1 to here and a little further: lanes fit into 31 bits."""

IDS_TRIED: Final = 64
"""How far an id is from the wanted one at most: hardly two names ever want the same."""

Key = tuple[str, str, str]
"""Namespace, task queue, and the workflow type of a side queue."""


def wanted_queue_id(namespace: str, task_queue: str, side: str = "") -> int:
    """The id that a task queue (or side queue) gets unless another has it.

    It follows from the name, so that a database that has lost a queue, because it went back, gives
    it the same id again, and never gives a known id to another queue.
    """
    return 1 + zlib.crc32(f"{namespace}\0{task_queue}\0{side}".encode()) % QUEUE_IDS


def is_sound(queue_id: Any, key: Iterable[Any]) -> bool:
    """Whether a stored queue has an id that its names may have led to; else the row is damaged."""
    names = tuple(key)
    if not isinstance(queue_id, int) or not all(isinstance(name, str) for name in names):
        return False
    return 0 <= queue_id - wanted_queue_id(*names) < IDS_TRIED


def id_to_take(key: Key, rows: Iterable[tuple[Any, ...]]) -> int:
    """The id of a queue that is not stored, or not as it was: the first that nobody else has.

    Args:
        key: The queue.
        rows: What is stored with the ids in question: id, then names. A damaged row keeps no id
            from the queue that it may have been.
    """
    taken = {row[0] for row in rows if row[1:] != key and is_sound(row[0], row[1:])}
    queue_id = wanted_queue_id(*key)
    while queue_id in taken:
        queue_id += 1
    return queue_id


def misnamed_sides(
    own: tuple[str, str], types: Sequence[str] | None, rows: Iterable[Sequence[Any]]
) -> list[tuple[Any, Key]]:
    """The side queues of a task queue that are stored under wrong names, or a wrong id.

    Args:
        own: Namespace and name of the task queue.
        types: The workflow types that can be meant: those that the asking router hosts.
        rows: The id and the names of each side queue, as stored.

    Returns:
        The stored id of each that is damaged, and which queue it is. A name is told by the id,
        which follows from it; an id by the name, if that is a type of the router's.
    """
    found: list[tuple[Any, Key]] = []
    for queue_id, *names in rows:
        if tuple(names[:2]) == own and is_sound(queue_id, names):
            continue
        side = names[2]
        for each in (side, *(types or ())):
            if is_sound(queue_id, (*own, each)):
                found.append((queue_id, (*own, each)))
                break
        else:
            if tuple(names[:2]) == own and types is not None and side in types:
                found.append((queue_id, (*own, side)))
    return found
