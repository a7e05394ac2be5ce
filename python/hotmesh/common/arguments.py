"""How calls pass arguments, and what types a function declares for its own."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Sequence
from typing import Any, cast, get_type_hints

from hotmesh.exceptions import InvalidArgumentError
from hotmesh.printing import shown

ARG_UNSET: Any = object()
"""Default of a single ``arg`` parameter; None is a value a caller may pass."""


def arg_or_args(arg: Any, args: Sequence[Any]) -> Sequence[Any]:
    """Merge the two ways of passing arguments.

    Args:
        arg: The single argument, or :data:`ARG_UNSET`.
        args: All arguments.

    Returns:
        The arguments.

    Raises:
        InvalidArgumentError: Both were given, or the arguments are no list.
    """
    if arg is ARG_UNSET:
        # The two that callers use, with nothing called: workflow code comes here for each command.
        kind = args.__class__
        return args if kind is tuple or kind is list else argument_list(args)
    if args:
        raise InvalidArgumentError("Cannot have arg and args")
    return [arg]


def argument_list(args: Any) -> Sequence[Any]:
    """What was given as arguments, if it is a sequence of them: a text's would be its letters.

    Args:
        args: What a caller, or an interceptor, gave.

    Returns:
        The same.

    Raises:
        InvalidArgumentError: It is no list.
    """
    if isinstance(args, Sequence) and not isinstance(args, (str, bytes, bytearray, memoryview)):
        return cast("Sequence[Any]", args)
    raise InvalidArgumentError(
        f"args must be a list of arguments, not {shown(cast('object', args))}"
    )


def type_hints_from_func(func: Callable[..., Any]) -> tuple[list[Any] | None, Any]:
    """Read the types a function declares.

    Args:
        func: A function, a method, a class, or an object that can be called.

    Returns:
        The types of the parameters without ``self``, or None if one has none or can't be passed
        by position; and the type of the result, or None.

    Raises:
        NameError: An annotation names something its module does not have.
    """
    target = _annotated_function(func)
    hints = get_type_hints(target)
    returned = hints.get("return")
    parameters = list(inspect.signature(target).parameters.values())
    if parameters and _is_self(parameters[0]):
        parameters = parameters[1:]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(each.kind not in positional or each.name not in hints for each in parameters):
        return None, returned
    return [hints[each.name] for each in parameters], returned


def _annotated_function(func: Callable[..., Any]) -> Callable[..., Any]:
    builtin = isinstance(func, types.BuiltinFunctionType)
    if inspect.isfunction(func) or inspect.ismethod(func) or builtin:
        return func
    owner = func if isinstance(func, type) else type(func)
    call = getattr(owner, "__call__", None)  # noqa: B004 - the function itself is wanted
    return call if inspect.isfunction(call) else func


def _is_self(parameter: inspect.Parameter) -> bool:
    unannotated = parameter.annotation is inspect.Parameter.empty
    return parameter.name == "self" and (unannotated or "Self" in str(parameter.annotation))
