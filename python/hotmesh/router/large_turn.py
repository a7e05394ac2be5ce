"""Which pipe of a router has a large value in hand: one at a time. How much all of them have.

A value is copied several times on its way through a step. Pipes that did so side by side would need
that memory each, for values that come one after the other anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from hotmesh.limits import LARGE_TURN_BYTES, RESULTS_BYTES_MAX

_FRAME, _INPUT = 3, 7
"""Columns of a message row."""


def ends_large(messages: Sequence[Any]) -> bool:
    """Whether there is a large value among what a step has read: it can only be the last one."""
    if not messages:
        return False
    last = messages[-1]
    return len(last[_FRAME]) + len(last[_INPUT] or b"") > LARGE_TURN_BYTES


class LargeTurn:
    """Who has it, and who is next. All of it on one event loop."""

    def __init__(self) -> None:
        self._cautious = True
        """Whether what is read next may be large: it was at last, or nothing was read yet. Then
        even reading takes the turn, or several would have read something large before one knows."""
        self._holder: object = None
        self._used = False
        """Whether the holder has read since it got the turn."""
        self._next: dict[object, Callable[[], None]] = {}
        self._weights: dict[object, Callable[[], int]] = {}
        self._kept_back = False
        """Whether a pipe makes nothing more because others have enough."""

    def join(self, pipe: object, weight: Callable[[], int]) -> None:
        """A pipe begins.

        Args:
            pipe: It.
            weight: Bytes that it has made or taken in and that are not written yet.
        """
        self._weights[pipe] = weight

    def others_have_enough(self, pipe: object) -> bool:
        """Whether the other pipes have so much in hand that nothing more is made meanwhile.

        Whose turn it is goes on: the others may wait for what it has in hand.
        """
        if self._holder is pipe:
            return False
        others = (weight() for each, weight in self._weights.items() if each is not pipe)
        if sum(others) < RESULTS_BYTES_MAX:
            return False
        self._kept_back = True
        return True

    def has_room_again(self) -> bool:
        """Whether pipes that were kept back may go on. True once."""
        if not self._kept_back:
            return False
        if sum(weight() for weight in self._weights.values()) >= RESULTS_BYTES_MAX:
            return False
        self._kept_back = False
        return True

    def may_read(self, pipe: object, wake: Callable[[], None]) -> bool:
        """Whether a pipe may read what may be large; if not, it is its turn after the others.

        Args:
            pipe: Who asks.
            wake: Called when its turn has come; it has it until :meth:`release` then.
        """
        if self._holder is None and self._cautious:
            self._holder = pipe
        if self._holder is pipe:
            self._used = True
        if self._holder is None or self._holder is pipe:
            return True
        self._next.setdefault(pipe, wake)
        return False

    async def has_read(self, pipe: object, messages: Sequence[Any]) -> None:
        """Take note of what a pipe has read; it waits for its turn if that is large."""
        if ends_large(messages):
            self._cautious = True
            await self.take(pipe)
        else:
            self._cautious = False

    async def take(self, pipe: object) -> None:
        """Wait until it is the pipe's turn; it is until :meth:`release`."""
        while self._holder is not None and self._holder is not pipe:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._next[pipe] = lambda turn=turn: None if turn.done() else turn.set_result(None)
            await turn
        self._holder = pipe
        self._used = True

    def has(self, pipe: object) -> bool:
        """Whether it is the pipe's turn."""
        return self._holder is pipe

    def release(self, pipe: object) -> None:
        """The pipe has nothing large in hand (any more).

        One that got the turn while a step of it was under way keeps it until it has read.
        """
        if self._holder is pipe and self._used:
            self._pass_on()

    def leave(self, pipe: object) -> None:
        """The pipe has ended."""
        self._next.pop(pipe, None)
        self._weights.pop(pipe, None)
        if self._holder is pipe:
            self._pass_on()

    def _pass_on(self) -> None:
        self._holder = None
        if self._cautious:
            self._holder = next(iter(self._next), None)
            if self._holder is not None:
                self._used = False
                self._next.pop(self._holder)()
            return
        # Nobody needs a turn: handed from one to the next it would keep all of them awake for ever.
        waiting, self._next = self._next, {}
        for wake in waiting.values():
            wake()
