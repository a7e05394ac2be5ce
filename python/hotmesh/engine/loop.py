"""The event loop that workflow code runs on: a FIFO of callbacks and durable timers, nothing else.

C ``asyncio.Task`` and ``Future`` need only ``call_soon``, ``call_later``/``call_at``, ``time`` and
``create_future``; with those, and with tasks and futures that sets hold in a fixed order, sleep,
wait, wait_for, timeout, gather, shield, TaskGroup, locks, events and queues are deterministic.
What would reach outside is refused, as asyncio's loops refuse what they lack.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
from collections.abc import Callable, Coroutine, Generator, Mapping
from math import isnan
from threading import get_ident
from typing import Any, NamedTuple, Protocol

from hotmesh.engine.numbered import NO_OPTIONS, new_future, new_task
from hotmesh.engine.ordered import install, refuse_unordered
from hotmesh.engine.refusing_loop import RefusingLoop
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.limits import DURATION_SECONDS_MAX

install()

NEVER_MS = -1
"""The delay of a timer that never fires."""

_get_running_loop = asyncio._get_running_loop  # pyright: ignore[reportPrivateUsage]
_set_running_loop = asyncio._set_running_loop

if sys.version_info >= (3, 14):
    _swap_current_task = asyncio.tasks._swap_current_task  # pyright: ignore[reportPrivateUsage]


class Stage:
    """Where a thread runs workflow code."""

    __slots__ = ("loop",)

    def __init__(self) -> None:
        self.loop: WorkflowLoop | None = None
        """The loop of the code that runs there; None: nothing does just now, and no other loop
        ever will, see :func:`own_thread`."""


active: dict[int, Stage] = {}
"""By thread, where workflow code runs. (Up to Python 3.11 asyncio asks the system, each time that
its loop is read or set, whether the process was forked: four times what the rest takes.)"""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=active.clear)  # its threads are others


class Outer(NamedTuple):
    """What ran in a thread before a run's loop did."""

    stage: Stage | None
    active: WorkflowLoop | None
    """What ran on that stage."""
    loop: asyncio.AbstractEventLoop | None
    task: asyncio.Task[Any] | None
    """The current task, where it is the thread's and not the loop's."""


def _step_aside(stage: Stage | None) -> Outer:
    loop = _get_running_loop()
    task = None
    if sys.version_info >= (3, 14) and loop is not None:
        task = _swap_current_task(loop, None)
    return Outer(stage, None if stage is None else stage.loop, loop, task)


def _come_back(outer: Outer) -> None:
    thread = get_ident()
    if outer.stage is not None:
        outer.stage.loop = outer.active
        active[thread] = outer.stage
    else:
        active.pop(thread, None)  # it is not there in a child that workflow code has forked
    _set_running_loop(outer.loop)
    if sys.version_info >= (3, 14) and outer.loop is not None:
        _swap_current_task(outer.loop, outer.task)


def active_loop() -> WorkflowLoop | None:
    """The loop of the workflow code that is calling; None outside workflow code."""
    stage = active.get(get_ident())
    return None if stage is None else stage.loop


@contextlib.contextmanager
def own_thread() -> Generator[Stage]:
    """Until the end the calling thread runs nothing but workflow code, of one run after the other.

    The loop that ran steps aside once for all of them. (In between the running loop is still that
    of the run before.)
    """
    thread = get_ident()
    outer = _step_aside(active.get(thread))
    stage = active[thread] = Stage()
    try:
        yield stage
    finally:
        _come_back(outer)


def between_runs() -> None:
    """In a thread of :func:`own_thread` where no code runs just now: say so to whoever asks.

    To be called before code of others may, a log's handler say: what it scheduled would be part of
    the run before, or be lost with that.
    """
    stage = active.get(get_ident())
    if stage is not None and stage.loop is None:
        _set_running_loop(None)


class Handle:
    """A scheduled callback; cancelling it is all that asyncio asks of it."""

    __slots__ = ("args", "callback", "cancelled_", "context", "timer_seq")

    def __init__(
        self,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.cancelled_ = False
        self.timer_seq = 0

    def cancel(self) -> None:
        """Never run the callback."""
        self.cancelled_ = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.cancelled_


class TimerHandle(Handle):
    """A callback behind a durable timer; cancelling it cancels the timer."""

    __slots__ = ("number", "on_cancel", "when_")

    number: int
    """Of its timer's command; set by the host, and kept when the timer is over."""

    def __hash__(self) -> int:
        return self.number

    def __init__(
        self,
        when: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        context: contextvars.Context,
        on_cancel: Callable[[TimerHandle], None],
    ) -> None:
        super().__init__(callback, args, context)
        self.when_ = when
        self.on_cancel = on_cancel

    def when(self) -> float:
        """Workflow time, in seconds, at which it is due."""
        return self.when_

    def cancel(self) -> None:
        """Cancel the durable timer, or take it back when it was not sent yet."""
        if not self.cancelled_:
            self.cancelled_ = True
            self.on_cancel(self)


class LoopHost(Protocol):
    """What the loop asks of the run it belongs to."""

    now_ms: int

    def start_timer(self, handle: TimerHandle, delay_ms: int) -> None:
        """Schedule a durable timer that runs the handle; ``NEVER_MS`` asks for none."""
        ...

    def cancel_timer(self, handle: TimerHandle) -> None:
        """Cancel it."""
        ...

    def on_loop_error(self, context: dict[str, Any]) -> None:
        """An exception nobody retrieved."""
        ...


class WorkflowLoop(RefusingLoop):
    """One run's loop. It moves only inside an activation."""

    __slots__ = ("_exception_handler", "_first", "_tasks", "_tasks_max", "host", "made", "ready")

    is_workflow_loop = True

    def __init__(self, host: LoopHost, first_number: int = 0) -> None:
        self.host = host
        self.ready: list[Handle] = []
        self._exception_handler: Callable[..., Any] | None = None
        self._tasks: list[asyncio.Task[Any]] = []
        self._tasks_max = 16
        self._first = self.made = first_number
        """Number of the newest task, future or handle, counted from one that differs from run to
        run: asyncio keeps the tasks of all loops in one set."""

    def next_number(self) -> int:
        """The number of the task, future or handle that is made now: its hash."""
        self.made += 1
        return self.made

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """The tasks that wait for something, in the order they were made."""
        self._tasks = [task for task in self._tasks if not task.done()]
        return self._tasks

    def forget_tasks(self) -> None:
        """Let go of them and of what was still to be called: the run leaves the memory."""
        self._tasks = []
        self.ready = []

    def enter(self) -> Outer | None:
        """Become the running loop; what is returned goes to :meth:`leave`."""
        thread = get_ident()
        stage, outer = active.get(thread), None
        if stage is None or stage.loop is not None:
            outer = _step_aside(stage)
            stage = active[thread] = Stage()
        self.take(stage)
        return outer

    def take(self, stage: Stage) -> None:
        """As :meth:`enter`, on a stage of :func:`own_thread` where nothing runs just now.

        Its ``loop`` is to be set to None afterwards.
        """
        _set_running_loop(self)
        stage.loop = self

    @staticmethod
    def leave(outer: Outer | None) -> None:
        """Make the loop of before the running one again."""
        if outer is not None:
            _come_back(outer)
            return
        stage = active.get(get_ident())
        if stage is not None:  # it is not there in a child that workflow code has forked
            stage.loop = None

    # What asyncio's primitives use.
    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        if context is None:
            context = contextvars.copy_context()
        handle = Handle(callback, args, context)
        self.ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        if delay < DURATION_SECONDS_MAX:
            delay_ms = max(1, round(delay * 1000))
        elif isnan(delay):
            raise InvalidArgumentError("Invalid delay: NaN (not a number)")
        else:
            delay_ms = NEVER_MS
        handle = TimerHandle(
            self.time() + delay,
            callback,
            args,
            contextvars.copy_context() if context is None else context,  # an empty one is false
            self.host.cancel_timer,
        )
        self.host.start_timer(handle, delay_ms)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., Any],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def time(self) -> float:
        return self.host.now_ms / 1000

    def create_future(self) -> asyncio.Future[Any]:
        self.made = number = self.made + 1
        return new_future(number, self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        refuse_unordered(coro)
        return self.begin(coro, name, context, options)

    def begin(
        self,
        coro: Coroutine[Any, Any, None],
        name: str | None = None,
        context: contextvars.Context | None = None,
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> asyncio.Task[Any]:
        """As ``create_task``, for the engine's own coroutines."""
        self.made = number = self.made + 1
        if name is None:
            # asyncio would count the process's tasks; the run's are the same in each replay.
            name = f"Task-{number - self._first}"
        task = new_task(number, coro, self, name, context, options)
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_max:
            self._tasks_max = 16 + 2 * len(self.unfinished())
        return task

    get_debug = bool  # type: ignore[assignment]
    """Asked by every future that is made; calling ``bool`` is the fastest way to say False."""

    def is_running(self) -> bool:
        return _get_running_loop() is self

    def is_closed(self) -> bool:
        return False

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> Callable[..., Any] | None:
        return self._exception_handler

    def set_exception_handler(self, handler: Callable[..., Any] | None) -> None:
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.host.on_loop_error(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._exception_handler is not None:
            self._exception_handler(self, context)
        else:
            self.default_exception_handler(context)
