"""Printing what users made: exceptions and values whose own ``str`` and ``repr`` may raise.

Whatever the engine says of a user's object, in a log line, a stored failure or an error of its own,
goes through here. Nothing in this module raises because of the object.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any

TEXT_CHARS_MAX = 10_000
"""Of a ``repr``: more is nobody's to read in a log line."""


class UnprintableError(Exception):
    """Stands in a log for an exception that can't be formatted, with its traceback."""


def message_of(error: BaseException) -> str:
    """``str(error)``, or what says that it has none."""
    return _text_by(str, error)


def shown(value: object) -> str:
    """``repr(value)``, cut to a length that people read, or what says that it has none."""
    text = _text_by(repr, value)
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"


def told(error: BaseException) -> str:
    """The class and the message of an error, on one line."""
    name, message = type(error).__name__, message_of(error)
    return f"{name}: {message}" if message else name


def stack_of(error: BaseException) -> str:
    """The frames that an error came through, as text; empty if it was not raised."""
    frames: TracebackType | None = error.__traceback__
    if frames is None:
        return ""
    try:
        return "\n".join(traceback.format_tb(frames))
    except Exception as reason:  # noqa: BLE001 - a module's loader may raise anything
        return f"<the stack can't be printed: {type(reason).__name__}>"


def printable(error: BaseException | None) -> BaseException | None:
    """The error itself for ``exc_info``, or one in its place that a log can print."""
    if error is None:
        return None
    try:
        traceback.format_exception(error)
    except Exception:  # noqa: BLE001 - notes, causes and groups are the user's, too
        name = type(error).__name__
        return UnprintableError(f"{name} can't be printed").with_traceback(error.__traceback__)
    return error


def _text_by(way: Callable[[Any], str], value: object) -> str:
    try:
        return str.__str__(way(value))
    except BaseException as reason:  # noqa: BLE001 - the user's code may raise anything
        return f"<{way.__name__} of {type(value).__name__} failed: {type(reason).__name__}>"
