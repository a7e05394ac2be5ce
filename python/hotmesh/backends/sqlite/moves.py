"""Runs that go from one lane to another: to those who host their type, or back."""

from __future__ import annotations

from collections.abc import Sequence

from hotmesh.backends.protocol import MessageKind, Step
from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.rows import Rows
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.limits import LANES_PER_QUEUE

_SQL = statements.load("step")
_DELETE_MESSAGES = Rows(_SQL["delete_messages"])


def move_runs(tx: Transaction, own_queues: Sequence[int], step: Step) -> None:
    """Move open runs with their unread events; those elsewhere, or another router's, stay.

    Side queues that are named are in use, whatever was moved there.
    """
    columns = (step.move_run, step.move_from, step.move_to)
    for run_id, lane, target in zip(*columns, strict=True):
        queue_id = target // LANES_PER_QUEUE
        if not {queue_id, lane // LANES_PER_QUEUE}.issubset(own_queues):
            continue
        is_side = tx.run(_SQL["use_side_queue"], (tx.now_ms, queue_id))
        if not tx.run(_SQL["move_run"], (target, run_id, lane, step.router_id)):
            continue
        _move_events(tx, run_id, lane, target)
        if is_side:
            tx.run(_SQL["note_moved"], (run_id, queue_id))
        else:
            tx.run(_SQL["forget_moved"], (run_id,))


def _move_events(tx: Transaction, run_id: bytes, lane: int, target: int) -> None:
    rows = tx.all(_SQL["unread_events"], (run_id, lane))
    if not rows:
        return
    lanes, ids, frames = zip(*rows, strict=True)
    tx.run_rows(_DELETE_MESSAGES, (lanes, ids))
    count = len(rows)
    tx.deliver([target] * count, [run_id] * count, [int(MessageKind.EVENT)] * count, frames)


def forget_moved(tx: Transaction, run_ids: Sequence[bytes]) -> None:
    """These runs are closed: side queues need not be read for them, they are at home."""
    if tx.one(_SQL["any_moved"]) is None:
        return
    for run_id in run_ids:
        if tx.run(_SQL["forget_moved"], (run_id,)):
            tx.run(_SQL["bring_home"], (run_id,))
