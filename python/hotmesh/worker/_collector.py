"""The garbage collector while workers run: less often.

A router keeps thousands of live objects per batch and frees them by reference counting. Python's
default, a collection for every 700 new objects, walks them again and again: an eighth of a busy
worker's time. Ended runs leave no cycles behind, so a rarer collection frees as much.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 50_000
"""New objects after which the youngest generation is collected."""

_running = 0
_before: tuple[int, int, int] | None = None


def relax() -> None:
    """A worker begins: collect less often. A program that chose a higher threshold keeps it."""
    global _running, _before
    _running += 1
    if _running == 1:
        _before = gc.get_threshold()
        if 0 < _before[0] < YOUNG_OBJECTS:
            gc.set_threshold(YOUNG_OBJECTS, *_before[1:])


def restore() -> None:
    """A worker has ended: the last one sets back what the first one found."""
    global _running, _before
    _running -= 1
    if _running == 0 and _before is not None:
        gc.set_threshold(*_before)
        _before = None
