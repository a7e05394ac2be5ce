"""Reading a decorated class into its workflow definition, with all that is wrong with it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hotmesh.common import VersioningBehavior
from hotmesh.engine.definition import (
    CONFIG_ATTRIBUTE,
    INIT_ATTRIBUTE,
    RUN_ATTRIBUTE,
    WORKFLOW_ATTRIBUTE,
    DynamicWorkflowConfig,
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    WorkflowDefinition,
    takes_raw_values,
    type_hints_of,
)

Handler = SignalDefinition | QueryDefinition | UpdateDefinition

_HANDLERS = {"signal": SignalDefinition, "query": QueryDefinition, "update": UpdateDefinition}


def define_workflow(
    cls: type,
    name: str | None,
    *,
    dynamic: bool,
    sandboxed: bool,
    failure_exception_types: Sequence[type[BaseException]],
    versioning_behavior: VersioningBehavior,
) -> WorkflowDefinition:
    """Read a class's decorated members into its definition and attach it.

    Raises:
        ValueError: it is declared already, or wrong; names everything that is.
    """
    if WORKFLOW_ATTRIBUTE in vars(cls):
        raise ValueError(f"Class {cls.__qualname__} already contains workflow definition")
    issues: list[str] = []
    run_fn = _find_run(cls, issues)
    tables = {kind: _find_handlers(cls, kind, issues) for kind in _HANDLERS}
    config = _find_dynamic_config(cls, dynamic, issues)
    init = _find_init(cls)
    if init is not None and run_fn is not None and not same_parameters(init, run_fn):
        issues.append("@workflow.init and @workflow.run method parameters do not match")
    if issues or run_fn is None:
        reasons = "" if len(issues) == 1 else f" for {len(issues)} reasons"
        raise ValueError(f"Invalid workflow class {cls.__qualname__}{reasons}: {', '.join(issues)}")
    arg_types, ret_type = type_hints_of(run_fn, skip_self=True)
    definition = WorkflowDefinition(
        name=None if dynamic else (name or cls.__name__),
        cls=cls,
        run_fn=run_fn,
        arg_types=arg_types,
        ret_type=ret_type,
        signals=tables["signal"],
        queries=tables["query"],
        updates=tables["update"],
        init_takes_arguments=init is not None,
        failure_exception_types=tuple(failure_exception_types),
        versioning_behavior=versioning_behavior,
        sandboxed=sandboxed,
        takes_raw=dynamic and takes_raw_values(run_fn),
        dynamic_config=config,
    )
    setattr(cls, WORKFLOW_ATTRIBUTE, definition)
    setattr(run_fn, RUN_ATTRIBUTE, definition)
    return definition


def same_parameters(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two functions take the same, whatever they call it: kinds, defaults, annotations."""
    return _parameters(one) == _parameters(other)


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [each.replace(name="x") for each in inspect.signature(function).parameters.values()]


def _inherited(cls: type) -> Iterator[tuple[type, Any]]:
    """The functions that the bases define themselves, each with its class."""
    for base in cls.__mro__[1:]:
        for member in vars(base).values():
            if inspect.isfunction(member):
                yield base, member


def _find_handlers(cls: type, kind: str, issues: list[str]) -> dict[str | None, Any]:
    """The handlers of a kind by name; notes two of one name, and overrides without decorator."""
    read = _HANDLERS[kind].of
    found: dict[str | None, Any] = {}
    for member_name, member in inspect.getmembers(cls):
        definition = read(member)
        if definition is None:
            continue
        if definition.name in found:
            shown = "<dynamic>" if definition.name is None else definition.name
            issues.append(
                f"multiple {kind} methods found for {shown} "
                f"(at least on {member_name} and {found[definition.name].fn.__name__})"
            )
            continue
        found[definition.name] = definition
        if isinstance(definition, UpdateDefinition):
            _check_validator(definition, issues)
    for _, member in _inherited(cls):
        definition = read(member)
        if definition is not None and definition.name not in found:
            issues.append(
                f"@workflow.{kind} defined on {member.__qualname__} but not on the override"
            )
    return found


def _check_validator(update: UpdateDefinition, issues: list[str]) -> None:
    validator = update.validator
    if validator is not None and not same_parameters(validator, update.fn):
        issues.append(
            f"update validator {validator.__name__} parameters do not match those of update method "
            f"{update.fn.__name__}"
        )


def _find_init(cls: type) -> Callable[..., Any] | None:
    """``__init__`` if it takes the workflow's arguments."""
    init = getattr(cls, "__init__", None)
    return init if getattr(init, INIT_ATTRIBUTE, False) else None


def _find_dynamic_config(
    cls: type, dynamic: bool, issues: list[str]
) -> Callable[[Any], DynamicWorkflowConfig] | None:
    found = [
        member for _, member in inspect.getmembers(cls) if getattr(member, CONFIG_ATTRIBUTE, False)
    ]
    if len(found) > 1:
        issues.append("multiple @workflow.dynamic_config methods found")
    if found and not dynamic:
        issues.append("@workflow.dynamic_config on a workflow that is not dynamic")
    return found[0] if found else None


def _find_run(cls: type, issues: list[str]) -> Callable[..., Any] | None:
    found = [
        member for member in vars(cls).values() if getattr(member, RUN_ATTRIBUTE, None) is not None
    ]
    if len(found) > 1:
        names = " and ".join(member.__name__ for member in found[:2])
        issues.append(f"multiple @workflow.run methods found (at least on {names})")
    if found:
        return found[0]
    inherited = [
        member.__qualname__
        for _, member in _inherited(cls)
        if getattr(member, RUN_ATTRIBUTE, None) is not None
    ]
    if inherited:
        issues.append(f"@workflow.run defined on {inherited[0]} but not on the override")
    else:
        issues.append("missing @workflow.run method")
    return None
