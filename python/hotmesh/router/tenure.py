"""A router's tenure: from joining until it is declared dead or stands down.

When it is over, nothing more is begun or committed under it; what has begun is kept as claimed
tasks, and their outcomes go the way of those.
"""

from __future__ import annotations

import threading
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

    Whoever begins an attempt marks it as begun and then looks whether the tenure is over; whoever
    ends the tenure says so and then looks for marks. So one of the two notices the other.
    """

    __slots__ = ("_late", "_lock", "_take", "held", "over", "stored")

    def __init__(self) -> None:
        self.over = False
        self.held = Held((), ())
        self.stored = False
        """Whether the store knows what was held."""
        self._lock = threading.Lock()
        self._late: list[tuple[ActivityTask, Outcome]] = []
        self._take: TakeOutcome | None = None

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
