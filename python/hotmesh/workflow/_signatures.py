"""Functions that pass their options on show the signature of the one they pass them to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def like(model: Callable[..., Any], returns: str | None = None) -> Callable[[_Function], _Function]:
    """Show a function with the parameters of another one.

    Args:
        model: Whose parameters, names and defaults included.
        returns: The annotation of the result, where it differs.
    """

    def show(function: _Function) -> _Function:
        signature = inspect.signature(model)
        if returns is not None:
            signature = signature.replace(return_annotation=returns)
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    return show
