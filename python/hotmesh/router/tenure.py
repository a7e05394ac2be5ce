"""A router's tenure: from joining until it is declared dead or stands down.

When it is over, nothing more is begun or committed under it; what has begun is kept as claimed
tasks, and their outcomes go the way of those.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hotmesh.backends.protocol import HeldTask
from hotmesh.engine.activity_task import ActivityTask, Outcome

TakeOutcome = Callable[[ActivityTask, Outcome], None]


class Held(NamedTuple):
    """What a router had in hand when its tenure was over."""

    tasks: Sequence[HeldTask]
    begun: Sequence[ActivityTask]
    """The attempts among it that stay here."""


class Tenure:
    """The time under one router id. Ended by the event loop or, if that is held up, by a thread.

    A beat holds it for a lease. Whoever has not beaten for so long may be taken for dead already,
    and what it was about to begin given to others: it begins nothing until a beat says otherwise.

    Whoever begins an attempt marks it as begun and then looks whether the tenure is over; whoever
    ends the tenure says so and then looks for marks. So one of the two notices the other.
    """

    __slots__ = ("_late", "_lock", "_take", "held", "held_until", "over", "stored")

    def __init__(self) -> None:
        self.over = False
        self.held_until = math.inf
        """By the monotonic clock: a lease after the latest beat was sent."""
        self.held = Held((), ())
        self.stored = False
        """Whether the store knows what was held."""
        self._lock = threading.Lock()
        self._late: list[tuple[ActivityTask, Outcome]] = []
        self._take: TakeOutcome | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is surely not over: after a pause it may be without anybody here knowing."""
        return not self.over and time.monotonic() < self.held_until

    def hold(self, sent_ms: float, lease_ms: int) -> bool:
        """A beat has held it.

        Args:
            sent_ms: When the beat was sent, by the monotonic clock.
            lease_ms: How long it holds.

        Returns:
            Whether that was in doubt before.
        """
        was_held = self.is_held
        self.held_until = (sent_ms + lease_ms) / 1000
        return not was_held

    def end(self, look: Callable[[], Held]) -> None:
        """It is over; a second time changes nothing.

        Args:
            look: Says what the router has in hand.
        """
        with self._lock:
            if not self.over:
                self.over = True
                self.held = look()

    @property
    def is_handed_over(self) -> bool:
        """Whether somebody takes its outcomes."""
        return self._take is not None

    def late(self, task: ActivityTask, outcome: Outcome) -> None:
        """An attempt of this tenure has ended after it."""
        if self._take is None:
            self._late.append((task, outcome))
        else:
            self._take(task, outcome)

    def hand_to(self, take: TakeOutcome) -> None:
        """Outcomes go there from now on, those that have come among them."""
        self._take = take
        late, self._late = self._late, []
        for task, outcome in late:
            take(task, outcome)
