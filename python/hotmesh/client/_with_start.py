"""Update with start: a workflow started together with its first update, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hotmesh.client import _interceptor as inputs
from hotmesh.client._definitions import Named, update_named, workflow_named
from hotmesh.client._update import WorkflowUpdateHandle, WorkflowUpdateStage
from hotmesh.common import (
    ARG_UNSET,
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    arg_or_args,
)
from hotmesh.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from hotmesh.client._handle import WorkflowHandle

Workflow = TypeVar("Workflow")
Result = TypeVar("Result")


class WithStartWorkflowOperation(Generic[Workflow, Result]):
    """The workflow to start together with an update. Good for one call.

    Takes the options of ``Client.start_workflow`` but the signal; ``id_conflict_policy`` must be
    given.
    """

    def __init__(
        self,
        workflow: str | Callable[..., Awaitable[Result]],
        arg: Any = ARG_UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,  # noqa: A002 - the name ported code passes
        task_queue: str,
        id_conflict_policy: WorkflowIDConflictPolicy,
        result_type: type | None = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        retry_policy: RetryPolicy | None = None,
        cron_schedule: str = "",
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        static_summary: str | None = None,
        static_details: str | None = None,
        start_delay: timedelta | None = None,
        priority: Priority = Priority.default,
        versioning_override: VersioningOverride | None = None,
        expire: timedelta | float | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        if id_conflict_policy == WorkflowIDConflictPolicy.UNSPECIFIED:
            raise InvalidArgumentError("WithStartWorkflowOperation needs an id_conflict_policy")
        name, found_type = workflow_named(workflow, result_type)
        self.start_input = inputs.UpdateWithStartStartWorkflowInput(
            workflow=name,
            args=arg_or_args(arg, args),
            id=id,
            task_queue=task_queue,
            execution_timeout=execution_timeout,
            run_timeout=run_timeout,
            task_timeout=task_timeout,
            id_reuse_policy=id_reuse_policy,
            id_conflict_policy=id_conflict_policy,
            retry_policy=retry_policy,
            cron_schedule=cron_schedule,
            memo=memo,
            search_attributes=search_attributes,
            start_delay=start_delay,
            headers={},
            static_summary=static_summary,
            static_details=static_details,
            ret_type=found_type,
            priority=priority,
            versioning_override=versioning_override,
            expire=expire,
            record=record,
        )
        self._outcome: WorkflowHandle[Any, Any] | BaseException | None = None
        self._settled: asyncio.Event | None = None
        self._used = False

    async def workflow_handle(self) -> WorkflowHandle[Workflow, Result]:
        """Wait for the workflow to be started or found.

        Raises:
            WorkflowAlreadyStartedError: The policies forbid the start.
        """
        while self._outcome is None:
            if self._settled is None:
                self._settled = asyncio.Event()
            await self._settled.wait()
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def use(self) -> None:
        """Claim the operation for one call.

        Raises:
            RuntimeError: It was used before.
        """
        if self._used:
            raise RuntimeError("WithStartWorkflowOperation cannot be reused")
        self._used = True

    def settle(self, outcome: WorkflowHandle[Any, Any] | BaseException) -> None:
        """Say what became of the start; only the first word counts."""
        if self._outcome is None:
            self._outcome = outcome
            if self._settled is not None:
                self._settled.set()


class UpdateWithStartCalls:
    """The part of a client that starts workflows together with an update."""

    outbound: inputs.OutboundInterceptor

    if TYPE_CHECKING:

        def operation_handle(
            self, start: inputs.UpdateWithStartStartWorkflowInput, run_id: str
        ) -> WorkflowHandle[Any, Any]: ...

    async def execute_update_with_start_workflow(
        self,
        update: Named,
        arg: Any = ARG_UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        args: Sequence[Any] = (),
        id: str | None = None,  # noqa: A002 - the name ported code passes
        result_type: type | None = None,
        rpc_metadata: inputs.Metadata = inputs.NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Start a workflow with an update in one transaction, and wait for the update's result.

        Args:
            update: The handler, or its name.
            arg: Its only argument.
            start_workflow_operation: The workflow to start, or to find open.
            args: Its arguments, if there is not exactly one.
            id: The update's id. Default is random.
            result_type: What the result should be, if the handler is given by name.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait.

        Raises:
            WorkflowUpdateFailedError: The update was rejected or failed.
            HotMeshError: What :meth:`start_update_with_start_workflow` raises.
        """
        handle = await self.start_update_with_start_workflow(
            update,
            arg,
            start_workflow_operation=start_workflow_operation,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
            args=args,
            id=id,
            result_type=result_type,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result()

    async def start_update_with_start_workflow(
        self,
        update: Named,
        arg: Any = ARG_UNSET,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any, Any],
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,  # noqa: A002 - the name ported code passes
        result_type: type | None = None,
        rpc_metadata: inputs.Metadata = inputs.NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Start a workflow with an update in one transaction, and wait for the update's stage.

        Args:
            update: The handler, or its name.
            arg: Its only argument.
            start_workflow_operation: The workflow to start, or to find open.
            wait_for_stage: ACCEPTED or COMPLETED.
            args: Its arguments, if there is not exactly one.
            id: The update's id. Default is random.
            result_type: What the result should be, if the handler is given by name.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait.

        Raises:
            WorkflowAlreadyStartedError: The policies forbid the start; no update was sent.
            WorkflowUpdateRPCTimeoutOrCancelledError: The wait ended first; both go on.
            RuntimeError: The operation was used before.
        """
        name, found_type = update_named(update, result_type)
        operation = start_workflow_operation
        operation.use()
        start = operation.start_input

        def on_start(run_id: str) -> None:
            operation.settle(self.operation_handle(start, run_id))

        return await self.outbound.start_update_with_start_workflow(
            inputs.StartWorkflowUpdateWithStartInput(
                start_workflow_input=start,
                update_workflow_input=inputs.UpdateWithStartUpdateWorkflowInput(
                    update_id=id,
                    update=name,
                    args=arg_or_args(arg, args),
                    wait_for_stage=wait_for_stage,
                    headers={},
                    ret_type=found_type,
                ),
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                _on_start=on_start,
                _on_start_error=operation.settle,
            )
        )
