"""asyncio's functions that make sets before any loop is asked, in a fixed order for workflow code.

``as_completed`` puts what it is given into a set, and a coroutine object's hash is its address. The
functions here stand in front of asyncio's own as soon as ``hotmesh.workflow`` or a worker is
imported (``import hotmesh`` alone imports nothing). They act only while a run's loop is the running
one; everything else goes straight through.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Iterable
from types import CodeType
from typing import Any, Protocol, cast

from hotmesh.exceptions import NondeterminismError


class OrderedLoop(Protocol):
    """What the functions here need of a run's loop."""

    is_workflow_loop: bool

    def next_number(self) -> int:
        """The number of what is made now."""
        ...

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """The loop's tasks, in the order they were made."""
        ...


def _ordered(loop: Any) -> OrderedLoop | None:
    """The loop, if it is a run's."""
    # Not just anything true: a test's mock of a loop has every attribute.
    return cast("OrderedLoop", loop) if getattr(loop, "is_workflow_loop", None) is True else None


_tasks: Any = asyncio.tasks
_as_completed: Any = asyncio.tasks.as_completed
_all_tasks: Any = asyncio.tasks.all_tasks
_GatheringFuture: Any = _tasks._GatheringFuture
_running_loop = asyncio._get_running_loop  # pyright: ignore[reportPrivateUsage]


@functools.wraps(_as_completed)
def as_completed(fs: Iterable[Any], *, timeout: float | None = None) -> Any:
    """asyncio's, which turns coroutines into tasks in the order given if it is workflow code."""
    loop = _running_loop()
    if _ordered(loop) is not None and not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
        fs = [asyncio.ensure_future(each, loop=loop) for each in dict.fromkeys(fs)]
    return _as_completed(fs, timeout=timeout)


@functools.wraps(_all_tasks)
def all_tasks(loop: Any = None) -> set[Any]:
    """asyncio's; of a run's loop a set that was made in the order of the tasks."""
    ordered = _ordered(_running_loop() if loop is None else loop)
    return _all_tasks(loop) if ordered is None else set(ordered.unfinished())


class _Gathering(_GatheringFuture):
    """What ``gather`` returns; on a run's loop hashed by number, as everything else there."""

    def __init__(self, children: Any, *, loop: Any) -> None:
        super().__init__(children, loop=loop)  # pyright: ignore[reportUnknownMemberType]
        ordered = _ordered(loop)
        self.number: int = object.__hash__(self) if ordered is None else ordered.next_number()

    def __hash__(self) -> int:
        return self.number


def install() -> None:
    """Stand in front of asyncio's own; done once, when this module's user is imported."""
    for module in (asyncio, asyncio.tasks):
        setattr(module, "as_completed", as_completed)  # noqa: B010 - pyright knows no better
        setattr(module, "all_tasks", all_tasks)  # noqa: B010
    _tasks._GatheringFuture = _Gathering  # asyncio looks it up where it makes one


def _codes(*functions: Any) -> frozenset[CodeType]:
    return frozenset(each.__code__ for each in functions if each is not None)


_iterator = getattr(_tasks, "_AsCompletedIterator", None)  # since Python 3.13
_ENSURES = _codes(_tasks.ensure_future, getattr(_tasks, "_ensure_future", None))
_AS_COMPLETED = _codes(_as_completed, None if _iterator is None else _iterator.__init__)
_FRAMES_MAX = 4
"""``create_task`` is at most so many calls away from ``as_completed``."""


def refuse_unordered(coro: Any) -> None:
    """Refuse a task that asyncio's own ``as_completed`` makes of a coroutine, out of a set.

    To be called in a loop's ``create_task``.

    Raises:
        NondeterminismError: ``as_completed`` was imported by name before ``hotmesh.workflow`` was.
    """
    frame = sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
    if frame.f_code not in _ENSURES:
        return
    for _ in range(_FRAMES_MAX):
        if frame.f_code in _AS_COMPLETED:
            coro.close()
            raise NondeterminismError(
                "asyncio.as_completed takes coroutines in an order that differs in each replay. It "
                "was imported by name before hotmesh.workflow was, which can't put that right any "
                "more: call workflow.as_completed, or asyncio.as_completed by its full name."
            )
        if frame.f_back is None:
            return
        frame = frame.f_back
