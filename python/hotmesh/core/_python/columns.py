"""Columns: what the next step is to apply, gathered row by row and handed out column by column."""

from __future__ import annotations

from collections.abc import Container

from hotmesh.core.rope import Bytes
from hotmesh.core.types import Drained


class Columns:
    """Rows to be written; each begins with its run, so that a run's rows can be taken back."""

    __slots__ = ("acks", "closes", "drop_tasks", "drop_timers", "journal", "tasks", "timers")

    def __init__(self) -> None:
        self.journal: list[tuple[bytes, int, Bytes]] = []  # seq, frame
        self.acks: list[tuple[bytes, int, int]] = []  # lane, message id
        self.timers: list[tuple[bytes, int, int, int]] = []  # lane, due, key
        self.drop_timers: list[tuple[bytes, int, int, int]] = []  # lane, due, key
        # queue, lane, seq, attempt, delay, frame, state, type
        self.tasks: list[tuple[bytes, int, int, int, int, int, bytes, bytes, str]] = []
        self.drop_tasks: list[tuple[bytes, int]] = []  # seq
        self.closes: list[tuple[bytes, int, int, bytes, bool]] = []  # lane, status, result, waits

    def discard(self, run_ids: Container[bytes]) -> None:
        """Take back every row of these runs."""
        self.journal = [row for row in self.journal if row[0] not in run_ids]
        self.acks = [row for row in self.acks if row[0] not in run_ids]
        self.timers = [row for row in self.timers if row[0] not in run_ids]
        self.drop_timers = [row for row in self.drop_timers if row[0] not in run_ids]
        self.tasks = [row for row in self.tasks if row[0] not in run_ids]
        self.drop_tasks = [row for row in self.drop_tasks if row[0] not in run_ids]
        self.closes = [row for row in self.closes if row[0] not in run_ids]

    def drained(self) -> Drained:
        """The columns. Journal and closes are ordered by run, so that row locks are too."""
        self.journal.sort(key=lambda row: row[:2])
        self.closes.sort(key=lambda row: row[0])
        return (
            [row[0] for row in self.journal],
            [row[1] for row in self.journal],
            [row[2] for row in self.journal],
            [row[1] for row in self.acks],
            [row[2] for row in self.acks],
            [row[1] for row in self.timers],
            [row[2] for row in self.timers],
            [row[0] for row in self.timers],
            [row[3] for row in self.timers],
            [row[1] for row in self.drop_timers],
            [row[2] for row in self.drop_timers],
            [row[0] for row in self.drop_timers],
            [row[3] for row in self.drop_timers],
            [row[1] for row in self.tasks],
            [row[8] for row in self.tasks],
            [row[2] for row in self.tasks],
            [row[0] for row in self.tasks],
            [row[3] for row in self.tasks],
            [row[4] for row in self.tasks],
            [row[5] for row in self.tasks],
            [row[6] for row in self.tasks],
            [row[7] for row in self.tasks],
            [row[0] for row in self.drop_tasks],
            [row[1] for row in self.drop_tasks],
            [row[0] for row in self.closes],
            [row[1] for row in self.closes],
            [row[2] for row in self.closes],
            [row[3] for row in self.closes],
            [row[4] for row in self.closes],
        )
