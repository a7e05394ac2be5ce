"""Lanes that a pipe is to give back. They are served until they can go."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping

PATIENCE_S = 0.5
"""How long a lane is not read, so that it becomes quiet. Nobody serves its runs meanwhile."""

Key = tuple[bytes, int]
"""An activity: (run id, seq)."""


class Leaving:
    """Which lanes a pipe is to give back, and which of them it reads all the same.

    A lane can go when nothing of it is in hand, and what is read would be in hand again. So it is
    not read at first. But an activity may take hours here, and what one has come to waits as long
    as the task of its run fails: for these the other runs of the lane must not wait, nor the end of
    that run. What takes longer than :data:`PATIENCE_S` is waited for with the lane being read, and
    at once what a run has come to that can't end before it has seen what is in the lane.
    """

    def __init__(self) -> None:
        self.lanes: dict[int, float] = {}
        """Since when each of them is not read."""
        self._awaited: dict[int, set[Key]] = {}
        """By lane that is read: what was in hand when that began."""

    def __bool__(self) -> bool:
        return bool(self.lanes)

    def __iter__(self) -> Iterator[int]:
        return iter(self.lanes)

    def add(self, lanes: Iterable[int]) -> None:
        """These are to be given back, too."""
        now = time.monotonic()
        for lane in lanes:
            self.lanes.setdefault(lane, now)

    def keep(self, lanes: Collection[int]) -> None:
        """The pipe has no others."""
        self.drop([lane for lane in self.lanes if lane not in lanes])

    def drop(self, lanes: Iterable[int]) -> None:
        """These are given back, or taken away."""
        for lane in lanes:
            self.lanes.pop(lane, None)
            self._awaited.pop(lane, None)

    def look(
        self, activities: Mapping[Key, int], refused: Collection[bytes] = ()
    ) -> tuple[Collection[int], list[int]]:
        """Decide which of them the next step reads.

        Args:
            activities: Those in hand, each with its lane.
            refused: Runs that can't end before what waits for them in their lane has been read.

        Returns:
            All that are read, and those among them that were not until now.
        """
        now, in_hand = time.monotonic(), dict[int, set[Key]]()
        for key, lane in activities.items():
            if lane in self.lanes:
                in_hand.setdefault(lane, set()).add(key)
        for lane, awaited in list(self._awaited.items()):
            if awaited.isdisjoint(in_hand.get(lane, ())):
                # The rest is younger. Were it waited for like this, there might always be some.
                del self._awaited[lane]
                self.lanes[lane] = now
        begun = [
            lane
            for lane, keys in in_hand.items()
            if lane not in self._awaited
            and (
                now - self.lanes[lane] >= PATIENCE_S or any(run_id in refused for run_id, _ in keys)
            )
        ]
        for lane in begun:
            self._awaited[lane] = in_hand[lane]
        return self._awaited, begun
