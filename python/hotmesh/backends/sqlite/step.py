"""Applies a router's step, in the order that the protocol names."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from hotmesh.backends.protocol import LOST, OUTSIDE, MessageKind, RunStatus, Step, StepReply
from hotmesh.backends.sqlite import pieces, statements
from hotmesh.backends.sqlite.done import write_done
from hotmesh.backends.sqlite.moves import forget_moved, move_runs
from hotmesh.backends.sqlite.rows import Rows
from hotmesh.backends.sqlite.starts import is_queue_of, mail_all, send_all, start_all, wait_all
from hotmesh.backends.sqlite.transaction import AbortError, Transaction
from hotmesh.backends.written import WrittenJournals
from hotmesh.exceptions import BackendError
from hotmesh.limits import LANES_PER_QUEUE

_SQL = statements.load("step")
_ROUTER_ALIVE = _SQL["router_alive"]
_INSERT_JOURNAL = Rows(_SQL["insert_journal"])
_JOURNALED = Rows(_SQL["journaled"])
_STALE = Rows(_SQL["stale"])
_DELETE_MESSAGES = Rows(_SQL["delete_messages"])
_INSERT_TIMERS = Rows(_SQL["insert_timers"])
_POST_TIMER = _SQL["post_timer"]
_DELETE_TIMER = _SQL["delete_timer"]
_INSERT_TASKS = Rows(_SQL["insert_tasks"])
_DELETE_TASKS = Rows(_SQL["delete_tasks"])
_EXISTING = Rows(_SQL["existing"])
_CLOSE_RUNS = Rows(_SQL["close_runs"])
_INSERT_REPLY = _SQL["insert_reply"]


def changes_anything(step: Step) -> bool:
    """Whether a step has something to apply, or only reads."""
    return any(
        (
            step.journal_run,
            step.ack_lane,
            step.timer_lane,
            step.drop_timer_lane,
            step.task_run,
            step.outside_run,
            step.drop_task_run,
            step.recall_task_run,
            step.attribute_run,
            step.close_run,
            step.starts,
            step.message_lane,
            step.move_run,
            step.sends,
            step.waits,
            step.mails,
            step.reply_id,
        )
    )


def check_fence(tx: Transaction, namespace: str, step: Step) -> list[int]:
    """Undo everything unless the router is alive; its queue, then the side queues of that.

    Raises:
        AbortError: it is not.
        BackendError: a lane to read is not one of its queue.
    """
    router = tx.one(_ROUTER_ALIVE, (step.router_id, namespace))
    if router is None:
        raise AbortError(StepReply(tx.now_ms, fenced=True))
    queue_id, sides = router
    own = [queue_id, *json.loads(sides)] if len(sides) > len("[]") else [queue_id]
    lanes = step.lanes
    if (
        lanes
        and not min(lanes) // LANES_PER_QUEUE == queue_id == max(lanes) // LANES_PER_QUEUE
        and not own_lanes(own, lanes)
    ):
        raise BackendError(f"a lane to read is not one of task queue {queue_id}")
    return own


def own_lanes(own_queues: Sequence[int], lanes: Sequence[int]) -> bool:
    """Whether all of these lanes are in these queues."""
    return {lane // LANES_PER_QUEUE for lane in lanes}.issubset(own_queues)


def apply(tx: Transaction, namespace: str, step: Step, written: WrittenJournals) -> StepReply:
    """Apply the whole step; the reply lacks what is read afterwards.

    Args:
        tx: Where.
        namespace: The router's.
        step: What.
        written: The journals that need not be looked up.

    Raises:
        AbortError: the step is fenced, refused or stale, so nothing of it is kept.
        BackendError: a lane to read is not one of the router's queue.
    """
    own_queues = check_fence(tx, namespace, step)
    queue_id = own_queues[0]
    _write_journal(tx, step, queue_id, written)
    if step.ack_lane:
        tx.run_rows(_DELETE_MESSAGES, (step.ack_lane, step.ack_id))
    _refuse_closes(tx, step)
    _write_timers(tx, step)
    _write_tasks(tx, step, queue_id)
    if step.attribute_run:
        _write_attributes(tx, namespace, step)
    if step.close_run:
        _close_runs(tx, step, queue_id)
    start_outcomes = start_all(tx, step.starts)
    if step.message_lane:
        _deliver_messages(tx, namespace, step)
    if step.move_run:
        move_runs(tx, own_queues, step)
    send_outcomes = send_all(tx, step.sends)
    mail_lanes = wait_all(tx, step.waits) + mail_all(tx, step.mails)
    if step.reply_id:
        rows = zip(step.reply_id, step.reply_data, strict=True)
        tx.run_many(_INSERT_REPLY, ((key, namespace, data, tx.now_ms) for key, data in rows))
    write_done(tx, step.close_run, step.reply_id)
    return StepReply(
        tx.now_ms,
        start_outcomes=start_outcomes,
        send_outcomes=send_outcomes,
        mail_lanes=mail_lanes,
    )


def _first_rows(
    runs: Sequence[bytes], seqs: Sequence[int]
) -> tuple[Sequence[bytes], Sequence[int]]:
    """The first of each run's rows; the others follow it."""
    if len(set(runs)) == len(runs):
        return runs, seqs
    first: dict[bytes, int] = {}
    next_seq: dict[bytes, int] = {}
    for run_id, seq in zip(runs, seqs, strict=True):
        assert next_seq.get(run_id, seq) == seq, "a step's rows of one run follow each other"
        first.setdefault(run_id, seq)
        next_seq[run_id] = seq + 1
    return list(first), list(first.values())


def _write_journal(tx: Transaction, step: Step, queue_id: int, written: WrittenJournals) -> None:
    if not step.journal_run:
        return
    runs, seqs = written.unsure(*_first_rows(step.journal_run, step.journal_seq))
    stale = tx.all_rows(_STALE, (runs, seqs, [queue_id] * len(runs)))
    if stale:
        raise AbortError(StepReply(tx.now_ms, stale=[run_id for (run_id,) in stale]))
    keys = (step.journal_run, step.journal_seq)
    has_large = pieces.any_large(step.journal_frame)
    calls = (
        _INSERT_JOURNAL.calls((*keys, pieces.whole(step.journal_frame)))
        if has_large
        else _INSERT_JOURNAL.calls(keys, (step.journal_frame,))
    )
    for text, values in calls:
        try:
            tx.run(text, values)
        except sqlite3.IntegrityError as error:
            # This statement is undone as a whole: what is there was there before.
            there = tx.all_rows(_JOURNALED, (values[::3], values[1::3]))
            stale = list(dict.fromkeys(run_id for (run_id,) in there))
            raise AbortError(StepReply(tx.now_ms, stale=stale)) from error
    if has_large:
        pieces.write(tx, step.journal_run, step.journal_seq, step.journal_frame)


def _refuse_closes(tx: Transaction, step: Step) -> None:
    """Refuse the step if a run would be closed with an unread EVENT (acks are applied already)."""
    if not step.close_run or tx.one(_SQL["any_event"]) is None:
        return
    unread = _SQL["unread_event"]
    refused = [run_id for run_id in step.close_run if tx.one(unread, (run_id,)) is not None]
    if refused:
        raise AbortError(StepReply(tx.now_ms, refused=refused))


def _write_timers(tx: Transaction, step: Step) -> None:
    if step.timer_lane:
        columns = (step.timer_lane, step.timer_due, step.timer_run, step.timer_key)
        if set(step.timer_lane) <= set(step.lanes):
            tx.run_rows(_INSERT_TIMERS, columns)
        else:
            tx.run_many(_POST_TIMER, zip(*columns, strict=True))
            tx.count_posted_timers()
    if step.drop_timer_lane:
        columns = (
            step.drop_timer_lane,
            step.drop_timer_due,
            step.drop_timer_run,
            step.drop_timer_key,
        )
        tx.run_many(_DELETE_TIMER, zip(*columns, strict=True))


def _write_tasks(tx: Transaction, step: Step, queue_id: int) -> None:
    if step.task_run:
        now = tx.now_ms
        columns: list[Sequence[object]] = [
            step.task_queue,
            step.task_type,
            step.task_lane,
            step.task_run,
            step.task_seq,
            step.task_attempt,
            [now + delay for delay in step.task_delay],
            [now] * len(step.task_run),
        ]
        if LOST in step.task_attempt:
            columns[5] = [1 if each == LOST else each for each in step.task_attempt]
        tx.run_rows(_INSERT_TASKS, columns, (step.task_frame, step.task_state))
        if LOST in step.task_attempt:
            _drop_ended(tx, step)
    if step.outside_run:
        pairs = zip(step.outside_run, step.outside_seq, strict=True)
        tx.run_many(_SQL["outside_task"], [(OUTSIDE, *pair, queue_id) for pair in pairs])
    if step.drop_task_run:
        queues = [queue_id] * len(step.drop_task_run)
        tx.run_rows(_DELETE_TASKS, (step.drop_task_run, step.drop_task_seq, queues))
    if step.recall_task_run:
        _recall_tasks(tx, step, queue_id)


def _drop_ended(tx: Transaction, step: Step) -> None:
    """No task is made of what has ended already, while nobody knew of it that reads the journal."""
    columns = (step.task_run, step.task_seq, step.task_attempt)
    for run_id, seq, attempt in zip(*columns, strict=True):
        if attempt == LOST:
            tx.run(_SQL["drop_ended_task"], (run_id, seq))
            tx.run(_SQL["settle_held"], (run_id, seq))
            tx.run(_SQL["forget_ended"], (run_id, seq))


def _recall_tasks(tx: Transaction, step: Step, queue_id: int) -> None:
    columns = (
        step.recall_task_run,
        step.recall_task_seq,
        step.recall_task_frame,
        step.recall_task_claimed,
    )
    for run_id, seq, frame, also_claimed in zip(*columns, strict=True):
        unclaimed = tx.one(_SQL["recall_unclaimed_task"], (run_id, seq, queue_id))
        if unclaimed is not None:
            tx.deliver([unclaimed[0]], [run_id], [MessageKind.RESULT], [frame])
        elif also_claimed:
            tx.run(_SQL["recall_claimed_task"], (run_id, seq, queue_id))


def _write_attributes(tx: Transaction, namespace: str, step: Step) -> None:
    """In order: a name may be set and removed in one step. Runs that are gone have no record."""
    columns = (step.attribute_run, step.attribute_name, step.attribute_value)
    for run_id, name, value in zip(*columns, strict=True):
        if value:
            tx.run(_SQL["put_attribute"], (name, value.decode(), run_id, namespace))
        else:
            tx.run(_SQL["delete_attribute"], (name, run_id, namespace))


def _close_runs(tx: Transaction, step: Step, queue_id: int) -> None:
    count = len(step.close_run)
    columns = (step.close_run, step.close_status, [tx.wall_ms] * count, [queue_id] * count)
    if not pieces.any_large(step.close_result):
        tx.run_rows(_CLOSE_RUNS, columns, (step.close_result,))
    else:
        tx.run_rows(_CLOSE_RUNS, (*columns, pieces.whole(step.close_result)))
        pieces.write(tx, step.close_run, [pieces.RESULT] * count, step.close_result)
    forget_moved(tx, step.close_run)
    waiting = zip(step.close_run, step.close_waits, strict=True)
    for run_id in [run_id for run_id, has_waits in waiting if has_waits]:
        tx.run(_SQL["delete_waits"], (run_id, queue_id))


def _deliver_messages(tx: Transaction, namespace: str, step: Step) -> None:
    """Append messages to runs that exist, in lanes of the namespace.

    One to a closed run goes to the run's own lane: the one that it was in may be read no more. A
    step that moves the run sees to it that the lane is read.
    """
    queues = {lane // LANES_PER_QUEUE for lane in step.message_lane}
    own = {queue_id for queue_id in queues if is_queue_of(tx, namespace, queue_id)}
    there = {
        run_id: None if status == RunStatus.RUNNING or run_id in step.move_run else lane
        for run_id, lane, status in tx.all_rows(_EXISTING, (step.message_run,))
    }
    columns = (step.message_lane, step.message_run, step.message_kind, step.message_frame)
    rows = zip(*columns, strict=True)
    kept = [row for row in rows if row[0] // LANES_PER_QUEUE in own and row[1] in there]
    if kept:
        lanes, runs, kinds, frames = zip(*kept, strict=True)
        lanes = [there[run] or lane for lane, run in zip(lanes, runs, strict=True)]
        tx.deliver(lanes, runs, kinds, frames)
