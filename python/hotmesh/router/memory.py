"""What a pipe holds in memory: its runs, and what is to go out with the next step.

All of it can be lost at any time; the database has what counts.
"""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable, Collection

from hotmesh.backends.protocol import MessageRow
from hotmesh.core import Event, Router
from hotmesh.limits import TIMER_HORIZON_MS
from hotmesh.router.effects import Effects
from hotmesh.router.state import RunState


class PipeMemory:
    """One pipe's runs and its next step, shared by the parts of the pipe."""

    __slots__ = (
        "_due",
        "_postponed",
        "core",
        "effects",
        "elsewhere",
        "has_columns",
        "loads",
        "local",
        "read",
        "states",
    )

    def __init__(self) -> None:
        self.core = Router(TIMER_HORIZON_MS)
        self.elsewhere: Callable[[Callable[[], None]], None] | None = None
        """Runs what is left of the code of runs that go; None: here."""
        self.states: OrderedDict[bytes, RunState] = OrderedDict()
        """Runs with code or a journal in memory, the longest idle first."""
        self.effects = Effects()
        """What the next step does besides the core's columns."""
        self.local: list[tuple[bytes, Event]] = []
        """Events made in this process, for the next batch: (run id, event)."""
        self.read: list[MessageRow] = []
        """Messages that the core was given and has not delivered yet."""
        self.loads: list[bytes] = []
        """Runs whose journal is to be read next."""
        self.has_columns = False
        """Whether the core has something for the next step."""
        self._postponed: list[tuple[float, bytes]] = []
        self._due: dict[bytes, float] = {}
        """What was said last of each postponed run."""

    def take_local(self) -> list[tuple[bytes, Event]]:
        """The local events so far."""
        local, self.local = self.local, []
        return local

    def take_read(self) -> list[MessageRow]:
        """The messages that the core has delivered just now."""
        read, self.read = self.read, []
        return read

    def take_effects(self) -> Effects:
        """The effects so far."""
        effects, self.effects = self.effects, Effects()
        return effects

    def drop(self, run_id: bytes) -> bool:
        """Let a run go from memory; false if it was not there."""
        state = self.states.pop(run_id, None)
        if state is not None and state.instance is not None:
            state.instance.dismantle(self.elsewhere)
        return state is not None

    def drop_lanes(self, lanes: Collection[int]) -> None:
        """Let the runs of these lanes go."""
        for run_id in [r for r, state in self.states.items() if state.lane in lanes]:
            self.drop(run_id)

    def evict(self, allowed: int) -> None:
        """Keep at most so many runs; the longest idle go first.

        Of runs with activities going on in this process there may be as many again: each would
        soon be replayed. Of those only the code goes, the core still knows what they wait for.
        """
        excess = len(self.states) - allowed
        if excess <= 0:
            return
        at_work: list[bytes] = []
        for run_id in list(self.states):
            if self.core.known(run_id) and not self.core.evict(run_id):
                at_work.append(run_id)
                continue
            self.drop(run_id)
            excess -= 1
            if excess <= 0:
                return
        for run_id in at_work[: max(0, len(at_work) - allowed)]:
            self.drop(run_id)

    def postpone(self, run_id: bytes, seconds: float) -> None:
        """Read the run's journal again after a while."""
        due = self._due[run_id] = time.monotonic() + seconds
        heapq.heappush(self._postponed, (due, run_id))

    def next_postponed(self) -> float | None:
        """Seconds until the first postponed run is due."""
        return self._postponed[0][0] - time.monotonic() if self._postponed else None

    def due_again(self) -> list[bytes]:
        """The postponed runs whose time has come."""
        due: list[bytes] = []
        while self._postponed and self._postponed[0][0] <= time.monotonic():
            due_at, run_id = heapq.heappop(self._postponed)
            if self._due.get(run_id) != due_at:
                continue  # postponed anew since
            del self._due[run_id]
            if self.core.known(run_id) and run_id not in self.states:
                due.append(run_id)
        return due
