"""An update sent together with a start: both are stored at once, or an equal call's is found.

Whether to start is decided by what was seen of the workflow, and the store holds the start to it:
if another run has closed since, it is looked at first. So one of equal calls at the same time
starts a run, also when that run is over before the next one gets to its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hotmesh.backends.protocol import RunStatus
from hotmesh.client._interceptor import StartWorkflowUpdateWithStartInput
from hotmesh.client._start import LookAgainError, Started, start_run
from hotmesh.client._update import (
    UpdateHandle,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
    answer,
    known_outcome,
    patience,
    settled,
    update_event,
)
from hotmesh.common import WorkflowIDConflictPolicy
from hotmesh.engine import wire
from hotmesh.exceptions import RPCError, RPCStatusCode, WorkflowAlreadyStartedError

if TYPE_CHECKING:
    from hotmesh.client._client import Client


class _Seen(NamedTuple):
    """What a look at the workflow found."""

    attached: UpdateHandle | None
    """The update, if the newest run knows its id."""
    over: bytes | None
    """What a start may take over: :attr:`hotmesh.backends.protocol.StartItem.over`."""


async def send_with_start(
    client: Client, options: StartWorkflowUpdateWithStartInput
) -> UpdateHandle:
    """Start a workflow (or find it open) and send it an update in the same transaction.

    Raises:
        WorkflowAlreadyStartedError: The policies forbid the start; the update was not sent.
        WorkflowUpdateRPCTimeoutOrCancelledError: The wait ended first; both go on.
        RPCError: NOT_FOUND, the workflow closed before it saw the update.
    """
    connection, namespace = client.connection, client.namespace
    start, update = options.start_workflow_input, options.update_workflow_input
    payloads = client.payloads.of_workflow(namespace, start.id)
    replies = connection.replies(namespace)
    async with patience(options.rpc_timeout, client, start.id):
        seen = await _look(client, options)
    if seen.attached is not None:
        return seen.attached
    try:
        update_id, reply_id, frame = await update_event(payloads, update, start.id)
        reply = replies.watch(reply_id, fresh=True)
    except BaseException as error:
        options.report_error(error)
        raise
    try:
        async with patience(options.rpc_timeout, client, start.id):
            try:
                found = await _start(client, options, seen, [frame])
            except BaseException as error:
                options.report_error(error)
                raise
            if isinstance(found, WorkflowUpdateHandle):
                return found
            options.report_start(wire.run_id_text(found.run_id))
            data = await answer(connection, namespace, reply, start.id, found.run_id)
    finally:
        replies.unwatch(reply_id, reply)
    return await settled(client, update, start.id, update_id, found.run_id, data)


async def _start(
    client: Client,
    options: StartWorkflowUpdateWithStartInput,
    seen: _Seen,
    events: Sequence[bytes],
) -> Started | UpdateHandle:
    """Start the run or find it open, or find the update that an equal call has sent meanwhile.

    Raises:
        WorkflowAlreadyStartedError: The policies forbid the start, and the newest run does not know
            the update.
    """
    start = options.start_workflow_input
    payloads = client.payloads.of_workflow(client.namespace, start.id)
    while True:
        try:
            return await start_run(
                client.connection, client.namespace, payloads, start, events=events, over=seen.over
            )
        except LookAgainError:
            seen = await _look(client, options)
        except WorkflowAlreadyStartedError:
            seen = await _look(client, options)
            if seen.attached is None:
                raise
        if seen.attached is not None:
            return seen.attached


async def _look(client: Client, options: StartWorkflowUpdateWithStartInput) -> _Seen:
    """Look for the update in the workflow's newest run.

    An update with start that is repeated finds what it did, whatever the policies say of a start.
    """
    start, update = options.start_workflow_input, options.update_workflow_input
    if update.update_id is None:
        return _Seen(None, None)
    connection, namespace = client.connection, client.namespace
    row = (await connection.patient.find([(namespace, start.id, b"")]))[0]
    if row is None:
        return _Seen(None, b"")
    is_open = row.status == RunStatus.RUNNING
    if is_open and start.id_conflict_policy == WorkflowIDConflictPolicy.USE_EXISTING:
        return _Seen(None, b"")  # It is sent to that run, which knows its own.
    run_id = wire.run_id_text(bytes(row.run_id))
    stage = "accepted" if update.wait_for_stage == WorkflowUpdateStage.ACCEPTED else "completed"
    known: bytes | None = None
    try:
        known = await known_outcome(
            connection, namespace, client.payloads, start.id, run_id, update.update_id, stage
        )
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return _Seen(None, b"" if is_open else bytes(row.run_id))
    options.report_start(run_id)
    return _Seen(
        WorkflowUpdateHandle[Any](
            client,
            update.update_id,
            start.id,
            workflow_run_id=run_id,
            result_type=update.ret_type,
            known_outcome=None if known[:1] == b"A" else known,
        ),
        None,
    )
