"""What decorators record about workflow classes and their handlers."""

from __future__ import annotations

import enum
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotmesh.common import RawValue, RetryPolicy, VersioningBehavior

WORKFLOW_ATTRIBUTE = "__hotmesh_workflow__"
RUN_ATTRIBUTE = "__hotmesh_run__"
INIT_ATTRIBUTE = "__hotmesh_init__"
CONFIG_ATTRIBUTE = "__hotmesh_dynamic_config__"
SIGNAL_ATTRIBUTE = "__hotmesh_signal__"
QUERY_ATTRIBUTE = "__hotmesh_query__"
UPDATE_ATTRIBUTE = "__hotmesh_update__"


class HandlerUnfinishedPolicy(enum.Enum):
    """What happens when a run closes while a signal or update handler still works."""

    WARN_AND_ABANDON = 1
    ABANDON = 2


@dataclass(frozen=True)
class DynamicWorkflowConfig:
    """What a dynamic workflow decides for the type it stands in for."""

    failure_exception_types: Sequence[type[BaseException]] | None = None
    """Exceptions that fail the run, in place of those of the class; None leaves them."""
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    """Recorded for compatibility."""


def type_hints_of(
    function: Callable[..., Any], *, skip_self: bool
) -> tuple[list[Any] | None, Any | None]:
    """The positional parameters' types and the return type of a function.

    Returns:
        ``(argument types, return type)``; None where the function doesn't say. An unannotated
        parameter among annotated ones counts as ``Any``; with no annotation at all the list is
        None.
    """
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function)
    except (TypeError, NameError, ValueError):
        return None, None
    parameters = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if skip_self:
        parameters = parameters[1:]
    types = [hints.get(parameter.name, Any) for parameter in parameters]
    return (types if types and any(t is not Any for t in types) else None), hints.get("return")


def check_argument_count(function: Callable[..., Any], count: int, what: str) -> None:
    """Refuse a call that the function could not take.

    Raises:
        TypeError: naming the handler, its signature, and how many arguments came.
    """
    check_arity(_signature(function), count, what)


def check_arity(arity: tuple[int, int | None] | None, count: int, what: str) -> None:
    """:func:`check_argument_count` for one whose (required, allowed) arguments are known."""
    if arity is None:
        return
    required, allowed = arity
    if count < required or (allowed is not None and count > allowed):
        expected = str(required) if required == allowed else f"{required} to {allowed}"
        raise TypeError(f"{what} takes {expected} argument(s) but {count} were given")


_signatures: dict[Any, tuple[int, int | None] | None] = {}


def _signature(function: Callable[..., Any]) -> tuple[int, int | None] | None:
    """(required, allowed) positional arguments, cached per function; None if unknown."""
    key = getattr(function, "__func__", function)
    bound = key is not function
    cached = _signatures.get((key, bound), False)
    if cached is not False:
        return typing.cast("tuple[int, int | None] | None", cached)
    result: tuple[int, int | None] | None
    try:
        required, allowed = 0, 0
        unlimited = False
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                allowed += 1
                required += parameter.default is parameter.empty
            elif parameter.kind is parameter.VAR_POSITIONAL:
                unlimited = True
        result = (required, None if unlimited else allowed)
    except (TypeError, ValueError):
        result = None
    _signatures[(key, bound)] = result
    return result


def is_raw_sequence(hint: Any) -> bool:
    """Whether a type is ``Sequence[RawValue]``, of either module that has a Sequence."""
    return typing.get_origin(hint) is Sequence and typing.get_args(hint) == (RawValue,)


def takes_raw_values(function: Callable[..., Any], *, is_method: bool = True) -> bool:
    """Whether a dynamic handler has the form ``(self, name, args: Sequence[RawValue])``."""
    types, _ = type_hints_of(function, skip_self=is_method)
    return types is not None and is_raw_sequence(types[-1])


def check_dynamic_handler(function: Callable[..., Any], what: str, *, is_method: bool) -> bool:
    """Refuse a dynamic handler that can't take every name with its arguments.

    Args:
        function: ``(name, args: Sequence[RawValue])``, or in the old form ``(name, *args)``.
        what: The kind of handler, for the error.
        is_method: Whether its first parameter is the workflow object.

    Returns:
        Whether it has the old form.

    Raises:
        RuntimeError: It has neither form.
    """
    parameters = list(inspect.signature(function).parameters.values())[is_method:]
    if len(parameters) == 2 and parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        if parameters[1].kind is inspect.Parameter.VAR_POSITIONAL:
            return True
        if takes_raw_values(function, is_method=is_method):
            return False
    own = "self, " if is_method else ""
    raise RuntimeError(
        f"Dynamic {what} handler {function.__qualname__} must take ({own}name: str, "
        "args: Sequence[RawValue])"
    )


@dataclass(slots=True)
class SignalDefinition:
    """A signal handler."""

    name: str | None
    """None for the dynamic handler."""
    fn: Callable[..., Any]
    is_method: bool = True
    arg_types: list[Any] | None = None
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON
    description: str | None = None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_async = inspect.iscoroutinefunction(self.fn)

    @staticmethod
    def of(fn: Any) -> SignalDefinition | None:
        """The definition that a decorated method carries, if it is one."""
        return getattr(fn, SIGNAL_ATTRIBUTE, None)


@dataclass(slots=True)
class QueryDefinition:
    """A query handler."""

    name: str | None
    fn: Callable[..., Any]
    is_method: bool = True
    arg_types: list[Any] | None = None
    ret_type: Any | None = None
    description: str | None = None

    @staticmethod
    def of(fn: Any) -> QueryDefinition | None:
        """The definition that a decorated method carries, if it is one."""
        return getattr(fn, QUERY_ATTRIBUTE, None)


@dataclass(slots=True)
class UpdateDefinition:
    """An update handler and its validator."""

    name: str | None
    fn: Callable[..., Any]
    is_method: bool = True
    arg_types: list[Any] | None = None
    ret_type: Any | None = None
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON
    validator: Callable[..., None] | None = None
    description: str | None = None
    is_async: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_async = inspect.iscoroutinefunction(self.fn)

    @staticmethod
    def of(fn: Any) -> UpdateDefinition | None:
        """The definition that a decorated method carries, if it is one."""
        return getattr(fn, UPDATE_ATTRIBUTE, None)


@dataclass(slots=True)
class WorkflowDefinition:
    """A workflow type: a class with a run method, or a plain coroutine function."""

    name: str | None
    """None for the dynamic workflow."""
    cls: type | None
    run_fn: Callable[..., Any]
    arg_types: list[Any] | None
    ret_type: Any | None
    signals: Mapping[str | None, SignalDefinition] = field(
        default_factory=dict[str | None, SignalDefinition]
    )
    queries: Mapping[str | None, QueryDefinition] = field(
        default_factory=dict[str | None, QueryDefinition]
    )
    updates: Mapping[str | None, UpdateDefinition] = field(
        default_factory=dict[str | None, UpdateDefinition]
    )
    init_takes_arguments: bool = False
    failure_exception_types: tuple[type[BaseException], ...] = ()
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    sandboxed: bool = True
    takes_raw: bool = False
    """The dynamic run method takes one sequence of raw values."""
    dynamic_config: Callable[[Any], DynamicWorkflowConfig] | None = None
    """Asked once the object of a dynamic workflow is made."""
    task_retry: RetryPolicy | None = None
    """When its exceptions that are no failures fail the run: once these attempts of a workflow task
    are spent. None tries for ever."""
    arity: tuple[int, int | None] | None = field(init=False)
    """(required, allowed) arguments of the run method; None if unknown."""

    def __post_init__(self) -> None:
        bound = self.run_fn if self.cls is None else self.run_fn.__get__(object())
        self.arity = _signature(bound)

    @staticmethod
    def of(target: Any) -> WorkflowDefinition | None:
        """The definition of a decorated class, of its run method, or of an instance's method."""
        if isinstance(target, type):
            return target.__dict__.get(WORKFLOW_ATTRIBUTE)
        found = getattr(target, RUN_ATTRIBUTE, None)
        return found if isinstance(found, WorkflowDefinition) else None

    @staticmethod
    def from_function(function: Callable[..., Any], name: str | None = None) -> WorkflowDefinition:
        """A plain coroutine function as a workflow type.

        Raises:
            TypeError: it is not a coroutine function.
        """
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"workflow function {function!r} must be declared with 'async def'")
        arg_types, ret_type = type_hints_of(function, skip_self=False)
        return WorkflowDefinition(
            name=name or function.__name__,
            cls=None,
            run_fn=function,
            arg_types=arg_types,
            ret_type=ret_type,
        )
