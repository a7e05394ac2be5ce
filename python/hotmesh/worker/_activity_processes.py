"""Activities in other processes: what crosses over, and how their heartbeats come back."""

from __future__ import annotations

import asyncio
import logging
import pickle
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from multiprocessing.managers import SyncManager
from typing import Any, cast

from hotmesh.activity import ActivityContext, Info, current_context
from hotmesh.converter import PayloadConverter
from hotmesh.exceptions import ApplicationError
from hotmesh.worker._activity_latch import EventLike, SharedLatch

QUEUE_ITEMS_MAX = 1_000
"""Heartbeats on their way from other processes."""
QUEUE_PUT_SECONDS_MAX = 30
"""How long an activity waits for room in the queue before its heartbeat raises."""
QUEUE_POLL_SECONDS = 0.5
"""How long the poller sleeps at most; it ends when no activity is left to listen to."""

_logger = logging.getLogger(__name__)


class SharedHeartbeatSender(ABC):
    """Sends heartbeats from another process; can be pickled."""

    @abstractmethod
    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        """Send a heartbeat of one activity.

        Args:
            task_token: Which activity.
            details: Its values; they must be picklable.
        """


class SharedStateManager(ABC):
    """Makes what activities in other processes share with the worker."""

    @staticmethod
    def create_from_multiprocessing(
        mgr: SyncManager, queue_poller_executor: Executor | None = None
    ) -> SharedStateManager:
        """Make one of a manager of :mod:`multiprocessing`.

        Args:
            mgr: Usually ``multiprocessing.Manager()``.
            queue_poller_executor: Runs the thread that receives heartbeats. Default is a pool of
                one thread.
        """
        return _MultiprocessingStateManager(mgr, queue_poller_executor or ThreadPoolExecutor(1))

    @abstractmethod
    def new_event(self) -> EventLike:
        """Make an event that every process sees."""

    @abstractmethod
    async def register_heartbeater(
        self, task_token: bytes, heartbeat: Callable[..., None]
    ) -> SharedHeartbeatSender:
        """Receive the heartbeats of one activity.

        Args:
            task_token: Which activity.
            heartbeat: Called in a thread with the details of each heartbeat.

        Returns:
            What the activity sends them with.
        """

    @abstractmethod
    async def unregister_heartbeater(self, task_token: bytes) -> None:
        """Stop receiving, once everything that was sent has been received."""


class _QueueSender(SharedHeartbeatSender):
    def __init__(self, heartbeats: queue.Queue[Any]) -> None:
        self._heartbeats = heartbeats

    def send_heartbeat(self, task_token: bytes, *details: Any) -> None:
        self._heartbeats.put((task_token, details), timeout=QUEUE_PUT_SECONDS_MAX)


class _MultiprocessingStateManager(SharedStateManager):
    def __init__(self, manager: SyncManager, poller_executor: Executor) -> None:
        self._manager = manager
        self._poller_executor = poller_executor
        self._queue: queue.Queue[tuple[bytes, Sequence[Any] | None]] = cast(
            "queue.Queue[tuple[bytes, Sequence[Any] | None]]", manager.Queue(QUEUE_ITEMS_MAX)
        )
        self._lock = threading.Lock()
        self._heartbeats: dict[bytes, Callable[..., None]] = {}
        self._ends: dict[bytes, Callable[[], None]] = {}
        self._polling = False

    def new_event(self) -> EventLike:
        return self._manager.Event()

    async def register_heartbeater(
        self, task_token: bytes, heartbeat: Callable[..., None]
    ) -> SharedHeartbeatSender:
        with self._lock:
            self._heartbeats[task_token] = heartbeat
            start, self._polling = not self._polling, True
        if start:
            self._poller_executor.submit(self._poll)
        return _QueueSender(self._queue)

    async def unregister_heartbeater(self, task_token: bytes) -> None:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def end() -> None:
            loop.call_soon_threadsafe(ended.set_result, None)

        def put_end() -> None:
            # Behind all heartbeats of the activity, so that none of them is lost.
            self._queue.put((task_token, None), timeout=QUEUE_PUT_SECONDS_MAX)

        self._ends[task_token] = end
        await loop.run_in_executor(None, put_end)
        await ended

    def _poll(self) -> None:
        while True:
            try:
                task_token, details = self._queue.get(timeout=QUEUE_POLL_SECONDS)
            except queue.Empty:
                if self._stop_if_idle():
                    return
                continue
            except (OSError, EOFError):  # The manager's process is gone.
                self._give_up()
                return
            self._deliver(task_token, details)

    def _deliver(self, task_token: bytes, details: Sequence[Any] | None) -> None:
        if details is None:
            self._end(task_token)
            return
        heartbeat = self._heartbeats.get(task_token)
        try:
            if heartbeat is not None:
                heartbeat(*details)
        except BaseException:
            _logger.exception("Failed taking a heartbeat of another process")

    def _end(self, task_token: bytes) -> None:
        with self._lock:
            self._heartbeats.pop(task_token, None)
        end = self._ends.pop(task_token, None)
        if end is not None:
            end()

    def _stop_if_idle(self) -> bool:
        with self._lock:
            self._polling = bool(self._heartbeats)
            return not self._polling

    def _give_up(self) -> None:
        _logger.error("The multiprocessing manager is gone; heartbeats of processes are lost")
        with self._lock:
            self._polling = False
            tokens = list(self._heartbeats)
        for task_token in tokens:
            self._end(task_token)


def run_in_process(
    info: Info,
    sender: SharedHeartbeatSender,
    cancelled: EventLike,
    worker_shutdown: EventLike,
    payload_converter_class: type[PayloadConverter],
    fn: Callable[..., Any],
    args: Sequence[Any],
) -> Any:
    """Run an activity's function in this process, the worker being in another.

    Everything is picklable: no client, no metrics, no exception upon cancellation.

    Raises:
        ApplicationError: In place of an error that can't be unpickled; its class is the type.
        BaseException: Whatever the function raises, and why its result can't be pickled.
    """

    def heartbeat(*details: Any) -> None:
        sender.send_heartbeat(info.task_token, *details)

    token = current_context.set(
        ActivityContext(
            info=lambda: info,
            heartbeat=heartbeat,
            cancelled=SharedLatch(cancelled),
            worker_shutdown=SharedLatch(worker_shutdown),
            payload_converter=payload_converter_class(),
            metric_meter=None,
        )
    )
    try:
        result = fn(*args)
        _check_travels(result)
        return result
    except (StopIteration, GeneratorExit) as err:  # They mean something else to who awaits.
        raise RuntimeError(f"Activity raised {type(err).__name__}") from err
    except BaseException as err:
        _replace_if_stuck(err)
        raise
    finally:
        current_context.reset(token)


def _check_travels(value: object) -> None:
    """Make sure that the other side can read a value: what it can't read breaks its whole pool."""
    pickle.loads(pickle.dumps(value))  # noqa: S301 - just written


def _replace_if_stuck(error: BaseException) -> None:
    """Raise another error in place of one that can't be unpickled."""
    try:
        _check_travels(error)
    except BaseException as own:  # noqa: BLE001 - whatever it is, the error can't travel
        text = f"{type(error).__name__} was raised, which can't be pickled ({type(own).__name__})"
        # Not "from": a cause would be pickled too. Its traceback is shown as context all the same.
        raise ApplicationError(text, type=type(error).__name__)  # noqa: B904
