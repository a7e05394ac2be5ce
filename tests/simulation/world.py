"""What happens when: turns the processes' loops, delivers calls, and moves time on."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from itertools import count

from simulation.clock import VirtualClock
from simulation.process import Process
from simulation.server import Network, Server, SimulatedHints


class StuckError(AssertionError):
    """Something has not come about in the virtual time it was given."""


class World:
    """Processes around one database.

    Args:
        clock: The virtual time; everything runs within `clock.virtual`.
        seed: Decides about everything that is left to chance.
    """

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self.clock = clock
        self.random = random.Random(f"world of {seed}")
        self.server = Server(clock)
        self.network = Network(self.server, self.at, random.Random(f"network of {seed}"), clock)
        self.hints = SimulatedHints(self.network)
        self.processes: list[Process] = []
        self.gone: list[Process] = []
        self._numbers = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.turns = 0
        self.problems = self.server.problems
        """What must never be so, and was."""

    def at(self, when_s: float, what: Callable[[], None]) -> None:
        """Have something done at a virtual time."""
        heapq.heappush(self._events, (when_s, next(self._numbers), what))

    def spawn(self, name: str) -> Process:
        """A new process."""
        process = Process(name, self.clock, self.network, self.hints)
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """End a process as `kill -9` does: it never does anything again."""
        if process in self.processes:
            self.processes.remove(process)
            self.gone.append(process)

    def run_until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Let things happen until something is so.

        Raises:
            StuckError: It is not so by this virtual time.
        """
        clock = self.clock
        while not done():
            assert not self.problems, self.problems
            ready = [loop for each in self.processes for loop in each.ready(clock.now_s)]
            if ready:
                self.turns += 1
                (ready[0] if len(ready) == 1 else self.random.choice(ready)).turn()
                continue
            times = [each.next_turn_s() for each in self.processes]
            if self._events:
                times.append(self._events[0][0])
            next_s = min((each for each in times if each is not None), default=limit_s)
            if next_s >= limit_s:
                raise StuckError(f"not done after {limit_s - 100:.0f} virtual seconds")
            clock.now_s = max(clock.now_s, next_s)
            while self._events and self._events[0][0] <= clock.now_s:
                heapq.heappop(self._events)[2]()

    def close(self) -> None:
        """End everything."""
        for process in [*self.processes, *self.gone]:
            for loop in process.loops:
                loop.abandon()
        self._events.clear()
        self.server.close()
