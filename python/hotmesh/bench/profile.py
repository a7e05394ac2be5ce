"""Where a router's time goes, for `--profile`.

The router knows nothing of it: its pipes' stages are wrapped, in the process that is measured,
before any pipe exists. A stage that runs inside another is taken off the outer one. A stage that
waits for the database is counted while it waits, less what other stages do meanwhile.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from hotmesh.router.pipe import Pipe

STAGES = {
    "_turn": "claim",
    "_drain": "encode",
    "_after_commit": "commit",
    "_advance": "decode",
    "_activate": "advance",
    "_load": "load",
    "_start_activities": "activities",
    "_sleep": "idle",
}
"""Methods of a pipe, and the part of its time that each is.

What a turn does beside the others is one round trip; what advancing does beside activating is
reading messages.
"""


class Profile:
    """Seconds by part, of all pipes of this process."""

    def __init__(self) -> None:
        self._spent = dict.fromkeys(STAGES.values(), 0.0)
        self._current: str | None = None
        self._since = 0.0

    @classmethod
    def install(cls) -> Profile:
        """Begin to measure the pipes that will be made."""
        profile = cls()
        for name, part in STAGES.items():
            setattr(Pipe, name, profile._wrapped(getattr(Pipe, name), part))
        return profile

    def seconds(self) -> dict[str, float]:
        """Seconds so far."""
        self._switch(self._current)
        return dict(self._spent)

    def _wrapped(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(method):

            async def measured(*args: Any) -> Any:
                with self._within(part):
                    return await method(*args)

            return measured

        def measured_call(*args: Any) -> Any:
            with self._within(part):
                return method(*args)

        return measured_call

    @contextmanager
    def _within(self, part: str) -> Generator[None]:
        outer = self._current
        self._switch(part)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, part: str | None) -> None:
        now = time.perf_counter()
        if self._current is not None:
            self._spent[self._current] += now - self._since
        self._current, self._since = part, now
