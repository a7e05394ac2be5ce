"""Sending to the newest run of a chain, which may continue as new, or be retried, at any time."""

from __future__ import annotations

from hotmesh.backends.protocol import RunRow, SendItem, SendOutcome
from hotmesh.client._connection import Connection
from hotmesh.client._errors import not_found
from hotmesh.engine import wire


async def send_to(
    connection: Connection,
    namespace: str,
    workflow_id: str,
    run_id: bytes,
    first_run_id: str | None,
    kind: int,
    frame: bytes,
) -> SendOutcome:
    """Send to a run, or to the newest one of a chain.

    Args:
        connection: Where.
        namespace: Of the workflow.
        workflow_id: To which workflow.
        run_id: To which of its runs; b"" for the newest.
        first_run_id: If no run is named: the newest one has to be of this run's chain.
        kind: The message's kind for the backend.
        frame: The message.

    Returns:
        What came of it; refused only if the newest run refuses it.

    Raises:
        RPCError: NOT_FOUND, the newest run is of another chain.
    """
    await connection.ready()
    target = run_id
    chain = None if run_id else first_run_id
    if chain:
        target = await _newest(connection, namespace, workflow_id, chain)
    while True:
        outcome = await connection.sends.submit(
            SendItem(namespace, workflow_id, target, kind, frame, False)
        )
        if outcome.delivered or not chain:
            return outcome
        newest = await _newest(connection, namespace, workflow_id, chain)
        if newest == target:
            return outcome
        target = newest  # The chain went on between the look and the sending.


async def _newest(
    connection: Connection, namespace: str, workflow_id: str, first_run_id: str
) -> bytes:
    """The newest run, if it belongs to the chain of the given one.

    The given one is usually the first, but a start that used an existing run names that one.
    """
    given = wire.run_id_bytes(first_run_id)
    if not given:
        raise not_found(workflow_id, first_run_id)
    newest, named = await connection.patient.find(
        [(namespace, workflow_id, b""), (namespace, workflow_id, given)]
    )
    if newest is None:
        raise not_found(workflow_id, None)
    if _first_of_chain(newest) not in (given, named and _first_of_chain(named)):
        raise not_found(workflow_id, first_run_id)
    return bytes(newest.run_id)


def _first_of_chain(row: RunRow) -> bytes:
    first = wire.load(row.header).get("first")
    return bytes.fromhex(first) if first else bytes(row.run_id)
