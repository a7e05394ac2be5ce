"""A router in miniature: one pipe, driven turn by turn, on a store in memory that holds its runs.

The core, the engine and the pipe are the real ones; the store keeps what a backend promises as far
as one pipe can see it. Time stands still unless a test moves it. What becomes of a step can be told
beforehand.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

import orjson
import pytest

from hotmesh.backends.protocol import (
    HeldTask,
    LoadedRun,
    Loads,
    MessageRow,
    RunStatus,
    SendItem,
    SendOutcome,
    Session,
    StartItem,
    StartOutcome,
    Step,
    StepReply,
)
from hotmesh.converter import DataConverter, encode_values
from hotmesh.core import Event, Transition, encode_event, kinds, lane_of
from hotmesh.core.rope import Bytes
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask, AttemptKey, CancelReason, Outcome
from hotmesh.engine.details import EngineOptions
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.limits import TIMER_HORIZON_MS
from hotmesh.router import (
    activating,
    leaving,
    memory,
    pipe,
    refused_ends,
    replaying,
    task_failures,
)
from hotmesh.router.clock import BackendClock
from hotmesh.router.coding import Coder
from hotmesh.router.pace import AverageCost
from hotmesh.router.pipe import Pipe
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.publishing import Publisher
from hotmesh.router.replaying import Engine
from hotmesh.router.tenure import Tenure
from hotmesh.router.workflow_thread import WorkflowThread
from unit.engine.driving import RUN_ID, START_MS, Code, definition_of, values

QUEUE = 7
LANE = lane_of(QUEUE, "w")
SIDE_QUEUE = 8

_CORES_USERS = ((memory, "Router"), (replaying, "match_commands"))
_CLOCKS_USERS = (activating, leaving, memory, pipe, refused_ends, task_failures)


class Time:
    """All clocks there are; it stands still."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    perf_counter = monotonic

    @property
    def now_ms(self) -> int:
        return START_MS + round((self.seconds - 1000) * 1000)


class Runner:
    """Holds the activities that were started until a test says what comes of them."""

    def __init__(self, *hosted: str, free: int = 10) -> None:
        self.hosted = hosted
        self.free = free
        self.started: dict[str, ActivityTask] = {}
        self.cancelled: list[tuple[AttemptKey, CancelReason]] = []
        self._done: dict[str, Callable[[ActivityTask, Outcome], None]] = {}

    def hosts(self, name: str) -> bool:
        return name in self.hosted

    def ends_at_once(self, name: str) -> bool:
        del name
        return False

    def start(self, task: ActivityTask, done: Any) -> Event | None:
        self.started[task.name] = task
        self._done[task.name] = done
        return None

    def cancel(self, attempt: AttemptKey, reason: CancelReason) -> None:
        self.cancelled.append((attempt, reason))

    def ends(self, name: str, outcome: Outcome) -> None:
        """An attempt comes to this."""
        self._done[name](self.started[name], outcome)

    def completes(self, name: str, value: Any = None) -> None:
        """An attempt returns."""
        task = self.started[name]
        event = (kinds.ACTIVITY_COMPLETED, task.seq, task.attempt, "", b"", values(value))
        self.ends(name, Outcome("completed", event))


class Notifier:
    """Notes the hints that are given."""

    def __init__(self) -> None:
        self.hints: list[tuple[str, Any]] = []

    def lanes(self, lanes: Any) -> None:
        self.hints.append(("lanes", sorted(lanes)))

    def tasks(self, queue_id: int, payload: str = "") -> None:
        self.hints.append(("tasks", (queue_id, payload)))

    def done(self, ids: Any) -> None:
        self.hints.append(("done", list(ids)))


@dataclass
class Stored:
    """A run as the store has it."""

    run_id: bytes
    lane: int
    workflow_id: str
    workflow_type: str
    header: bytes
    input: bytes
    status: int = RunStatus.RUNNING
    result: bytes = b""
    journal: list[Bytes] = field(default_factory=list)
    attributes: dict[str, bytes] = field(default_factory=dict)


class Place:
    """A store in memory, and a session on it."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.runs: dict[bytes, Stored] = {}
        self.messages: dict[int, tuple[int, bytes, bytes]] = {}
        """Id → lane, run, frame."""
        self.timers: dict[tuple[bytes, int], tuple[int, int]] = {}
        """(run, key) → lane, due."""
        self.tasks: dict[tuple[bytes, int], HeldTask] = {}
        self.replies: dict[bytes, bytes] = {}
        self.steps: list[Step] = []
        """All that were applied."""
        self.fates: list[str] = []
        """What becomes of the next steps: "lost", "not answered", "refused", "stale", "fenced"."""
        self.taken: set[str] = set()
        """Workflow ids that nothing can be started under."""
        self.is_away = False
        """Whether loads fail."""
        self.loaded: list[list[bytes]] = []
        self._last_id = 0
        self._returned: set[int] = set()
        self._returned_timers: set[tuple[bytes, int]] = set()

    # What others do

    def begin(
        self,
        workflow_type: str,
        *args: Any,
        run_id: bytes = RUN_ID,
        workflow_id: str = "w",
        lane: int = LANE,
        **header: Any,
    ) -> None:
        """A client starts a workflow."""
        body = encode_values(DataConverter.default, args, "arguments")
        run = Stored(run_id, lane, workflow_id, workflow_type, wire.dump(header), body)
        self.runs[run_id] = run
        self.tell((kinds.START, 0, 0, "", b"", b""), run_id=run_id)

    def tell(self, *events: Event, run_id: bytes = RUN_ID, lane: int | None = None) -> None:
        """Something comes for a run."""
        for event in events:
            self._add(self.runs[run_id].lane if lane is None else lane, run_id, encode_event(event))

    def _add(self, lane: int, run_id: bytes, frame: bytes) -> None:
        self._last_id += 1
        self.messages[self._last_id] = (lane, run_id, frame)

    # What a router asks for

    async def step(self, step: Step) -> StepReply:
        fate = self.fates.pop(0) if self.fates else "applied"
        now_ms = self.time.now_ms
        if fate == "lost":
            raise BackendUnavailableError(fate)
        if fate == "fenced":
            return StepReply(now_ms, fenced=True)
        stale = self._stale(step)
        if stale or fate == "stale":
            return StepReply(now_ms, stale=stale or list(step.journal_run))
        acknowledged = set(step.ack_id)
        unread = {
            run_id
            for number, (_, run_id, frame) in self.messages.items()
            if number not in acknowledged and frame[0] in _HOLDS_OPEN
        }
        refused = [run_id for run_id in step.close_run if run_id in unread]
        if refused or fate == "refused":
            return StepReply(now_ms, refused=refused or list(step.close_run))
        reply = self._apply(step)
        if fate == "not answered":
            raise BackendUnavailableError(fate)
        return reply

    def _stale(self, step: Step) -> list[bytes]:
        """Runs whose journal is not what precedes the rows of a step."""
        found: list[bytes] = []
        lengths: dict[bytes, int] = {}
        for run_id, seq in zip(step.journal_run, step.journal_seq, strict=True):
            run = self.runs.get(run_id)
            due = lengths.get(run_id, -1 if run is None else len(run.journal))
            if seq != due:
                found.append(run_id)
            lengths[run_id] = due + 1
        return found

    def _apply(self, step: Step) -> StepReply:
        self.steps.append(step)
        for run_id, frame in zip(step.journal_run, step.journal_frame, strict=True):
            self.runs[run_id].journal.append(bytes(frame))
        for number in step.ack_id:
            del self.messages[number]
        for lane, due, run_id, key in zip(
            step.timer_lane, step.timer_due, step.timer_run, step.timer_key, strict=True
        ):
            self.timers[run_id, key] = (lane, due)
            self._returned_timers.discard((run_id, key))
        for lane, due, run_id, key in zip(
            step.drop_timer_lane,
            step.drop_timer_due,
            step.drop_timer_run,
            step.drop_timer_key,
            strict=True,
        ):
            if self.timers.get((run_id, key)) == (lane, due):
                del self.timers[run_id, key]
        for at, key in enumerate(zip(step.task_run, step.task_seq, strict=True)):
            task = HeldTask(
                step.task_queue[at],
                step.task_type[at],
                step.task_lane[at],
                *key,
                step.task_attempt[at],
                step.task_frame[at],
                -1,
            )
            self.tasks.setdefault(key, task)
        for key in zip(step.drop_task_run, step.drop_task_seq, strict=True):
            self.tasks.pop(key, None)
        for run_id, seq, frame in zip(
            step.recall_task_run, step.recall_task_seq, step.recall_task_frame, strict=True
        ):
            if self.tasks.pop((run_id, seq), None) is not None:
                self._add(self.runs[run_id].lane, run_id, frame)
        for run_id, name, value in zip(
            step.attribute_run, step.attribute_name, step.attribute_value, strict=True
        ):
            self._set_attribute(run_id, name, value)
        for run_id, status, result in zip(
            step.close_run, step.close_status, step.close_result, strict=True
        ):
            self.runs[run_id].status, self.runs[run_id].result = status, result
        started = [self._start(item) for item in step.starts]
        for lane, run_id, frame in zip(
            step.message_lane, step.message_run, step.message_frame, strict=True
        ):
            self._add(lane, run_id, frame)
        for run_id, target in zip(step.move_run, step.move_to, strict=True):
            self._move(run_id, target)
        sent = [self._send(item) for item in step.sends]
        self.replies.update(zip(step.reply_id, step.reply_data, strict=True))
        return StepReply(self.time.now_ms, self._read(step), self._due(step.lanes), started, sent)

    def _set_attribute(self, run_id: bytes, name: str, value: bytes) -> None:
        attributes = self.runs[run_id].attributes
        if value:
            attributes[name] = value
        else:
            attributes.pop(name, None)

    def _start(self, item: StartItem) -> StartOutcome:
        if item.workflow_id in self.taken:
            return StartOutcome(False, b"t" * 16, RunStatus.RUNNING)
        run = Stored(
            item.run_id, item.lane, item.workflow_id, item.workflow_type, item.header, item.input
        )
        if self.runs.setdefault(item.run_id, run) is run:
            if item.delay_ms:
                self.timers[item.run_id, 0] = (item.lane, self.time.now_ms + item.delay_ms)
            else:
                self._add(item.lane, item.run_id, item.frame)
        return StartOutcome(True, item.run_id, RunStatus.RUNNING)

    def _move(self, run_id: bytes, target: int) -> None:
        run = self.runs[run_id]
        for number, (lane, owner, frame) in list(self.messages.items()):
            if owner == run_id and lane == run.lane and frame[0] in _HOLDS_OPEN:
                self.messages[number] = (target, run_id, frame)
        run.lane = target

    def _send(self, item: SendItem) -> SendOutcome:
        for run in self.runs.values():
            if (
                run.workflow_id == item.workflow_id
                and run.status == RunStatus.RUNNING
                and item.run_id in (b"", run.run_id)
            ):
                self._add(run.lane, run.run_id, item.frame)
                return SendOutcome(True, run.run_id, run.status, run.lane)
        return SendOutcome(False, b"", 0, 0)

    def _read(self, step: Step) -> list[MessageRow]:
        if not step.room:
            return []
        rows: list[MessageRow] = []
        for number, (lane, run_id, frame) in sorted(self.messages.items()):
            if lane in step.lanes and number not in self._returned:
                self._returned.add(number)
                rows.append(self._row(number, lane, run_id, frame))
        return rows

    def _row(self, number: int, lane: int, run_id: bytes, frame: bytes) -> MessageRow:
        if frame[0] != kinds.START:
            return MessageRow(number, lane, run_id, frame, None, None, None, None, None)
        run = self.runs[run_id]
        known = bool(run.journal) or run.lane != lane
        return MessageRow(
            number, lane, run_id, frame, run.workflow_id, run.workflow_type, run.header, run.input,
            known,
        )  # fmt: skip

    def _due(self, lanes: Sequence[int]) -> list[tuple[int, int, bytes, int]]:
        until = self.time.now_ms + TIMER_HORIZON_MS
        found = [
            (lane, due, run_id, key)
            for (run_id, key), (lane, due) in self.timers.items()
            if lane in lanes and due <= until and (run_id, key) not in self._returned_timers
        ]
        self._returned_timers.update((run_id, key) for _, _, run_id, key in found)
        return found

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        if self.is_away:
            raise BackendUnavailableError("away")
        self.loaded.append(list(run_ids))
        found = [self.runs[run_id] for run_id in run_ids if run_id in self.runs]
        return Loads([self._loaded(run) for run in found], ())

    def _loaded(self, run: Stored) -> LoadedRun:
        attributes = {name: orjson.loads(text) for name, text in run.attributes.items()}
        return LoadedRun(
            run.run_id,
            run.lane,
            run.status,
            run.workflow_id,
            run.workflow_type,
            run.header,
            run.input,
            [bytes(each) if isinstance(each, bytes) else b"".join(each) for each in run.journal],
            orjson.dumps(attributes),
            len(run.journal),
        )

    def forget(self, lanes: Sequence[int] | None = None) -> None:
        self._returned_timers.clear()
        self._returned = {
            number
            for number in self._returned
            if lanes is not None and number in self.messages
            and self.messages[number][0] not in lanes
        }  # fmt: skip

    async def close(self) -> None:
        """Nothing is held."""


_HOLDS_OPEN = frozenset((kinds.SIGNAL, kinds.UPDATE, kinds.CANCEL, kinds.TERMINATE))


class Miniature:
    """A pipe on a place.

    Args:
        place: The store.
        time: All clocks.
        core: Decodes what was journaled.
        codes: Coroutine functions or workflow classes that are hosted.
        runner: The activity runner; none hosts nothing.
        bus: Where events go.
        codec: A payload codec.
        options: Of the engine.
        changes: Other parts of the context.
    """

    def __init__(
        self,
        place: Place,
        time: Time,
        core: ModuleType,
        *codes: Code,
        runner: Runner | None = None,
        bus: Any = None,
        codec: Any = None,
        options: dict[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        self.place, self.time, self.core, self.runner = place, time, core, runner
        definitions = [definition_of(code) for code in codes]
        given = {"converter": DataConverter.default, **(options or {})}
        self.engine = Engine({each.name: each for each in definitions}, EngineOptions(**given))
        self.notifier = Notifier()
        self.moved = 0
        self.quiet: list[int] = []
        self.fenced = 0
        self.resolved: list[str] = []
        self.tenure = Tenure()
        parts: dict[str, Any] = {
            "database": "memory",
            "namespace": "n",
            "queue_ids": {"q": QUEUE},
            "task_queue": "q",
            "queue_id": QUEUE,
            "clock": BackendClock(time.monotonic, lambda: time.now_ms / 1000),
            "notifier": self.notifier,
            "engine": self.engine,
            "converter": given["converter"],
            "workflows": WorkflowThread(0, inline=True),
            "runner": runner,
            "publisher": Publisher(bus),
            "resolve_queue": self._resolve,
            "resolve_side": self._resolve_side,
            "tenure": self.tenure,
            "on_fenced": self._on_fenced,
            "on_lanes_quiet": self.quiet.extend,
            "wake_all": lambda: self.pipe.wake(),
            "coder": None if codec is None else Coder(codec),
            "cost": AverageCost(),
            "owns_all": lambda: True,
            "serves_sides": lambda: False,
            "on_moved": self._on_moved,
            **changes,
        }
        self.context = PipeContext(**parts)
        self.pipe = Pipe(self.context, b"r" * 16)
        self.session = cast("Session", place)
        self.pipe._session = self.session
        self.pipe.assign([LANE])

    async def _resolve(self, name: str) -> int:
        self.resolved.append(name)
        return 9

    async def _resolve_side(self, name: str) -> int:
        self.resolved.append(f"side {name}")
        return SIDE_QUEUE

    def _on_fenced(self) -> None:
        self.fenced += 1

    def _on_moved(self) -> None:
        self.moved += 1

    # Driving

    async def turns(self, count: int = 1) -> None:
        """So many turns; what is away is waited for."""
        for _ in range(count):
            with contextlib.suppress(BackendUnavailableError):
                await self.pipe._turn(self.session)

    async def settle(self) -> None:
        """Turns until there is nothing to do."""
        for _ in range(50):
            with contextlib.suppress(BackendUnavailableError):
                if await self.pipe._turn(self.session):
                    return
        raise AssertionError("it never comes to rest")

    async def pass_seconds(self, seconds: float) -> None:
        """Let time go by, then settle."""
        self.time.seconds += seconds
        await self.settle()

    # Looking

    def run(self, run_id: bytes = RUN_ID) -> Stored:
        return self.place.runs[run_id]

    def journal(self, run_id: bytes = RUN_ID) -> list[Transition]:
        """What was recorded of a run."""
        return [self.core.decode_transition(bytes(each)) for each in self.run(run_id).journal]

    def kinds(self, run_id: bytes = RUN_ID) -> list[tuple[list[str], list[str]]]:
        """The kinds of the jobs and commands of each transition."""
        return [
            ([kinds.NAMES[job[0]] for job in jobs], [kinds.NAMES[each[0]] for each in commands])
            for _, jobs, commands in self.journal(run_id)
        ]

    def task_failure(self, run_id: bytes = RUN_ID) -> dict[str, Any] | None:
        """What the run's record says of its failing task."""
        text = self.run(run_id).attributes.get(task_failures.ATTRIBUTE)
        return None if text is None else orjson.loads(text)


def stand_in(monkeypatch: pytest.MonkeyPatch, core: ModuleType, time: Time) -> None:
    """Have the router use this core and this clock."""
    for module, name in _CORES_USERS:
        monkeypatch.setattr(module, name, getattr(core, name))
    for module in _CLOCKS_USERS:
        monkeypatch.setattr(module, "time", time)


Make = Callable[..., Miniature]
"""What the fixture ``make`` is."""
