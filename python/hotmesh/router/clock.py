"""The backend's clock, read from afar."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable

STEP_MS = 100
"""A change of the backend's clock that is followed as it is; a larger one is a jump."""


_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


elapsed: Callable[[], float] = (
    time.monotonic if _CLOCK is None else functools.partial(time.clock_gettime, _CLOCK)
)
"""Seconds that never go back, those that the machine slept through included where it says."""


class BackendClock:
    """Milliseconds of the backend's time, never ahead of it.

    Each reply brings the backend's time at some instant between sending and receiving. Taking it
    for the instant of receiving errs only towards late, by a round trip at most, so that a timer
    can't fire early; the best such reading is kept.

    A reading that can't be true by this machine's clock says that the backend's has jumped. It is
    not followed: the backend is told with the next beat, and takes the jump out of its time.

    Args:
        monotonic: Seconds that never go back.
        wall: Seconds since the epoch, used until the first reading.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = elapsed,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._offset = self._wall_offset = (wall() - monotonic()) * 1000
        self._slack = 0.0
        """How much later than ours the backend's time may be at most."""
        self._settled = 0.0
        """When the backend's shift was last seen to change."""
        self.is_read = False
        """Whether there was a reading."""
        self.shift_ms = 0
        """By how much the backend's time is ahead of its wall clock."""
        self.jump_ms = 0
        """By how much the backend's time has jumped, if it has; the backend does not know yet."""
        self.on_jump: Callable[[], None] = _nothing
        """Called when a jump was seen."""

    def mark(self) -> float:
        """The instant of sending, for :meth:`learn`."""
        return self._monotonic() * 1000

    def learn(self, sent: float, backend_ms: int) -> None:
        """Take in a reading of the backend's clock from a call sent at ``sent``."""
        if sent < self._settled:
            return  # it may have been read before the backend took a jump out of its time
        received = self._monotonic() * 1000
        latest, earliest = backend_ms - received, backend_ms + 1 - sent
        if not self.is_read:
            self._adopt(sent, received, latest)
        elif latest > self._offset + self._slack + STEP_MS or earliest < self._offset - STEP_MS:
            self._saw_jump(earliest)
        else:
            self.jump_ms = 0
            if latest > self._offset or earliest < self._offset:
                self._adopt(sent, received, latest)

    def learn_beat(self, sent: float, backend_ms: int, shift_ms: int) -> None:
        """As :meth:`learn`, from a beat: with it the backend has settled what it was told of.

        Back it is followed: whatever is reckoned by the later time is late. It is never followed
        forward, even where its shift has changed: it may have jumped once more since what it has
        taken out of its time was measured, and whoever sees that has it taken out as well.
        """
        settled = shift_ms != self.shift_ms
        self.shift_ms = shift_ms
        self._wall_offset = self._offset - shift_ms
        received = self._monotonic() * 1000
        latest, earliest = backend_ms - received, backend_ms + 1 - sent
        if settled:
            self._settled = received
        if self.is_read and latest > self._offset + self._slack + STEP_MS:
            self._saw_jump(earliest)
        elif settled or (self.is_read and earliest < self._offset - STEP_MS):
            self._adopt(sent, received, latest)
        else:
            self.learn(sent, backend_ms)

    def now_ms(self) -> int:
        """The backend's time now."""
        return int(self._monotonic() * 1000 + self._offset)

    def wall_ms(self) -> int:
        """The backend's wall clock now: the time of day."""
        return int(self._monotonic() * 1000 + self._wall_offset)

    def due_shift_ms(self, time_ms: int) -> int:
        """What makes a due time by the backend's time of one that was reckoned from ``time_ms``.

        Args:
            time_ms: The wall clock of a moment ago, or a run's own time, which may be ahead of it.
        """
        return self.shift_ms + min(0, self.wall_ms() - time_ms)

    def _adopt(self, sent: float, received: float, latest: float) -> None:
        self._offset = latest
        self._wall_offset = latest - self.shift_ms
        self._slack = received - sent + 1
        self.is_read = True
        self.jump_ms = 0

    def _saw_jump(self, earliest: float) -> None:
        """Tell of a jump by what it was at most: taken out, it leaves what is due late, not early.

        Told by less, jump after jump would leave the store's time further ahead of an even one.
        """
        is_new = not self.jump_ms
        self.jump_ms = math.ceil(earliest - self._offset)
        if is_new:
            self.on_jump()


def _nothing() -> None:
    """Nobody wants to know."""
