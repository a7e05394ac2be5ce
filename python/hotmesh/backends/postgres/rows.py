"""From rows to the protocol's tuples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from hotmesh.backends.postgres.columns import TaskColumns
from hotmesh.backends.protocol import LoadedRun, RunRow, TasksReply
from hotmesh.backends.record_json import record_json

_CLAIMED_FIELDS = (
    "claimed_run",
    "claimed_seq",
    "claimed_lane",
    "claimed_attempt",
    "claimed_lost",
    "claimed_frame",
    "claimed_state",
    "claimed_scheduled",
)


def attributes_json(names: Sequence[str], values: Sequence[bytes]) -> bytes:
    """One JSON object of names and JSON texts."""
    return record_json(zip(names, values, strict=True))


def loaded_run(row: asyncpg.Record) -> LoadedRun:
    """A row of the statement ``load``."""
    columns: list[Any] = list(row)
    columns[8:10] = [attributes_json(*columns[8:10])]
    return LoadedRun(*columns)


def run_row(row: asyncpg.Record) -> RunRow:
    """A row of the statement ``find``; the first column is for the caller."""
    columns: list[Any] = list(row)[1:]
    columns[10:12] = [attributes_json(*columns[10:12])]
    return RunRow(*columns)


def listed_run(row: asyncpg.Record) -> RunRow:
    """A row of the statement ``runs``: as those of ``find``, with sizes at its end."""
    columns: list[Any] = list(row)[1:-2]
    columns[10:12] = [attributes_json(*columns[10:12])]
    return RunRow(*columns)


def tasks_reply(sent: TaskColumns, row: asyncpg.Record) -> TasksReply:
    """The reply to a task batch."""
    finishes, beats = sent.finishes[:3], sent.beats[:3]
    return TasksReply(
        row["now"],
        tasks=_claimed(row),
        next_due_ms=row["next_due"],
        finished_lanes=row["finished_lanes"] or (),
        recalled=_keys(row["recalled_beats"], beats),
        lost=_keys(row["lost_finishes"], finishes) + _keys(row["lost_beats"], beats),
    )


def _claimed(row: asyncpg.Record) -> list[tuple[object, ...]]:
    columns = [row[field] for field in _CLAIMED_FIELDS]
    return [] if columns[0] is None else list(zip(*columns, strict=True))


def _keys(
    positions: Sequence[int] | None, columns: Sequence[Sequence[Any]]
) -> list[tuple[bytes, int, int]]:
    """The (run, seq, attempt) at positions that count from 1."""
    if positions is None:
        return []
    runs, seqs, attempts = columns
    return [(runs[i - 1], seqs[i - 1], attempts[i - 1]) for i in positions]
