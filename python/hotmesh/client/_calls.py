# ruff: noqa: A002 - `input` is the argument name that interceptors use
"""The end of the interceptor chain: each call as messages to and rows from the backend."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from hotmesh.backends.protocol import MessageKind, RunStatus, SendItem, SendOutcome
from hotmesh.client import _async_activity, _update, _update_once
from hotmesh.client import _interceptor as inputs
from hotmesh.client._chain import send_to
from hotmesh.client._deadline import deadline
from hotmesh.client._errors import (
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    not_found,
    refused,
)
from hotmesh.client._execution import (
    WorkflowExecution,
    WorkflowExecutionCount,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    execution_from_row,
)
from hotmesh.client._handle import WorkflowHandle
from hotmesh.client._history import (
    HistoryTransition,
    WorkflowHistory,
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
    decode_journal,
)
from hotmesh.client._hosting import Hosts, why_unanswered
from hotmesh.client._listing import WorkflowExecutionAsyncIterator, count_runs
from hotmesh.client._payloads import Payloads
from hotmesh.client._pending import pending
from hotmesh.client._start import signal_event, start_run, with_signal
from hotmesh.client._terminate import send_terminate
from hotmesh.client._update import UpdateHandle
from hotmesh.common import Payload, QueryRejectCondition
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.options import checked_name, checked_text
from hotmesh.exceptions import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from hotmesh.client._client import Client

QUERY_WAIT_S = 30.0
"""How long a query waits for a worker, if its caller doesn't say."""

HISTORY_POLL_S = 0.5
"""How often a history that is followed looks for new transitions."""

_REJECT = {
    QueryRejectCondition.NOT_OPEN: "not_open",
    QueryRejectCondition.NOT_COMPLETED_CLEANLY: "not_completed_cleanly",
}

_Method = TypeVar("_Method", bound=Callable[..., Any])


def in_time(method: _Method) -> _Method:
    """Bound a call by its input's ``rpc_timeout``. What it sent by then may still take effect."""

    @functools.wraps(method)
    def bounded(calls: Calls, input: Any) -> Any:
        if input.rpc_timeout is None:
            return method(calls, input)
        return in_deadline(calls, input)

    async def in_deadline(calls: Calls, input: Any) -> Any:
        async with deadline(input.rpc_timeout, method.__name__):
            return await method(calls, input)

    return cast("_Method", bounded)


class Calls(inputs.OutboundInterceptor):
    """Carries out what the interceptors before it let through."""

    def __init__(self, client: Client) -> None:  # There is no next one.
        self._client = client

    @in_time
    async def start_workflow(self, input: inputs.StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        client = self._client
        await client.connection.ready()
        payloads = self._payloads_of(input.id)
        started = await start_run(
            client.connection,
            client.namespace,
            payloads,
            input,
            events=await with_signal(payloads, input),
        )
        run_id = wire.run_id_text(started.run_id)
        handle: WorkflowHandle[Any, Any] = WorkflowHandle(
            client,
            input.id,
            result_run_id=run_id,
            # A signal with start may meet a chain that goes on before the caller acts again.
            first_execution_run_id=run_id if started.fresh or not input.start_signal else None,
            result_type=input.ret_type,
        )
        if started.fresh:
            handle.mark_fresh()
        return handle

    @in_time
    async def signal_workflow(self, input: inputs.SignalWorkflowInput) -> None:
        payloads = self._payloads_of(input.id)
        name = checked_name(input.signal, "signal name")
        body = await payloads.encode(
            input.args, f"arguments of signal {name!r} to workflow {input.id!r}"
        )
        frame = signal_event(name, body, await self._headers(input.headers))
        run_id = _run(input.id, input.run_id)
        outcome = await self._send(input.id, run_id, None, frame)
        if not outcome.delivered:
            raise refused(outcome, input.id, run_id)

    @in_time
    async def cancel_workflow(self, input: inputs.CancelWorkflowInput) -> None:
        run_id = _run(input.id, input.run_id)
        what = f"reason of cancelling workflow {input.id!r}"
        text = checked_text(input.reason, what)
        reason = self._client.payloads.within_limit(text.encode(), what)
        frame = encode_event((kinds.CANCEL, 0, 0, "", os.urandom(16), reason))
        outcome = await self._send(input.id, run_id, input.first_execution_run_id, frame)
        # As there, a request to cancel what has closed is accepted: there is nothing to be done.
        if not outcome.delivered and not outcome.status:
            raise refused(outcome, input.id, run_id)

    @in_time
    async def terminate_workflow(self, input: inputs.TerminateWorkflowInput) -> None:
        client = self._client
        await client.connection.ready()
        await send_terminate(
            client.connection,
            client.namespace,
            self._payloads_of(input.id),
            input.id,
            _run(input.id, input.run_id),
            input.reason,
            input.args,
            first_run_id=input.first_execution_run_id,
        )

    async def _send(
        self, workflow_id: str, run_id: bytes, first_run_id: str | None, frame: bytes
    ) -> SendOutcome:
        client = self._client
        return await send_to(
            client.connection,
            client.namespace,
            workflow_id,
            run_id,
            first_run_id,
            MessageKind.EVENT,
            frame,
        )

    async def query_workflow(self, input: inputs.QueryWorkflowInput) -> Any:
        client = self._client
        await client.connection.ready()
        name = checked_name(input.query, "query name")
        what = f"query {name!r} to workflow {input.id!r}"
        document: dict[str, Any] = {}
        if input.headers:
            document["h"] = await self._headers(input.headers)
        if input.reject_condition is not None and input.reject_condition in _REJECT:
            document["reject"] = _REJECT[input.reject_condition]
        payloads = self._payloads_of(input.id)
        body = await payloads.encode(input.args, f"arguments of {what}")
        reply_id = os.urandom(16)
        frame = encode_event(
            (kinds.QUERY, 0, 0, name, reply_id, wire.join_document(document, body))
        )
        replies = client.connection.replies(client.namespace)
        reply = replies.watch(reply_id, fresh=True)
        try:
            async with asyncio.timeout(_seconds(input.rpc_timeout, QUERY_WAIT_S)):
                outcome = await client.connection.sends.submit(
                    SendItem(
                        client.namespace,
                        input.id,
                        _run(input.id, input.run_id),
                        MessageKind.RESULT,
                        frame,
                        True,
                    )
                )
                if not outcome.delivered:
                    raise refused(outcome, input.id, _run(input.id, input.run_id))
                data = await reply
        except TimeoutError as error:
            why = await why_unanswered(client, input.id, _run(input.id, input.run_id))
            text = f"{what} was not answered in time. {why}".rstrip()
            raise RPCError(text, RPCStatusCode.DEADLINE_EXCEEDED) from error
        finally:
            replies.unwatch(reply_id, reply)
        return await self._read_answer(payloads, data, input.ret_type, what)

    async def _read_answer(self, payloads: Payloads, data: bytes, ret_type: Any, what: str) -> Any:
        status, rest = data[:1], data[1:]
        if status == b"R":
            return await payloads.decode_one(rest, ret_type, f"result of {what}")
        if status == b"J":
            raise WorkflowQueryRejectedError(WorkflowExecutionStatus(rest[0]))
        if status == b"N":
            raise WorkflowQueryFailedError(rest.decode())
        error = await payloads.decode_error(rest)
        message = getattr(error, "message", None) or str(error)
        raise WorkflowQueryFailedError(message) from error

    async def start_workflow_update(self, input: inputs.StartWorkflowUpdateInput) -> UpdateHandle:
        await self._client.connection.ready()
        return await _update.send_update(self._client, input)

    async def start_update_with_start_workflow(
        self, input: inputs.StartWorkflowUpdateWithStartInput
    ) -> UpdateHandle:
        await self._client.connection.ready()
        return await _update_once.send_with_start(self._client, input)

    @in_time
    async def describe_workflow(
        self, input: inputs.DescribeWorkflowInput
    ) -> WorkflowExecutionDescription:
        row = await self._client.find_run(input.id, input.run_id)
        payloads = self._payloads_of(input.id)
        described = execution_from_row(row, payloads, WorkflowExecutionDescription)
        assert isinstance(described, WorkflowExecutionDescription)
        if row.status == RunStatus.RUNNING:
            client = self._client
            hosts = Hosts(await client.connection.patient.routers(client.namespace))
            found = await pending(client, row, hosts)
            described.pending_activities = found.activities
            described.pending_children = found.children
            described.hosted = hosts.host(row.task_queue, "workflow_types", row.workflow_type)
        return described

    def fetch_workflow_history_events(
        self, input: inputs.FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        return WorkflowHistoryEventAsyncIterator(self._transitions(input))

    async def _transitions(
        self, input: inputs.FetchWorkflowHistoryEventsInput
    ) -> AsyncIterator[HistoryTransition]:
        client = self._client
        async with deadline(input.rpc_timeout, "finding the workflow of a history"):
            row = await client.find_run(input.id, input.run_id)
        run_id = bytes(row.run_id)
        is_open, seen = row.status == RunStatus.RUNNING, 0
        while True:
            async with deadline(input.rpc_timeout, "fetching a page of history"):
                frames = await client.connection.patient.journal(client.namespace, run_id)
            transitions = decode_journal(wire.run_id_text(run_id), frames)
            following = is_open and input.wait_new_event
            if input.event_filter_type == WorkflowHistoryEventFilterType.CLOSE_EVENT:
                wanted = [] if following else transitions[-1:]
            else:
                wanted = transitions[seen:]
            seen = len(transitions)
            for transition in wanted:
                yield transition
            if not following:
                return
            closed = client.connection.results(client.namespace).wait(run_id)
            try:
                await asyncio.wait_for(closed, HISTORY_POLL_S)
                is_open = False
            except TimeoutError:
                continue

    def list_workflows(self, input: inputs.ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        client = self._client

        async def history(execution: WorkflowExecution) -> WorkflowHistory:
            handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
            return await handle.fetch_history()

        return WorkflowExecutionAsyncIterator(
            input, client.namespace, client.payloads, client.listing, history
        )

    @in_time
    async def count_workflows(self, input: inputs.CountWorkflowsInput) -> WorkflowExecutionCount:
        return await count_runs(self._client.namespace, input.query, self._client.listing)

    @in_time
    async def heartbeat_async_activity(self, input: inputs.HeartbeatAsyncActivityInput) -> None:
        await _async_activity.heartbeat(self._client, input)

    @in_time
    async def complete_async_activity(self, input: inputs.CompleteAsyncActivityInput) -> None:
        await _async_activity.complete(self._client, input)

    @in_time
    async def fail_async_activity(self, input: inputs.FailAsyncActivityInput) -> None:
        await _async_activity.fail(self._client, input)

    @in_time
    async def report_cancellation_async_activity(
        self, input: inputs.ReportCancellationAsyncActivityInput
    ) -> None:
        await _async_activity.report_cancellation(self._client, input)

    def _payloads_of(self, workflow_id: str) -> Payloads:
        return self._client.payloads.of_workflow(self._client.namespace, workflow_id)

    async def _headers(self, headers: Mapping[str, Payload]) -> dict[str, Any]:
        return await self._client.payloads.encode_headers(headers) if headers else {}


def _run(workflow_id: str, run_id: str | None) -> bytes:
    """The run's bytes, b"" for the newest.

    Raises:
        RPCError: NOT_FOUND, no run can have such an id.
    """
    if not run_id:
        return b""
    found = wire.run_id_bytes(run_id)
    if not found:
        raise not_found(workflow_id, run_id)
    return found


def _seconds(timeout: timedelta | None, otherwise: float) -> float:
    return otherwise if timeout is None else timeout.total_seconds()
