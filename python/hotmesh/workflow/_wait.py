"""Waiting: timers, conditions, and deterministic forms of asyncio's wait and as_completed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from hotmesh.engine.context import current

_T = TypeVar("_T")


def _seconds(duration: timedelta | float) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


async def sleep(duration: timedelta | float, *, summary: str | None = None) -> None:
    """A durable timer.

    Args:
        duration: timedelta or seconds, to the millisecond; 0 only yields to other tasks.
        summary: Accepted for compatibility.

    Raises:
        RuntimeError: the duration is negative.
    """
    del summary
    await current().sleep(_seconds(duration))


async def wait_condition(
    fn: Callable[[], bool],
    *,
    timeout: timedelta | float | None = None,
    timeout_summary: str | None = None,
) -> None:
    """Wait until a function of the workflow's state returns true.

    Args:
        fn: Asked each time the workflow has moved; it must not change anything.
        timeout: How long to wait at most (timedelta or seconds).
        timeout_summary: Accepted for compatibility.

    Raises:
        asyncio.TimeoutError: the time was up.
    """
    del timeout_summary
    condition = current().wait_condition(fn)
    if timeout is None:
        await condition
    else:
        await asyncio.wait_for(condition, _seconds(timeout))


async def wait(
    fs: Iterable[Any], *, timeout: float | None = None, return_when: str = asyncio.ALL_COMPLETED
) -> tuple[list[Any], list[Any]]:
    """``asyncio.wait`` in a fixed order: (done, pending) are lists in the order given.

    Args:
        fs: Futures or tasks.
        timeout: Seconds to wait at most.
        return_when: As for ``asyncio.wait``.

    Raises:
        ValueError: nothing to wait for, or an unknown ``return_when``.
        TypeError: a coroutine was given.
    """
    futures = list(dict.fromkeys(fs))
    if not futures:
        raise ValueError("Set of Tasks/Futures is empty.")
    if any(asyncio.iscoroutine(future) for future in futures):
        raise TypeError("Passing coroutines is forbidden, use tasks explicitly.")
    modes = (asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED)
    if return_when not in modes:
        raise ValueError(f"Invalid return_when value: {return_when}")

    def enough() -> bool:
        done = [future for future in futures if future.done()]
        if return_when == asyncio.FIRST_COMPLETED and done:
            return True
        if return_when == asyncio.FIRST_EXCEPTION and any(
            not future.cancelled() and future.exception() is not None for future in done
        ):
            return True
        return len(done) == len(futures)

    if not enough():
        try:
            await wait_condition(enough, timeout=timeout)
        except TimeoutError:
            # The caller sees in the second list what did not make it.
            return _split(futures)
    return _split(futures)


def _split(futures: list[Any]) -> tuple[list[Any], list[Any]]:
    return (
        [future for future in futures if future.done()],
        [future for future in futures if not future.done()],
    )


def as_completed(
    fs: Iterable[Awaitable[_T]], *, timeout: float | None = None
) -> Iterator[Awaitable[_T]]:
    """``asyncio.as_completed`` in a fixed order.

    Args:
        fs: Awaitables; coroutines become tasks.
        timeout: Seconds for all together.

    Raises:
        asyncio.TimeoutError: from the awaited item, when the time is up.
    """
    loop = asyncio.get_event_loop()
    finished: asyncio.Queue[asyncio.Future[_T] | None] = asyncio.Queue()
    waiting: list[asyncio.Future[_T]] = [
        asyncio.ensure_future(awaitable, loop=loop) for awaitable in dict.fromkeys(fs)
    ]
    timer: Any = None

    def on_done(future: asyncio.Future[_T]) -> None:
        if future in waiting:
            waiting.remove(future)
            finished.put_nowait(future)
            if not waiting and timer is not None:
                timer.cancel()

    def on_timeout() -> None:
        for future in list(waiting):
            future.remove_done_callback(on_done)
            finished.put_nowait(None)
        waiting.clear()

    async def next_one() -> _T:
        future = await finished.get()
        if future is None:
            raise TimeoutError
        return future.result()

    count = len(waiting)
    for future in list(waiting):
        future.add_done_callback(on_done)
    if waiting and timeout is not None:
        timer = loop.call_later(timeout, on_timeout)
    return (next_one() for _ in range(count))
