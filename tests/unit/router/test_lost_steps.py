"""What a step was to store is not forgotten when that step is lost, refused or not answered."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import LoadedRun, Loads, MessageRow, Session, Step, StepReply
from hotmesh.converter import DataConverter, encode_values
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask, Outcome
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.router import leaving
from hotmesh.router.closing import RUN_TIMEOUT_KEY
from unit.router.test_pipe import LANE, pipe_of

RUN = b"1" * 16
QUERY = b"q" * 16
BODY = encode_values(DataConverter.default, [], "arguments")
START_FRAME = encode_event((kinds.START, 0, 0, "", b"", b""))
QUERY_FRAME = encode_event((kinds.QUERY, 0, 0, "state", QUERY, wire.join_document({}, BODY)))


@workflow.defn
class Asks:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("act", start_to_close_timeout=timedelta(seconds=1))


@workflow.defn
class Raises:
    times = 1

    @workflow.run
    async def run(self) -> None:
        if Raises.times:
            Raises.times -= 1
            raise RuntimeError("not yet")
        await workflow.sleep(60)

    @workflow.query
    def state(self) -> str:
        return "fine"


class Runner:
    """Starts what there are slots for."""

    def __init__(self, free: int = 10) -> None:
        self.free = free
        self.started: list[ActivityTask] = []

    def hosts(self, name: str) -> bool:
        return name == "act"

    def ends_at_once(self, name: str) -> bool:
        return False

    def start(self, task: ActivityTask, done: object) -> None:
        del done
        self.started.append(task)


class Store:
    """Holds one run. What becomes of each step is told beforehand; then all are applied."""

    def __init__(self, kind: str, fates: list[str], *messages: bytes, **header: int) -> None:
        self.kind = kind
        self.fates = fates
        self.messages = messages
        self.header = wire.dump(header)
        self.journal: list[bytes] = []
        self.applied: list[Step] = []
        self.tried: list[Step] = []
        self.is_read = False

    async def step(self, step: Step) -> StepReply:
        self.tried.append(step)
        fate = self.fates.pop(0) if self.fates else "applied"
        if fate in ("applied", "not answered"):
            self.applied.append(step)
            self.journal += step.journal_frame
        if fate in ("lost", "not answered"):
            raise BackendUnavailableError(fate)
        if fate == "refused":
            return StepReply(1, refused=[RUN])
        if fate == "stale":
            return StepReply(1, stale=[RUN])
        if self.is_read or LANE not in step.lanes or not step.room:
            return StepReply(1)
        self.is_read = True
        return StepReply(1, messages=[self._row(each) for each in enumerate(self.messages)])

    def _row(self, each: tuple[int, bytes]) -> MessageRow:
        number, frame = each
        if number:
            return MessageRow(number, LANE, RUN, frame, None, None, None, None, None)
        journaled = bool(self.journal)
        return MessageRow(0, LANE, RUN, frame, "w", self.kind, self.header, BODY, journaled)

    async def load(self, run_ids: object) -> Loads:
        del run_ids
        count = len(self.journal)
        loaded = LoadedRun(
            RUN, LANE, 1, "w", self.kind, self.header, BODY, tuple(self.journal), b"{}", count
        )
        return Loads([loaded], ())

    def forget(self, lanes: object = None) -> None:
        del lanes
        self.is_read = False

    async def close(self) -> None:
        """Nothing is open."""


async def turn(store: Store, pipe: Any, times: int) -> None:
    for _ in range(times):
        with contextlib.suppress(BackendUnavailableError):
            await pipe._turn(cast("Session", cast("Any", store)))


def pipe_on(store: Store, definition: type, runner: Runner) -> Any:
    pipe: Any = pipe_of(store, definition)
    pipe._context.runner = runner
    pipe._context.notifier = SimpleNamespace(tasks=lambda _: None, done=lambda _: None)
    return pipe


@pytest.mark.parametrize("fate", ["lost", "refused"])
async def test_timeouts_of_a_run_that_fails_at_first(
    fate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raises, "times", 100)
    store = Store("Raises", ["applied", fate], START_FRAME, run=5000)
    pipe = pipe_on(store, Raises, Runner())
    await turn(store, pipe, 6)
    assert store.tried[1].timer_key == [RUN_TIMEOUT_KEY]
    assert [step.timer_key for step in store.applied if step.timer_key] == [[RUN_TIMEOUT_KEY]]


@pytest.mark.parametrize("fate", ["lost", "refused"])
async def test_a_query_that_its_code_failed_with(
    fate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raises, "times", 1)
    store = Store("Raises", ["applied", fate], START_FRAME, QUERY_FRAME)
    pipe = pipe_on(store, Raises, Runner())
    await turn(store, pipe, 6)
    assert store.tried[1].reply_id == [QUERY]
    assert [step.reply_id for step in store.applied if step.reply_id] == [[QUERY]]


@pytest.mark.parametrize("fate", ["lost", "refused", "stale", "not answered"])
async def test_an_attempt_that_has_not_begun_is_still_the_first(fate: str) -> None:
    """The step that asked for it was not answered, nor the next one applied."""
    store = Store("Asks", ["applied", "not answered", "applied", fate], START_FRAME)
    runner = Runner()
    pipe = pipe_on(store, Asks, runner)
    await turn(store, pipe, 9)
    (task,) = runner.started
    assert (task.seq, task.attempt) == (1, 1)
    assert not any(step.task_run for step in store.tried)


@pytest.mark.parametrize("fate", ["lost", "refused", "stale"])
async def test_what_is_handed_over_has_not_used_an_attempt(fate: str) -> None:
    store = Store("Asks", ["applied", "applied", fate], START_FRAME)
    runner = Runner()
    pipe = pipe_on(store, Asks, runner)
    pipe._activities.make_room()
    await turn(store, pipe, 1)
    runner.free = 0
    await turn(store, pipe, 1)
    assert not runner.started
    pipe.start_nothing()
    await turn(store, pipe, 6)
    assert store.tried[2].task_attempt == [0]
    (stored,) = [step for step in store.applied if step.task_run]
    assert (stored.task_seq, stored.task_attempt) == ([1], [0])
    assert not pipe._activities._failed
    assert not pipe._activities._not_begun


@pytest.mark.parametrize("fate", ["lost", "refused", "stale"])
async def test_what_has_failed_keeps_its_pause_and_its_failure(fate: str) -> None:
    store = Store("Asks", ["applied", "applied", fate], START_FRAME)
    runner = Runner()
    pipe = pipe_on(store, Asks, runner)
    await turn(store, pipe, 2)
    (task,) = runner.started
    pipe._activities._ended(task, Outcome("retry", delay_ms=700, state=b"why"))
    await turn(store, pipe, 6)
    assert store.tried[2].task_delay == [700]
    (stored,) = [step for step in store.applied if step.task_run]
    assert (stored.task_attempt, stored.task_delay) == ([1], [700])
    assert stored.task_state == [b"why"]
    assert not pipe._activities._failed


COMPLETED: tuple[int, int, int, str, bytes, bytes]
COMPLETED = (kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", BODY)
FATES = ["lost", "not answered", "refused", "stale"]


class Leaves:
    """A pipe whose only lane is to go to another worker while what an activity has come to is, or
    is about to be, in a step."""

    def __init__(self, *fates: str, free: int = 10) -> None:
        self.store = Store("Asks", ["applied", *fates], START_FRAME)
        self.runner = Runner(free)
        self.pipe = pipe_on(self.store, Asks, self.runner)
        self.gone: list[int] = []
        self.pipe._context.on_lanes_quiet = self.gone.extend
        self.pipe._context.notifier.lanes = lambda _: None

    async def turns_until_gone(self) -> None:
        for _ in range(20):
            await turn(self.store, self.pipe, 1)
            if self.gone:
                return
        raise AssertionError("the lane never goes")


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "PATIENCE_S", 0.0)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("fate", FATES)
async def test_a_lane_does_not_go_before_a_result_of_it_is_recorded(fate: str) -> None:
    """Whoever has the lane then would have the activity made again."""
    leaves = Leaves("applied", fate)
    await turn(leaves.store, leaves.pipe, 2)
    (task,) = leaves.runner.started
    leaves.pipe._activities._ended(task, Outcome("completed", COMPLETED))
    leaves.pipe.give_up([LANE])
    await leaves.turns_until_gone()
    assert len(leaves.store.journal) == 2
    assert not leaves.pipe.busy


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("fate", FATES)
async def test_a_lane_does_not_go_before_a_failed_attempt_of_it_is_a_task(fate: str) -> None:
    """Whoever has the lane then would know of no pause before the next one, nor of its failure."""
    leaves = Leaves("applied", fate)
    await turn(leaves.store, leaves.pipe, 2)
    (task,) = leaves.runner.started
    leaves.pipe._activities._ended(task, Outcome("retry", delay_ms=700, state=b"why"))
    leaves.pipe.give_up([LANE])
    await leaves.turns_until_gone()
    (stored,) = [step for step in leaves.store.applied if step.task_run]
    assert (stored.task_attempt, stored.task_delay) == ([1], [700])
    assert not leaves.pipe._activities._failed


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("fate", ["lost", "not answered"])
async def test_a_lane_does_not_go_before_it_is_known_what_starts_there(fate: str) -> None:
    """Whoever has the lane then would take it for an attempt that was made."""
    leaves = Leaves(fate)
    await turn(leaves.store, leaves.pipe, 1)
    leaves.pipe.give_up([LANE])
    await turn(leaves.store, leaves.pipe, 6)
    if fate == "not answered":
        (task,) = leaves.runner.started
        assert leaves.gone == []
        leaves.pipe._activities._ended(task, Outcome("completed", COMPLETED))
        await leaves.turns_until_gone()
    else:
        await leaves.turns_until_gone()
        assert all(step.task_attempt in ([], [0]) for step in leaves.store.applied)
    assert not leaves.pipe._activities.unstarted


async def stopped_with_a_result(store: Store, postponed_s: float | None = None) -> None:
    """A pipe is told to stop when an activity has just returned."""
    runner = Runner()
    pipe = pipe_on(store, Asks, runner)
    pipe._context.database = ""
    await turn(store, pipe, 2)
    (task,) = runner.started
    pipe._activities._ended(task, Outcome("completed", COMPLETED))
    if postponed_s is not None:  # the store was away when its run needed it
        pipe._core.fail(RUN)
        pipe._memory.drop(RUN)
        pipe._memory.postpone(RUN, postponed_s)
    pipe.stop()
    await asyncio.wait_for(pipe.run(cast("Session", cast("Any", store))), 10)


async def test_who_stops_reads_what_a_run_must_see_before_it_ends() -> None:
    """Its result would be lost, and the activity made again by another worker."""
    store = Store("Asks", ["applied", "applied", *["refused"] * 3], START_FRAME)
    await stopped_with_a_result(store)
    assert len(store.journal) == 2


async def test_who_stops_waits_for_a_run_that_takes_its_result_soon() -> None:
    store = Store("Asks", [], START_FRAME)
    await stopped_with_a_result(store, 0.05)
    assert len(store.journal) == 2


async def test_who_stops_does_not_wait_for_a_run_that_fails() -> None:
    pipe = pipe_on(Store("Asks", [], START_FRAME), Asks, Runner())
    pipe._activities._failed[RUN, 1] = (LANE, Outcome("retry"))
    assert pipe._activities.waits_for(lambda _: False)
    assert not pipe._activities.waits_for(lambda run_id: run_id == RUN)


class Refusing(Store):
    """Refuses what is asked of it: whole steps, parts of them, or empty ones."""

    def __init__(self, **reasons: str) -> None:
        super().__init__("Asks", [], START_FRAME)
        self.reasons = reasons

    async def step(self, step: Step) -> StepReply:
        what = "whole" if step.lanes else "part" if step.journal_run else "empty"
        if what in self.reasons and (step.journal_run or "empty" in self.reasons):
            raise BackendError(self.reasons[what])
        return await super().step(step)


@pytest.mark.parametrize(
    ("reasons", "told", "not_told"),
    [
        ({"whole": "too large"}, "parts, which are stored now: BackendError: too large", "every"),
        ({"whole": "odd", "empty": "closed"}, "refuses every step: BackendError: closed", "odd"),
        ({"whole": "odd", "part": "bad text"}, "is to store: bad text", "odd"),
    ],
)
async def test_what_is_said_of_a_refused_step_is_its_reason(
    reasons: dict[str, str], told: str, not_told: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Refusing()
    pipe = pipe_on(store, Asks, Runner())
    await turn(store, pipe, 1)
    store.reasons = reasons
    said = [""]
    try:
        await pipe._turn(cast("Session", cast("Any", store)))
    except BackendUnavailableError as error:
        said = [str(error)]
    said += [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert any(told in each for each in said)
    assert not any(not_told in each for each in said)
    assert len(store.journal) == ("part" not in reasons and "empty" not in reasons)
