"""Activities in threads: running one, and raising its cancellation inside the thread."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hotmesh.exceptions import CancelledError


class ThreadCancellation:
    """Raises :class:`CancelledError` in the thread of one activity, once, unless shielded.

    The interpreter delivers such an exception between two instructions of the thread, so a
    blocking system call ends first.
    """

    __slots__ = ("_delivered", "_lock", "_pending", "_shields", "_thread_id")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id: int | None = None
        self._pending = False
        self._delivered = False
        self._shields = 0

    def cancel(self) -> None:
        """Raise in the thread as soon as it runs the activity outside of any shield."""
        with self._lock:
            self._pending = True
            self._deliver()

    @contextmanager
    def active(self) -> Generator[None]:
        """Mark the calling thread as the one to raise in, for the ``with`` block."""
        with self._lock:
            self._thread_id = threading.get_ident()
            self._deliver()
        try:
            yield
        finally:
            with self._lock:
                if self._delivered:
                    # It may still be on its way, and must not hit the thread's next work.
                    _set_async_exception(threading.get_ident(), None)
                self._thread_id = None

    def frame(self) -> FrameType | None:
        """Where the thread is; None if it is not in the activity."""
        with self._lock:
            frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
            return frames.get(self._thread_id or 0)

    @contextmanager
    def shielded(self) -> Generator[None]:
        """Hold the exception back for the ``with`` block."""
        with self._lock:
            self._shields += 1
        try:
            yield
        finally:
            with self._lock:
                self._shields -= 1
                raise_now = self._pending and not self._delivered and not self._shields
                self._delivered = self._delivered or raise_now
            if raise_now:
                # In this very thread, so it can be raised the ordinary way and at this very place.
                raise CancelledError

    def _deliver(self) -> None:
        if self._pending and not self._delivered and not self._shields and self._thread_id:
            self._delivered = True
            _set_async_exception(self._thread_id, CancelledError)


def run_in_thread(
    cancellation: ThreadCancellation | None, fn: Callable[..., Any], args: Sequence[Any]
) -> Any:
    """Run an activity's function in the calling thread; cancellation is raised inside it."""
    try:
        if cancellation is None:
            return fn(*args)
        with cancellation.active():
            return fn(*args)
    except (StopIteration, GeneratorExit) as err:  # They mean something else to who awaits.
        raise RuntimeError(f"Activity raised {type(err).__name__}") from err


def _set_async_exception(thread_id: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread_id), None if error is None else ctypes.py_object(error)
    )
