"""Task queues and their ids."""

from __future__ import annotations

from hotmesh.backends.queue_ids import wanted_queue_id
from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.transaction import Transaction

_SQL = statements.load("client")


def ensure_queue(tx: Transaction, key: tuple[str, str, str]) -> int:
    """The id of a (namespace, task queue, side), made if there is none.

    A new queue gets the id that its name asks for, or the next free one.
    """
    known = tx.one(_SQL["queue_id"], key)
    if known is not None:
        return known[0]
    queue_id = wanted_queue_id(*key)
    while tx.one(_SQL["queue_of_id"], (queue_id,)) is not None:
        queue_id += 1
    namespace, task_queue, side = key
    home: int | None = None
    if side:
        ((home,),) = tx.all(_SQL["queue_id"], (namespace, task_queue, ""))
    tx.run(_SQL["insert_queue"], (queue_id, *key, home))
    return queue_id
