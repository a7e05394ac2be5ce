"""How many activities end here in a moment: how many more may be taken on than there are slots."""

from __future__ import annotations

import time
from collections.abc import Callable

WINDOW_SECONDS = 1.0

GUESSED_SECONDS = 0.001
"""What an activity that never waits takes, until one has been seen."""


REMEMBERED = 16
"""How many activities the average so far counts for."""


class AverageCost:
    """What an activity that never waits takes, lately."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = GUESSED_SECONDS

    def saw(self, count: int, seconds: float) -> None:
        """So many took so long."""
        self.seconds = (self.seconds * REMEMBERED + seconds) / (REMEMBERED + count)


class Pace:
    """Counts events in the present and the last window."""

    __slots__ = ("_began", "_clock", "_last", "_now")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._now = 0
        self._last = 0

    def count(self, events: int = 1) -> None:
        """So many more have ended."""
        self._roll()
        self._now += events

    def recent(self) -> int:
        """How many ended within about a window."""
        self._roll()
        return max(self._now, self._last)

    def _roll(self) -> None:
        elapsed = self._clock() - self._began
        if elapsed >= WINDOW_SECONDS:
            self._last = self._now if elapsed < 2 * WINDOW_SECONDS else 0
            self._now = 0
            self._began += elapsed
