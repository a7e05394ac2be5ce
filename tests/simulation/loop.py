"""An event loop that is turned by hand, on virtual time. There are no sockets and no threads."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.clock import VirtualClock


class _NoSelector:
    """What a loop asks for input and output: there is none."""

    def select(self, timeout: float | None) -> list[Any]:
        del timeout
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop of one thread of a simulated process.

    Args:
        clock: The world's time.
        beside: The loop of the process's other thread, if it is the one of its main thread.
    """

    def __init__(self, clock: VirtualClock, beside: VirtualLoop | None = None) -> None:
        super().__init__()
        self.beside = beside
        self.held_until_s = 0.0
        """Until then something blocks its thread."""
        self._selector = _NoSelector()
        self._clock = clock
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """As every event loop's."""
        return self._clock.now_s

    def _process_events(self, event_list: list[Any]) -> None:
        del event_list

    def _write_to_self(self) -> None:
        pass

    def next_turn_s(self) -> float | None:
        """When there is next something to do; None if nothing is waited for but others."""
        next_s = self._next_s()
        return None if next_s is None else max(next_s, self.held_until_s)

    def _next_s(self) -> float | None:
        if self._ready:
            return self._clock.now_s
        while self._scheduled and self._scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False
        return self._scheduled[0]._when if self._scheduled else None

    def turn(self) -> None:
        """Run everything that is ready, once."""
        asyncio._set_running_loop(self)
        try:
            self._run_once()
        finally:
            asyncio._set_running_loop(None)

    def abandon(self) -> None:
        """The process is gone: let go of its tasks, whose cleaning up reaches nobody."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what is asked for is never awaited
            self.set_exception_handler(lambda *_: None)  # whoever would have looked is gone
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False
                for _ in range(100):
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()
                        break
        self._ready.clear()
        self._scheduled.clear()
        self.close()
