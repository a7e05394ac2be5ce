"""Updates: sent, awaited to a stage, and their outcome read, also long after."""

from __future__ import annotations

import asyncio
import enum
import os
import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from hotmesh.backends.protocol import MessageKind
from hotmesh.client._chain import send_to
from hotmesh.client._errors import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    already_completed,
    not_found,
    refused,
)
from hotmesh.client._history import decode_journal
from hotmesh.client._hosting import why_unanswered
from hotmesh.client._interceptor import (
    NO_METADATA,
    Metadata,
    StartWorkflowUpdateInput,
    UpdateWithStartUpdateWorkflowInput,
)
from hotmesh.client._payloads import Payloads
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.handlers import UPDATE_JOURNALED
from hotmesh.engine.options import checked_name
from hotmesh.exceptions import (
    ApplicationError,
    InvalidArgumentError,
    RPCError,
    RPCStatusCode,
)

if TYPE_CHECKING:
    from hotmesh.client._client import Client
    from hotmesh.client._connection import Connection

Outcome = TypeVar("Outcome")

LAST_WORD_S = 2.0
"""How long a reply is still waited for once its run is known to be closed."""


class WorkflowUpdateStage(enum.IntEnum):
    """How far an update has come."""

    ADMITTED = 1
    """Stored; can't be waited for."""
    ACCEPTED = 2
    COMPLETED = 3


class WorkflowUpdateHandle(Generic[Outcome]):
    """An update that was accepted, or is known by its id."""

    def __init__(
        self,
        client: Client,
        id: str,  # noqa: A002 - the name ported code passes
        workflow_id: str,
        *,
        workflow_run_id: str | None = None,
        result_type: Any | None = None,
        known_outcome: bytes | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._workflow_id = workflow_id
        self._workflow_run_id = workflow_run_id
        self._result_type = result_type
        self._outcome = known_outcome

    @property
    def id(self) -> str:
        """The update's id."""
        return self._id

    @property
    def workflow_id(self) -> str:
        """The workflow's id."""
        return self._workflow_id

    @property
    def workflow_run_id(self) -> str | None:
        """The run that got the update, if known."""
        return self._workflow_run_id

    @property
    def has_outcome(self) -> bool:
        """Whether what became of it is known here; of a rejected one always."""
        return self._outcome is not None

    async def result(
        self,
        *,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> Outcome:
        """Wait for the update's result.

        Args:
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait.

        Raises:
            WorkflowUpdateFailedError: It was rejected or failed.
            WorkflowUpdateRPCTimeoutOrCancelledError: The wait ended first; the update goes on.
            RPCError: NOT_FOUND, there is no such update or workflow.
        """
        del rpc_metadata
        connection = self._client.connection
        await connection.ready()
        payloads = self._client.payloads.of_workflow(self._client.namespace, self._workflow_id)
        if self._outcome is None:
            async with patience(rpc_timeout, self._client, self._workflow_id):
                self._outcome = await known_outcome(
                    connection,
                    self._client.namespace,
                    payloads,
                    self._workflow_id,
                    self._workflow_run_id,
                    self._id,
                )
        return await read_outcome(payloads, self._outcome, self._result_type, self._id)


class patience:  # noqa: N801 - used as a statement
    """Turn the end of a wait, by time or by cancellation, into the update's own error.

    Args:
        timeout: How long.
        client: Who waits.
        workflow_id: For whom; the error says why that workflow does not answer.
    """

    def __init__(self, timeout: timedelta | None, client: Client, workflow_id: str) -> None:
        self._client = client
        self._workflow_id = workflow_id
        self._timeout = asyncio.timeout(timeout.total_seconds() if timeout else None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        try:
            await self._timeout.__aexit__(*error)
        except TimeoutError as timed_out:
            why = await why_unanswered(self._client, self._workflow_id, b"")
            raise WorkflowUpdateRPCTimeoutOrCancelledError(why) from timed_out
        if isinstance(error[1], asyncio.CancelledError):
            raise WorkflowUpdateRPCTimeoutOrCancelledError from error[1]


async def send_update(client: Client, options: StartWorkflowUpdateInput) -> UpdateHandle:
    """Send an update and wait until it has come as far as asked.

    Raises:
        WorkflowUpdateRPCTimeoutOrCancelledError: The wait ended first; the update goes on.
        RPCError: NOT_FOUND, no such workflow or it is closed.
    """
    connection, namespace = client.connection, client.namespace
    payloads = client.payloads.of_workflow(namespace, options.id)
    update_id, reply_id, frame = await update_event(payloads, options, options.id)
    run_id = wire.run_id_bytes(options.run_id) if options.run_id else b""
    if options.run_id and not run_id:
        raise not_found(options.id, options.run_id)
    replies = connection.replies(namespace)
    reply = replies.watch(reply_id, fresh=True)
    try:
        async with patience(options.rpc_timeout, client, options.id):
            first = options.first_execution_run_id
            run_id = await _send(connection, namespace, options.id, run_id, frame, first)
            data = await answer(connection, namespace, reply, options.id, run_id)
    finally:
        replies.unwatch(reply_id, reply)
    return await settled(client, options, options.id, update_id, run_id, data)


UpdateHandle = WorkflowUpdateHandle[Any]


async def settled(
    client: Client,
    options: StartWorkflowUpdateInput | UpdateWithStartUpdateWorkflowInput,
    workflow_id: str,
    update_id: str,
    run_id: bytes,
    data: bytes,
) -> UpdateHandle:
    """The handle of an update whose reply has come; a rejected one says so in its result.

    Raises:
        RPCError: No worker could handle it.
    """
    if data[:1] == b"N":
        await read_outcome(client.payloads, data, None, update_id)
    if data == UPDATE_JOURNALED:
        data = await _journaled_outcome(
            client.connection, client.namespace, workflow_id, run_id, update_id
        )
    return WorkflowUpdateHandle(
        client,
        update_id,
        workflow_id,
        workflow_run_id=wire.run_id_text(run_id),
        result_type=options.ret_type,
        known_outcome=None if data[:1] == b"A" else data,
    )


async def update_event(
    payloads: Payloads,
    options: StartWorkflowUpdateInput | UpdateWithStartUpdateWorkflowInput,
    workflow_id: str,
) -> tuple[str, bytes, bytes]:
    """Update id, reply id and frame of a new update.

    Raises:
        InvalidArgumentError: A name, the id or the stage is not acceptable.
        ConversionError: An argument can't be serialised.
        PayloadTooLargeError: The arguments exceed the limit.
    """
    name = checked_name(options.update, "update name")
    update_id = str(uuid.uuid4()) if options.update_id is None else options.update_id
    update_id = checked_name(update_id, "update id")
    if options.wait_for_stage == WorkflowUpdateStage.ADMITTED:
        raise InvalidArgumentError("Cannot wait for the ADMITTED stage of an update")
    stage = "accepted" if options.wait_for_stage == WorkflowUpdateStage.ACCEPTED else "completed"
    reply_id = os.urandom(16)
    document: dict[str, Any] = {"id": update_id, stage: reply_id.hex()}
    if options.headers:
        document["h"] = await payloads.encode_headers(options.headers)
    body = await payloads.encode(
        options.args, f"arguments of update {name!r} to workflow {workflow_id!r}"
    )
    return update_id, reply_id, _frame(name, document, body)


def _frame(name: str, document: Mapping[str, Any], body: bytes) -> bytes:
    return encode_event(
        (kinds.UPDATE, 0, 0, name, os.urandom(16), wire.join_document(document, body))
    )


async def _send(
    connection: Connection,
    namespace: str,
    workflow_id: str,
    run_id: bytes,
    frame: bytes,
    first_run_id: str | None = None,
) -> bytes:
    """Send to the open run; its id."""
    outcome = await send_to(
        connection, namespace, workflow_id, run_id, first_run_id, MessageKind.EVENT, frame
    )
    if not outcome.delivered:
        raise refused(outcome, workflow_id, run_id)
    return bytes(outcome.run_id)


async def answer(
    connection: Connection,
    namespace: str,
    reply: asyncio.Future[bytes],
    workflow_id: str,
    run_id: bytes,
) -> bytes:
    """Wait for a run's reply, but not for that of a run that closed without one, or is gone.

    Raises:
        RPCError: NOT_FOUND, the run closed before it saw the message, or is not there any more.
    """
    results = connection.results(namespace)
    closed = results.watch(run_id, fresh=True)
    try:
        await asyncio.wait((reply, closed), return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            await asyncio.wait((reply,), timeout=LAST_WORD_S)
        if not reply.done():
            status, _ = closed.result()
            run = wire.run_id_text(run_id)
            raise already_completed(run) if status else not_found(workflow_id, run)
        return reply.result()
    finally:
        results.unwatch(run_id, closed)
        if closed.done() and not closed.cancelled():
            closed.exception()  # Looked at, so that asyncio doesn't report it.


async def known_outcome(
    connection: Connection,
    namespace: str,
    payloads: Payloads,
    workflow_id: str,
    run_id: str | None,
    update_id: str,
    stage: str = "completed",
) -> bytes:
    """The outcome of an update known by its id: asked of the open run, or read from a closed one.

    With stage "accepted" it may also be the answer that it was accepted.

    Raises:
        RPCError: NOT_FOUND, no such workflow or update.
    """
    key = (namespace, workflow_id, wire.run_id_bytes(run_id) if run_id else b"")
    row = (await connection.patient.find([key]))[0]
    if row is None:
        raise not_found(workflow_id)
    if row.status == 1:
        reply_id = os.urandom(16)
        document = {"id": update_id, stage: reply_id.hex(), "poll": True}
        replies = connection.replies(namespace)
        reply = replies.watch(reply_id, fresh=True)
        try:
            frame = _frame("", document, await payloads.encode((), "no arguments"))
            sent_to = await _send(connection, namespace, workflow_id, bytes(row.run_id), frame)
            data = await answer(connection, namespace, reply, workflow_id, sent_to)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise  # Else it closed just now: its journal knows.
        else:
            if data[:1] == b"X":
                raise _unknown_update(update_id, workflow_id)
            if data != UPDATE_JOURNALED:
                return data
        finally:
            replies.unwatch(reply_id, reply)
    return await _journaled_outcome(
        connection, namespace, workflow_id, bytes(row.run_id), update_id
    )


async def _journaled_outcome(
    connection: Connection, namespace: str, workflow_id: str, run_id: bytes, update_id: str
) -> bytes:
    frames = await connection.patient.journal(namespace, run_id)
    wanted = update_id.encode()
    accepted = False
    for transition in decode_journal(wire.run_id_text(run_id), frames):
        for kind, _, _, _, meta, body in transition.commands:
            if kind == kinds.UPDATE_COMPLETED and meta == wanted:
                return body
            accepted = accepted or (kind == kinds.UPDATE_ACCEPTED and meta == wanted)
    if not accepted:
        raise _unknown_update(update_id, workflow_id)
    raise WorkflowUpdateFailedError(
        ApplicationError(
            "Workflow Update failed because the Workflow completed before the Update completed.",
            type="AcceptedUpdateCompletedWorkflow",
        )
    )


def _unknown_update(update_id: str, workflow_id: str) -> RPCError:
    return RPCError(
        f"update {update_id!r} of workflow {workflow_id!r} not found", RPCStatusCode.NOT_FOUND
    )


async def read_outcome(
    payloads: Payloads, data: bytes, result_type: Any | None, update_id: str
) -> Any:
    """The value that an update's outcome holds.

    Raises:
        WorkflowUpdateFailedError: It holds a failure.
        RPCError: No worker could handle the update.
    """
    status, rest = data[:1], data[1:]
    if status == b"R":
        return await payloads.decode_one(rest, result_type, f"result of update {update_id!r}")
    if status == b"N":
        raise RPCError(rest.decode(), RPCStatusCode.FAILED_PRECONDITION)
    raise WorkflowUpdateFailedError(await payloads.decode_error(rest))
