"""Activities that a run waits for: which attempt, what went wrong last, what comes next."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hotmesh.backends.pending_task import PendingTask
from hotmesh.backends.protocol import RouterRow, RunRow
from hotmesh.client._history import decode_journal
from hotmesh.core import CoreError, Event, decode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.contexts import activity_context
from hotmesh.exceptions import CorruptJournalError

if TYPE_CHECKING:
    from hotmesh.client import Client


_log = logging.getLogger(__name__)

_DAMAGE = (CoreError, CorruptJournalError, TypeError, ValueError, OverflowError)
"""What reading a damaged row raises."""


class PendingActivityState(enum.IntEnum):
    """What an activity that has not ended is about; the numbers are Temporal's."""

    SCHEDULED = 1
    """It waits to be claimed: for the first time, or for its next attempt."""
    STARTED = 2
    CANCEL_REQUESTED = 3


@dataclass(frozen=True)
class PendingActivityInfo:
    """An activity that has not ended."""

    activity_id: str
    activity_type: str
    task_queue: str
    state: PendingActivityState
    attempt: int
    """The attempt that runs, else the next one; 1 for the first."""
    maximum_attempts: int
    """0: without end."""
    last_failure: BaseException | None
    """What the attempt before failed with; its ``__str__`` and stack trace are the activity's."""
    heartbeat_details: Sequence[Any]
    scheduled_time: datetime
    """When the workflow asked for it."""
    next_attempt_schedule_time: datetime | None
    """When it can be claimed; None while an attempt runs."""
    last_worker_identity: str
    """Who runs it, if that is stored."""
    hosted: bool
    """Whether a live worker of its task queue hosts its type; otherwise it waits for one."""


def is_hosted(routers: Sequence[RouterRow], task_queue: str, kind: str, type_name: str) -> bool:
    """Whether a live worker of a task queue hosts a type.

    Args:
        routers: The rollcall.
        task_queue: The task queue.
        kind: "workflow_types" or "activity_types".
        type_name: The type.
    """
    for router in routers:
        if router.alive and router.task_queue == task_queue:
            hosted = wire.load(router.info).get(kind) or ()
            if type_name in hosted or "*" in hosted:
                return True
    return False


async def pending_activities(
    client: Client, row: RunRow, routers: Sequence[RouterRow]
) -> list[PendingActivityInfo]:
    """The open activities of an open run, in the order in which they were asked for.

    What is damaged is left out: the run's record says so, and its description must show that.
    """
    run_id, patient = bytes(row.run_id), client.connection.patient
    frames = await patient.journal(client.namespace, run_id)
    try:
        found, cancelled = _open_activities(wire.run_id_text(run_id), frames)
    except _DAMAGE as error:
        _log.warning("the open activities of run %s can't be read: %s", row.run_id.hex(), error)
        return []
    if not found:
        return []
    tasks = {
        task.seq: task for task in await patient.tasks_of(client.namespace, run_id, list(found))
    }
    shown: list[PendingActivityInfo] = []
    for seq, (command, scheduled_ms) in found.items():
        task = tasks.get(seq)
        try:
            shown.append(
                await _info(client, row, routers, command, scheduled_ms, task, seq in cancelled)
            )
        except _DAMAGE as error:
            _log.warning("activity %d of run %s can't be read: %s", seq, row.run_id.hex(), error)
    return shown


def _open_activities(
    run_id: str, frames: Sequence[bytes]
) -> tuple[dict[int, tuple[Event, int]], set[int]]:
    """Open activities by seq (command, when), and which of them were asked to end."""
    found: dict[int, tuple[Event, int]] = {}
    cancelled: set[int] = set()
    for transition in decode_journal(run_id, frames):
        for kind, seq, *_ in transition.jobs:
            if kinds.ACTIVITY_COMPLETED <= kind <= kinds.ACTIVITY_TIMED_OUT:
                found.pop(seq, None)
        for command in transition.commands:
            if command[0] == kinds.ACTIVITY:
                found[command[1]] = (command, transition.now_ms)
            elif command[0] == kinds.CANCEL_ACTIVITY:
                cancelled.add(command[1])
    return found, cancelled


async def _info(
    client: Client,
    row: RunRow,
    routers: Sequence[RouterRow],
    command: Event,
    scheduled_ms: int,
    task: PendingTask | None,
    is_cancelled: bool,
) -> PendingActivityInfo:
    _, seq, _, name, meta, _ = command
    options: Mapping[str, Any] = wire.load(meta)
    state = {} if task is None else wire.load(task.state)
    failure, details = state.get("f"), state.get("d")
    running = task is None or bool(task.owner)
    if task is not None:
        name = decode_event(task.frame)[3]
    task_queue = options.get("q", row.task_queue)
    payloads = client.payloads
    if payloads.converter.takes_context:
        context = activity_context(
            row.namespace, row.workflow_id, row.workflow_type, task_queue, seq, name, options
        )
        payloads = payloads.using(payloads.converter.with_context(context))
    policy: Mapping[str, Any] = options.get("retry") or {}
    about = (
        PendingActivityState.CANCEL_REQUESTED
        if is_cancelled
        else PendingActivityState.STARTED
        if running
        else PendingActivityState.SCHEDULED
    )
    return PendingActivityInfo(
        activity_id=options.get("id") or str(seq),
        activity_type=name,
        task_queue=task_queue,
        state=about,
        # An eager first attempt stores nothing: its router knows of it.
        attempt=1 if task is None else task.attempt + (not running),
        maximum_attempts=policy.get("a") or 0,
        last_failure=await payloads.decode_error(wire.unpack_bytes(failure)) if failure else None,
        heartbeat_details=await payloads.decode(
            wire.unpack_bytes(details), None, f"heartbeat details of activity {name!r}"
        )
        if details
        else [],
        scheduled_time=_time(scheduled_ms),
        next_attempt_schedule_time=None if running or task is None else _time(task.due_ms),
        last_worker_identity="" if task is None else _identity(routers, task.owner),
        hosted=is_hosted(routers, task_queue, "activity_types", name),
    )


def _identity(routers: Sequence[RouterRow], owner: bytes) -> str:
    for router in routers:
        if owner and bytes(router.router_id) == owner:
            return str(wire.load(router.info).get("identity") or "")
    return ""


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
