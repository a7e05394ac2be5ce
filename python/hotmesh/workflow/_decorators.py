"""Decorators that make a class a workflow. They work outside workflows."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, overload

from hotmesh.common import VersioningBehavior
from hotmesh.engine.declaration import define_workflow
from hotmesh.engine.definition import (
    CONFIG_ATTRIBUTE,
    INIT_ATTRIBUTE,
    QUERY_ATTRIBUTE,
    RUN_ATTRIBUTE,
    SIGNAL_ATTRIBUTE,
    UPDATE_ATTRIBUTE,
    HandlerUnfinishedPolicy,
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    check_dynamic_handler,
    type_hints_of,
)

_Class = TypeVar("_Class", bound=type)
_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def defn(cls: _Class) -> _Class: ...
@overload
def defn(
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
) -> Callable[[_Class], _Class]: ...
def defn(
    cls: Any = None,
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
) -> Any:
    """Make a class a workflow type.

    Args:
        cls: The class.
        name: Its type name; the class's name by default.
        sandboxed: Accepted for compatibility; workflow modules are not re-imported.
        dynamic: Run workflows of any type that has no class of its own.
        failure_exception_types: Exceptions that fail the run; others fail only the task, which is
            tried again once the code is mended.
        versioning_behavior: Means nothing: runs are not tied to builds.

    Raises:
        ValueError: the class is declared already or wrong: it has no run method, two handlers share
            a name, a validator takes other arguments than its update, …; all of it is named.
    """

    def decorate(target: _Class) -> _Class:
        if name is not None and dynamic:
            raise ValueError("Cannot provide name and dynamic boolean")
        define_workflow(
            target,
            name,
            dynamic=dynamic,
            sandboxed=sandboxed,
            failure_exception_types=failure_exception_types,
            versioning_behavior=versioning_behavior,
        )
        return target

    return decorate if cls is None else decorate(cls)


def run(fn: _Function) -> _Function:
    """Mark the workflow's run method, a coroutine function.

    Raises:
        ValueError: it isn't a coroutine function, or its class is defined inside a function.
    """
    if not inspect.iscoroutinefunction(fn):
        raise ValueError("Workflow run method must be an async function")
    if "<locals>" in fn.__qualname__:
        raise ValueError(
            f"Local classes unsupported, @workflow.run cannot be on {fn.__qualname__}: define the "
            "class at the top of its module"
        )
    setattr(fn, RUN_ATTRIBUTE, True)
    return fn


def init(init_fn: _Function) -> _Function:
    """Mark ``__init__`` as taking the workflow's arguments, like the run method.

    Raises:
        ValueError: it is not ``__init__``.
    """
    if init_fn.__name__ != "__init__":
        raise ValueError("@workflow.init may only be used on the __init__ method")
    setattr(init_fn, INIT_ATTRIBUTE, True)
    return init_fn


def dynamic_config(fn: _Function) -> _Function:
    """Mark the method of a dynamic workflow that returns its :class:`DynamicWorkflowConfig`.

    It is called when the object has been made, before the run method.

    Raises:
        ValueError: it is a coroutine function, or takes more than self.
    """
    if inspect.iscoroutinefunction(fn):
        raise ValueError("Workflow dynamic_config method must be synchronous")
    if len(inspect.signature(fn).parameters) != 1:
        raise ValueError("Workflow dynamic_config method must only take self parameter")
    setattr(fn, CONFIG_ATTRIBUTE, True)
    return fn


def _handler_name(
    fn: Callable[..., Any], name: str | None, dynamic: bool | None, kind: str
) -> str | None:
    if name is not None and dynamic:
        raise RuntimeError("Cannot provide name and dynamic boolean")
    if not dynamic:
        return name or fn.__name__
    if check_dynamic_handler(fn, kind, is_method=True):
        warnings.warn(
            f"Dynamic {kind} handlers that take *args are deprecated, use Sequence[RawValue]",
            DeprecationWarning,
            stacklevel=4,
        )
    return None


def _arg_types(fn: Callable[..., Any], dynamic: bool | None) -> list[Any] | None:
    return None if dynamic else type_hints_of(fn, skip_self=True)[0]


def signal(
    fn: Any = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """Mark a method as a signal handler; it may be a coroutine function.

    Args:
        fn: The method.
        name: The signal's name; the method's by default.
        dynamic: Take every signal that has no handler; the method gets the name and a sequence
            of :class:`hotmesh.common.RawValue`.
        unfinished_policy: Whether to warn if the run closes while it is at work.
        description: Shown to people.

    Raises:
        RuntimeError: it is both dynamic and named, or dynamic and takes something else.
    """

    def decorate(function: _Function) -> _Function:
        definition = SignalDefinition(
            name=_handler_name(function, name, dynamic, "signal"),
            fn=function,
            arg_types=_arg_types(function, dynamic),
            unfinished_policy=unfinished_policy,
            description=description,
        )
        setattr(function, SIGNAL_ATTRIBUTE, definition)
        return function

    return decorate if fn is None else decorate(fn)


def query(
    fn: Any = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    description: str | None = None,
) -> Any:
    """Mark a method as a query handler: it looks, and changes nothing.

    Args:
        fn: The method.
        name: The query's name; the method's by default.
        dynamic: Take every query that has no handler.
        description: Shown to people.

    Raises:
        RuntimeError: it is both dynamic and named, or dynamic and takes something else.
    """

    def decorate(function: _Function) -> _Function:
        definition = QueryDefinition(
            name=_handler_name(function, name, dynamic, "query"),
            fn=function,
            arg_types=_arg_types(function, dynamic),
            ret_type=type_hints_of(function, skip_self=True)[1],
            description=description,
        )
        setattr(function, QUERY_ATTRIBUTE, definition)
        return function

    return decorate if fn is None else decorate(fn)


def update(
    fn: Any = None,
    *,
    name: str | None = None,
    dynamic: bool | None = False,
    unfinished_policy: HandlerUnfinishedPolicy = HandlerUnfinishedPolicy.WARN_AND_ABANDON,
    description: str | None = None,
) -> Any:
    """Mark a method as an update handler: it may change the run and answers the caller.

    The decorated method has a ``validator`` decorator for a method that raises to reject an
    update before it is recorded.

    Args:
        fn: The method.
        name: The update's name; the method's by default.
        dynamic: Take every update that has no handler.
        unfinished_policy: Whether to warn if the run closes while it is at work.
        description: Shown to people.

    Raises:
        RuntimeError: it is both dynamic and named, or dynamic and takes something else.
    """

    def decorate(function: Any) -> Any:
        definition = UpdateDefinition(
            name=_handler_name(function, name, dynamic, "update"),
            fn=function,
            arg_types=_arg_types(function, dynamic),
            ret_type=type_hints_of(function, skip_self=True)[1],
            unfinished_policy=unfinished_policy,
            description=description,
        )

        def validator(validate: _Function) -> _Function:
            if inspect.iscoroutinefunction(validate):
                raise RuntimeError("Update validator must not be async")
            definition.validator = validate
            return validate

        setattr(function, UPDATE_ATTRIBUTE, definition)
        function.validator = validator
        return function

    return decorate if fn is None else decorate(fn)
