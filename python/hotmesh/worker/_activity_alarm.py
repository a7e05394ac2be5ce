"""One clock for all running activities of a worker: one wheel, one timer of the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hotmesh.core import Wheel
from hotmesh.interrupts import is_from_outside
from hotmesh.printing import printable
from hotmesh.worker._activity_running import RunningActivity

logger = logging.getLogger(__name__)

WATCH_AFTER_SECONDS = 0.01
"""Attempts that end within this time are never entered in the wheel: that is most of them."""


class ActivityAlarm:
    """Calls back when a running activity's next deadline has come, never early.

    Args:
        now_ms: The clock.
        ring: Called on the event loop with the activity whose alarm went off.
    """

    def __init__(self, now_ms: Callable[[], int], ring: Callable[[RunningActivity], None]) -> None:
        self._now_ms = now_ms
        self._ring = ring
        self._wheel = Wheel()
        self._watched: dict[int, RunningActivity] = {}
        self._fresh: list[RunningActivity] = []
        self._admission: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ms = 0

    def watch(self, running: RunningActivity) -> None:
        """Look after an attempt that just began."""
        self._fresh.append(running)
        if self._admission is None:
            loop = asyncio.get_running_loop()
            self._admission = loop.call_later(WATCH_AFTER_SECONDS, self._admit_fresh)

    def set(self, running: RunningActivity, due_ms: int) -> None:
        """Set, or move, the alarm of an attempt."""
        self._watched[running.token] = running
        self._wheel.add(due_ms, running.token)
        if self._timer is None or due_ms < self._timer_due_ms:
            self._arm(due_ms)

    def forget(self, running: RunningActivity) -> None:
        """Drop the alarm of an attempt, if it has one."""
        if self._watched.pop(running.token, None) is not None:
            self._wheel.cancel(running.token)

    def tick(self) -> None:
        """Ring for everything that is due by now."""
        self._admit_fresh()
        for token in self._wheel.advance(self._now_ms()):
            self._ring_one(self._watched.pop(token))
        next_due_ms = self._wheel.next_due()
        if next_due_ms is not None:
            self._arm(next_due_ms)

    def _ring_one(self, running: RunningActivity) -> None:
        try:
            self._ring(running)
        except BaseException as error:  # one attempt's trouble: the other deadlines hold
            if is_from_outside(error):
                raise
            logger.error(
                "A deadline of activity %s was missed", running.task.name, exc_info=printable(error)
            )

    def close(self) -> None:
        """Stop the timers; nothing rings any more."""
        for timer in (self._admission, self._timer):
            if timer is not None:
                timer.cancel()
        self._admission = self._timer = None

    def _admit_fresh(self) -> None:
        if self._admission is not None:
            self._admission.cancel()
            self._admission = None
        fresh, self._fresh = self._fresh, []
        for running in fresh:
            due_ms = None if running.settled else running.next_alarm_ms()
            # A heartbeat may have set the alarm already; both reckon the same time.
            if due_ms is not None:
                self.set(running, due_ms)

    def _arm(self, due_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, due_ms - self._now_ms()) / 1000
        self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)
        self._timer_due_ms = due_ms

    def _on_timer(self) -> None:
        self._timer = None
        self.tick()
