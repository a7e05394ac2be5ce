"""JSON that takes the room it needs.

orjson writes into a buffer of 4 KiB or more, and its result keeps all of that for as long as it
lives. Thousands of small values wait for a step at any time: they would take a hundred times what
they are, and the processor's cache with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

COPIED_BYTES = 64 * 1024
"""Longer text is not copied: the system gives no memory for what was never written to."""

MAPPED_BYTES = 8 * 1024 * 1024
"""Text of this size is copied nowhere: orjson's buffer of eight times as much comes from the system
for itself alone, so that nothing of it is taken that is not written to."""


def dumps(
    value: Any, default: Callable[[Any], Any] | None = None, option: int | None = None
) -> bytes:
    """Write a value as `orjson.dumps` does, into bytes of exactly that size.

    Args:
        value: What to write.
        default: What turns other values into such as can be written.
        option: orjson's options.

    Returns:
        The text.

    Raises:
        TypeError: The value can't be written.
    """
    text = orjson.dumps(value, default, option)
    return b"%b" % text if len(text) <= COPIED_BYTES else text
