"""What stored numbers stand for."""

from __future__ import annotations

import enum


class RunStatus(enum.IntEnum):
    """State of a run; the numbers are stored and equal Temporal's."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7


class MessageKind(enum.IntEnum):
    """What a backend must know of a message; everything else is inside its frame."""

    START = 0
    """The first message of a run; reading it brings the run's own columns along."""
    EVENT = 1
    """A signal, update or cancel request: a run can't close while one is unread."""
    RESULT = 2
    """Anything else (results, queries); does not hold a run open."""
    END = 3
    """Only to be sent: an event that takes no code of the run. Where the run is in a side queue,
    whose lanes nobody may own, it goes to the lane of the task queue, as a RESULT."""


class ReusePolicy(enum.IntEnum):
    """What a start does when the id's newest run is closed (Temporal's numbers)."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3


class ConflictPolicy(enum.IntEnum):
    """What a start does when the id has an open run (Temporal's numbers)."""

    FAIL = 1
    USE_EXISTING = 2
