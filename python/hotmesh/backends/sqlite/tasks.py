"""Activity tasks: finished, retried, renewed and claimed in one transaction."""

from __future__ import annotations

import json

from hotmesh.backends.protocol import (
    KEEP,
    OUTSIDE,
    MessageKind,
    RunStatus,
    Tasks,
    TasksReply,
)
from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.rows import Rows, bytes_of
from hotmesh.backends.sqlite.starts import check_queue
from hotmesh.backends.sqlite.transaction import Row, Transaction
from hotmesh.limits import BATCH_BYTES_MAX

_SQL = statements.load("tasks")
_FINISH_TASK = _SQL["finish_task"]
_RETRY_TASK = _SQL["retry_task"]
_BEAT_TASK = _SQL["beat_task"]
_CLAIMABLE = _SQL["claimable"]
_CLAIM_TASKS = Rows(_SQL["claim_tasks"])
_FIRST_DUE_OF_TYPES = _SQL["first_due_of_types"]
_FIRST_DUE_OF_ALL = _SQL["first_due_of_all"]
_RUN_STATUS = statements.load("client")["run_status"]

_Claim = tuple[bytes, int, int]


def run_batch(tx: Transaction, batch: Tasks) -> TasksReply:
    """See :meth:`hotmesh.backends.protocol.Backend.tasks`."""
    with tx.time_of(batch.latest_ms):
        reply = _run_batch(tx, batch)
    reply.now_ms = tx.now_ms
    return reply


def _run_batch(tx: Transaction, batch: Tasks) -> TasksReply:
    if batch.queue_id:
        check_queue(tx, batch.namespace, batch.queue_id)
    if batch.finish_run or batch.retry_run or batch.beat_run:
        tx.need_write()
    lost: list[_Claim] = []
    finished_lanes = _finish(tx, batch, lost)
    _retry(tx, batch, lost)
    recalled = _beat(tx, batch, lost)
    first_due = _first_due(tx, batch)
    latest_ms = tx.now_ms if batch.latest_ms is None else min(tx.now_ms, batch.latest_ms)
    due = [name for name, due_ms in first_due.items() if due_ms <= latest_ms]
    rows = _claim(tx, batch, due, latest_ms)
    if rows:
        first_due = _first_due(tx, batch)
    return TasksReply(
        tx.now_ms,
        tasks=rows,
        next_due_ms=min(first_due.values(), default=None),
        finished_lanes=finished_lanes,
        recalled=recalled,
        lost=lost,
    )


def _finish(tx: Transaction, batch: Tasks, lost: list[_Claim]) -> list[int]:
    lanes: list[int] = []
    runs: list[bytes] = []
    frames: list[bytes] = []
    columns = (batch.finish_run, batch.finish_seq, batch.finish_attempt, batch.finish_frame)
    for run_id, seq, attempt, frame in zip(*columns, strict=True):
        deleted = tx.one(_FINISH_TASK, (run_id, seq, attempt, batch.namespace))
        if deleted is None:
            lost.append((run_id, seq, attempt))
            continue
        lanes.append(deleted[0])
        if deleted[1]:
            tx.run(_SQL["note_ended"], (run_id, seq))
        runs.append(run_id)
        frames.append(frame)
    tx.deliver(lanes, runs, [MessageKind.RESULT] * len(lanes), frames)
    return lanes


def _retry(tx: Transaction, batch: Tasks, lost: list[_Claim]) -> None:
    columns = (
        batch.retry_run,
        batch.retry_seq,
        batch.retry_attempt,
        batch.retry_delay,
        batch.retry_state,
    )
    for run_id, seq, attempt, delay_ms, state in zip(*columns, strict=True):
        claim = (run_id, seq, attempt, batch.namespace)
        if not tx.run(_RETRY_TASK, (tx.now_ms + delay_ms, state, *claim)):
            lost.append((run_id, seq, attempt))


def _beat(tx: Transaction, batch: Tasks, lost: list[_Claim]) -> list[_Claim]:
    recalled: list[_Claim] = []
    columns = (
        batch.beat_run,
        batch.beat_seq,
        batch.beat_attempt,
        batch.beat_lease,
        batch.beat_state,
        batch.beat_outside,
    )
    for run_id, seq, attempt, lease_ms, state, outside in zip(*columns, strict=True):
        claim = (run_id, seq, attempt, batch.namespace)
        until = None if lease_ms == KEEP else tx.now_ms + lease_ms
        row = tx.one(_BEAT_TASK, (until, state, OUTSIDE if outside else None, *claim))
        if row is None:
            lost.append((run_id, seq, attempt))
        elif row[0]:
            recalled.append((run_id, seq, attempt))
    return recalled


def _first_due(tx: Transaction, batch: Tasks) -> dict[str, int]:
    """When the first task of each hosted type becomes claimable; types without one are left out."""
    if batch.types is None:
        rows = tx.all(_FIRST_DUE_OF_ALL, (batch.queue_id,))
    else:
        rows = tx.all(_FIRST_DUE_OF_TYPES, (batch.queue_id, json.dumps(batch.types)))
    # None if there is none; anything else is damaged, and sorted behind all numbers.
    return {name: due_ms for name, due_ms in rows if isinstance(due_ms, int)}


def _claim(tx: Transaction, batch: Tasks, types: list[str], latest_ms: int) -> list[Row]:
    """Claim tasks of types that have some due, the longest due first."""
    if batch.room <= 0 or not types:
        return []
    found: list[Row] = []
    share = BATCH_BYTES_MAX // len(types)
    for name in types:
        parameters = (batch.queue_id, name, latest_ms, batch.room)
        found += tx.within(_CLAIMABLE, parameters, _bytes_claimed, share)
    if len(types) > 1:
        found.sort(key=lambda row: row[8])
    rows = [row[:8] for row in _cut(found[: batch.room])]
    if rows:
        tx.need_write()
        runs, seqs, *_ = zip(*rows, strict=True)
        until = tx.now_ms + batch.lease_ms
        count = len(rows)
        tx.run_rows(_CLAIM_TASKS, (runs, seqs, [until] * count, [batch.router_id] * count))
    return rows


def _bytes_claimed(row: Row) -> int:
    return bytes_of(row[5], row[6])


def _cut(rows: list[Row]) -> list[Row]:
    """The rows up to the one with which they have as many bytes as a batch may have."""
    room = BATCH_BYTES_MAX
    for count, row in enumerate(rows, 1):
        room -= _bytes_claimed(row)
        if room <= 0:
            return rows[:count]
    return rows


def complete_from_outside(
    tx: Transaction, namespace: str, run_id: bytes, seq: int, attempt: int, frame: bytes
) -> int | None:
    """See :meth:`hotmesh.backends.protocol.Backend.complete_task`."""
    run = tx.one(_RUN_STATUS, (run_id, namespace))
    if run is None or run[0] != RunStatus.RUNNING:
        return None
    claimed = tx.one(_SQL["claimed_attempt"], (run_id, seq))
    if attempt and claimed is not None and claimed[0] != attempt:
        return None
    lane: int = run[1]
    deleted = tx.one(_SQL["delete_task"], (run_id, seq))
    if deleted is None or deleted[0]:
        tx.run(_SQL["note_ended"], (run_id, seq))
    tx.deliver([lane], [run_id], [MessageKind.RESULT], [frame])
    return lane
