"""From rows to the protocol's tuples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from hotmesh.backends.protocol import LoadedRun, RunRow, Tasks, TasksReply

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
    members = (
        json.dumps(name).encode() + b":" + value for name, value in zip(names, values, strict=True)
    )
    return b"{" + b",".join(members) + b"}"


def loaded_run(row: asyncpg.Record) -> LoadedRun:
    """A row of the statement ``load``."""
    columns: list[Any] = list(row)
    columns[8:10] = [attributes_json(*columns[8:10])]
    return LoadedRun(*columns)


def run_row(row: asyncpg.Record) -> RunRow:
    """A row of the statements ``find`` and ``runs``; the first column is for the caller."""
    columns: list[Any] = list(row)[1:]
    columns[10:12] = [attributes_json(*columns[10:12])]
    return RunRow(*columns)


def tasks_reply(batch: Tasks, row: asyncpg.Record) -> TasksReply:
    """The reply to a task batch."""
    finished = _keys(row["finished_run"], row["finished_seq"], row["finished_attempt"])
    beaten = _keys(row["beaten_run"], row["beaten_seq"], row["beaten_attempt"])
    asked = _keys(batch.finish_run, batch.finish_seq, batch.finish_attempt) + _keys(
        batch.beat_run, batch.beat_seq, batch.beat_attempt
    )
    held = {*finished, *beaten}
    recalled = zip(beaten, row["beaten_recalled"] or (), strict=True)
    return TasksReply(
        row["now"],
        tasks=_claimed(row),
        next_due_ms=row["next_due"],
        finished_lanes=row["finished_lanes"] or (),
        recalled=[key for key, is_recalled in recalled if is_recalled],
        lost=[key for key in asked if key not in held],
    )


def _claimed(row: asyncpg.Record) -> list[tuple[object, ...]]:
    columns = [row[field] for field in _CLAIMED_FIELDS]
    return [] if columns[0] is None else list(zip(*columns, strict=True))


def _keys(
    runs: Sequence[bytes] | None, seqs: Sequence[int], attempts: Sequence[int]
) -> list[tuple[bytes, int, int]]:
    return [] if runs is None else list(zip(runs, seqs, attempts, strict=True))
