"""The ids of task queues: they follow from their names."""

from __future__ import annotations

import zlib

QUEUE_IDS = 33_000_000
"""Task queues get ids from 1 to here and a little further: lanes fit into 31 bits."""


def wanted_queue_id(namespace: str, task_queue: str, side: str = "") -> int:
    """The id that a task queue (or side queue) gets unless another has it.

    It follows from the name, so that a database that has lost a queue, because it went back, gives
    it the same id again, and never gives a known id to another queue.
    """
    return 1 + zlib.crc32(f"{namespace}\0{task_queue}\0{side}".encode()) % QUEUE_IDS
