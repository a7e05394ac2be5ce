"""Proxied activities: what workflow code calls, and which functions this process offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from hotmesh import workflow
from hotmesh.common import RetryPolicy
from hotmesh.meshflow._definition import (
    Function,
    default_policy,
    named_activities,
    place_of,
    same_place,
)
from hotmesh.workflow import ActivityHandle

_offered: dict[str, Function] = {}
_watchers: list[Callable[[str, Function], None]] = []


def offered() -> Mapping[str, Function]:
    """Every function that was proxied in this process, by activity type."""
    return _offered


def watch(watcher: Callable[[str, Function], None]) -> None:
    """Call back with each function that is proxied from now on; once per process."""
    _watchers.append(watcher)


def offer(functions: Sequence[Function] | Mapping[str, Function]) -> dict[str, Function]:
    """Let the process's workers host activity functions.

    Returns:
        The functions by activity type.

    Raises:
        TypeError: One can be no activity.
        ValueError: Two different functions have one name.
    """
    named = named_activities(functions)
    for name, function in named.items():
        known = _offered.get(name)
        if known is function:
            continue
        if known is not None and not same_place(known, function):
            raise ValueError(
                f"Activity {name!r} is both {place_of(known)} and {place_of(function)}. Proxy one "
                "of them under another name: activities={'other_name': function}"
            )
        for watcher in _watchers:
            watcher(name, function)
        _offered[name] = function
    return named


class Activities:
    """Activity functions as workflow code calls them; made by ``proxy_activities``.

    Calling one starts the activity at once; await what is returned for its result.
    """

    def __init__(
        self,
        functions: Mapping[str, Function],
        *,
        retry_policy: RetryPolicy | None,
        task_queue: str | None,
        **timeouts: timedelta | None,
    ) -> None:
        self._functions = functions
        self._policy = retry_policy
        self._options: dict[str, Any] = {"task_queue": task_queue, **timeouts}

    def __getattr__(self, name: str) -> Callable[..., ActivityHandle]:
        function = self._functions.get(name) if not name.startswith("__") else None
        if function is None:
            known = ", ".join(self._functions) or "none"
            raise AttributeError(f"No activity {name!r} was proxied here; proxied are: {known}")

        def start(*args: Any) -> ActivityHandle:
            return workflow.start_activity(
                function,
                args=args,
                retry_policy=self._policy or default_policy(),
                **self._options,
            )

        start.__name__ = start.__qualname__ = name
        start.__doc__ = function.__doc__
        return start

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._functions]
