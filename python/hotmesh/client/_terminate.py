"""Terminating a run: durable at once, and awaited briefly where a live worker will do it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from hotmesh.backends.protocol import MessageKind
from hotmesh.client._chain import send_to
from hotmesh.client._connection import Connection
from hotmesh.client._errors import refused
from hotmesh.client._payloads import Payloads
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.options import checked_text
from hotmesh.limits import LANES_PER_QUEUE

TERMINATE_WAIT_S = 5.0
"""How long a termination waits for a live worker to close the run."""


async def send_terminate(
    connection: Connection,
    namespace: str,
    payloads: Payloads,
    workflow_id: str,
    run_id: bytes,
    reason: str | None,
    details: Sequence[Any],
    *,
    first_run_id: str | None = None,
) -> None:
    """Ask for a run's termination; it is durable when this returns.

    Args:
        connection: Where.
        namespace: Of the workflow.
        payloads: How to store the details.
        workflow_id: Of the workflow.
        run_id: The run, or b"" for the newest.
        reason: For people.
        details: Values for whoever awaits the result.
        first_run_id: If no run is named: the newest one has to be of this run's chain.

    Raises:
        RPCError: NOT_FOUND, no such workflow or it is closed.
    """
    reply_id = os.urandom(16)
    document: dict[str, Any] = {"reply": reply_id.hex(), "identity": connection.identity}
    what = f"reason of terminating workflow {workflow_id!r}"
    if reason is not None and (text := checked_text(reason, what)):
        payloads.within_limit(text.encode(), what)
        document["reason"] = text
    body = await payloads.encode(details, f"details of terminating workflow {workflow_id!r}")
    frame = encode_event(
        (kinds.TERMINATE, 0, 0, "", os.urandom(16), wire.join_document(document, body))
    )
    replies = connection.replies(namespace)
    reply = replies.watch(reply_id, fresh=True)
    try:
        outcome = await send_to(
            connection, namespace, workflow_id, run_id, first_run_id, MessageKind.END, frame
        )
        if not outcome.delivered:
            raise refused(outcome, workflow_id, run_id)
        queue_id = outcome.lane // LANES_PER_QUEUE
        if any(
            router.alive and router.lanes and router.queue_id == queue_id
            for router in await connection.patient.routers(namespace)
        ):
            await asyncio.wait([reply], timeout=TERMINATE_WAIT_S)
    finally:
        replies.unwatch(reply_id, reply)
        if reply.done() and not reply.cancelled():
            reply.exception()  # A reply that failed changes nothing: the request is durable.
