"""Interceptors of workers: what wraps activities, and the calls into and out of workflows.

Each class passes every call on to the next one; override what you want to see or change. Inputs
may be changed in place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from hotmesh.activity import Info as ActivityInfo
from hotmesh.common import (
    Payload,
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
)

if TYPE_CHECKING:
    from hotmesh.engine.handles import ActivityHandle, ChildWorkflowHandle
    from hotmesh.engine.info import (
        ActivityCancellationType,
        ChildWorkflowCancellationType,
        ParentClosePolicy,
        VersioningIntent,
    )

# ruff: noqa: A002 - `input`, `next` and `type` are the names ported interceptors use


class Interceptor:
    """Wraps what a worker does. Pass instances to the worker, the first becomes the outermost."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap one attempt of an activity.

        Args:
            next: What the returned interceptor shall pass calls on to.
        """
        return next

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Name the class that wraps each run of a workflow, None for none.

        Args:
            input: May be changed, to let workflow interceptors call functions outside the
                sandbox.
        """
        return None


@dataclass(frozen=True)
class WorkflowInterceptorClassInput:
    """What :meth:`Interceptor.workflow_interceptor_class` gets."""

    unsafe_extern_functions: MutableMapping[str, Callable[..., Any]]
    """Functions that workflow code may reach by name; they must be deterministic."""


# -- Activities --


@dataclass
class ExecuteActivityInput:
    """What :meth:`ActivityInboundInterceptor.execute_activity` gets."""

    fn: Callable[..., Any]
    args: Sequence[Any]
    executor: Executor | None
    """None for ``async def`` activities."""
    headers: Mapping[str, Payload]


class ActivityInboundInterceptor:
    """Wraps one attempt of an activity."""

    def __init__(self, next: ActivityInboundInterceptor) -> None:
        """Keep what calls are passed on to."""
        self.next = next

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Begin. To wrap the activity's own calls, pass a wrapper of ``outbound`` on."""
        self.next.init(outbound)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run the activity."""
        return await self.next.execute_activity(input)


class ActivityOutboundInterceptor:
    """Wraps the calls an activity makes. They come from the activity's own thread."""

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        """Keep what calls are passed on to."""
        self.next = next

    def info(self) -> ActivityInfo:
        """Answer :func:`hotmesh.activity.info`."""
        return self.next.info()

    def heartbeat(self, *details: Any) -> None:
        """Take :func:`hotmesh.activity.heartbeat`."""
        self.next.heartbeat(*details)


# -- Workflows: what comes in --


@dataclass
class ExecuteWorkflowInput:
    """What :meth:`WorkflowInboundInterceptor.execute_workflow` gets."""

    type: type
    run_fn: Callable[..., Awaitable[Any]]
    """The run method, not bound to its object."""
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleSignalInput:
    """What :meth:`WorkflowInboundInterceptor.handle_signal` gets."""

    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleQueryInput:
    """What :meth:`WorkflowInboundInterceptor.handle_query` gets."""

    id: str
    query: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleUpdateInput:
    """What the update methods of :class:`WorkflowInboundInterceptor` get."""

    id: str
    update: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


class WorkflowInboundInterceptor:
    """Wraps what comes into one run of a workflow. Runs inside it: must be deterministic."""

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        """Keep what calls are passed on to."""
        self.next = next

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Begin. To wrap the workflow's own calls, pass a wrapper of ``outbound`` on."""
        self.next.init(outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """Run the workflow."""
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """Handle a signal."""
        return await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """Answer a query."""
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """Validate an update; raise to reject it."""
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """Carry out an accepted update."""
        return await self.next.handle_update_handler(input)


# -- Workflows: what goes out --


@dataclass
class ContinueAsNewInput:
    """What :meth:`WorkflowOutboundInterceptor.continue_as_new` gets."""

    workflow: str | None
    args: Sequence[Any]
    task_queue: str | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    backoff_start_interval: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    headers: Mapping[str, Payload]
    versioning_intent: VersioningIntent | None
    initial_versioning_behavior: Any | None
    arg_types: list[type] | None


@dataclass
class SignalChildWorkflowInput:
    """What :meth:`WorkflowOutboundInterceptor.signal_child_workflow` gets."""

    signal: str
    args: Sequence[Any]
    child_workflow_id: str
    headers: Mapping[str, Payload]


@dataclass
class SignalExternalWorkflowInput:
    """What :meth:`WorkflowOutboundInterceptor.signal_external_workflow` gets."""

    signal: str
    args: Sequence[Any]
    namespace: str
    workflow_id: str
    workflow_run_id: str | None
    headers: Mapping[str, Payload]


@dataclass
class StartActivityInput:
    """What :meth:`WorkflowOutboundInterceptor.start_activity` gets."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    headers: Mapping[str, Payload]
    disable_eager_execution: bool
    versioning_intent: VersioningIntent | None
    summary: str | None
    priority: Priority
    arg_types: list[type] | None
    ret_type: type | None


@dataclass
class StartLocalActivityInput:
    """What :meth:`WorkflowOutboundInterceptor.start_local_activity` gets."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    local_retry_threshold: timedelta | None
    cancellation_type: ActivityCancellationType
    headers: Mapping[str, Payload]
    summary: str | None
    arg_types: list[type] | None
    ret_type: type | None


@dataclass
class StartChildWorkflowInput:
    """What :meth:`WorkflowOutboundInterceptor.start_child_workflow` gets."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    headers: Mapping[str, Payload]
    versioning_intent: VersioningIntent | None
    static_summary: str | None
    static_details: str | None
    priority: Priority
    arg_types: list[type] | None
    ret_type: type | None


class WorkflowOutboundInterceptor:
    """Wraps the calls one run of a workflow makes. Runs inside it: must be deterministic."""

    def __init__(self, next: WorkflowOutboundInterceptor) -> None:
        """Keep what calls are passed on to."""
        self.next = next

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """Take :func:`hotmesh.workflow.continue_as_new`."""
        self.next.continue_as_new(input)

    def info(self) -> Any:
        """Answer :func:`hotmesh.workflow.info` with a :class:`hotmesh.workflow.Info`."""
        return self.next.info()

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        """Take a signal to a child."""
        return await self.next.signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        """Take a signal to another workflow."""
        return await self.next.signal_external_workflow(input)

    def start_activity(self, input: StartActivityInput) -> ActivityHandle:
        """Take :func:`hotmesh.workflow.start_activity` and ``execute_activity``."""
        return self.next.start_activity(input)

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> ChildWorkflowHandle:
        """Take :func:`hotmesh.workflow.start_child_workflow` and ``execute_child_workflow``."""
        return await self.next.start_child_workflow(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle:
        """Take :func:`hotmesh.workflow.start_local_activity` and ``execute_local_activity``."""
        return self.next.start_local_activity(input)
