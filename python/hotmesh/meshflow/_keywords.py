"""Unknown keywords and option names: an error that names the right one."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Iterable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function's error about an unknown keyword say which one was meant."""
    known = frozenset(inspect.signature(function).parameters)

    @functools.wraps(function)
    def call(*args: _P.args, **keywords: _P.kwargs) -> _R:
        if not keywords.keys() <= known:
            raise TypeError(f"{function.__qualname__}(): {unknown(keywords, known)}")
        return function(*args, **keywords)

    return call


def unknown(given: Iterable[str], known: Collection[str]) -> str:
    """What is wrong with names of which some are not known; "" if all are."""
    return "; ".join(_one(name, known) for name in sorted(set(given) - set(known)))


def _one(name: str, known: Collection[str]) -> str:
    spelled = _HUMP.sub("_", name).lower()
    near = [spelled] if spelled in known else difflib.get_close_matches(spelled, known, n=1)
    if near:
        return f"unknown {name!r}, did you mean {near[0]!r}?"
    shown = ", ".join(sorted(each for each in known if each not in ("self", "cls")))
    return f"unknown {name!r}; known are {shown}"
