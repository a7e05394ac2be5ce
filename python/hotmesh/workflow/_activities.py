"""Scheduling activities."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypedDict, Unpack

from hotmesh.activity import ActivityDefinition
from hotmesh.common import ARG_UNSET, Priority, RetryPolicy, arg_or_args
from hotmesh.engine.activity_options import (
    OPTIONS_REMEMBERED_MAX,
    ActivityOptions,
    activity_options,
)
from hotmesh.engine.context import current
from hotmesh.engine.handles import ActivityHandle
from hotmesh.engine.info import ActivityCancellationType, VersioningIntent
from hotmesh.workflow._signatures import like

Duration = timedelta | float


class ActivityConfig(TypedDict, total=False):
    """Options of an activity, to be kept and passed with ``**``."""

    task_queue: str | None
    schedule_to_close_timeout: Duration | None
    schedule_to_start_timeout: Duration | None
    start_to_close_timeout: Duration | None
    heartbeat_timeout: Duration | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    versioning_intent: VersioningIntent | None
    summary: str | None
    priority: Priority


class LocalActivityConfig(TypedDict, total=False):
    """Options of a local activity, to be kept and passed with ``**``."""

    schedule_to_close_timeout: Duration | None
    schedule_to_start_timeout: Duration | None
    start_to_close_timeout: Duration | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: Duration | None
    cancellation_type: ActivityCancellationType
    activity_id: str | None
    summary: str | None


class _ActivityCall(ActivityConfig, total=False):
    args: Sequence[Any]
    result_type: type | None


class _LocalActivityCall(LocalActivityConfig, total=False):
    args: Sequence[Any]
    result_type: type | None


def activity_target(activity: Any) -> tuple[str, Any]:
    """The type name and result type of an activity given as a callable or by name.

    Raises:
        TypeError: it can be no activity.
        ValueError: it is the dynamic activity, which has no name.
    """
    if isinstance(activity, str):
        return activity, None
    definition = ActivityDefinition.of(activity)
    if definition.name is None:
        raise ValueError("Cannot invoke dynamic activity explicitly")
    return definition.name, definition.ret_type


@functools.lru_cache(maxsize=OPTIONS_REMEMBERED_MAX)
def _options_of(
    activity: Any,
    result_type: type | None,
    task_queue: str | None,
    schedule_to_close: Duration | None,
    schedule_to_start: Duration | None,
    start_to_close: Duration | None,
    heartbeat: Duration | None,
    cancellation_type: ActivityCancellationType,
) -> ActivityOptions:
    """The options of a call as most are, looked up at once."""
    name, found_type = activity_target(activity)
    return activity_options(
        name,
        result_type or found_type,
        task_queue,
        schedule_to_close,
        schedule_to_start,
        start_to_close,
        heartbeat,
        int(cancellation_type),
        False,
    )


def start_activity(
    activity: Any,
    arg: Any = ARG_UNSET,
    *,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    result_type: type | None = None,
    schedule_to_close_timeout: Duration | None = None,
    schedule_to_start_timeout: Duration | None = None,
    start_to_close_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    retry_policy: RetryPolicy | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    versioning_intent: VersioningIntent | None = None,
    summary: str | None = None,
    priority: Priority = Priority.default,
) -> ActivityHandle:
    """Schedule an activity and return its handle; await the handle for the result.

    Args:
        activity: The activity function, or its type name.
        arg: The single argument.
        args: Several arguments; not together with ``arg``.
        task_queue: Where it runs; the workflow's task queue by default.
        result_type: What to read the result as; the function's return type by default.
        schedule_to_close_timeout: From now to its end, retries included (timedelta or seconds).
        schedule_to_start_timeout: From now to its first start; not retried.
        start_to_close_timeout: Of one attempt.
        heartbeat_timeout: Between two heartbeats.
        retry_policy: When to try again; for ever with backoff by default.
        cancellation_type: What cancelling the handle does.
        activity_id: Its id within the run; a number by default.
        versioning_intent: Means nothing: runs are not tied to builds.
        summary: Shown to people.
        priority: Not supported: refused unless empty.

    Raises:
        ValueError: neither start-to-close nor schedule-to-close timeout was given.
        InvalidArgumentError: an option is invalid.
        ConversionError: an argument can't be converted.
        PayloadTooLargeError: the arguments exceed the payload limit.
    """
    del versioning_intent
    instance = current()
    if (
        instance.schedules_directly
        and retry_policy is None
        and activity_id is None
        and summary is None
        and priority is Priority.default
    ):
        try:
            options = _options_of(
                activity,
                result_type,
                task_queue if task_queue != instance.details.task_queue else None,
                schedule_to_close_timeout,
                schedule_to_start_timeout,
                start_to_close_timeout,
                heartbeat_timeout,
                cancellation_type,
            )
        except TypeError:  # not hashable, or no activity: below
            pass
        else:
            given = (arg,) if arg is not ARG_UNSET and not args else arg_or_args(arg, args)
            return instance.schedule(options, given)
    name, found_type = activity_target(activity)
    return instance.start_activity(
        name,
        arg_or_args(arg, args),
        result_type=result_type or found_type,
        task_queue=task_queue,
        schedule_to_close=schedule_to_close_timeout,
        schedule_to_start=schedule_to_start_timeout,
        start_to_close=start_to_close_timeout,
        heartbeat=heartbeat_timeout,
        retry_policy=retry_policy,
        cancellation_type=cancellation_type,
        activity_id=activity_id,
        summary=summary,
        priority=priority,
    )


@like(start_activity, "Any")
async def execute_activity(
    activity: Any, arg: Any = ARG_UNSET, **options: Unpack[_ActivityCall]
) -> Any:
    """:func:`start_activity`, and await the result."""
    instance = current()
    key = (activity, *options.items())
    try:
        known = _known_calls.get(key)
    except TypeError:  # not hashable
        return await start_activity(activity, arg, **options)
    if known is not None and arg is not ARG_UNSET and instance.schedules_directly:
        return await instance.schedule(known, (arg,))
    handle = start_activity(activity, arg, **options)
    if instance.schedules_directly and _OF_ONE_CALL.isdisjoint(options):
        if len(_known_calls) >= OPTIONS_REMEMBERED_MAX:
            _known_calls.clear()
        _known_calls[key] = handle.activity
    return await handle


_known_calls: dict[tuple[Any, ...], ActivityOptions] = {}
"""What calls with the same options came to. A workflow makes few different ones, many times."""

_OF_ONE_CALL = frozenset(("args", "activity_id", "task_queue"))
"""Options whose effect is not in :class:`ActivityOptions`, or depends on the run."""


@like(start_activity)
def start_activity_class(
    activity: type, arg: Any = ARG_UNSET, **options: Unpack[_ActivityCall]
) -> ActivityHandle:
    """:func:`start_activity` for a callable class."""
    return start_activity(activity, arg, **options)


@like(start_activity, "Any")
async def execute_activity_class(
    activity: type, arg: Any = ARG_UNSET, **options: Unpack[_ActivityCall]
) -> Any:
    """:func:`start_activity_class`, and await the result."""
    return await start_activity(activity, arg, **options)


@like(start_activity)
def start_activity_method(
    activity: Any, arg: Any = ARG_UNSET, **options: Unpack[_ActivityCall]
) -> ActivityHandle:
    """:func:`start_activity` for a method of a class, named through the class."""
    return start_activity(activity, arg, **options)


@like(start_activity, "Any")
async def execute_activity_method(
    activity: Any, arg: Any = ARG_UNSET, **options: Unpack[_ActivityCall]
) -> Any:
    """:func:`start_activity_method`, and await the result."""
    return await start_activity(activity, arg, **options)


def start_local_activity(
    activity: Any,
    arg: Any = ARG_UNSET,
    *,
    args: Sequence[Any] = (),
    result_type: type | None = None,
    schedule_to_close_timeout: Duration | None = None,
    schedule_to_start_timeout: Duration | None = None,
    start_to_close_timeout: Duration | None = None,
    retry_policy: RetryPolicy | None = None,
    local_retry_threshold: Duration | None = None,
    cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
    activity_id: str | None = None,
    summary: str | None = None,
) -> ActivityHandle:
    """Schedule an activity that runs in the process that runs the workflow.

    Every activity that this worker hosts starts here anyway; this says that it must. Arguments
    and errors are those of :func:`start_activity`.
    """
    del local_retry_threshold
    name, found_type = activity_target(activity)
    return current().start_activity(
        name,
        arg_or_args(arg, args),
        result_type=result_type or found_type,
        schedule_to_close=schedule_to_close_timeout,
        schedule_to_start=schedule_to_start_timeout,
        start_to_close=start_to_close_timeout,
        retry_policy=retry_policy,
        cancellation_type=cancellation_type,
        activity_id=activity_id,
        summary=summary,
        local=True,
    )


@like(start_local_activity, "Any")
async def execute_local_activity(
    activity: Any, arg: Any = ARG_UNSET, **options: Unpack[_LocalActivityCall]
) -> Any:
    """:func:`start_local_activity`, and await the result."""
    return await start_local_activity(activity, arg, **options)


@like(start_local_activity)
def start_local_activity_class(
    activity: type, arg: Any = ARG_UNSET, **options: Unpack[_LocalActivityCall]
) -> ActivityHandle:
    """:func:`start_local_activity` for a callable class."""
    return start_local_activity(activity, arg, **options)


@like(start_local_activity, "Any")
async def execute_local_activity_class(
    activity: type, arg: Any = ARG_UNSET, **options: Unpack[_LocalActivityCall]
) -> Any:
    """:func:`start_local_activity_class`, and await the result."""
    return await start_local_activity(activity, arg, **options)


@like(start_local_activity)
def start_local_activity_method(
    activity: Any, arg: Any = ARG_UNSET, **options: Unpack[_LocalActivityCall]
) -> ActivityHandle:
    """:func:`start_local_activity` for a method of a class."""
    return start_local_activity(activity, arg, **options)


@like(start_local_activity, "Any")
async def execute_local_activity_method(
    activity: Any, arg: Any = ARG_UNSET, **options: Unpack[_LocalActivityCall]
) -> Any:
    """:func:`start_local_activity_method`, and await the result."""
    return await start_local_activity(activity, arg, **options)
