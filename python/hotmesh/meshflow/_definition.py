"""Workflow functions and activity functions as the SDK knows them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from hotmesh import activity
from hotmesh.activity import ActivityDefinition
from hotmesh.common import RetryPolicy
from hotmesh.engine.context import current
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.failures import WHATEVER
from hotmesh.engine.options import checked_name

Function = Callable[..., Any]


TASK_RETRY_DEFAULT = RetryPolicy(maximum_attempts=3)
"""How often a workflow function is tried that raises, where its worker has no options."""


@dataclass(slots=True)
class HostedDefinition(WorkflowDefinition):
    """A workflow type with the retry policy that its worker gave it."""

    activity_policy: RetryPolicy | None = None
    """For proxied activities that have none of their own."""


def workflow_definition(
    workflow: Any, policy: RetryPolicy | None, name: str | None = None
) -> WorkflowDefinition:
    """The type of a function, or of a class decorated with ``workflow.defn``.

    Args:
        workflow: The function or class.
        policy: Its worker's retry policy.
        name: Its type name; the function's or the class's own by default.

    Raises:
        TypeError: It is neither, or has no name.
    """
    found = WorkflowDefinition.of(workflow)
    task_retry: RetryPolicy | None = None
    if found is None:
        task_retry = policy or TASK_RETRY_DEFAULT
        if isinstance(workflow, type) or not callable(workflow):
            raise TypeError(
                f"workflow {workflow!r} must be a function, or a class decorated with workflow.defn"
            )
        if name is None and getattr(workflow, "__name__", "<lambda>") == "<lambda>":
            raise TypeError(f"workflow {workflow!r} has no name: pass {{'name': function}}")
        found = WorkflowDefinition.from_function(_coroutine_function(workflow), name)
    given = [field.name for field in fields(WorkflowDefinition) if field.init]
    values = {each: getattr(found, each) for each in given}
    values["name"] = found.name if name is None else checked_name(name, "workflow name")
    values["task_retry"] = task_retry
    if task_retry is not None and task_retry.maximum_attempts == 1:
        values["failure_exception_types"] = WHATEVER
    return HostedDefinition(**values, activity_policy=policy)


def _coroutine_function(function: Function) -> Function:
    """The function itself if it is ``async def``; a plain one as one that runs it when awaited."""
    if inspect.iscoroutinefunction(function):
        return function

    @functools.wraps(function)
    async def call(*args: Any) -> Any:
        result = function(*args)
        return await result if inspect.isawaitable(result) else result

    return call


def workflow_named(workflow: Any) -> tuple[str, Any]:
    """The type name, and the result's type if known, of a workflow given by name or function.

    Raises:
        TypeError: It is no text, function or decorated class.
        ValueError: It is the dynamic workflow, which has no name.
    """
    if isinstance(workflow, str):
        return workflow, None
    found = workflow_definition(workflow, None)
    if found.name is None:
        raise ValueError("The dynamic workflow can't be started by function: pass a name")
    return found.name, found.ret_type


def default_policy() -> RetryPolicy | None:
    """The retry policy that the running workflow's worker was created with."""
    definition = current().definition
    return definition.activity_policy if isinstance(definition, HostedDefinition) else None


def named_activity(function: Function, name: str | None) -> tuple[str, Function]:
    """An activity function with its type name; renamed if another name is wanted.

    Raises:
        TypeError: It can be no activity.
        ValueError: It is the dynamic activity, which has no name.
    """
    own = ActivityDefinition.of(function).name
    if name is None or name == own:
        if own is None:
            raise ValueError("A dynamic activity can't be called by name: don't proxy it")
        # A plain function is declared where it stands: it stays the one that was given.
        plain = inspect.isfunction(function) and not ActivityDefinition.is_declared(function)
        return own, activity.defn(function) if plain else function
    return name, activity.defn(name=name)(_wrapped(function))


def named_activities(functions: Sequence[Function] | Mapping[str, Function]) -> dict[str, Function]:
    """Activity functions by type name.

    Raises:
        TypeError: One can be no activity.
        ValueError: One is the dynamic activity, which has no name.
    """
    if isinstance(functions, Mapping):
        return dict(named_activity(function, name) for name, function in functions.items())
    return dict(named_activity(function, None) for function in functions)


def same_place(one: Function, other: Function) -> bool:
    """Whether one function replaces the other: defined in the same place, by code run again."""
    return place_of(one) == place_of(other)


def place_of(function: Function) -> str:
    """Where a function is defined: a module, or a notebook's cell, that is run again defines it
    anew."""
    return f"{function.__module__}.{function.__qualname__}"


def _wrapped(function: Function) -> Function:
    """The function as another one, which can carry a declaration of its own."""

    async def call_async(*args: Any) -> Any:
        return await function(*args)

    def call(*args: Any) -> Any:
        return function(*args)

    wrapper = call_async if inspect.iscoroutinefunction(function) else call
    # Not its __dict__: that may hold the declaration under its first name.
    return functools.update_wrapper(wrapper, function, updated=())
