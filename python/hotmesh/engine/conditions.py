"""The conditions that a run's code waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

Condition = tuple[Callable[[], bool], "asyncio.Future[None]"]


def settle(conditions: list[Condition], end_by: Callable[[BaseException], None]) -> None:
    """Ask those that are still waited for, and take out those that hold.

    What one raises is raised where it is waited for. What is no Exception might be lost there in a
    task that nobody awaits: it is given to the run.

    Args:
        conditions: What the run waits for; changed in place.
        end_by: Ends the run, or its task, by an exception.
    """
    for entry in list(conditions):
        holds, future = entry
        if not future.done():
            try:
                if not holds():
                    continue
                future.set_result(None)
            except Exception as error:  # noqa: BLE001 - of the user's code
                future.set_exception(_raisable(error))
            except BaseException as error:  # noqa: BLE001 - of the user's code
                end_by(error)
        conditions.remove(entry)


def _raisable(error: Exception) -> Exception:
    """The error, or what a coroutine makes of it: no future takes a StopIteration."""
    if not isinstance(error, StopIteration):
        return error
    made = RuntimeError("a condition raised StopIteration")
    made.__cause__ = error
    return made
