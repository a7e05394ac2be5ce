"""Which activities a worker has, checked once when it is made."""

from __future__ import annotations

import dis
import inspect
import math
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hotmesh.activity import ActivityDefinition
from hotmesh.exceptions import ApplicationError
from hotmesh.worker._activity_processes import SharedStateManager


@dataclass(slots=True, eq=False)
class RegisteredActivity:
    """An activity with what the runner wants to know of it on every attempt."""

    definition: ActivityDefinition
    never_waits: bool = field(init=False)
    """An ``async def`` without an await: its coroutine ends when it is first advanced."""
    arguments_text: str = field(init=False, default="")
    """What errors call the arguments; "" for the dynamic activity, whose type is the task's."""
    result_text: str = field(init=False, default="")
    """What errors call the result, likewise."""
    arguments_max: float = field(init=False)
    """As in the definition, but infinite where that is None."""

    def __post_init__(self) -> None:
        most = self.definition.arguments_max
        self.arguments_max = math.inf if most is None else most
        self.never_waits = self.definition.is_async and not _can_wait(self.definition.fn)
        if self.definition.name is not None:
            self.arguments_text = f"arguments of activity {self.definition.name!r}"
            self.result_text = f"result of activity {self.definition.name!r}"


class ActivityRegistry:
    """Activities by type.

    Args:
        activities: Decorated or plain functions, bound methods, or objects with ``__call__``.
        executor: Runs those that are not ``async def``.
        shared_state_manager: Needed when the executor is not a pool of threads.

    Raises:
        ValueError: Two of one name, or a plain function without an executor or manager.
        TypeError: One is a class, cannot be an activity, or cannot be pickled for its process.
    """

    def __init__(
        self,
        activities: Sequence[Callable[..., Any]],
        executor: Executor | None,
        shared_state_manager: SharedStateManager | None,
    ) -> None:
        self.by_name: dict[str, RegisteredActivity] = {}
        self.dynamic: RegisteredActivity | None = None
        self._executor = executor
        self._shared_state_manager = shared_state_manager
        for activity in activities:
            self.add(activity)

    def add(self, activity: Callable[..., Any], *, replace: bool = False) -> None:
        """Take in one more; one of its name is replaced if that is wanted.

        Raises:
            ValueError: One of its name is here and stays, or it needs an executor or manager.
            TypeError: It is a class, cannot be an activity, or cannot be pickled.
        """
        definition = ActivityDefinition.of(activity)
        _check(definition, self._executor, self._shared_state_manager)
        if replace and definition.name is not None:
            self.by_name.pop(definition.name, None)
        self._add(RegisteredActivity(definition))

    @property
    def names(self) -> list[str]:
        """The types, sorted; without the dynamic activity."""
        return sorted(self.by_name)

    @property
    def types(self) -> list[str] | None:
        """The types whose tasks may be claimed; None, for any, with a dynamic activity."""
        return None if self.dynamic is not None else self.names

    def hosts(self, name: str) -> bool:
        """Whether an activity of this type can run here."""
        return name in self.by_name or self.dynamic is not None

    def find(self, name: str) -> RegisteredActivity | None:
        """The activity of a type, else the dynamic one, else None."""
        return self.by_name.get(name) or self.dynamic

    def not_found(self, name: str, workflow_id: str) -> ApplicationError:
        """The error that an attempt of an unknown type fails with."""
        return ApplicationError(
            f"Activity function {name} for workflow {workflow_id} is not registered on this "
            f"worker, available activities: {', '.join(self.names)}",
            type="NotFoundError",
        )

    def _add(self, activity: RegisteredActivity) -> None:
        name = activity.definition.name
        if name is None:
            if self.dynamic is not None:
                raise TypeError("More than one dynamic activity")
            self.dynamic = activity
        elif name in self.by_name:
            raise ValueError(f"More than one activity named {name}")
        else:
            self.by_name[name] = activity


def _check(
    definition: ActivityDefinition,
    executor: Executor | None,
    shared_state_manager: SharedStateManager | None,
) -> None:
    name = definition.name or "<dynamic>"
    if inspect.isclass(definition.fn):
        raise TypeError(f"Activity named {name} is a class instead of an instance")
    if definition.is_async:
        return
    if executor is None:
        raise ValueError(f"Activity {name} is not async so an activity_executor must be present")
    if not isinstance(executor, ThreadPoolExecutor) and shared_state_manager is None:
        raise ValueError(
            f"Activity {name} is not async and executor is not thread-pool executor, "
            "so a shared_state_manager must be present"
        )
    if isinstance(executor, ProcessPoolExecutor):
        try:
            pickle.dumps(definition.fn)
        except Exception as err:
            raise TypeError(
                f"Activity {name} must be picklable when using a process executor"
            ) from err


def _can_wait(fn: Callable[..., Any]) -> bool:
    """Whether a coroutine function holds an await, in any of its forms. If unsure, it does."""
    code = getattr(fn, "__code__", None)
    if code is None:
        return True
    return any(instruction.opname == "SEND" for instruction in dis.get_instructions(code))
