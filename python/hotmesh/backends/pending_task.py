"""An activity task as it is looked at from outside."""

from __future__ import annotations

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
