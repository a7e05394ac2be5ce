"""From `module:object` on the command line to what a worker hosts."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from hotmesh import activity
from hotmesh.activity import ActivityDefinition
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.exceptions import InvalidArgumentError

ACTIVITY_ATTRIBUTE = "__hotmesh_activity__"
FACE = "hotmesh.meshflow"
"""The function-first face; imported by the modules that use it, else left alone."""


@dataclass
class Hosted:
    """Workflows and activities for a worker, each once and in the order they were named."""

    workflows: list[Any] = field(default_factory=list[Any])
    activities: list[Callable[..., Any]] = field(default_factory=list[Callable[..., Any]])

    def add(self, found: Any, name: str, *, as_activity: bool = False) -> None:
        """Add what a name stands for.

        Args:
            found: A decorated workflow class or activity; a plain function: ``async def`` is a
                workflow unless it was proxied as an activity, ``def`` an activity; a list or tuple
                of these; or a module, of which all decorated ones are taken.
            name: How it was named, for errors.
            as_activity: A plain ``async def`` is an activity too.

        Raises:
            InvalidArgumentError: It is nothing of the kind.
        """
        if isinstance(found, ModuleType):
            self._add_module(found, name)
        elif isinstance(found, list | tuple | set | frozenset):
            for each in cast("Iterable[Any]", found):
                self.add(each, name, as_activity=as_activity)
        elif _is_activity(found) or (as_activity and callable(found)):
            _append(self.activities, _declared(found))
        elif _is_workflow(found) or inspect.iscoroutinefunction(found):
            _append(self.workflows, found)
        elif inspect.isroutine(found):
            _append(self.activities, _declared(cast("Callable[..., Any]", found)))
        else:
            raise InvalidArgumentError(
                f"{name}: {found!r} is neither a workflow nor an activity. Name a class with "
                "@workflow.defn, a function, a list of these, or a module that has some."
            )

    def _add_module(self, module: ModuleType, name: str) -> None:
        decorated = [
            each for each in vars(module).values() if _is_activity(each) or _is_workflow(each)
        ]
        if not decorated:
            raise InvalidArgumentError(
                f"{name}: the module has nothing decorated with @workflow.defn or "
                f"@activity.defn. Plain functions are named one by one: {name}:function"
            )
        for each in decorated:
            self.add(each, name)


def load(objects: Sequence[str], activities: Sequence[str] = ()) -> Hosted:
    """Import what a worker is to host.

    The current directory is put on the module path, as ``python -m`` does. Where workflows use the
    function-first face, its proxied activities are hosted as well.

    Args:
        objects: ``module``, ``module:object`` or ``module:object.attribute`` each.
        activities: The same, where plain ``async def`` functions are activities.

    Raises:
        InvalidArgumentError: A module or object does not exist, or is nothing a worker can host.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    hosted = Hosted()
    for name in objects:
        hosted.add(_find(name), name)
    for name in activities:
        hosted.add(_find(name), name, as_activity=True)
    if hosted.workflows:
        for each in _proxied():
            _append(hosted.activities, each)
    return hosted


def _find(name: str) -> Any:
    module_name, _, path = name.partition(":")
    if not module_name:
        raise InvalidArgumentError(f"{name!r} names no module. Write module:object")
    found: Any = _module(module_name)
    for attribute in path.split(".") if path else ():
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise InvalidArgumentError(
                f"{name}: module {module_name!r} has no {path!r}. It is written module:object"
            ) from None
    return found


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that is there, but imports one that is not, keeps its own error and traceback.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise InvalidArgumentError(
            f"There is no module {name!r} (looked in the current directory and where Python "
            "looks). Write module:object"
        ) from error


def _is_workflow(found: Any) -> bool:
    return isinstance(found, WorkflowDefinition) or (
        isinstance(found, type) and WorkflowDefinition.of(found) is not None
    )


def _is_activity(found: Any) -> bool:
    if isinstance(getattr(found, ACTIVITY_ATTRIBUTE, None), ActivityDefinition):
        return True
    return any(each is found for each in _proxied())


def _proxied() -> Sequence[Callable[..., Any]]:
    """The activities that the function-first face was asked to call, and its own."""
    if FACE not in sys.modules:
        return ()
    from hotmesh.meshflow._proxy import offered
    from hotmesh.meshflow._services import SERVICES

    return (*offered().values(), *SERVICES)


def _declared(function: Callable[..., Any]) -> Callable[..., Any]:
    """The activity; a plain function is declared under its own name.

    Raises:
        InvalidArgumentError: It can't be an activity.
    """
    if not inspect.isfunction(function) or ActivityDefinition.is_declared(function):
        return function
    try:
        return activity.defn(function)
    except TypeError as error:
        raise InvalidArgumentError(str(error)) from error


def _append(hosted: list[Any], found: Any) -> None:
    if not any(each is found for each in hosted):
        hosted.append(found)
