"""Virtual time and seeded randomness in place of the machine's, for all code of this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from hotmesh.backends.outgoing import Tries
from hotmesh.router.clock import BackendClock
from hotmesh.router.deputy import Deputy
from hotmesh.router.pace import Pace
from hotmesh.router.workflow_thread import WorkflowThread
from simulation.deputy import SimulatedDeputy

EPOCH_S = 1_700_000_000.0
"""The machines' wall clocks at the beginning; the database's is elsewhere, see `server`."""


class VirtualClock:
    """The time of one world: it moves on when nothing is left to do at its present time."""

    def __init__(self) -> None:
        self.now_s = 100.0
        """Monotonic seconds."""

    def monotonic(self) -> float:
        """As `time.monotonic`."""
        return self.now_s

    def time(self) -> float:
        """As `time.time`."""
        return EPOCH_S + self.now_s

    def time_ns(self) -> int:
        """As `time.time_ns`."""
        return int(EPOCH_S + self.now_s) * 1_000_000_000 + int(self.now_s % 1 * 1e9)


async def _run_in_a_while(thread: WorkflowThread, work: Callable[[], Any]) -> Any:
    """As a thread does: the loop turns meanwhile, and time passes."""
    del thread
    await asyncio.sleep(random.uniform(0.0, 0.002))
    return work()


def _begin_no_thread(thread: WorkflowThread) -> None:
    del thread


def _refuse_to_sleep(seconds: float) -> None:
    raise AssertionError(f"something blocks the one thread there is, for {seconds} s")


@contextlib.contextmanager
def virtual(clock: VirtualClock, seed: int) -> Iterator[None]:
    """In the block there is no other time than the clock's, and no randomness but the seed's."""
    source = random.Random(f"bytes of {seed}")
    with contextlib.ExitStack() as stack:
        for name, replacement in (
            ("monotonic", clock.monotonic),
            ("perf_counter", clock.monotonic),
            ("time", clock.time),
            ("time_ns", clock.time_ns),
            ("sleep", _refuse_to_sleep),
        ):
            stack.enter_context(mock.patch.object(time, name, replacement))
        stack.enter_context(mock.patch.object(os, "urandom", source.randbytes))
        stack.enter_context(mock.patch.object(WorkflowThread, "run", _run_in_a_while))
        for name in ("start", "stop"):
            stack.enter_context(mock.patch.object(WorkflowThread, name, _begin_no_thread))
        stack.enter_context(mock.patch("hotmesh.router.router.Deputy", SimulatedDeputy))
        # Defaults are bound where a function is defined.
        for function, defaults in (
            (BackendClock.__init__, (clock.monotonic, clock.time)),
            (Pace.__init__, (clock.monotonic,)),
            (Tries.__init__, (clock.monotonic,)),
            (Deputy.__init__, (clock.monotonic,)),
        ):
            stack.enter_context(mock.patch.object(function, "__defaults__", defaults))
        stack.callback(random.setstate, random.getstate())
        random.seed(f"jitter of {seed}")
        yield
