"""The client: start workflows, wait for them, signal, query, update, cancel, list.

This package owns what a program does with workflows from outside. It writes to and reads from a
backend in batches; it never runs workflow or activity code.
"""

from __future__ import annotations

from hotmesh.activity import ActivityCancellationDetails
from hotmesh.client._async_activity import AsyncActivityHandle, AsyncActivityIDReference
from hotmesh.client._client import Client
from hotmesh.client._configure import ClientConfig, ClientConnectConfig
from hotmesh.client._connection import Connection
from hotmesh.client._errors import (
    AsyncActivityCancelledError,
    RPCTimeoutOrCancelledError,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from hotmesh.client._execution import (
    WorkflowExecution,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
)
from hotmesh.client._handle import WorkflowHandle
from hotmesh.client._history import (
    HistoryTransition,
    WorkflowHistory,
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
)
from hotmesh.client._interceptor import (
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
    UpdateWithStartStartWorkflowInput,
    UpdateWithStartUpdateWorkflowInput,
)
from hotmesh.client._listing import WorkflowExecutionAsyncIterator
from hotmesh.client._pending import PendingActivityInfo, PendingActivityState, PendingChildInfo
from hotmesh.client._plugin import ConnectConfig, Plugin
from hotmesh.client._update import WorkflowUpdateHandle, WorkflowUpdateStage
from hotmesh.client._with_start import WithStartWorkflowOperation
from hotmesh.common import HeaderCodecBehavior
from hotmesh.converter import DataConverter
from hotmesh.exceptions import RPCError, RPCStatusCode, WorkflowAlreadyStartedError

__all__ = [
    "ActivityCancellationDetails",
    "AsyncActivityCancelledError",
    "AsyncActivityHandle",
    "AsyncActivityIDReference",
    "CancelWorkflowInput",
    "Client",
    "ClientConfig",
    "ClientConnectConfig",
    "CompleteAsyncActivityInput",
    "ConnectConfig",
    "Connection",
    "CountWorkflowsInput",
    "DataConverter",
    "DescribeWorkflowInput",
    "FailAsyncActivityInput",
    "FetchWorkflowHistoryEventsInput",
    "HeaderCodecBehavior",
    "HeartbeatAsyncActivityInput",
    "HistoryTransition",
    "Interceptor",
    "ListWorkflowsInput",
    "OutboundInterceptor",
    "PendingActivityInfo",
    "PendingActivityState",
    "PendingChildInfo",
    "Plugin",
    "QueryWorkflowInput",
    "RPCError",
    "RPCStatusCode",
    "RPCTimeoutOrCancelledError",
    "ReportCancellationAsyncActivityInput",
    "SignalWorkflowInput",
    "StartWorkflowInput",
    "StartWorkflowUpdateInput",
    "StartWorkflowUpdateWithStartInput",
    "TerminateWorkflowInput",
    "UpdateWithStartStartWorkflowInput",
    "UpdateWithStartUpdateWorkflowInput",
    "WithStartWorkflowOperation",
    "WorkflowAlreadyStartedError",
    "WorkflowContinuedAsNewError",
    "WorkflowExecution",
    "WorkflowExecutionAsyncIterator",
    "WorkflowExecutionCount",
    "WorkflowExecutionCountAggregationGroup",
    "WorkflowExecutionDescription",
    "WorkflowExecutionStatus",
    "WorkflowFailureError",
    "WorkflowHandle",
    "WorkflowHistory",
    "WorkflowHistoryEventAsyncIterator",
    "WorkflowHistoryEventFilterType",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateHandle",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "WorkflowUpdateStage",
]
