"""What came out of user code but is not its own: the process, or who called the code, is ending.

User code may raise anything, and what it raises ends what it was called for, nothing else. But a
signal handler raises in the midst of whatever runs, a task that is cancelled gets CancelledError
where it waits, and a coroutine that is closed gets GeneratorExit: those must go on up.
"""

from __future__ import annotations

import asyncio
import functools
import opcode
import signal
import threading
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

_RAISE = opcode.opmap["RAISE_VARARGS"]


def is_from_outside(error: BaseException) -> bool:
    """Whether an exception was raised into user code, not by it. To be asked where it is caught.

    Args:
        error: What was caught, in the coroutine or function that called user code.
    """
    if isinstance(error, Exception):
        return False
    if isinstance(error, asyncio.CancelledError):
        task = _current_task()
        return task is not None and task.cancelling() > 0
    if isinstance(error, GeneratorExit):
        trace = error.__traceback__
        if trace is not None and trace.tb_next is not None:
            return False
        # The code that was waited for has been closed before, and this one raised anew. That may
        # also be a future's exception, which the task whose coroutine this is passes on.
        task = _current_task()
        coroutine = None if task is None else task.get_coro()
        return trace is None or getattr(coroutine, "cr_frame", None) is not trace.tb_frame
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return _is_from_signal(error)
    return False


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None


def _is_from_signal(error: BaseException) -> bool:
    """Whether a handler of a signal raised it: they run in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {code for code in map(_code_of, handlers) if code is not None}
    trace = innermost = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        innermost, trace = trace, trace.tb_next
    # Python's own handler of Ctrl-C has no frame; but what it raises stands in no raise statement.
    return (
        isinstance(error, KeyboardInterrupt)
        and signal.default_int_handler in handlers
        and (innermost is None or not _is_raise(innermost))
    )


def _code_of(handler: Callable[[int, FrameType | None], Any] | int | None) -> CodeType | None:
    found: Any = handler
    while isinstance(found, functools.partial):
        found = found.func
    found = getattr(found, "__func__", found)
    return getattr(found, "__code__", None)


def _is_raise(trace: TracebackType) -> bool:
    code = trace.tb_frame.f_code.co_code
    return 0 <= trace.tb_lasti < len(code) and code[trace.tb_lasti] == _RAISE
