"""Interrupts workflow code that blocks.

A thread looks a few times a second at what is being activated. Code that has not yielded for the
limit gets :class:`Interrupted` raised at its next bytecode: the task fails, the others go on.
A call that blocks outside Python can only be interrupted when it returns; its thread is given up.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import traceback
from collections.abc import Callable

from hotmesh.exceptions import DeadlockError

_CHECKS_PER_LIMIT = 8

GRACE_SECONDS = 0.25
"""How long interrupted code has to end before its thread is given up."""


class Interrupted(BaseException):
    """Raised inside code that blocks; not an Exception, so that it isn't caught by accident."""


class LeftBehind(BaseException):
    """Raised in a thread that was given up, once it is back: nothing it does counts any more."""


class Watchdog:
    """Watches one thread.

    Args:
        limit_seconds: How long an activation may take; 0 switches the watchdog off.
        give_up: Called, on the watchdog's thread, when an activation can't be interrupted.
    """

    def __init__(
        self, limit_seconds: float, give_up: Callable[[Watchdog], None] | None = None
    ) -> None:
        self._limit = limit_seconds
        self._give_up = give_up
        self._given_up = False
        self.count = 0
        """Its user adds 1 when an activation begins and when it ends: odd while one is going on.
        The number of an activation is the count while it goes on. (No calls: they add up.)"""
        self.replayed = 0
        """Transitions that were replayed: bringing up a run with a long journal is no blocking."""
        self.fired = 0
        """The number of the activation that was interrupted last."""
        self.firing = False
        """Whether an interrupt is being sent: :meth:`settle` then, whatever :attr:`fired` says."""
        self._where = ""
        self._began = 0.0
        """When that activation was first seen."""
        self._lock = threading.Lock()
        """Held while an interrupt is sent: nobody is interrupted who has left."""
        self._watched = threading.get_ident()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch the calling thread."""
        if self._limit > 0 and self._thread is None:
            self._watched = threading.get_ident()
            self._thread = threading.Thread(
                target=self._watch, name="hotmesh-watchdog", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def watch(self, work: Callable[[], None]) -> None:
        """Do a piece of work that is no activation as if it were one.

        Raises:
            Interrupted: It took too long.
            LeftBehind: The thread was given up.
        """
        self.count = number = self.count + 1
        try:
            work()
        finally:
            self.count += 1
            if self.firing or self.fired == number:
                self.settle()

    def settle(self) -> None:
        """An activation has ended, and an interrupt may still be on its way: it is caught here.

        Raises:
            LeftBehind: The thread was given up.
        """
        with self._lock:  # The other thread looks at the count after it has said so.
            if self._given_up:
                raise LeftBehind
        if self.fired == self.count - 1:
            self._swallow_late_interrupt()

    def error(self) -> DeadlockError:
        """What to report of the activation that was interrupted."""
        return DeadlockError(
            "[TMPRL1101] Potential deadlock detected: workflow didn't yield within "
            f"{self._limit:g} second(s). Move blocking work into an activity. "
            f"It was at:\n{self._where}",
            seconds=time.monotonic() - self._began,
        )

    def _swallow_late_interrupt(self) -> None:
        try:
            for _ in range(100):
                pass
        except Interrupted:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched), None)

    def _watch(self) -> None:
        seen, seen_replayed, since = 0, 0, 0.0
        while not self._stop.wait(self._limit / _CHECKS_PER_LIMIT):
            count, replayed, now = self.count, self.replayed, time.monotonic()
            if count != seen or replayed != seen_replayed or count % 2 == 0:
                seen, seen_replayed, since = count, replayed, now
            elif now - since >= self._limit:
                frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
                frame = frames.get(self._watched)
                where = "".join(traceback.format_stack(frame, limit=None)[-4:]) if frame else ""
                del frames, frame  # a frame holds on to all that its function has
                self._interrupt(count, since, where)
                if now - since >= self._limit + GRACE_SECONDS and self._is_given_up(count):
                    return

    def _interrupt(self, count: int, began: float, where: str) -> None:
        """Again and again, if need be: code may catch everything and go on."""
        with self._lock:
            self.firing = True
            if self.count == count:
                if self.fired != count:
                    self.fired, self._began, self._where = count, began, where
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._watched), ctypes.py_object(Interrupted)
                )
            self.firing = False

    def _is_given_up(self, count: int) -> bool:
        """Give the activation's thread up unless it has ended meanwhile."""
        if self._give_up is None:
            return False
        with self._lock:
            self._given_up = self.count == count
        if self._given_up:
            self._give_up(self)
        return self._given_up
