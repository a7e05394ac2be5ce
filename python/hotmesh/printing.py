"""Printing what users made: exceptions and values whose own ``str`` and ``repr`` may raise.

Whatever the engine says of a user's object, in a log line, a stored failure or an error of its own,
goes through here. Nothing in this module raises because of the object, whatever its code raises.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from hotmesh.interrupts import is_from_outside
from hotmesh.shortening import FRAMES_EACH, cut, short_traceback, shortened

FRAMES_MAX = 10
"""Frames of an error that are shown; of more, the innermost."""

_LIBRARIES = (
    *(
        f"{Path(package).parent}{os.sep}"
        for package in (__file__, asyncio.__file__, concurrent.futures.__file__)
    ),
    threading.__file__,
)
_BLOCK = re.compile(r'^  File "(?P<file>.+?)", line \d+.*\n(?:    .*\n)*', re.MULTILINE)
_FRAME = re.compile(r'File "(.+?)", line (\d+), in (\S+)')


class UnprintableError(Exception):
    """Stands in a log for an exception that can't be formatted, with its traceback."""


def message_of(error: BaseException) -> str:
    """``str(error)``, or what says that it has none."""
    return _text_by(str, error)


def shown(value: object) -> str:
    """``repr(value)``, cut to a length that people read, or what says that it has none."""
    return cut(_text_by(repr, value))


def told(error: BaseException) -> str:
    """The class and the message of an error, on one line, cut to a length that people read."""
    name, message = type(error).__name__, cut(message_of(error))
    return f"{name}: {message}" if message else name


def stack_of(error: BaseException, limit: int = FRAMES_EACH) -> str:
    """The frames that an error came through, as text; empty if it was not raised.

    Frames of this library and of asyncio are left out where there are others, and those in the
    middle where there are too many.

    Args:
        error: The error.
        limit: Frames that are told.
    """
    frames: TracebackType | None = error.__traceback__
    if frames is None:
        return ""
    remote = getattr(error.__cause__, "tb", None)
    if isinstance(remote, str):  # It comes from another process, by a pool of Python's.
        return cut(_users_part(remote))
    try:
        kept, _, left_out = short_traceback(frames, limit, _is_users)
        entries = traceback.extract_tb(kept)
        outer = limit // 5
        text = traceback.format_list(entries[:outer] if left_out else entries)
        if left_out:
            text += [f"  … {left_out:,} more frames\n", *traceback.format_list(entries[outer:])]
        return "\n".join(text)
    except BaseException as reason:  # a module's loader may raise anything
        if is_from_outside(reason):
            raise
        return f"<the stack can't be printed: {type(reason).__name__}>"


def stack_text(frames: Iterable[traceback.FrameSummary]) -> str:
    """Frames as text, the outermost first; those of libraries only if there are no others."""
    frames = list(frames)
    return "\n".join(traceback.format_list(users(frames) or frames))


def _users_part(stack: str) -> str:
    """A printed traceback without the frames of libraries."""
    blocks = [each for each in _BLOCK.finditer(stack) if not each["file"].startswith(_LIBRARIES)]
    return "\n".join(each[0] for each in blocks) or stack


def users(frames: Iterable[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """The frames that are neither this library's nor asyncio's."""
    return [frame for frame in frames if _is_users(frame.filename)]


def _is_users(filename: str) -> bool:
    return not filename.startswith(_LIBRARIES)


def user_frames(error: BaseException) -> list[str]:
    """Where an error was raised in the user's code, outermost first: ``file:line in function``."""
    if error.__traceback__ is None:
        return []
    kept, _, _ = short_traceback(error.__traceback__, FRAMES_EACH, _is_users)
    frames = users(traceback.extract_tb(kept))[-FRAMES_MAX:]
    return [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]


def frames_in(stack: str) -> list[str]:
    """The frames that a stack names, outermost first: ``file:line in function``.

    Args:
        stack: Text as :func:`stack_of` writes it, or a traceback as Python prints it.
    """
    found = [f"{name}:{line} in {function}" for name, line, function in _FRAME.findall(stack)]
    return found[-FRAMES_MAX:]


def printable(error: BaseException | None) -> BaseException | None:
    """The error itself for ``exc_info``, or one in its place that a log can print.

    One that is very long (thousands of causes, members or frames) would hold up the event loop:
    what stands for it has its beginning, and says how much is left out.
    """
    if error is None:
        return None
    try:
        error = shortened(error, message_of)
        traceback.format_exception(error)
    except BaseException as reason:  # notes, causes and groups are the user's, too
        if is_from_outside(reason):
            raise
        name = type(error).__name__
        return UnprintableError(f"{name} can't be printed").with_traceback(error.__traceback__)
    return error


def _text_by(way: Callable[[Any], str], value: object) -> str:
    try:
        return str.__str__(way(value))
    except BaseException as reason:  # the user's code may raise anything
        if is_from_outside(reason):
            raise
        return f"<{way.__name__} of {type(value).__name__} failed: {type(reason).__name__}>"
