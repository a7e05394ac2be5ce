"""Where the tasks of a run stand, as text for people."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Iterable
from typing import Any


def describe(tasks: Iterable[asyncio.Task[Any]]) -> str:
    """One stack a task, outermost call first, in the order given."""
    return "\n\n".join(
        f"Stack for {task.get_name()} (most recent call last):\n"
        + "".join(traceback.format_list(frames_of(task)))
        for task in tasks
    )


def frames_of(task: asyncio.Task[Any]) -> traceback.StackSummary:
    """The chain of coroutines that wait for each other; asyncio itself shows the first only."""
    found: list[tuple[Any, int]] = []
    waiting: Any = task.get_coro()
    while inspect.iscoroutine(waiting) and waiting.cr_frame is not None:
        found.append((waiting.cr_frame, waiting.cr_frame.f_lineno))
        waiting = waiting.cr_await
    return traceback.StackSummary.extract(iter(found))
