"""Two threads that take turns, on one processor.

A thread that waits until another has done a piece of work leaves its processor idle. The kernel
wakes the other one on another processor all the same, and all that the two work on has to follow
it from cache to cache, there and back: for a batch of runs that costs more than the change of
threads. So both are bound to the processor that the caller is on, but only until the other one
runs: it is freed before it does anything, and the caller as soon as it has waited. What either of
them starts, processes and threads of libraries, inherits nothing of it.

Linux only. Nothing is bound elsewhere, where it is not allowed, or in a thread that may not run on
every processor: whoever restricted that has reasons of their own, and may change it at any time;
but for the moment in which two threads are bound (some 50 us), when a `taskset -p` of theirs is
undone.
To see that would take a system call more in each turn, and would leave a shorter such moment.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable


def _current_processor() -> Callable[[], int] | None:
    """The C library's `sched_getcpu`; None where there is none, or it has no answer."""
    if sys.platform != "linux":
        return None
    try:
        ask: Callable[[], int] = ctypes.PyDLL(None).sched_getcpu
        return ask if ask() >= 0 else None
    except (OSError, AttributeError):
        return None


class SameProcessor:
    """Binds threads to a processor, and frees them."""

    def __init__(self) -> None:
        self._everywhere = set(range(os.cpu_count() or 1))
        self._current = _current_processor() if len(self._everywhere) > 1 else None

    def bind(self, other: int) -> bool:
        """Bind the calling thread, and one that waits, to the processor that the caller is on.

        Args:
            other: The native id of the thread that waits.

        Returns:
            Whether they are bound; each of the two must call :meth:`free` then.
        """
        if sys.platform != "linux" or self._current is None:
            return False
        try:
            if os.sched_getaffinity(0) != self._everywhere:
                return False
            here = (self._current(),)
            os.sched_setaffinity(0, here)
            os.sched_setaffinity(other, here)
        except OSError:
            self._current = None  # not here
            self.free()
            return False
        return True

    def free(self, thread: int = 0) -> None:
        """Let a thread run on every processor again.

        Args:
            thread: Its native id; default is the calling one.
        """
        if sys.platform == "linux":
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(thread, self._everywhere)
