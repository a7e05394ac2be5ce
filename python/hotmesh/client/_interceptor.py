# ruff: noqa: A002 - `input` and `next` are the argument names that ported interceptors use
"""Client interceptors: one method per operation, and the arguments each passes along."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hotmesh.common import (
    Payload,
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

if TYPE_CHECKING:
    from hotmesh.client._async_activity import AsyncActivityIDReference
    from hotmesh.client._execution import (
        WorkflowExecutionCount,
        WorkflowExecutionDescription,
    )
    from hotmesh.client._handle import WorkflowHandle
    from hotmesh.client._history import (
        WorkflowHistoryEventAsyncIterator,
        WorkflowHistoryEventFilterType,
    )
    from hotmesh.client._listing import WorkflowExecutionAsyncIterator
    from hotmesh.client._update import WorkflowUpdateHandle, WorkflowUpdateStage
    from hotmesh.converter import DataConverter

Metadata = Mapping[str, str | bytes]
"""Call metadata; HotMesh has no use for it."""

NO_METADATA: Metadata = MappingProxyType({})


@dataclass
class StartWorkflowInput:
    """Input of :meth:`OutboundInterceptor.start_workflow`."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    start_delay: timedelta | None
    headers: Mapping[str, Payload]
    start_signal: str | None
    start_signal_args: Sequence[Any]
    static_summary: str | None
    static_details: str | None
    ret_type: type | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    request_eager_start: bool
    priority: Priority
    versioning_override: VersioningOverride | None = None
    expire: timedelta | float | None = None
    record: Mapping[str, Any] | None = None
    shared_record: tuple[str, str] | None = None
    """Workflow id and run id (hex digits) of the run whose record it writes, if not its own."""


@dataclass
class UpdateWithStartStartWorkflowInput:
    """The start half of :class:`StartWorkflowUpdateWithStartInput`."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: TypedSearchAttributes | SearchAttributes | None
    start_delay: timedelta | None
    headers: Mapping[str, Payload]
    static_summary: str | None
    static_details: str | None
    ret_type: type | None
    priority: Priority
    versioning_override: VersioningOverride | None = None
    expire: timedelta | float | None = None
    record: Mapping[str, Any] | None = None


@dataclass
class UpdateWithStartUpdateWorkflowInput:
    """The update half of :class:`StartWorkflowUpdateWithStartInput`."""

    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: type | None


def _ignore(_: Any) -> None:
    """Nobody wants to know."""


@dataclass
class StartWorkflowUpdateWithStartInput:
    """Input of :meth:`OutboundInterceptor.start_update_with_start_workflow`."""

    start_workflow_input: UpdateWithStartStartWorkflowInput
    update_workflow_input: UpdateWithStartUpdateWorkflowInput
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    _on_start: Callable[[str], None] = field(default=_ignore)
    _on_start_error: Callable[[BaseException], None] = field(default=_ignore)

    def report_start(self, run_id: str) -> None:
        """Say which run was started or found."""
        self._on_start(run_id)

    def report_error(self, error: BaseException) -> None:
        """Say that there is no run to update."""
        self._on_start_error(error)


@dataclass
class CancelWorkflowInput:
    """Input of :meth:`OutboundInterceptor.cancel_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    reason: str = ""


@dataclass
class DescribeWorkflowInput:
    """Input of :meth:`OutboundInterceptor.describe_workflow`."""

    id: str
    run_id: str | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None


@dataclass
class FetchWorkflowHistoryEventsInput:
    """Input of :meth:`OutboundInterceptor.fetch_workflow_history_events`."""

    id: str
    run_id: str | None
    page_size: int | None
    next_page_token: bytes | None
    wait_new_event: bool
    event_filter_type: WorkflowHistoryEventFilterType
    skip_archival: bool
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None


@dataclass
class ListWorkflowsInput:
    """Input of :meth:`OutboundInterceptor.list_workflows`."""

    query: str | None
    page_size: int
    next_page_token: bytes | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    limit: int | None = None


@dataclass
class CountWorkflowsInput:
    """Input of :meth:`OutboundInterceptor.count_workflows`."""

    query: str | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None


@dataclass
class QueryWorkflowInput:
    """Input of :meth:`OutboundInterceptor.query_workflow`."""

    id: str
    run_id: str | None
    query: str
    args: Sequence[Any]
    reject_condition: QueryRejectCondition | None
    headers: Mapping[str, Payload]
    ret_type: type | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None


@dataclass
class SignalWorkflowInput:
    """Input of :meth:`OutboundInterceptor.signal_workflow`."""

    id: str
    run_id: str | None
    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None


@dataclass
class TerminateWorkflowInput:
    """Input of :meth:`OutboundInterceptor.terminate_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    args: Sequence[Any]
    reason: str | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None


@dataclass
class StartWorkflowUpdateInput:
    """Input of :meth:`OutboundInterceptor.start_workflow_update`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: type | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None


@dataclass
class HeartbeatAsyncActivityInput:
    """Input of :meth:`OutboundInterceptor.heartbeat_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class CompleteAsyncActivityInput:
    """Input of :meth:`OutboundInterceptor.complete_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    result: Any | None
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class FailAsyncActivityInput:
    """Input of :meth:`OutboundInterceptor.fail_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    error: Exception
    last_heartbeat_details: Sequence[Any]
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class ReportCancellationAsyncActivityInput:
    """Input of :meth:`OutboundInterceptor.report_cancellation_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: Metadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


class Interceptor:
    """Base of client interceptors. One that is a worker interceptor too also joins its workers."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Put an outbound interceptor before another one.

        Args:
            next: The one to call in the end.

        Returns:
            The one that clients call from now on; ``next`` itself to stay out of it.
        """
        return next


class OutboundInterceptor:
    """Sees every call of a client. Override what is of interest and call ``super()``.

    Args:
        next: The interceptor that calls are passed on to.
    """

    def __init__(self, next: OutboundInterceptor) -> None:
        self.next = next

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """Called by ``Client.start_workflow``."""
        return await self.next.start_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """Called by ``WorkflowHandle.cancel``."""
        await self.next.cancel_workflow(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        """Called by ``WorkflowHandle.describe``."""
        return await self.next.describe_workflow(input)

    def fetch_workflow_history_events(
        self,
        input: FetchWorkflowHistoryEventsInput,
    ) -> WorkflowHistoryEventAsyncIterator:
        """Called by ``WorkflowHandle.fetch_history`` and ``fetch_history_events``."""
        return self.next.fetch_workflow_history_events(input)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        """Called by ``Client.list_workflows``."""
        return self.next.list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        """Called by ``Client.count_workflows``."""
        return await self.next.count_workflows(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Called by ``WorkflowHandle.query``."""
        return await self.next.query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """Called by ``WorkflowHandle.signal``."""
        await self.next.signal_workflow(input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        """Called by ``WorkflowHandle.terminate``."""
        await self.next.terminate_workflow(input)

    async def start_workflow_update(
        self,
        input: StartWorkflowUpdateInput,
    ) -> WorkflowUpdateHandle[Any]:
        """Called by ``WorkflowHandle.start_update`` and ``execute_update``."""
        return await self.next.start_workflow_update(input)

    async def start_update_with_start_workflow(
        self,
        input: StartWorkflowUpdateWithStartInput,
    ) -> WorkflowUpdateHandle[Any]:
        """Called by ``Client.start_update_with_start_workflow`` and its execute twin."""
        return await self.next.start_update_with_start_workflow(input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """Called by ``AsyncActivityHandle.heartbeat``."""
        await self.next.heartbeat_async_activity(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """Called by ``AsyncActivityHandle.complete``."""
        await self.next.complete_async_activity(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """Called by ``AsyncActivityHandle.fail``."""
        await self.next.fail_async_activity(input)

    async def report_cancellation_async_activity(
        self,
        input: ReportCancellationAsyncActivityInput,
    ) -> None:
        """Called by ``AsyncActivityHandle.report_cancellation``."""
        await self.next.report_cancellation_async_activity(input)
