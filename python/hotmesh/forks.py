"""Forked processes: what was opened before a fork belongs to the parent alone.

A child has copies of the parent's connections, locks and loops, but not of its threads and tasks.
Using them would mix two processes' words on one connection, or wait for somebody who is not there.
So whatever hands out a connection, or waits for a thread or a task, asks its guard first.
"""

from __future__ import annotations

import os

from hotmesh.exceptions import ForkedError

_generation = 0
"""How many forks there are between this process and the first one."""


class Guard:
    """Bound to the process that checks it first.

    What was made but never used before a fork may so be used by every child.

    Args:
        what: What is guarded, for the error: "This …".
    """

    __slots__ = ("_generation", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._generation = -1

    def check(self) -> None:
        """Make sure that this process is the one that checked first.

        Raises:
            ForkedError: it is a child of that one.
        """
        if self._generation == _generation:
            return
        if self._generation >= 0:
            raise ForkedError(self._what)
        self._generation = _generation


def _in_child() -> None:
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):  # nothing forks on Windows
    os.register_at_fork(after_in_child=_in_child)
