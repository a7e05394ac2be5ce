"""WorkflowHandle: everything a client can do with one workflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hotmesh.client import _interceptor as inputs
from hotmesh.client._deadline import deadline
from hotmesh.client._definitions import Named, query_named, signal_named, update_named
from hotmesh.client._errors import not_found
from hotmesh.client._execution import WorkflowExecutionDescription
from hotmesh.client._history import (
    WorkflowHistory,
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
    history_from_row,
)
from hotmesh.client._result import read_result
from hotmesh.client._update import WorkflowUpdateHandle, WorkflowUpdateStage
from hotmesh.common import ARG_UNSET, QueryRejectCondition, arg_or_args
from hotmesh.engine import wire
from hotmesh.engine.options import checked_name

if TYPE_CHECKING:
    from hotmesh.client._client import Client

Workflow = TypeVar("Workflow")
Result = TypeVar("Result")
Metadata = inputs.Metadata
NO_METADATA = inputs.NO_METADATA


class WorkflowHandle(Generic[Workflow, Result]):
    """One workflow, by its id and, if given, one run of it.

    Args:
        client: The client to use.
        id: The workflow id.
        run_id: The run that messages go to; None for the newest.
        result_run_id: The run whose result is awaited; None for the newest.
        first_execution_run_id: First run of the chain that may be cancelled or terminated.
        result_type: What its result should be.
    """

    def __init__(
        self,
        client: Client,
        id: str,  # noqa: A002 - the name ported code passes
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any | None = None,
    ) -> None:
        self._client = client
        self._named = id
        self._run_id = run_id
        self._result_run_id = result_run_id
        self._first_execution_run_id = first_execution_run_id
        self._result_type = result_type
        self._fresh = False

    @property
    def id(self) -> str:
        """The workflow id."""
        return self._named

    @property
    def _id(self) -> str:
        """The workflow id, for calls: one that no workflow can have is refused here."""
        return checked_name(self._named, "workflow id")

    @property
    def run_id(self) -> str | None:
        """The run that messages go to; None for the newest."""
        return self._run_id

    @property
    def result_run_id(self) -> str | None:
        """The run whose result is awaited; None for the newest."""
        return self._result_run_id

    @property
    def first_execution_run_id(self) -> str | None:
        """First run of the chain that may be cancelled or terminated; None for any."""
        return self._first_execution_run_id

    def mark_fresh(self) -> None:
        """Say that the run was started just now: it needs no look before its first hint."""
        self._fresh = True

    async def result(
        self,
        *,
        follow_runs: bool = True,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Result:
        """Wait for the workflow to close.

        The wait survives restarts of the database and of workers.

        Args:
            follow_runs: Go on with the run that continues, retries or repeats this one.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait.

        Raises:
            WorkflowFailureError: It failed, was cancelled or terminated, or timed out.
            WorkflowContinuedAsNewError: It was continued and ``follow_runs`` is false.
            RPCError: NOT_FOUND, no such workflow; DEADLINE_EXCEEDED, the wait took too long.
        """
        del rpc_metadata
        await self._client.connection.ready()
        run_id = wire.run_id_bytes(self._result_run_id) if self._result_run_id else b""
        if not run_id:
            run_id = await self._newest_run()
        fresh, self._fresh = self._fresh, False
        waiting = read_result(
            self._client, self._id, run_id, self._result_type, follow_runs=follow_runs, fresh=fresh
        )
        if rpc_timeout is None:
            return await waiting
        async with deadline(rpc_timeout, f"waiting for the result of workflow {self._id!r}"):
            return await waiting

    async def _newest_run(self) -> bytes:
        if self._result_run_id:  # A run id that is no UUID: such a run can't exist.
            raise not_found(self._id, self._result_run_id)
        found = await self._client.connection.patient.find(
            [(self._client.namespace, self._id, b"")]
        )
        row = found[0]
        if row is None:
            raise not_found(self._id)
        return bytes(row.run_id)

    async def cancel(
        self,
        *,
        reason: str = "",
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Ask the workflow to cancel itself; durable when this returns.

        Args:
            reason: For people; the workflow can read it.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            RPCError: NOT_FOUND, no such workflow or it is closed.
        """
        await self._client.outbound.cancel_workflow(
            inputs.CancelWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                reason=reason,
            )
        )

    async def terminate(
        self,
        *args: Any,
        reason: str | None = None,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Close the workflow from outside, without its code being asked.

        The request is durable when this returns. Where a live worker hosts the workflow, this
        waits up to 5 seconds for the run to be closed.

        Args:
            *args: Details for whoever awaits the result.
            reason: For people.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            RPCError: NOT_FOUND, no such workflow or it is closed.
        """
        await self._client.outbound.terminate_workflow(
            inputs.TerminateWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                args=args,
                reason=reason,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    async def describe(
        self, *, rpc_metadata: Metadata = NO_METADATA, rpc_timeout: timedelta | None = None
    ) -> WorkflowExecutionDescription:
        """Read what is known of the workflow.

        Raises:
            RPCError: NOT_FOUND, no such workflow.
        """
        return await self._client.outbound.describe_workflow(
            inputs.DescribeWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    async def signal(
        self,
        signal: Named,
        arg: Any = ARG_UNSET,
        *,
        args: Sequence[Any] = (),
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Send a signal; it is durable when this returns.

        Args:
            signal: The handler, or its name.
            arg: Its only argument.
            args: Its arguments, if there is not exactly one.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            RPCError: NOT_FOUND, no such workflow or it is closed.
            ConversionError: An argument can't be serialised.
            PayloadTooLargeError: The arguments exceed the limit.
            BackendUnavailableError: The database could not be reached for about 30 seconds;
                whether the signal was stored is not known.
        """
        await self._client.outbound.signal_workflow(
            inputs.SignalWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                signal=signal_named(signal),
                args=arg_or_args(arg, args),
                headers={},
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    async def query(
        self,
        query: Named,
        arg: Any = ARG_UNSET,
        *,
        args: Sequence[Any] = (),
        result_type: type | None = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Ask the workflow something; works on closed ones too.

        Args:
            query: The handler, or its name.
            arg: Its only argument.
            args: Its arguments, if there is not exactly one.
            result_type: What the result should be, if the handler is given by name.
            reject_condition: States in which not to ask.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait. Default is 30 seconds.

        Raises:
            WorkflowQueryRejectedError: The reject condition held.
            WorkflowQueryFailedError: The handler failed, or there is none.
            RPCError: NOT_FOUND, no such workflow; DEADLINE_EXCEEDED, no worker answered.
        """
        name, found_type = query_named(query, result_type)
        return await self._client.outbound.query_workflow(
            inputs.QueryWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                query=name,
                args=arg_or_args(arg, args),
                reject_condition=(
                    reject_condition or self._client.default_workflow_query_reject_condition
                ),
                headers={},
                ret_type=found_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    async def execute_update(
        self,
        update: Named,
        arg: Any = ARG_UNSET,
        *,
        args: Sequence[Any] = (),
        id: str | None = None,  # noqa: A002 - the name ported code passes
        result_type: type | None = None,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Send an update and wait for its result.

        Args:
            update: The handler, or its name.
            arg: Its only argument.
            args: Its arguments, if there is not exactly one.
            id: Its id: a second update of the same id on the same run gets the first's outcome.
                Default is random.
            result_type: What the result should be, if the handler is given by name.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait for it to complete.

        Raises:
            WorkflowUpdateFailedError: It was rejected or failed.
            WorkflowUpdateRPCTimeoutOrCancelledError: The wait ended first; the update goes on.
            RPCError: NOT_FOUND, no such workflow or it is closed.
        """
        handle = await self.start_update(
            update,
            arg,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
            args=args,
            id=id,
            result_type=result_type,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result()

    async def start_update(
        self,
        update: Named,
        arg: Any = ARG_UNSET,
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = (),
        id: str | None = None,  # noqa: A002 - the name ported code passes
        result_type: type | None = None,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Send an update and wait until it is accepted or completed.

        A rejected update's handle raises WorkflowUpdateFailedError from its result.

        Args:
            update: The handler, or its name.
            arg: Its only argument.
            wait_for_stage: ACCEPTED or COMPLETED.
            args: Its arguments, if there is not exactly one.
            id: Its id; see :meth:`execute_update`.
            result_type: What the result should be, if the handler is given by name.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait.

        Raises:
            WorkflowUpdateRPCTimeoutOrCancelledError: The wait ended first; the update goes on.
            RPCError: NOT_FOUND, no such workflow or it is closed.
        """
        name, found_type = update_named(update, result_type)
        return await self._client.outbound.start_workflow_update(
            inputs.StartWorkflowUpdateInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                update_id=id,
                update=name,
                args=arg_or_args(arg, args),
                wait_for_stage=wait_for_stage,
                headers={},
                ret_type=found_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    def get_update_handle(
        self,
        id: str,  # noqa: A002 - the name ported code passes
        *,
        workflow_run_id: str | None = None,
        result_type: type | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """A handle of an update that was sent before.

        Args:
            id: The update's id.
            workflow_run_id: The run that got it. Default is this handle's run.
            result_type: What its result should be.
        """
        return WorkflowUpdateHandle(
            self._client,
            id,
            self._id,
            workflow_run_id=workflow_run_id or self._run_id,
            result_type=result_type,
        )

    def get_update_handle_for(
        self,
        update: Callable[..., Any],
        id: str,  # noqa: A002 - the name ported code passes
        *,
        workflow_run_id: str | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Like :meth:`get_update_handle`, with the result type of a handler."""
        return self.get_update_handle(
            id, workflow_run_id=workflow_run_id, result_type=update_named(update)[1]
        )

    async def fetch_history(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = (
            WorkflowHistoryEventFilterType.ALL_EVENT
        ),
        skip_archival: bool = False,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistory:
        """Read the run's journal.

        Args:
            event_filter_type: All of it, or its last transition only.
            skip_archival: Ignored.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            RPCError: NOT_FOUND, no such workflow.
            CorruptJournalError: A row of it is damaged.
        """
        async with deadline(rpc_timeout, f"reading the history of workflow {self._id!r}"):
            row = await self._client.find_run(self._id, self._run_id)
            events = self.fetch_history_events(
                event_filter_type=event_filter_type,
                skip_archival=skip_archival,
                rpc_metadata=rpc_metadata,
            )
            return history_from_row(row, [event async for event in events])

    def fetch_history_events(
        self,
        *,
        page_size: int | None = None,
        next_page_token: bytes | None = None,
        wait_new_event: bool = False,
        event_filter_type: WorkflowHistoryEventFilterType = (
            WorkflowHistoryEventFilterType.ALL_EVENT
        ),
        skip_archival: bool = False,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistoryEventAsyncIterator:
        """Iterate the run's transitions.

        Args:
            page_size: Ignored: a journal is read in one go.
            next_page_token: Ignored.
            wait_new_event: Go on until the run is closed.
            event_filter_type: All of it, or its last transition only.
            skip_archival: Ignored.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.
        """
        return self._client.outbound.fetch_workflow_history_events(
            inputs.FetchWorkflowHistoryEventsInput(
                id=self._id,
                run_id=self._run_id,
                page_size=page_size,
                next_page_token=next_page_token,
                wait_new_event=wait_new_event,
                event_filter_type=event_filter_type,
                skip_archival=skip_archival,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )
        )

    async def export(self) -> dict[str, Any]:
        """Everything that is stored of the run, as JSON values; bytes are base64 text.

        Returns:
            The history's values (see :meth:`WorkflowHistory.to_json_dict`) with ``record``,
            ``startedMs``, ``closedMs`` (0 while open) and ``result``.

        Raises:
            RPCError: NOT_FOUND, no such workflow.
            CorruptJournalError: A journal row is damaged.
        """
        description = await self.describe()
        row = description.raw_info
        history: Mapping[str, Any] = (await self.fetch_history()).to_json_dict()
        return {
            **history,
            "record": dict(description.record),
            "startedMs": row.started_ms,
            "closedMs": row.closed_ms,
            "result": wire.pack_bytes(bytes(row.result)),
        }
