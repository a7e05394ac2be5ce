"""Trying again: growing pauses, calls repeated while a database is away, and warnings kept few.

Who repeats what is decided here and nowhere else: a backend repeats a call at once on another
connection, a client repeats for :data:`PATIENCE_S`, and a worker for as long as it lives.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from hotmesh.exceptions import BackendAccessError, BackendUnavailableError

PATIENCE_S = 30.0
"""How long a client's call is tried again while the database can't be reached."""

PAUSE_MIN_S = 0.05
PAUSE_MAX_S = 1.0

COMPLAINT_GAP_S = 1.0
COMPLAINT_GAP_MAX_S = 10.0
"""Between two warnings of one trouble: the first at the beginning, doubling up to the second."""

TROUBLE_END_S = 15.0
"""A trouble that nobody has complained of for this long is over: the next one is told at once."""

PASSING = (BackendUnavailableError, BackendAccessError)
"""What a worker that is running waits out: a right that was taken away may be given back."""

Answer = TypeVar("Answer")


class Backoff:
    """Growing pauses with jitter, so that processes do not come back all at once.

    Args:
        least_s: The first pause in seconds.
        most_s: The longest pause in seconds.
    """

    def __init__(self, least_s: float = PAUSE_MIN_S, most_s: float = PAUSE_MAX_S) -> None:
        self._least_s = least_s
        self._most_s = most_s
        self._next_s = least_s

    def reset(self) -> None:
        """Start with short pauses again."""
        self._next_s = self._least_s

    def next_s(self) -> float:
        """The next pause in seconds; the one after it will be longer."""
        pause_s = self._next_s * random.uniform(0.5, 1.0)
        self._next_s = min(self._next_s * 2, self._most_s)
        return pause_s

    async def pause(self) -> None:
        """Wait for the next pause."""
        await asyncio.sleep(self.next_s())


async def persistently(
    call: Callable[[], Awaitable[Answer]], patience_s: float | None = None
) -> Answer:
    """Make a call, and make it again while the database can't be reached.

    Args:
        call: Safe to repeat.
        patience_s: How long it is tried again, in seconds from its first failure. Default is
            ``PATIENCE_S``.

    Raises:
        BackendUnavailableError: It could not be reached for that long.
    """
    patience_s = PATIENCE_S if patience_s is None else patience_s
    give_up: float | None = None
    backoff = Backoff()
    loop = asyncio.get_running_loop()
    while True:
        try:
            return await call()
        except BackendUnavailableError:
            now, pause_s = loop.time(), backoff.next_s()
            give_up = now + patience_s if give_up is None else give_up
            if now + pause_s > give_up:
                raise
        await asyncio.sleep(pause_s)


async def at_once(call: Callable[[], Awaitable[Answer]], times: int) -> Answer:
    """Make a call, and make it again at once: on another connection it may succeed.

    Args:
        call: Safe to repeat.
        times: How often it is made at most.

    Raises:
        BackendUnavailableError: It failed each time.
    """
    for _ in range(times - 1):
        try:
            return await call()
        except BackendUnavailableError as error:
            _log.debug("repeating a call: %s", error)
    return await call()


class Complaints:
    """Warnings of troubles that last: whatever meets one says so here, and few are logged.

    Args:
        now: The time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._troubles: dict[str, _Trouble] = {}

    def complain(self, log: logging.Logger, about: str, message: str, *args: object) -> None:
        """Warn at once of a new trouble; of one that lasts at most once a second, later less.

        Args:
            log: Where to.
            about: What is in trouble, such as a database's URL. It is not logged.
            message: The warning, with ``args`` as for ``log.warning``.
            args: See ``message``.
        """
        now = self._now()
        trouble = self._troubles.get(about)
        if trouble is None or now - trouble.latest_s > TROUBLE_END_S:
            trouble = self._troubles[about] = _Trouble()
        trouble.latest_s = now
        if now < trouble.next_s:
            trouble.untold += 1
            log.debug(message, *args)
            return
        if trouble.untold:
            log.warning("%s (%d times since this was said)", message % args, trouble.untold)
        else:
            log.warning(message, *args)
        trouble.untold = 0
        trouble.next_s = now + trouble.gap_s
        trouble.gap_s = min(trouble.gap_s * 2, COMPLAINT_GAP_MAX_S)


class _Trouble:
    """What is known of one."""

    __slots__ = ("gap_s", "latest_s", "next_s", "untold")

    def __init__(self) -> None:
        self.latest_s = 0.0
        self.next_s = 0.0
        self.gap_s = COMPLAINT_GAP_S
        self.untold = 0


_log = logging.getLogger(__name__)

complain = Complaints().complain
"""The process's own: pipes, beats, activities and waits meet the same trouble at the same time."""
