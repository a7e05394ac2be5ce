"""Which pipe of a router has a large value in hand: one at a time. How much all of them have.

A value is copied several times on its way through a step. Pipes that did so side by side would need
that memory each, for values that come one after the other anyway. What is small waits for no turn.
"""

from __future__ import annotations

from collections.abc import Callable

from hotmesh.limits import RESULTS_BYTES_MAX


class LargeTurn:
    """Who has it, and who is next. All of it on one event loop."""

    def __init__(self) -> None:
        self._holder: object = None
        self._used = False
        """Whether the holder has read something large, or taken it in, since it got the turn."""
        self._next: dict[object, Callable[[], None]] = {}
        self.large_types: set[str] = set()
        """Activity types that have given large results: only these are kept back."""
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
        """Whether the other pipes have so much in hand that nothing large is made meanwhile.

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

    def ask(self, pipe: object, wake: Callable[[], None]) -> None:
        """There is something large for a pipe: it is its turn after the others.

        Args:
            pipe: Who asks; again for the next one, if it is its turn now.
            wake: Called when its turn has come; it has it until :meth:`release` then.
        """
        self._next.setdefault(pipe, wake)
        if self._holder is None:
            self._pass_on()

    def has(self, pipe: object) -> bool:
        """Whether it is the pipe's turn."""
        return self._holder is pipe

    def use(self, pipe: object) -> bool:
        """Whether it is the pipe's turn; if so, it takes something large in hand now."""
        if self._holder is not pipe:
            return False
        self._used = True
        return True

    def release(self, pipe: object) -> None:
        """The pipe has nothing large in hand (any more).

        One that has not used its turn keeps it until it has.
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
        self._holder = next(iter(self._next), None)
        self._used = False
        if self._holder is not None:
            self._next.pop(self._holder)()
