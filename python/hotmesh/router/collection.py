"""Keeping the garbage collector out of a batch.

A batch makes thousands of objects that live until its step is committed. Collections in its midst
would walk over them, and over every cached run, again and again, and find nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

_pauses = 0


@contextmanager
def collection_paused() -> Generator[None]:
    """In the block no cyclic garbage is collected, unless the program had that switched off anyway.

    Blocks may overlap; the last one to end switches it on again.
    """
    global _pauses
    if _pauses == 0 and not gc.isenabled():
        yield
        return
    _pauses += 1
    gc.disable()
    try:
        yield
    finally:
        _pauses -= 1
        if _pauses == 0:
            gc.enable()
