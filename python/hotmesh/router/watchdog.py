"""Interrupts workflow code that blocks the loop.

A thread looks a few times a second at what is being activated. Code that has not yielded for the
limit gets :class:`Interrupted` raised at its next bytecode: the task fails, the loop goes on.
A call that blocks outside Python can only be interrupted when it returns.
"""

from __future__ import annotations

import ctypes
import sys
import threading
import time
import traceback

from hotmesh.exceptions import DeadlockError

_CHECKS_PER_LIMIT = 8


class Interrupted(BaseException):
    """Raised inside code that blocks; not an Exception, so that it isn't caught by accident."""


class Watchdog:
    """Watches one thread.

    Args:
        limit_seconds: How long an activation may take; 0 switches the watchdog off.
    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._current: tuple[object, float] | None = None
        self._fired: object = None
        self._where = ""
        self._lock = threading.Lock()
        """Between the two threads: nobody is interrupted who has left."""
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
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def enter(self) -> object:
        """An activation begins; its token goes to :meth:`leave`."""
        token = object()
        self._current = (token, time.monotonic())
        return token

    def leave(self, token: object) -> None:
        """It has ended. An interrupt that is still on its way is caught here."""
        with self._lock:
            self._current = None
        if self._fired is token:
            self._swallow_late_interrupt()

    def interrupted(self, token: object) -> DeadlockError | None:
        """The error to report if this activation was interrupted."""
        if self._fired is not token:
            return None
        return DeadlockError(
            "[TMPRL1101] Potential deadlock detected: workflow didn't yield within "
            f"{self._limit:g} second(s). Move blocking work into an activity. "
            f"It was at:\n{self._where}"
        )

    def _swallow_late_interrupt(self) -> None:
        try:
            for _ in range(100):
                pass
        except Interrupted:
            return
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._watched), None)

    def _watch(self) -> None:
        while not self._stop.wait(self._limit / _CHECKS_PER_LIMIT):
            current = self._current
            if current is None or time.monotonic() - current[1] < self._limit:
                continue
            frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
            frame = frames.get(self._watched)
            where = "".join(traceback.format_stack(frame, limit=None)[-4:]) if frame else ""
            with self._lock:
                if self._current is current:
                    self._interrupt(current[0], where)

    def _interrupt(self, token: object, where: str) -> None:
        """Again and again, if need be: code may catch everything and go on."""
        if self._fired is not token:
            self._fired, self._where = token, where
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self._watched), ctypes.py_object(Interrupted)
        )
