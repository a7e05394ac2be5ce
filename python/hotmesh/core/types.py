"""Shapes that cross the seam between the core and its callers."""

from __future__ import annotations

from collections.abc import Sequence

from hotmesh.core.rope import Bytes

Event = tuple[int, int, int, str, bytes, bytes]
"""(kind, seq, number, name, meta, body): a message, a job or a command."""

Transition = tuple[int, list[Event], list[Event]]
"""(now_ms, jobs, commands): one row of a run's journal."""

Row = Sequence[object]
"""A row as a driver hands it out; only indexed, never attribute-accessed."""

Activation = tuple[bytes, list[Event], int]
"""(run id, jobs, index of the START row that created the run just now, else -1)."""

Ingested = tuple[
    list[Activation],
    list[bytes],
    list[tuple[bytes, Event]],
    list[tuple[int, int, bytes, str]],
    list[tuple[bytes, int]],
]
"""(activations, loads, late, errors, expired); see `Router.ingest`."""

Loaded = tuple[list[Transition], list[Event]]
"""(transitions, lost); see `Router.load`."""

Drained = tuple[
    list[bytes],  # journal_run
    list[int],  # journal_seq
    list[Bytes],  # journal_frame
    list[int],  # ack_lane
    list[int],  # ack_id
    list[int],  # timer_lane
    list[int],  # timer_due
    list[bytes],  # timer_run
    list[int],  # timer_key
    list[int],  # drop_timer_lane
    list[int],  # drop_timer_due
    list[bytes],  # drop_timer_run
    list[int],  # drop_timer_key
    list[int],  # task_queue
    list[str],  # task_type
    list[int],  # task_lane
    list[bytes],  # task_run
    list[int],  # task_seq
    list[int],  # task_attempt
    list[int],  # task_delay
    list[bytes],  # task_frame
    list[bytes],  # task_state
    list[bytes],  # drop_task_run
    list[int],  # drop_task_seq
    list[bytes],  # close_run
    list[int],  # close_lane
    list[int],  # close_status
    list[bytes],  # close_result
    list[bool],  # close_waits
]
"""The columns of one batch, in the order of the fields of `Step`."""

DRAINED_FIELDS: tuple[str, ...] = (
    "journal_run",
    "journal_seq",
    "journal_frame",
    "ack_lane",
    "ack_id",
    "timer_lane",
    "timer_due",
    "timer_run",
    "timer_key",
    "drop_timer_lane",
    "drop_timer_due",
    "drop_timer_run",
    "drop_timer_key",
    "task_queue",
    "task_type",
    "task_lane",
    "task_run",
    "task_seq",
    "task_attempt",
    "task_delay",
    "task_frame",
    "task_state",
    "drop_task_run",
    "drop_task_seq",
    "close_run",
    "close_lane",
    "close_status",
    "close_result",
    "close_waits",
)
"""Names of `Drained`'s columns, equal to those of `Step`."""
