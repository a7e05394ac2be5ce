"""Checks what is stored: whether something will move each open run, and nothing is left over.

A look reads a database that others go on changing, a page at a time, so what it sees need not have
been so at any one moment. What two looks have found is wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import orjson

from hotmesh.backends.protocol import Backend, RunFilter, RunRow, RunStatus
from hotmesh.backends.queue_ids import is_sound
from hotmesh.client._hosting import Hosts
from hotmesh.core import CoreError, Event, Ledger, Transition, decode_transition, kinds, lane_of
from hotmesh.engine import wire
from hotmesh.limits import LANES_PER_QUEUE
from hotmesh.printing import told
from hotmesh.retrying import PASSING
from hotmesh.visibility import Field, FieldIs

PAGE = 500
"""Rows that are read at a time."""

RUNS_PAGE = 100
"""Open runs that are read at a time; their journals are read one by one."""

START_TIMER_KEY = 0
"""The key of a delayed start."""


class Problem(NamedTuple):
    """Something that is wrong in what is stored."""

    workflow_id: str
    """Of the run; "" if the run is gone."""
    run_id: str
    what: str


class _Place(NamedTuple):
    """Where something lies, or where what becomes of it goes."""

    kind: str
    lane: int | str
    """A text at most where SQLite was given one."""
    task_queue: str


class _Claim(NamedTuple):
    """Where a task can be claimed."""

    queue_id: int
    activity_type: str


@dataclass
class _Held:
    """What waits for one run."""

    messages: int = 0
    timers: set[int] = field(default_factory=set[int])
    tasks: dict[int, _Claim] = field(default_factory=dict[int, _Claim])
    waits: int = 0
    places: set[_Place] = field(default_factory=set[_Place])
    damaged: list[str] = field(default_factory=list[str])

    def __str__(self) -> str:
        counts = {
            "message(s)": self.messages,
            "timer(s)": len(self.timers),
            "activity task(s)": len(self.tasks),
            "wait(s) for mail": self.waits,
        }
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


_NOTHING = _Held()


async def check(backend: Backend, namespace: str, pause_s: float) -> list[Problem]:
    """Look twice, and say what was wrong both times.

    Args:
        backend: The database.
        namespace: The namespace.
        pause_s: Seconds between the looks: longer than what is under way takes to be stored.

    Raises:
        BackendUnavailableError: The database can't be reached.
    """
    first = await look(backend, namespace)
    if not first:
        return []
    await asyncio.sleep(pause_s)
    again = set(await look(backend, namespace))
    return [problem for problem in first if problem in again]


async def look(backend: Backend, namespace: str) -> list[Problem]:
    """What is wrong in what is stored, if nobody changed it meanwhile.

    Raises:
        BackendUnavailableError: The database can't be reached.
    """
    held = await _read_pending(backend, namespace)
    hosts = Hosts(await backend.routers(namespace))
    problems: list[Problem] = []
    before, more = b"", True
    while more:
        is_open = FieldIs(Field.STATUS, RunStatus.RUNNING)
        rows, more = await backend.runs(RunFilter(namespace, is_open, before, RUNS_PAGE))
        last = before
        for row in rows:
            workflow_id = _text_of(row.workflow_id)
            if isinstance(row.run_id, str):  # SQLite keeps what it is given
                problems.append(Problem(workflow_id, row.run_id, "its run id is no run id"))
                continue
            before = bytes(row.run_id)
            waiting = held.pop(before, _NOTHING)
            wrong = _of_row(row, namespace, hosts) + waiting.damaged + _misplaced(row, waiting)
            wrong += await _of_journal(backend, namespace, before, waiting)
            run_id = wire.run_id_text(before)
            problems += [Problem(workflow_id, run_id, what) for what in wrong]
        more = more and before != last
    return problems + [
        Problem("", wire.run_id_text(run_id), _left_over(rest))
        for run_id, rest in sorted(held.items())
        if not _ends_when_due(rest)
    ]


async def _read_pending(backend: Backend, namespace: str) -> dict[bytes, _Held]:
    held: dict[bytes, _Held] = {}
    cursor, more = b"", True
    while more:
        rows, cursor = await backend.pending(namespace, cursor, PAGE)
        more = bool(cursor)
        for row in rows:
            of_run = held.setdefault(_bytes_of(row.run_id), _Held())
            if row.kind == "message":
                of_run.messages += 1
            elif row.kind == "timer":
                of_run.timers.add(row.number)
            elif row.kind == "task":
                of_run.tasks[row.number] = _Claim(row.queue_id, row.activity_type)
            else:
                of_run.waits += 1
            if row.damaged:
                of_run.damaged.append(f"a {row.kind} is left unread: its {row.damaged} is damaged")
            if row.lane is not None:
                of_run.places.add(_Place(row.kind, row.lane, row.task_queue))
    return held


def _bytes_of(run_id: Any) -> bytes:
    """A run id as it is stored, damaged or not."""
    return run_id.encode(errors="replace") if isinstance(run_id, str) else bytes(run_id)


def _text_of(workflow_id: Any) -> str:
    """A workflow id as it is stored, damaged or not."""
    return workflow_id if isinstance(workflow_id, str) else repr(workflow_id)


def _of_row(row: RunRow, namespace: str, hosts: Hosts) -> list[str]:
    """What is wrong with a run's own row, as far as others tell: all else shows when it is loaded.

    Its id says which number its lane has, and the names of a queue say which id it has.
    """
    task_queue, name = row.task_queue, row.workflow_type
    lane, workflow_id = cast("tuple[Any, Any]", (row.lane, row.workflow_id))  # as SQLite was given
    if not isinstance(workflow_id, str) or not isinstance(lane, int):
        return [f"its row is damaged: workflow id {workflow_id!r}, lane {lane!r}"]
    wrong: list[str] = []
    if lane % LANES_PER_QUEUE != lane_of(0, workflow_id):
        wrong.append(f"it is in lane {lane}, where its workflow id does not belong")
    queue_id = lane // LANES_PER_QUEUE
    if not any(is_sound(queue_id, (namespace, task_queue, side)) for side in ("", name)):
        wrong.append(
            f"it is in lane {lane} of task queue {task_queue!r}, which by its names is neither its "
            f"own one nor that of its workflows of type {name!r}"
        )
    if hosts.has_worker(task_queue) and not hosts.host(task_queue, "workflow_types", name):
        wrong.append(f"no live worker of task queue {task_queue!r} hosts its type {name!r}")
    return wrong


def _misplaced(row: RunRow, held: _Held) -> list[str]:
    """What lies where nobody reads it as the run's.

    A run's lane has the same number in its task queue and in a side queue, and what waits in one
    of the two is sent on to where the run is.
    """
    own = cast("Any", row.lane)
    number = own % LANES_PER_QUEUE if isinstance(own, int) else None
    return [
        f"a {_KINDS[kind]} lies in lane {lane!r}, which is "
        + (f"one of task queue {task_queue!r}" if task_queue else "of no task queue")
        + f"; the run is in lane {row.lane!r} of {row.task_queue!r}"
        for kind, lane, task_queue in sorted(held.places, key=repr)
        if task_queue != row.task_queue
        or not isinstance(lane, int)
        or lane % LANES_PER_QUEUE != number
    ]


def _ends_when_due(held: _Held) -> bool:
    """Whether all that is left of a run is its delayed start, or its own timeouts.

    A delayed workflow that is terminated leaves the former, one that failed or moved before it
    began the latter: whoever has the lane looks at them once, when they are due.
    """
    others = held.messages or held.tasks or held.waits or held.damaged
    known = all(place.task_queue for place in held.places)  # else nobody looks
    return not others and known and max(held.timers, default=1) <= START_TIMER_KEY


def _left_over(held: _Held) -> str:
    lanes = sorted({repr(place.lane) for place in held.places})
    where = f", in lane {', '.join(lanes)}" if lanes else ""
    return f"left over of a run that is not open: {held}{where}"


async def _of_journal(backend: Backend, namespace: str, run_id: bytes, waiting: _Held) -> list[str]:
    """Whether what a run waits for will come.

    Raises:
        BackendUnavailableError: The database can't be reached.
    """
    try:
        found = _of_run(await backend.journal(namespace, run_id), waiting)
        if found.children:
            found.wrong += await _of_children(backend, namespace, found)
    except PASSING:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is stored: this run's is not readable
        return [f"it can't be read: {type(error).__name__}: {told(error)}"]
    return found.wrong


@dataclass
class _Found:
    """What one run's journal says beside what waits for it."""

    held: _Held
    wrong: list[str] = field(default_factory=list[str])
    children: list[Event] = field(default_factory=list[Event])
    """Open children that have started."""
    queues: dict[int, int] = field(default_factory=dict[int, int])
    """The ids of the task queues in which activities were put, by seq; 0: eager, in none."""


def _of_run(frames: Sequence[bytes], held: _Held) -> _Found:
    found = _Found(held)
    try:
        transitions = [decode_transition(bytes(frame)) for frame in frames]
        ledger = _ledger_of(transitions)
    # A TypeError: no bytes at all, where SQLite was given something else.
    except (CoreError, TypeError) as error:
        found.wrong.append(f"its journal can't be read: {error}")
        return found
    if not transitions:
        if not held.messages and START_TIMER_KEY not in held.timers:
            found.wrong.append("nothing will start it: neither its first message nor a timer")
        return found
    if ledger.closed:
        found.wrong.append("its journal ends with its end, but it is open")
        return found
    for _, _, commands in transitions:
        found.queues.update((each[1], each[2]) for each in commands if each[0] in kinds.QUEUED)
    opened = [each for _, _, commands in transitions for each in commands if _is_open(each, ledger)]
    local = set(ledger.local_seqs())
    awaited = {seq * 4 for kind, seq, *_ in opened if kind == kinds.TIMER}
    anchored = held.messages > 0 or bool(held.timers - awaited)
    for command in opened:
        _of_command(command, command[1] in local, anchored, found)
    return found


def _ledger_of(transitions: Sequence[Transition]) -> Ledger:
    ledger = Ledger()
    for _, jobs, commands in transitions:
        for job in jobs:
            ledger.accept(job)
        for command in commands:
            ledger.command(command)
    return ledger


def _is_open(command: Event, ledger: Ledger) -> bool:
    return command[0] in kinds.OPENING and ledger.is_open(command[1])


def _of_command(command: Event, is_local: bool, anchored: bool, found: _Found) -> None:
    """Whether what a run waits for will come."""
    kind, seq, held = command[0], command[1], found.held
    if is_local:
        if not anchored:
            found.wrong.append(_say(command, "is done by nobody who would be missed"))
    elif kind == kinds.ACTIVITY:
        claim = held.tasks.get(seq)
        if claim is None:
            if not held.messages:
                found.wrong.append(_say(command, "has neither a task nor a result"))
        elif claim.activity_type != command[3]:
            found.wrong.append(_say(command, f"has a task of type {claim.activity_type!r}"))
        elif claim.queue_id != found.queues[seq]:
            what = f"has a task in the task queue of id {claim.queue_id!r}, not {found.queues[seq]}"
            found.wrong.append(_say(command, what))
    elif kind == kinds.TIMER:
        if seq * 4 not in held.timers:
            found.wrong.append(_say(command, "is not stored"))
    elif kind == kinds.WAIT:
        if not held.waits and not held.messages:
            found.wrong.append(_say(command, "is in no line, and nothing has come"))
    elif kind == kinds.CHILD:
        found.children.append(command)


async def _of_children(backend: Backend, namespace: str, found: _Found) -> list[str]:
    documents: list[dict[str, Any]] = [orjson.loads(each[4]) for each in found.children]
    rows = await backend.find([(namespace, each["id"], b"") for each in documents])
    return [
        _say(command, "is closed or gone, and said nothing")
        for command, row in zip(found.children, rows, strict=True)
        if not _is_running(row) and not found.held.messages
    ]


def _is_running(row: RunRow | None) -> bool:
    return row is not None and row.status == RunStatus.RUNNING


def _say(command: Event, what: str) -> str:
    kind, seq, _, name, _, _ = command
    return f"{_NAMES[kind]} {seq} {name!r} {what}" if name else f"{_NAMES[kind]} {seq} {what}"


_KINDS: Mapping[str, str] = {
    "message": "message",
    "timer": "timer",
    "task": "task, or what becomes of it,",
    "wait": "wait for mail",
}

_NAMES: Mapping[int, str] = {
    kinds.ACTIVITY: "activity",
    kinds.TIMER: "timer",
    kinds.CHILD: "child workflow",
    kinds.SIGNAL_EXTERNAL: "signal to another workflow",
    kinds.CANCEL_EXTERNAL: "cancellation of another workflow",
    kinds.WAIT: "wait for mail",
}
