"""Running coroutines from within a task without being that task."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def outside_tasks() -> Generator[None]:
    """In the block there is no current task, as in a callback of the event loop.

    The caller's task is stepped out of meanwhile, as the loop itself does for a task that starts
    eagerly. Nothing in the block may wait.
    """
    loop = asyncio.get_running_loop()
    caller = asyncio.current_task(loop)
    if caller is None:
        yield
        return
    asyncio.tasks._leave_task(loop, caller)  # pyright: ignore[reportPrivateUsage] - documented
    try:
        yield
    finally:
        asyncio.tasks._enter_task(loop, caller)  # pyright: ignore[reportPrivateUsage]
