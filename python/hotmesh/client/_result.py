"""Waiting for a run to close, and reading what it closed with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotmesh.backends.protocol import RunStatus
from hotmesh.client._errors import (
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    not_found,
)
from hotmesh.engine import wire

if TYPE_CHECKING:
    from hotmesh.client._client import Client


async def read_result(
    client: Client,
    workflow_id: str,
    run_id: bytes,
    result_type: Any | None,
    *,
    follow_runs: bool,
    fresh: bool,
) -> Any:
    """Wait for a run, and for those that follow it if wanted.

    Args:
        client: The client.
        workflow_id: Of the run, for errors.
        run_id: The run.
        result_type: What its result should be.
        follow_runs: Whether to go on with the runs that follow.
        fresh: Whether the run was started just now.

    Raises:
        WorkflowFailureError: It did not complete.
        WorkflowContinuedAsNewError: It was continued, and following it was not asked for.
        RPCError: NOT_FOUND, no such run.
    """
    waiter = client.connection.results(client.namespace)
    while True:
        status, data = await waiter.wait(run_id, fresh=fresh)
        if not status:
            raise not_found(workflow_id, wire.run_id_text(run_id))
        following, rest = _following(status, bytes(data))
        if following and follow_runs:
            run_id, fresh = following, False
            continue
        if status == RunStatus.CONTINUED_AS_NEW:
            raise WorkflowContinuedAsNewError(wire.run_id_text(following))
        payloads = client.payloads.of_workflow(client.namespace, workflow_id)
        if status == RunStatus.COMPLETED:
            return await payloads.decode_one(
                rest, result_type, f"result of workflow {workflow_id!r}"
            )
        raise WorkflowFailureError(cause=await payloads.decode_error(rest))


def _following(status: int, data: bytes) -> tuple[bytes, bytes]:
    """The run that follows (b"" if none does), and what is left of the result."""
    if status == RunStatus.CONTINUED_AS_NEW:
        return data[: wire.RUN_ID_BYTES], data[wire.RUN_ID_BYTES :]
    return wire.split_following(data)
