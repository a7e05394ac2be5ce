"""What a run waits for: of activities which attempt, what went wrong last, what comes next; and its
children."""

from __future__ import annotations

import enum
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hotmesh.backends.pending_task import PendingTask
from hotmesh.backends.protocol import RunRow, RunStatus
from hotmesh.client._history import decode_journal
from hotmesh.client._hosting import Hosts
from hotmesh.core import CoreError, Event, decode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.contexts import activity_context
from hotmesh.engine.info import ParentClosePolicy
from hotmesh.exceptions import CorruptJournalError, FailureError
from hotmesh.printing import frames_in, user_frames

if TYPE_CHECKING:
    from hotmesh.client import Client


_log = logging.getLogger(__name__)

ACTIVITIES_SHOWN = 3
"""Activities of one run that a list shows."""

RUNS_AT_ONCE = 200
"""Runs whose tasks are looked at with one call."""

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
    """What the attempt before failed with, as its activity raised it."""
    last_failure_frames: Sequence[str]
    """Where it was raised in the activity's code, outermost first: ``file:line in function``. Of a
    timeout, where the activity was then."""
    heartbeat_details: Sequence[Any]
    scheduled_time: datetime
    """When the workflow asked for it."""
    next_attempt_schedule_time: datetime | None
    """When it can be claimed; None while an attempt runs."""
    last_worker_identity: str
    """Who runs it, if that is stored."""
    hosted: bool
    """Whether a live worker of its task queue hosts its type; otherwise it waits for one."""


@dataclass(frozen=True)
class PendingChildInfo:
    """A child workflow that has not ended, as far as its parent knows."""

    workflow_id: str
    run_id: str | None
    """Its first run; None until it has started."""
    workflow_type: str
    task_queue: str
    parent_close_policy: ParentClosePolicy
    """What becomes of it when its parent closes."""
    initiated_time: datetime
    """When the workflow asked for it."""
    hosted: bool
    """Whether a live worker of its task queue hosts its type; otherwise it waits for one."""


@dataclass(frozen=True)
class Pending:
    """What an open run waits for, as its description shows it; in the order in which it was asked
    for."""

    activities: Sequence[PendingActivityInfo] = ()
    children: Sequence[PendingChildInfo] = ()


@dataclass(frozen=True)
class Waiting:
    """What an open run waits for, as a list shows it."""

    activities: Sequence[PendingActivityInfo]
    """Those that wait or run in a task queue, the most tried ones first. A first attempt in the
    process of its workflow is not among them: nothing is stored of it."""
    more: int
    """Further ones, which are not shown."""
    hosted: bool
    """Whether a live worker of its task queue hosts its type."""


async def waiting(client: Client, rows: Sequence[RunRow]) -> dict[bytes, Waiting]:
    """What many runs wait for, by run id; of those that are open.

    One look at the rollcall and one at the tasks of all, or a few where they are large.

    Args:
        client: The client.
        rows: The runs as they are listed.
    """
    rows = [row for row in rows if row.status == RunStatus.RUNNING]
    if not rows:
        return {}
    patient, namespace = client.connection.patient, client.namespace
    hosts = Hosts(await patient.routers(namespace))
    found: dict[bytes, Waiting] = {}
    while len(found) < len(rows):
        part = rows[len(found) : len(found) + RUNS_AT_ONCE]
        run_ids = [bytes(row.run_id) for row in part]
        answers = await patient.tasks_of_runs(namespace, run_ids, ACTIVITIES_SHOWN)
        for row, (total, tasks) in zip(part, answers, strict=False):
            shown = [
                await _shown(client, row, hosts, task.frame, task.scheduled_ms, task, task.recalled)
                for task in tasks
            ]
            readable = [each for each in shown if each is not None]
            hosted = hosts.host(row.task_queue, "workflow_types", row.workflow_type)
            found[bytes(row.run_id)] = Waiting(readable, total - len(tasks), hosted)
    return found


async def pending(client: Client, row: RunRow, hosts: Hosts) -> Pending:
    """What an open run waits for.

    What is damaged is left out: the run's record says so, and its description must show that.
    """
    run_id, patient = bytes(row.run_id), client.connection.patient
    frames = await patient.journal(client.namespace, run_id)
    try:
        opened = _open_commands(wire.run_id_text(run_id), frames)
    except _DAMAGE as error:
        _log.warning("what run %s waits for can't be read: %s", row.run_id.hex(), error)
        return Pending()
    children = [_child_shown(row, hosts, *each) for each in opened.children.values()]
    return Pending(
        await _activities_shown(client, row, hosts, opened),
        [each for each in children if each is not None],
    )


async def _activities_shown(
    client: Client, row: RunRow, hosts: Hosts, opened: _Opened
) -> list[PendingActivityInfo]:
    run_id, patient = bytes(row.run_id), client.connection.patient
    found = opened.activities
    if not found:
        return []
    tasks = {
        task.seq: task for task in await patient.tasks_of(client.namespace, run_id, list(found))
    }
    shown = [
        await _shown(
            client, row, hosts, command, scheduled_ms, tasks.get(seq), seq in opened.cancelled
        )
        for seq, (command, scheduled_ms) in found.items()
    ]
    return [each for each in shown if each is not None]


def frames_of(error: BaseException) -> list[str]:
    """Where an error was raised, outermost first: ``file:line in function``.

    Args:
        error: One that was raised here, or one that was stored.
    """
    stored = error.failure if isinstance(error, FailureError) else None
    return user_frames(error) if stored is None else frames_in(stored.stack_trace)


@dataclass(frozen=True)
class _Opened:
    """The commands that a journal says are open, by seq: each with when it was issued."""

    activities: dict[int, tuple[Event, int]] = field(default_factory=dict[int, tuple[Event, int]])
    cancelled: set[int] = field(default_factory=set[int])
    """Activities that were asked to end."""
    children: dict[int, tuple[Event, int, bytes]] = field(
        default_factory=dict[int, tuple[Event, int, bytes]]
    )
    """And which run it is, once it has started."""


def _open_commands(run_id: str, frames: Sequence[bytes]) -> _Opened:
    opened = _Opened()
    activities, children = opened.activities, opened.children
    for transition in decode_journal(run_id, frames):
        for kind, seq, _, _, meta, _ in transition.jobs:
            if kind in kinds.ACTIVITY_OUTCOMES:
                activities.pop(seq, None)
            elif kind == kinds.CHILD_STARTED and seq in children:
                children[seq] = (*children[seq][:2], meta)
            elif kind in kinds.CHILD_OUTCOMES:
                children.pop(seq, None)
        for command in transition.commands:
            if command[0] == kinds.ACTIVITY:
                activities[command[1]] = (command, transition.now_ms)
            elif command[0] == kinds.CANCEL_ACTIVITY:
                opened.cancelled.add(command[1])
            elif command[0] == kinds.CHILD:
                children[command[1]] = (command, transition.now_ms, b"")
    return opened


def _child_shown(
    row: RunRow, hosts: Hosts, command: Event, initiated_ms: int, run_id: bytes
) -> PendingChildInfo | None:
    """A child by its command; None of a damaged one."""
    _, _, _, name, meta, _ = command
    try:
        document: Mapping[str, Any] = wire.load(meta)
        task_queue = document.get("q", row.task_queue)
        return PendingChildInfo(
            workflow_id=document["id"],
            run_id=wire.run_id_text(run_id) if run_id else None,
            workflow_type=name,
            task_queue=task_queue,
            parent_close_policy=ParentClosePolicy(document["close"]),
            initiated_time=_time(initiated_ms),
            hosted=hosts.host(task_queue, "workflow_types", name),
        )
    except (*_DAMAGE, KeyError) as error:
        _log.warning("a child of run %s can't be read: %s", row.run_id.hex(), error)
        return None


async def _shown(
    client: Client,
    row: RunRow,
    hosts: Hosts,
    asked: Event | bytes,
    scheduled_ms: int,
    task: PendingTask | None,
    is_cancelled: bool,
) -> PendingActivityInfo | None:
    """An activity by its command, or the frame of it; None of a damaged one."""
    try:
        command = decode_event(asked) if isinstance(asked, bytes) else asked
        return await _info(client, row, hosts, command, scheduled_ms, task, is_cancelled)
    except _DAMAGE as error:
        _log.warning("an activity of run %s can't be read: %s", row.run_id.hex(), error)
        return None


async def _info(
    client: Client,
    row: RunRow,
    hosts: Hosts,
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
    last = await payloads.decode_error(wire.unpack_bytes(failure)) if failure else None
    return PendingActivityInfo(
        activity_id=options.get("id") or str(seq),
        activity_type=name,
        task_queue=task_queue,
        state=about,
        # An eager first attempt stores nothing: its router knows of it.
        attempt=1 if task is None else task.attempt + (not running),
        maximum_attempts=policy.get("a") or 0,
        last_failure=last,
        last_failure_frames=() if last is None else frames_of(last),
        heartbeat_details=await payloads.decode(
            wire.unpack_bytes(details), None, f"heartbeat details of activity {name!r}"
        )
        if details
        else [],
        scheduled_time=_time(scheduled_ms),
        next_attempt_schedule_time=None if running or task is None else _time(task.due_ms),
        last_worker_identity="" if task is None else hosts.identity(bytes(task.owner)),
        hosted=hosts.host(task_queue, "activity_types", name),
    )


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
