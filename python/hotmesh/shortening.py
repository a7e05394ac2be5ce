"""Errors that would take too long to print or store: how much of them is kept.

Python puts no bound to an error: a chain of causes, a group or a stack may have thousands of
members, and whoever prints them all holds up what runs beside it. Bounded here is the work, not
only the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, cast

EXCEPTIONS_MAX = 64
"""Errors of one that are printed: causes and members, and theirs."""

MEMBERS_MAX = 15
"""Members of one group that are printed then; as many as Python prints."""

FRAMES_EACH = 100
FRAMES_ALL = 500
"""Frames of one error, and of all that are printed or stored with it; each costs some 20 us."""

FRAMES_LEAST = 5
"""Frames of an error that are kept however many others have had."""

NOTES_MAX = 100

CHARS_MAX = 10_000
"""Of a message, a note, a ``repr``: more is nobody's to read in a log line."""


def cut(text: str) -> str:
    """A text that people read, cut to a length that they read."""
    return text if len(text) <= CHARS_MAX else f"{text[:CHARS_MAX]}…"


def short_traceback(
    traceback: TracebackType, limit: int, wanted: Callable[[str], bool] | None = None
) -> tuple[TracebackType, int, int]:
    """A traceback of few frames: of the outermost a fifth, the rest the innermost.

    Args:
        traceback: The whole of it.
        limit: Frames to keep.
        wanted: Whether frames of a file are to be kept; where none is, all are.

    Returns:
        The traceback; how many frames it has; how many are left out behind the first fifth.
    """
    frames = list(_frames(traceback))
    if wanted is not None:
        frames = [each for each in frames if wanted(each.tb_frame.f_code.co_filename)] or frames
    left_out = max(0, len(frames) - limit)
    if left_out:
        frames = frames[: limit // 5] + frames[len(frames) - limit + limit // 5 :]
    kept: TracebackType | None = None
    for each in reversed(frames):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return cast("TracebackType", kept), len(frames), left_out


def shortened(error: BaseException, message_of: Callable[[BaseException], str]) -> BaseException:
    """The error itself; in place of one that is too long to print, one that prints its beginning.

    Args:
        error: Whatever user code raised.
        message_of: Its message, if it has one.
    """
    return _Short(message_of).of(error) if _is_long(error, message_of) else error


def following(error: BaseException) -> BaseException | None:
    """What Python would say led to an error."""
    if error.__cause__ is not None:
        return error.__cause__
    return None if error.__suppress_context__ else error.__context__


def chain_length(error: BaseException | None) -> int:
    """How long a chain is; a circle is as long as what is in it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error = following(error)
    return len(seen)


def frame_count(traceback: TracebackType | None) -> int:
    """How many frames an error came through."""
    return sum(1 for _ in _frames(traceback))


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _members(error: BaseException) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()


def _notes(error: BaseException) -> list[Any]:
    notes: object = getattr(error, "__notes__", None)
    return cast("list[Any]", notes) if isinstance(notes, list) else []


def _is_long(error: BaseException, message_of: Callable[[BaseException], str]) -> bool:
    waiting, seen, frames = [error], {id(error)}, 0
    for each in waiting:  # It grows meanwhile.
        own = frame_count(each.__traceback__)
        frames += own
        notes, members = _notes(each), _members(each)
        if own > FRAMES_EACH or frames > FRAMES_ALL or len(notes) > NOTES_MAX:
            return True
        if len(members) > EXCEPTIONS_MAX or len(message_of(each)) > CHARS_MAX:
            return True
        if any(isinstance(note, str) and len(note) > CHARS_MAX for note in notes):
            return True
        for other in (*members, each.__cause__, each.__context__):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)
        if len(waiting) > EXCEPTIONS_MAX:
            return True
    return False


class _Short:
    """Makes what prints as the beginning of an error, without being able to do anything else."""

    def __init__(self, message_of: Callable[[BaseException], str]) -> None:
        self._message_of = message_of
        self._seen: set[int] = set()
        self._frames = FRAMES_ALL

    def of(self, error: BaseException) -> BaseException:
        """The stand-in for an error, its causes and members among it as far as there is room."""
        self._seen.add(id(error))
        notes = [cut(each) if isinstance(each, str) else each for each in _notes(error)]
        left_out: dict[str, int] = {"notes": len(notes) - NOTES_MAX}
        cause = following(error)
        if cause is not None and self._is_full(cause):
            left_out["errors that led to this one"] = chain_length(cause)
            cause = None
        made_cause = None if cause is None else self.of(cause)
        members = _members(error)
        kept = [self.of(each) for each in members[:MEMBERS_MAX] if not self._is_full(each)]
        left_out["members"] = len(members) - len(kept)
        made = self._make(error, kept)
        if error.__traceback__ is not None:
            limit = max(FRAMES_LEAST, min(FRAMES_EACH, self._frames))
            made.__traceback__, count, left_out["frames"] = short_traceback(
                error.__traceback__, limit
            )
            self._frames -= count
        if cause is error.__cause__:
            made.__cause__ = made_cause
        else:
            made.__context__ = made_cause
        made.__notes__ = [*notes[:NOTES_MAX], *_said(left_out)]
        return made

    def _make(self, error: BaseException, members: list[BaseException]) -> BaseException:
        message, real = cut(self._message_of(error)), type(error)
        names: dict[str, Any] = {
            "__module__": real.__module__,
            "__qualname__": real.__qualname__,
            "__str__": _first_argument,
        }
        if members:
            made: Any = type(real.__name__, (BaseExceptionGroup,), names)
            return made(message, members)
        made = type(real.__name__, (Exception,), names)
        return made(message)

    def _is_full(self, error: BaseException) -> bool:
        return id(error) in self._seen or len(self._seen) >= EXCEPTIONS_MAX


def _first_argument(error: BaseException) -> str:
    return error.args[0]


def _said(left_out: dict[str, int]) -> list[str]:
    return [f"… {count:,} {what} are left out" for what, count in left_out.items() if count > 0]
