"""Task queues and their ids."""

from __future__ import annotations

from hotmesh.backends.queue_ids import IDS_TRIED, Key, id_to_take, is_sound, wanted_queue_id
from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.transaction import Transaction

_SQL = statements.load("client")


def ensure_queue(tx: Transaction, key: Key) -> int:
    """The id of a (namespace, task queue, side), made if there is none.

    A new queue gets the id that its name asks for, or the next free one. So a row whose id does not
    go with its names is damaged, and is put right when the queue is asked for.
    """
    known = tx.one(_SQL["queue_id"], key)
    if known is not None and is_sound(known[0], key):
        return known[0]
    wanted = wanted_queue_id(*key)
    queue_id = id_to_take(key, tx.all(_SQL["queues_of_ids"], (wanted, wanted + IDS_TRIED)))
    namespace, task_queue, side = key
    home = ensure_queue(tx, (namespace, task_queue, "")) if side else None
    tx.run(_SQL["delete_queue"], (queue_id, *key))
    tx.run(_SQL["insert_queue"], (queue_id, *key, home))
    return queue_id
