"""The backend's clock, read from afar."""

from __future__ import annotations

import time
from collections.abc import Callable


class BackendClock:
    """Milliseconds of the backend's clock, never ahead of it.

    Each reply brings the backend's time at some instant between sending and receiving. Taking it
    for the instant of receiving errs only towards late, by a round trip at most, so that a timer
    can't fire early; the best such reading is kept.

    Args:
        monotonic: Seconds that never go back.
        wall: Seconds since the epoch, used until the first reading.
    """

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._monotonic = monotonic
        self._offset = (wall() - monotonic()) * 1000
        self._read = False

    def mark(self) -> float:
        """The instant of sending, for :meth:`learn`."""
        return self._monotonic() * 1000

    def learn(self, sent: float, backend_ms: int) -> None:
        """Take in a reading of the backend's clock from a call sent at ``sent``."""
        latest = backend_ms - self._monotonic() * 1000
        earliest = backend_ms + 1 - sent
        if not self._read or latest > self._offset or earliest < self._offset:
            self._offset = latest
            self._read = True

    def now_ms(self) -> int:
        """The backend's time now."""
        return int(self._monotonic() * 1000 + self._offset)
