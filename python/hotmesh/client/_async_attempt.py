"""An attempt of an activity as clients find it: by token or ids, in the journal, as a task."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from hotmesh import json_bytes
from hotmesh.backends.pending_task import PendingTask
from hotmesh.backends.protocol import OUTSIDE
from hotmesh.client._errors import not_found
from hotmesh.client._history import decode_journal
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import InvalidArgumentError, RPCError, RPCStatusCode

if TYPE_CHECKING:
    from hotmesh.client._client import Client

RAISED_WITHIN_S = 2.0
"""How long an activity that has given its token away may take to raise ``CompleteAsyncError``."""

LOOK_AGAIN_S = 0.05
"""How often to look whether it has."""


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity named by its ids."""

    workflow_id: str | None
    run_id: str | None
    activity_id: str


class TaskToken(NamedTuple):
    """What a task token holds."""

    namespace: str
    run_id: bytes
    seq: int
    attempt: int
    """0: not known."""

    def encode(self) -> bytes:
        """The token as activities see it."""
        return json_bytes.dumps([self.namespace, self.run_id.hex(), self.seq, self.attempt])

    @staticmethod
    def decode(token: bytes) -> TaskToken:
        """Read a token.

        Raises:
            InvalidArgumentError: It is none.
        """
        try:
            namespace, run_id, seq, attempt = orjson.loads(token)
            return TaskToken(str(namespace), bytes.fromhex(run_id), int(seq), int(attempt))
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"Malformed task token {token[:80]!r}") from error


class Scheduled(NamedTuple):
    """An activity as its workflow scheduled it."""

    options: Mapping[str, Any]
    scheduled_ms: int
    queue_id: int
    """The queue that it is a task of; 0: none."""
    is_open: bool
    """Its run is open, and no result of it is in the journal."""
    is_recalled: bool
    """Its cancellation was asked for."""


async def locate(client: Client, named: AsyncActivityIDReference | bytes) -> TaskToken:
    """The activity that a token or ids name.

    Raises:
        RPCError: NOT_FOUND, there is none, or it is of another namespace.
        InvalidArgumentError: The token is malformed, or the workflow id is missing.
    """
    await client.connection.ready()
    if isinstance(named, bytes):
        token = TaskToken.decode(named)
        if token.namespace != client.namespace:
            raise over(token)
        return token
    if not named.workflow_id:
        raise InvalidArgumentError("An activity id needs the workflow_id it belongs to")
    row = await client.find_run(named.workflow_id, named.run_id)
    run_id = bytes(row.run_id)
    frames = await client.connection.patient.journal(client.namespace, run_id)
    for transition in reversed(decode_journal(wire.run_id_text(run_id), frames)):
        for kind, seq, _, _, meta, _ in reversed(transition.commands):
            if kind == kinds.ACTIVITY and wire.load(meta).get("id", str(seq)) == named.activity_id:
                return TaskToken(client.namespace, run_id, seq, 0)
    raise not_found(f"{named.workflow_id}, activity {named.activity_id}")


async def read_scheduled(client: Client, token: TaskToken) -> Scheduled:
    """What the journal says of an activity.

    Raises:
        RPCError: NOT_FOUND, there is none.
    """
    frames = await client.connection.patient.journal(client.namespace, token.run_id)
    options: Mapping[str, Any] | None = None
    queue_id, scheduled_ms, settled, commanded = 0, 0, set[int](), set[int]()
    is_closed = False
    for transition in decode_journal(wire.run_id_text(token.run_id), frames):
        settled.update(kind for kind, seq, *_ in transition.jobs if seq == token.seq)
        for kind, seq, number, _, meta, _ in transition.commands:
            is_closed = is_closed or kind in kinds.CLOSE_STATUS
            if seq == token.seq:
                commanded.add(kind)
                if kind == kinds.ACTIVITY:
                    options, scheduled_ms = wire.load(meta), transition.now_ms
                if number and kind in kinds.QUEUED:
                    queue_id = number
    if options is None:
        raise over(token)
    return Scheduled(
        options,
        scheduled_ms,
        queue_id,
        is_open=not is_closed and settled.isdisjoint(kinds.ACTIVITY_OUTCOMES),
        is_recalled=kinds.CANCEL_ACTIVITY in commanded,
    )


async def find_claimed(
    client: Client, token: TaskToken, *, wait: bool = True
) -> tuple[PendingTask | None, Scheduled]:
    """The task of a running attempt; None if there is none: its router has started it itself.

    When its function raises ``CompleteAsyncError`` an attempt becomes a task that clients have
    claimed. Who was given its token by the function may be faster, so that is waited for.

    Raises:
        RPCError: NOT_FOUND, the attempt is over.
    """
    until = time.monotonic() + (RAISED_WITHIN_S if wait else 0)
    while True:
        scheduled = await read_scheduled(client, token)
        tasks = await client.connection.patient.tasks_of(
            client.namespace, token.run_id, [token.seq]
        )
        if tasks:
            (task,) = tasks
            if not task.owner or token.attempt not in (0, task.attempt):
                raise over(token)
            # With the hand-over comes what the activity itself has said in its heartbeats.
            if task.owner == OUTSIDE or time.monotonic() >= until:
                return task, scheduled
            await asyncio.sleep(LOOK_AGAIN_S)
            continue
        if scheduled.queue_id or not scheduled.is_open:
            raise over(token)
        if scheduled.is_recalled or time.monotonic() >= until:
            return None, scheduled
        await asyncio.sleep(LOOK_AGAIN_S)


def still_running(token: TaskToken) -> RPCError:
    """The error of who would finish an attempt whose function is not over."""
    return RPCError(
        f"activity {token.seq} of run {wire.run_id_text(token.run_id)} is still running in its "
        "worker: call activity.raise_complete_async() there before it is finished from outside",
        RPCStatusCode.FAILED_PRECONDITION,
    )


def over(token: TaskToken) -> RPCError:
    """The error of who comes too late."""
    return RPCError(
        f"activity {token.seq} of run {wire.run_id_text(token.run_id)} is not running or its "
        "workflow is closed",
        RPCStatusCode.NOT_FOUND,
    )
