"""What a workflow function of the face may call.

Each function calls the SDK of the same process; what it does is recorded and replayed by it.
Durations are numbers of seconds or text such as ``'5 seconds'``.
"""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any

from hotmesh import workflow as sdk
from hotmesh.common import RetryPolicy
from hotmesh.common.arguments import argument_list
from hotmesh.duration import Duration, seconds
from hotmesh.engine import wire
from hotmesh.engine.context import current
from hotmesh.engine.instance import WorkflowInstance
from hotmesh.exceptions import ApplicationError
from hotmesh.meshflow import _services
from hotmesh.meshflow._definition import Function, workflow_named
from hotmesh.meshflow._keywords import checked
from hotmesh.meshflow._options import retry_policy as policy_from
from hotmesh.meshflow._proxy import Activities, offer

__all__ = [
    "Search",
    "all",
    "emit",
    "enrich",
    "exec_child",
    "get_context",
    "hook",
    "interrupt",
    "is_side_effect_allowed",
    "proxy_activities",
    "random",
    "search",
    "signal",
    "sleep_for",
    "start_child",
    "trace",
    "wait_for",
]

START_TO_CLOSE_DEFAULT_S = 600.0
"""Longest attempt of a proxied activity, if its proxy doesn't say."""

_SERVICE_TIMEOUT_S = 30.0
_SERVICE_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=5)
)

_asked: weakref.WeakKeyDictionary[WorkflowInstance, set[str]] = weakref.WeakKeyDictionary()
"""Names that a run has asked ``is_side_effect_allowed`` for."""


class _Done:
    """What may be awaited and is done already: a plain ``def`` needs no ``await``."""

    def __await__(self) -> Generator[Any, Any, None]:
        yield from ()


DONE = _Done()


# -- Activities --


@checked
def proxy_activities(
    activities: Sequence[Function] | Mapping[str, Function] | ModuleType,
    *,
    start_to_close_timeout: Duration | None = None,
    schedule_to_close_timeout: Duration | None = None,
    schedule_to_start_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    retry_policy: RetryPolicy | Mapping[str, Any] | None = None,
    task_queue: str | None = None,
) -> Activities:
    """Activities to be called like functions from workflow code. May be called anywhere.

    The workers of this process host the functions from now on.

    Args:
        activities: The functions, the functions by name, or the module that defines them.
        start_to_close_timeout: Longest attempt; 10 minutes by default.
        schedule_to_close_timeout: Longest time until its end, retries included.
        schedule_to_start_timeout: Longest time until its first start.
        heartbeat_timeout: Longest time between two heartbeats.
        retry_policy: When to try again: the options of ``Worker.create``. Default are those of
            the workflow's worker, else for ever with backoff.
        task_queue: Where they run; the workflow's task queue by default.

    Returns:
        An object with a method per activity. A call starts the activity and returns at once;
        await what it returns for the result.

    Raises:
        InvalidArgumentError: A duration or the retry policy is not acceptable.
        TypeError: One of them can be no activity.
        ValueError: Two different functions of this process have one name.
    """
    timeouts = {
        "start_to_close_timeout": start_to_close_timeout,
        "schedule_to_close_timeout": schedule_to_close_timeout,
        "schedule_to_start_timeout": schedule_to_start_timeout,
        "heartbeat_timeout": heartbeat_timeout,
    }
    if start_to_close_timeout is None and schedule_to_close_timeout is None:
        timeouts["start_to_close_timeout"] = START_TO_CLOSE_DEFAULT_S
    return Activities(
        offer(_functions_of(activities) if isinstance(activities, ModuleType) else activities),
        retry_policy=policy_from(retry_policy, "retry_policy"),
        task_queue=task_queue,
        **{
            name: None if value is None else timedelta(seconds=seconds(value, name))
            for name, value in timeouts.items()
        },
    )


async def all(*items: Any) -> list[Any]:  # noqa: A001 - the face's own name
    """Await all awaitables at once, and return the values in the order given.

    What is no awaitable is a value already. The first failure is raised; the others go on.
    """
    futures = [asyncio.ensure_future(item) if inspect.isawaitable(item) else None for item in items]
    waiting = [future for future in futures if future is not None]
    if waiting:
        await asyncio.gather(*waiting)
    return [
        item if future is None else future.result()
        for item, future in zip(items, futures, strict=True)
    ]


# -- Time and signals --


@checked
async def sleep_for(duration: Duration) -> float:
    """Sleep durably; workers may come and go meanwhile.

    Returns:
        The duration in seconds, an int if it is whole.

    Raises:
        InvalidArgumentError: It is no duration.
    """
    length = seconds(duration, "sleep_for")
    await sdk.sleep(length)
    return int(length) if length.is_integer() else length


@checked
async def wait_for(id: str) -> Any:  # noqa: A002 - the face's own name
    """Wait for the datum that anybody sends under an id of the namespace, before or after.

    It never expires. Each datum reaches one waiter, in order.

    Raises:
        InvalidArgumentError: The id is not acceptable.
    """
    return await sdk.wait_signal(id)


@checked
def signal(id: str, data: Any = None) -> Awaitable[None]:  # noqa: A002 - the face's own name
    """Send a datum to the one who waits for an id of the namespace, now or later.

    It is done when this returns; awaiting what it returns waits for nothing.

    Raises:
        InvalidArgumentError: The id is not acceptable.
        ConversionError: The datum can't be serialised.
    """
    sdk.send_signal(id, data)
    return DONE


# -- Other workflows --


@checked
async def exec_child(
    *,
    workflow_name: str | Function,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    workflow_id: str | None = None,
    expire: Duration | None = None,
) -> Any:
    """Run another workflow and wait for its result; it is terminated if this one closes first.

    Args:
        workflow_name: The function's name, or the function.
        args: Its arguments.
        task_queue: Where it runs; this workflow's task queue by default.
        workflow_id: Its id; made up by default.
        expire: How long to keep it after it closed; until it is pruned by default.

    Raises:
        ChildWorkflowError: It failed, was cancelled, terminated or timed out.
        WorkflowAlreadyStartedError: The id is taken.
    """
    return await sdk.execute_child_workflow(
        workflow_name,
        args=args,
        task_queue=task_queue,
        id=workflow_id,
        expire=_optional(expire, "expire"),
    )


@checked
async def start_child(
    *,
    workflow_name: str | Function,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    workflow_id: str | None = None,
    expire: Duration | None = None,
) -> str:
    """Start another workflow that goes on when this one closes.

    Arguments and errors are those of :func:`exec_child`.

    Returns:
        Its workflow id, once it has started.
    """
    child = await sdk.start_child_workflow(
        workflow_name,
        args=args,
        task_queue=task_queue,
        id=workflow_id,
        expire=_optional(expire, "expire"),
        parent_close_policy=sdk.ParentClosePolicy.ABANDON,
    )
    return child.id


@checked
async def hook(
    *,
    workflow_name: str | Function,
    args: Sequence[Any] = (),
    task_queue: str | None = None,
    workflow_id: str | None = None,
    hook_id: str | None = None,
) -> str:
    """Start a further durable function inside a running workflow: it shares that one's record.

    It goes on when the workflow closes, and its result is its own.

    Args:
        workflow_name: The function's name, or the function.
        args: Its arguments.
        task_queue: Where it runs; the task queue of the workflow whose record it shares by default.
        workflow_id: That workflow; this one by default.
        hook_id: The id of the function's own run; made up by default.

    Returns:
        The id of the function's own run, once it has started.

    Raises:
        WorkflowAlreadyStartedError: This workflow's hook has an id that is taken.
        ActivityError: The other workflow does not exist or is closed, or the id is taken.
    """
    own_id = str(sdk.uuid4()) if hook_id is None else hook_id
    if workflow_id is None or workflow_id == sdk.info().workflow_id:
        await sdk.start_child_workflow(
            workflow_name,
            args=args,
            task_queue=task_queue,
            id=own_id,
            parent_close_policy=sdk.ParentClosePolicy.ABANDON,
            record=True,
        )
    else:
        name, given = workflow_named(workflow_name)[0], list(argument_list(args))
        await _service(_services.start_hook, workflow_id, own_id, name, given, task_queue)
    return own_id


@checked
async def interrupt(workflow_id: str, *, reason: str = "interrupted") -> bool:
    """End a workflow of this namespace; its code is not asked.

    Args:
        workflow_id: Which.
        reason: For people, and for whoever awaits its result.

    Returns:
        Whether there was an open workflow of this id.
    """
    return await _service(_services.interrupt, workflow_id, reason)


# -- The record, events, spans --


class Search:
    """The record of the running workflow (of the workflow it is a hook of)."""

    async def get(self, *names: str) -> dict[str, Any]:
        """Read the record as it is now; the reading is recorded.

        Args:
            *names: What to read; everything by default. A name that is not there gives None.
        """
        record: dict[str, Any] = await _service(_services.read_record, *_record_owner())
        return {name: record.get(name) for name in names} if names else record

    def set(self, **values: Any) -> Awaitable[None]:
        """Write names and JSON values into the record; done when this returns.

        Raises:
            InvalidArgumentError: A name is not acceptable or a value is no JSON.
        """
        sdk.enrich(values)
        return DONE


def search() -> Search:
    """The record of this workflow, to read and write it."""
    current()  # Outside workflow code this says so.
    return Search()


@checked
def enrich(values: Mapping[str, Any]) -> Awaitable[None]:
    """Add names and JSON values to the workflow's record.

    It is done when this returns; awaiting what it returns waits for nothing.

    Raises:
        InvalidArgumentError: A name is not acceptable or a value is no JSON.
    """
    sdk.enrich(values)
    return DONE


@checked
def emit(events: Mapping[str, Any]) -> Awaitable[None]:
    """Publish events, topic → JSON value. A replay never publishes again.

    It is done when this returns; awaiting what it returns waits for nothing.

    Raises:
        InvalidArgumentError: A topic is not acceptable or a value is no JSON.
    """
    sdk.emit(events)
    return DONE


@checked
def trace(attributes: Mapping[str, Any]) -> Awaitable[None]:
    """Send a span with these attributes to the OpenTelemetry provider, if one is set.

    It is done when this returns; awaiting what it returns waits for nothing.

    Raises:
        InvalidArgumentError: A name is not acceptable or a value is no JSON.
    """
    sdk.trace(attributes)
    return DONE


# -- The run itself --


def random() -> float:
    """A number from 0 up to 1: different in every workflow, the same in each replay of one."""
    return sdk.random().random()


def get_context() -> dict[str, Any]:
    """What this run knows about itself.

    Returns:
        ``namespace``, ``task_queue``, ``workflow_id``, ``workflow_name``, ``run_id``, ``attempt``,
        ``parent_workflow_id`` (or None), ``now`` (seconds since the epoch), ``transitions`` and
        ``replaying``.
    """
    info = sdk.info()
    return {
        "namespace": info.namespace,
        "task_queue": info.task_queue,
        "workflow_id": info.workflow_id,
        "workflow_name": info.workflow_type,
        "run_id": info.run_id,
        "attempt": info.attempt,
        "parent_workflow_id": info.parent.workflow_id if info.parent else None,
        "now": sdk.time(),
        "transitions": info.get_current_history_length(),
        "replaying": sdk.unsafe.is_replaying(),
    }


@checked
async def is_side_effect_allowed(name: str) -> bool:
    """Whether to do something that no journal knows of: true at most once per run and name.

    The first call for a name is recorded as an activity that allows only its first attempt, so
    it is false in every replay, on every further call, and after a crash in which the effect may
    have been under way. Do nothing else under it: the branch is not taken in a replay.
    """
    instance = current()
    asked = _asked.setdefault(instance, set())
    if name in asked:
        return False
    asked.add(name)
    allowed = await _service(_services.allow_effect)
    return allowed and not instance.is_replaying


# -- Within --


def _functions_of(module: ModuleType) -> list[Function]:
    """The public functions that a module defines."""
    return [
        value
        for name, value in vars(module).items()
        if inspect.isfunction(value)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]


async def _service(service: Callable[..., Any], *args: Any) -> Any:
    """Run one of the face's own activities here and record its outcome."""
    return await sdk.execute_local_activity(
        service,
        args=args,
        start_to_close_timeout=timedelta(seconds=_SERVICE_TIMEOUT_S),
        retry_policy=_SERVICE_RETRY,
    )


def _record_owner() -> tuple[str, str]:
    """Workflow id and run id of the run whose record this one writes."""
    header = current().details.header
    if "record" not in header:
        info = sdk.info()
        return info.workflow_id, info.run_id
    owner = header.get("record_id")
    if owner is None:
        raise ApplicationError("This hook does not know whose record it shares")
    return owner, wire.run_id_text(bytes.fromhex(header["record"]))


def _optional(duration: Duration | None, what: str) -> float | None:
    return None if duration is None else seconds(duration, what)
