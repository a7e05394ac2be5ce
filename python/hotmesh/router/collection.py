"""Keeping the garbage collector out of a batch.

A batch makes thousands of objects that live until its step is committed. Collections in its midst
would walk over them, and over every cached run, again and again, and find nothing.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

_pauses = 0
_counting = threading.Lock()


@contextmanager
def collection_paused() -> Generator[None]:
    """In the block no cyclic garbage is collected, unless the program had that switched off anyway.

    Blocks may overlap, in several threads too; the last one to end switches it on again.
    """
    global _pauses
    with _counting:
        paused = _pauses > 0 or gc.isenabled()
        if paused:
            _pauses += 1
            gc.disable()
    if not paused:
        yield
        return
    try:
        yield
    finally:
        with _counting:
            _pauses -= 1
            if _pauses == 0:
                gc.enable()
