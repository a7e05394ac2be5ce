"""The thread that runs a router's workflow code, so that its event loop never waits long for that.

Nearly all work is done within milliseconds. Who asks for it stands still for so long, as in a call:
a round through the event loop costs more than a small batch. After that it is awaited.

One piece of work at a time. Code that the watchdog can't interrupt, because it is in a call that
does not return to Python, is left behind: its thread goes on with whatever holds it up, nothing of
what it does counts any more, and another thread takes the next work.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from hotmesh.engine.loop import Stage, own_thread
from hotmesh.exceptions import DeadlockError
from hotmesh.printing import printable
from hotmesh.router.collection import collection_paused
from hotmesh.router.same_processor import SameProcessor
from hotmesh.router.watchdog import LeftBehind, Watchdog

logger = logging.getLogger(__name__)

T = TypeVar("T")

CALL_SECONDS = 0.01
"""How long the event loop stands still for a piece of work, before it is awaited."""

CANCEL_SECONDS = 1.0
"""How long who is cancelled waits for the code that runs for it."""


class StuckError(Exception):
    """Raised to who waits for work whose code has not come back, and whose thread was left behind.

    Args:
        error: What to say of it.
        thread: Where it still is.
    """

    def __init__(self, error: DeadlockError, thread: threading.Thread) -> None:
        super().__init__(str(error))
        self.error = error
        self.thread = thread


class _Work:
    """A piece of work, and what came of it."""

    __slots__ = ("done", "error", "future", "result", "run")

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        """Held until there is an outcome."""
        self.done.acquire()
        self.future: asyncio.Future[None] | None = None
        """Wakes who awaits it."""

    def settle(self, result: object, error: BaseException | None) -> None:
        """Say what came of it, from any thread."""
        self.result, self.error = result, error
        self.done.release()
        future = self.future
        if future is None:
            return  # whoever comes to await it looks again first
        try:
            future.get_loop().call_soon_threadsafe(_wake, future)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def outcome(self) -> Any:
        """What it returned.

        Raises:
            BaseException: What it raised.
        """
        error = self.error
        if error is None:
            return self.result
        try:
            raise error
        finally:
            del error, self.error  # no circle through its traceback


class WorkflowThread:
    """Runs workflow code.

    Args:
        limit_seconds: How long code may run without yielding; 0: for ever.
        inline: Run it in the thread of whoever asks, where a debugger expects it.
    """

    def __init__(self, limit_seconds: float, *, inline: bool = False) -> None:
        self._limit_seconds = limit_seconds
        self._inline = inline
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._current: _Work | None = None
        self._thread: threading.Thread | None = None
        self._processor = SameProcessor()
        self._bound = False
        """Whether the thread is bound to a processor, and has to free itself."""
        self._context = contextvars.copy_context()
        self.watchdog = Watchdog(limit_seconds, self._leave_behind)
        """Watches what runs now."""
        self.stage: Stage | None = None
        """Where the work in hand runs workflow code."""
        self.stuck: dict[bytes, threading.Thread] = {}
        """The runs whose code was left behind, with the thread that it is in."""

    def still_stuck(self, run_id: bytes) -> DeadlockError | None:
        """What keeps a run from being tried again: its code is where it was left behind."""
        thread = self.stuck.get(run_id)
        if thread is None:
            return None
        if not thread.is_alive():
            del self.stuck[run_id]
            return None
        return DeadlockError(
            "[TMPRL1101] Potential deadlock detected: the code of this workflow is still blocked "
            "where it was; it is tried again when that returns"
        )

    def start(self) -> None:
        """Be ready for work; what the caller's context holds, the code will find."""
        if self._inline:
            self.watchdog.start()
            return
        self._context = contextvars.copy_context()
        self._begin()

    def stop(self) -> None:
        """End once the work in hand is done; a thread that is stuck is not waited for."""
        if self._thread is not None:
            self._work.put(None)
            if self._current is None:
                self._thread.join(CANCEL_SECONDS)
            self._thread = None
        self.watchdog.stop()

    async def run(self, work: Callable[[], T]) -> T:
        """Run a piece of work.

        Raises:
            StuckError: Its code was left behind.
            BaseException: What the work raised.
        """
        if self._inline:
            with collection_paused(), own_thread() as self.stage:
                return work()
        asked = _Work(work)
        if not self._call(asked):
            future = asked.future = asyncio.get_running_loop().create_future()
            if not asked.done.acquire(blocking=False):
                try:
                    await future
                except asyncio.CancelledError:
                    # What it works on must not be taken apart under its hands.
                    await asyncio.wait([future], timeout=CANCEL_SECONDS)
                    raise
        result: T = asked.outcome()
        return result

    def _call(self, asked: _Work) -> bool:
        """Have the thread do it; whether it was done before the event loop must go on."""
        thread = self._thread
        if self._current is not None or thread is None or thread.native_id is None:
            self._work.put(asked)
            return False  # what it does now may take long
        bound = self._bound = self._processor.bind(thread.native_id)
        self._work.put(asked)
        done = False
        try:
            done = asked.done.acquire(timeout=CALL_SECONDS)
        finally:  # a signal's handler may raise here
            if bound:
                self._processor.free()
                if not done:  # something else may have the processor, and the thread wait for it
                    self._processor.free(thread.native_id)
        return done

    def post(self, work: Callable[[], None]) -> None:
        """Run a piece of work that nobody waits for, such as the clean-up of a run that goes."""
        if self._inline or self._thread is None:
            work()
        else:
            self._work.put(_Work(lambda: self._look_after(work)))

    def _look_after(self, work: Callable[[], None]) -> None:
        try:
            self.watchdog.watch(work)
        except LeftBehind:
            raise
        except BaseException as error:  # whatever it is, nobody waits for it
            logger.warning("the code of a run that leaves memory failed", exc_info=printable(error))

    def _begin(self) -> None:
        self._thread = threading.Thread(
            target=self._context.copy().run,
            args=(self._serve, self.watchdog),
            name="hotmesh-workflows",
            daemon=True,
        )
        self._thread.start()

    def _serve(self, watchdog: Watchdog) -> None:
        watchdog.start()
        while True:
            work = self._current = self._work.get()
            if self._bound:
                self._bound = False
                self._processor.free()
            if work is None:
                return
            result, error = None, None
            try:
                with collection_paused(), own_thread() as self.stage:
                    result = work.run()
            except LeftBehind:
                return
            except BaseException as failure:  # noqa: BLE001 - raised where it is awaited
                error = failure
            self._current = None
            work.settle(result, error)
            del work, result, error

    def _leave_behind(self, watchdog: Watchdog) -> None:
        """Called by the watchdog: the code can't be interrupted. Others go on elsewhere."""
        stuck, thread = self._current, self._thread
        if stuck is None or thread is None:
            return  # it is ending
        self.watchdog = Watchdog(self._limit_seconds, self._leave_behind)
        self._current = None
        self._begin()
        stuck.settle(None, StuckError(watchdog.error(), thread))


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
