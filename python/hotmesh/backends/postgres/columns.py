"""From items to the array arguments of functions. Empty parts become null: they run nothing."""

from __future__ import annotations

from collections.abc import Sequence
from operator import le
from typing import Any

from hotmesh.backends.protocol import (
    MailItem,
    SendItem,
    SendOutcome,
    StartItem,
    StartOutcome,
    Step,
    Tasks,
)

Column = Sequence[Any] | None
"""One array argument."""

_NO_STARTS: tuple[None, ...] = (None,) * 17
_NO_SENDS: tuple[None, ...] = (None,) * 7
_NO_WAITS: tuple[None, ...] = (None,) * 5
_NO_MAILS: tuple[None, ...] = (None,) * 3


def sort_columns(keys: Sequence[Any], *columns: Sequence[Any]) -> tuple[Sequence[Any], ...]:
    """The columns in the order of their keys: batches that lock in one order never deadlock."""
    if all(map(le, keys, keys[1:])):
        return columns
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return tuple([column[i] for i in order] for column in columns)


class StartBatch:
    """Starts in the order in which their workflow ids are locked, outcomes in the given order."""

    def __init__(self, items: Sequence[StartItem]) -> None:
        self._items = items
        self._order = sorted(range(len(items)), key=lambda i: items[i][:2])  # namespace, id

    def columns(self) -> Sequence[Column]:
        """The arguments that hold the starts."""
        if not self._items:
            return _NO_STARTS
        items = [self._items[i] for i in self._order]
        *columns, attributes, events, _, _ = zip(*items, strict=True)
        attribute_rows = [
            (position, name, value)
            for position, pairs in enumerate(attributes, 1)
            for name, value in pairs
        ]
        event_rows = [
            (position, frame) for position, frames in enumerate(events, 1) for frame in frames
        ]
        return [*columns, *_transposed(attribute_rows, 3), *_transposed(event_rows, 2)]

    def client_columns(self) -> Sequence[Column]:
        """The same, and what only clients say: which closed runs may be taken over, repeats."""
        items = [self._items[i] for i in self._order]
        overs = [item.over for item in items]
        takes_over = any(over is not None for over in overs)
        again_ms = [item.again_ms for item in items]
        return [*self.columns(), overs if takes_over else None, _or_null(again_ms)]

    def outcomes(
        self,
        started: Sequence[bool] | None,
        holders: Sequence[bytes],
        statuses: Sequence[int],
    ) -> list[StartOutcome]:
        """What became of each item; no arrays come back when all went the usual way."""
        if started is None:
            return [StartOutcome(True, item.run_id, 1) for item in self._items]
        found = map(StartOutcome, started, holders, statuses)
        return [outcome for _, outcome in sorted(zip(self._order, found, strict=True))]


def _transposed(rows: Sequence[tuple[Any, ...]], width: int) -> Sequence[Column]:
    return list(zip(*rows, strict=True)) if rows else [None] * width


def send_columns(items: Sequence[SendItem]) -> Sequence[Column]:
    """The arguments that hold sends."""
    if not items:
        return _NO_SENDS
    *columns, again_ms = zip(*items, strict=True)
    return [*columns, _or_null(again_ms)]


def send_outcomes(
    delivered: Sequence[bool] | None,
    receivers: Sequence[bytes],
    statuses: Sequence[int],
    lanes: Sequence[int],
) -> list[SendOutcome]:
    """What became of each send."""
    if delivered is None:
        return []
    return list(map(SendOutcome, delivered, receivers, statuses, lanes))


def mail_columns(items: Sequence[MailItem]) -> Sequence[Column]:
    """The arguments that hold mail."""
    return list(zip(*items, strict=True)) if items else _NO_MAILS


def step_columns(
    step: Step, starts: StartBatch, unsure: Sequence[Sequence[bytes | int]]
) -> list[Column]:
    """What a step applies, as the arguments of ``step`` from ``journal_run`` on.

    Args:
        step: The step.
        starts: Its starts.
        unsure: Runs and seqs of the journal rows of which it has to be looked up whether they come
            next.
    """
    waits = list(zip(*step.waits, strict=True)) if step.waits else _NO_WAITS
    return [
        *_or_nulls(step.journal_run, step.journal_seq, step.journal_frame),
        *_or_nulls(*unsure),
        *_or_nulls(step.ack_lane, step.ack_id),
        *_or_nulls(step.timer_lane, step.timer_due, step.timer_run, step.timer_key),
        *_or_nulls(
            step.drop_timer_lane, step.drop_timer_due, step.drop_timer_run, step.drop_timer_key
        ),
        *_or_nulls(
            step.task_queue,
            step.task_type,
            step.task_lane,
            step.task_run,
            step.task_seq,
            step.task_attempt,
            step.task_delay,
            step.task_frame,
            step.task_state,
        ),
        *_or_nulls(step.outside_run, step.outside_seq),
        *_or_nulls(*_in_task_order(step.drop_task_run, step.drop_task_seq)),
        *_or_nulls(
            *_in_task_order(
                step.recall_task_run,
                step.recall_task_seq,
                step.recall_task_frame,
                step.recall_task_claimed,
            )
        ),
        *_or_nulls(step.attribute_run, step.attribute_name, step.attribute_value),
        *_or_nulls(
            *sort_columns(
                step.close_run,
                step.close_run,
                step.close_status,
                step.close_result,
                step.close_waits,
            )
        ),
        *starts.columns(),
        *_or_nulls(step.message_lane, step.message_run, step.message_kind, step.message_frame),
        *_or_nulls(*sort_columns(step.move_run, step.move_run, step.move_from, step.move_to)),
        *send_columns(step.sends),
        *waits,
        *mail_columns(step.mails),
        *_or_nulls(step.reply_id, step.reply_data),
    ]


class TaskColumns:
    """A task batch as the arguments of ``tasks``, each kind in the order it locks."""

    def __init__(self, batch: Tasks) -> None:
        self.finishes = _in_task_order(
            batch.finish_run, batch.finish_seq, batch.finish_attempt, batch.finish_frame
        )
        self.retries = _in_task_order(
            batch.retry_run,
            batch.retry_seq,
            batch.retry_attempt,
            batch.retry_delay,
            batch.retry_state,
        )
        self.beats = _in_task_order(
            batch.beat_run,
            batch.beat_seq,
            batch.beat_attempt,
            batch.beat_lease,
            batch.beat_state,
            batch.beat_outside,
        )

    def arguments(self) -> list[Column]:
        """All of them, those that are empty as nulls."""
        return [
            *_or_nulls(*self.finishes),
            *_or_nulls(*self.retries),
            *_or_nulls(*self.beats),
        ]


def _or_nulls(*columns: Sequence[Any]) -> Sequence[Column]:
    return columns if columns[0] else (None,) * len(columns)


def _or_null(again_ms: Sequence[int]) -> Column:
    """Null where nothing is sent again."""
    return again_ms if any(again_ms) else None


def _in_task_order(
    runs: Sequence[bytes], seqs: Sequence[int], *others: Sequence[Any]
) -> Sequence[Sequence[Any]]:
    return sort_columns(list(zip(runs, seqs, strict=True)), runs, seqs, *others)
