"""What a caller may name a workflow, signal, query or update by: its type's name or its code."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from hotmesh.engine.definition import (
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    WorkflowDefinition,
)
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.printing import shown

Named = str | Callable[..., Any]
"""A name, or the decorated function (for workflows also the class) that carries it."""


def workflow_named(workflow: Named, result_type: type | None = None) -> tuple[str, Any | None]:
    """Name and result type of a workflow.

    Raises:
        InvalidArgumentError: It is neither a name nor a workflow, or it is a dynamic one.
    """
    if isinstance(workflow, str):
        return workflow, result_type
    found = WorkflowDefinition.of(workflow)
    if found is None and _is_plain_coroutine_function(workflow):
        found = WorkflowDefinition.from_function(workflow)
    name = _name(found, workflow, "workflow", "the method decorated with @workflow.run")
    return name, result_type or (found.ret_type if found else None)


def signal_named(signal: Named) -> str:
    """Name of a signal.

    Raises:
        InvalidArgumentError: It is neither a name nor a signal handler, or a dynamic one.
    """
    if isinstance(signal, str):
        return signal
    return _name(SignalDefinition.of(signal), signal, "signal", "a @workflow.signal method")


def query_named(query: Named, result_type: type | None = None) -> tuple[str, Any | None]:
    """Name and result type of a query.

    Raises:
        InvalidArgumentError: It is neither a name nor a query handler, or a dynamic one.
    """
    if isinstance(query, str):
        return query, result_type
    found = QueryDefinition.of(query)
    name = _name(found, query, "query", "a @workflow.query method")
    return name, result_type or (found.ret_type if found else None)


def update_named(update: Named, result_type: type | None = None) -> tuple[str, Any | None]:
    """Name and result type of an update.

    Raises:
        InvalidArgumentError: It is neither a name nor an update handler, or a dynamic one.
    """
    if isinstance(update, str):
        return update, result_type
    found = UpdateDefinition.of(update)
    name = _name(found, update, "update", "a @workflow.update method")
    return name, result_type or (found.ret_type if found else None)


def _is_plain_coroutine_function(given: Callable[..., Any]) -> bool:
    """Whether it may be a workflow of its own; the method of a class may not."""
    if not inspect.isfunction(given) or not inspect.iscoroutinefunction(given):
        return False
    return given.__qualname__.rpartition("<locals>.")[2] == given.__name__


def _name(
    found: WorkflowDefinition | SignalDefinition | QueryDefinition | UpdateDefinition | None,
    given: object,
    what: str,
    expected: str,
) -> str:
    if found is None:
        raise InvalidArgumentError(f"{shown(given)} is no {what}: pass a name or {expected}")
    if found.name is None:
        raise InvalidArgumentError(f"Cannot call the dynamic {what} {shown(given)} without a name")
    return found.name
