"""An activity task as it is looked at from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class PendingTask(NamedTuple):
    """An activity task as it is looked at."""

    seq: int
    attempt: int
    """Attempts made, a running one included."""
    due_ms: int
    """When it can be claimed; of a claimed one, when its claim ends."""
    owner: bytes
    """The router that has claimed it; b"" for none."""
    frame: bytes
    state: bytes
    scheduled_ms: int
    """When it became a task."""
    recalled: bool
    """Whether the run has asked for its end."""


class RunTasks(NamedTuple):
    """The activity tasks of one run, as far as they are wanted."""

    total: int
    """How many there are."""
    tasks: Sequence[PendingTask]
    """Those with the most attempts, in order."""
