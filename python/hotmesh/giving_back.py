"""Memory that large values took goes back to the system.

The C library keeps what is freed for whoever comes next *in the same thread's heap*. A journal is
read by one thread and replayed by another, so what the rows took would stand beside what workflow
code makes of them. So it is asked to give back what is free, each time that many bytes were.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from hotmesh.limits import GIVE_BACK_BYTES

_free = 0
"""Bytes of large values that were let go of since the last time."""


def let_go(size: int) -> None:
    """Large values of so many bytes are needed no more. May be called from any thread."""
    global _free
    _free += size
    if _free >= GIVE_BACK_BYTES:
        _free = 0
        if _trim is not None:
            _trim(0)


def _find_trim() -> Callable[[int], int] | None:
    """glibc's function for it; others return large values to the system at once."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


_trim = _find_trim()
