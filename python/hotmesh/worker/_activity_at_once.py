"""Attempts that are over when the call that begins them returns."""

from __future__ import annotations

from collections.abc import Callable

from hotmesh.activity import ActivityContext
from hotmesh.worker._activity_running import RunningActivity


class AttemptAtOnce:
    """Such an attempt. What the activity may ask for is made when it asks: few do.

    Args:
        make: Makes the attempt's state.
    """

    __slots__ = ("_is_over", "_make", "_running")

    def __init__(self, make: Callable[[], RunningActivity]) -> None:
        self._make = make
        self._running: RunningActivity | None = None
        self._is_over = False

    def running(self) -> RunningActivity:
        """The attempt's state."""
        if self._running is None:
            self._running = self._make()
            self._running.begun = True
            self._running.settled = self._is_over
        return self._running

    def context(self) -> ActivityContext:
        """What the functions of :mod:`hotmesh.activity` work on."""
        return self.running().context

    def end(self) -> None:
        """The outcome is decided: whatever comes later is ignored."""
        self._is_over = True
        if self._running is not None:
            self._running.settled = True
