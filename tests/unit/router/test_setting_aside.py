"""One run's trouble stays with it: what blocks, what the store refuses, what nobody foresaw."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hotmesh.backends.protocol import RunStatus, Step, StepReply
from hotmesh.core import kinds
from hotmesh.exceptions import BackendError, BackendUnavailableError, DeadlockError
from hotmesh.limits import TIMER_HORIZON_MS
from hotmesh.router import refused_ends
from hotmesh.router.task_failures import BLOCKED_SHARE
from hotmesh.router.watchdog import LeftBehind
from hotmesh.router.workflow_thread import StuckError, WorkflowThread
from unit.engine.driving import OTHER_RUN, RUN_ID, completed, fired, query, signal, value_of
from unit.router.flows import asks, listens, sleeps
from unit.router.miniature import LANE, Make, Miniature, Place, Runner


def two(place: Place, first: str, second: str) -> None:
    place.begin(first)
    place.begin(second, run_id=OTHER_RUN, workflow_id="other", lane=LANE)


# Code that does not come back


class StuckThread(WorkflowThread):
    """Leaves code behind that raises LeftBehind, as if it were in a call that does not return."""

    def __init__(self) -> None:
        super().__init__(0, inline=True)
        self.gate = threading.Event()

    async def run(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except LeftBehind:
            thread = threading.Thread(target=self.gate.wait, daemon=True)
            thread.start()
            raise StuckError(DeadlockError("blocked", seconds=2.0), thread) from None


@pytest.fixture
def stuck_thread() -> Iterator[StuckThread]:
    thread = StuckThread()
    yield thread
    thread.gate.set()


@pytest.mark.parametrize("codec", [None, "codec"])
async def test_code_that_does_not_come_back_is_left_behind_and_others_move(
    codec: Any, make: Make, place: Place, stuck_thread: StuckThread
) -> None:
    blocks = [True]

    async def blocked() -> str:
        if blocks:
            raise LeftBehind
        return "came back"

    changes = {} if codec is None else {"codec": Same()}
    mini = make(blocked, sleeps, workflows=stuck_thread, **changes)
    two(place, "blocked", "sleeps")
    await mini.settle()
    assert len(mini.journal(OTHER_RUN)) == 1
    failure = mini.task_failure()
    assert failure is not None
    assert (failure["type"], failure["attempt"]) == ("DeadlockError", 1)
    await mini.pass_seconds(2.0 * BLOCKED_SHARE - 0.1)
    assert mini.task_failure() == failure
    blocks.clear()
    await mini.pass_seconds(0.1)
    failure = mini.task_failure()
    assert failure is not None
    assert "still blocked where it was" in failure["message"]
    stuck_thread.stuck[RUN_ID].join(0)
    stuck_thread.gate.set()
    stuck_thread.stuck[RUN_ID].join()
    await mini.pass_seconds(20)
    assert value_of(mini.run().result) == "came back"


class Same:
    """A codec that changes nothing."""

    async def encode(self, payloads: Any) -> Any:
        return list(payloads)

    decode = encode


async def test_code_that_is_stuck_can_be_ended_from_outside(
    make: Make, place: Place, stuck_thread: StuckThread
) -> None:
    async def blocked() -> None:
        raise LeftBehind

    mini = make(blocked, workflows=stuck_thread)
    place.begin("blocked")
    await mini.settle()
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", b""))
    await mini.settle()
    assert mini.run().status == RunStatus.TERMINATED


async def test_who_is_cancelled_while_code_runs_takes_it_for_lost(make: Make, place: Place) -> None:
    class Cancelled(WorkflowThread):
        async def run(self, work: Callable[[], Any]) -> Any:
            work()
            raise asyncio.CancelledError

    mini = make(listens, workflows=Cancelled(0, inline=True))
    place.begin("listens")
    with pytest.raises(asyncio.CancelledError):
        await mini.turns(2)
    assert mini.pipe._memory.states[RUN_ID].instance is None


# What nobody foresaw


async def test_a_row_that_can_not_be_read_sets_its_run_aside(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = place._row

    def odd(number: int, lane: int, run_id: bytes, frame: bytes) -> Any:
        found = row(number, lane, run_id, frame)
        return found._replace(header=7) if run_id == RUN_ID else found

    mini = make(sleeps)
    two(place, "sleeps", "sleeps")
    with monkeypatch.context() as patched:
        patched.setattr(place, "_row", odd)
        await mini.settle()
    assert len(mini.journal(OTHER_RUN)) == 1
    failure = mini.task_failure()
    assert failure is not None
    assert failure["type"] == "CorruptRowError"


@pytest.mark.parametrize("run_id", [b"short", None, 7])
async def test_a_row_of_no_run_is_left_where_it_is(
    run_id: Any, make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    row = place._row

    def of_no_run(number: int, lane: int, owner: bytes, frame: bytes) -> Any:
        found = row(number, lane, owner, frame)
        return found._replace(run_id=run_id) if owner == RUN_ID else found

    place._row = of_no_run  # type: ignore[method-assign]
    mini = make(sleeps)
    two(place, "sleeps", "sleeps")
    await mini.settle()
    assert "is damaged and is left where it is" in caplog.text
    assert (len(place.messages), len(mini.journal(OTHER_RUN))) == (1, 1)


async def test_a_failing_run_that_is_not_its_codes_fault_is_noted_as_a_row(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    with monkeypatch.context() as patched:
        patched.setattr(mini.pipe._activator, "activate", lambda *_: 1 // 0)
        await mini.settle()
    failure = mini.task_failure()
    assert failure is not None
    assert failure["type"] == "CorruptRowError"
    assert "division" in failure["message"]
    await mini.pass_seconds(1)
    assert len(mini.journal()) == 1


# What the store refuses


class Choosy(Place):
    """Refuses whatever holds something of these runs."""

    guilty: tuple[bytes, ...] = ()
    everything = False

    async def step(self, step: Step) -> StepReply:
        held = {*step.journal_run, *step.reply_id}  # why a task fails can be stored
        if self.everything or not held.isdisjoint(self.guilty):
            raise BackendError("not this one")
        return await super().step(step)


@pytest.fixture
def place(time: Any) -> Choosy:
    return Choosy(time)


async def test_a_run_whose_data_the_store_refuses_is_set_aside_and_others_are_stored(
    make: Make, place: Choosy
) -> None:
    mini = make(sleeps)
    two(place, "sleeps", "sleeps")
    place.guilty = (RUN_ID,)
    await mini.settle()
    assert (mini.journal(), len(mini.journal(OTHER_RUN))) == ([], 1)
    failure = mini.task_failure()
    assert failure is not None
    assert (failure["type"], failure["attempt"]) == ("RefusedRowError", 1)
    place.guilty = ()
    await mini.pass_seconds(1)
    assert len(mini.journal()) == 1
    place.tell(fired(1))
    await mini.settle()
    assert mini.task_failure() is None


async def test_a_refused_run_waits_longer_each_time_unless_its_end_comes(
    make: Make, place: Choosy
) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    place.guilty = (RUN_ID,)
    await mini.settle()
    await mini.pass_seconds(0.3)
    failure = mini.task_failure()
    assert failure is not None
    assert failure["attempt"] == 2
    place.tell(signal("say", "x"))
    await mini.settle()  # nothing is tried before its time
    assert mini.task_failure() == failure
    place.guilty = ()
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", b""))
    await mini.settle()
    assert mini.run().status == RunStatus.TERMINATED


async def test_a_store_that_refuses_everything_is_waited_for_and_nobody_is_blamed(
    make: Make, place: Choosy
) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    await mini.turns(1)
    place.everything = True
    with pytest.raises(BackendUnavailableError, match="refuses every step"):
        await mini.pipe._turn(mini.session)
    place.everything = False
    await mini.settle()
    assert mini.task_failure() is None
    assert len(mini.journal()) == 1


async def test_what_a_run_that_is_not_known_left_is_lost_and_said(
    make: Make, place: Choosy, caplog: pytest.LogCaptureFixture
) -> None:
    mini = make(sleeps)
    mini.pipe._memory.effects.replies.append((b"nobody's", b"x"))
    place.guilty = (b"nobody's",)
    await mini.turns(1)
    assert "refuses what run (none) left to be stored, it is lost" in caplog.text


async def test_a_step_refused_for_nobodys_data_is_waited_for(
    make: Make, place: Choosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = make(sleeps)
    refusals = [True]
    step = Choosy.step

    async def once(self: Choosy, given: Step) -> StepReply:
        if refusals and given.lanes:
            refusals.clear()
            raise BackendError("what was to be read")
        return await step(self, given)

    monkeypatch.setattr(Choosy, "step", once)
    place.begin("sleeps")
    with pytest.raises(BackendUnavailableError, match="refuses a step, to read only"):
        await mini.pipe._turn(mini.session)
    await mini.settle()
    assert len(mini.journal()) == 1


async def test_a_router_found_dead_while_a_step_is_taken_apart_ends(
    make: Make, place: Choosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = make(sleeps)
    two(place, "sleeps", "sleeps")
    await mini.turns(1)
    place.guilty = (RUN_ID,)
    step = Choosy.step

    async def fenced(self: Choosy, given: Step) -> StepReply:
        if given.journal_run and RUN_ID not in given.journal_run:
            return StepReply(self.time.now_ms, fenced=True)
        return await step(self, given)

    monkeypatch.setattr(Choosy, "step", fenced)
    await mini.turns(2)
    assert mini.fenced == 1
    assert mini.journal(OTHER_RUN) == []


async def test_a_run_whose_end_is_refused_for_ever_is_set_aside(
    make: Make, place: Choosy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_ends, "IN_VAIN_MAX", 2)
    mini = make(listens, sleeps)
    two(place, "listens", "sleeps")
    place.tell(signal("say", "end"))
    place.tell(signal("say", "never read"), lane=LANE + 1)
    for _ in range(6):
        await mini.turns(6)
        mini.time.seconds += 1
    failure = mini.task_failure()
    assert failure is not None
    assert "an event is stored for it that its router never reads" in failure["message"]
    assert len(mini.journal(OTHER_RUN)) == 1
    place.messages = {n: each for n, each in place.messages.items() if each[0] == LANE}
    await mini.pass_seconds(30)
    assert mini.run().status == RunStatus.COMPLETED


# Runs elsewhere


def moved_away(place: Place, lane: int = 9 * 64) -> None:
    place.runs[RUN_ID].lane = lane


async def closed_elsewhere(make: Make, place: Place) -> None:
    """A run has closed, and lies in a lane of another queue."""
    first = make(listens)
    place.begin("listens")
    place.tell(signal("say", "end"))
    await first.settle()
    moved_away(place)


async def test_a_closed_run_in_anothers_lane_answers_where_its_code_is(
    make: Make, place: Choosy
) -> None:
    await closed_elsewhere(make, place)
    place.tell(query("heard"), lane=LANE)
    await make(listens).settle()
    assert place.replies[b"asked"][:1] == b"R"


async def test_what_is_asked_of_a_closed_run_goes_to_who_has_its_code(
    make: Make, place: Choosy
) -> None:
    await closed_elsewhere(make, place)
    place.tell(query("heard"), lane=LANE)
    await make(sleeps).settle()
    assert [lane for lane, _, _ in place.messages.values()] == [9 * 64]


async def test_what_comes_too_late_for_a_closed_run_elsewhere_is_dropped(
    make: Make, place: Choosy
) -> None:
    await closed_elsewhere(make, place)
    place.tell(completed(1), lane=LANE)
    await make(sleeps).settle()
    assert place.messages == {}


async def test_timers_and_results_are_sent_after_a_run_that_has_moved(
    make: Make, place: Choosy
) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    await mini.settle()
    moved_away(place)
    other = make(sleeps)
    (key,) = place.timers
    place.timers[key] = (LANE, place.time.now_ms + TIMER_HORIZON_MS)
    place.tell(completed(1), lane=LANE)
    await other.settle()
    await other.pass_seconds(6)
    assert {lane for lane, _, _ in place.messages.values()} == {9 * 64}
    assert place.timers[key][0] == 9 * 64


async def test_a_lane_given_back_while_its_run_is_to_move_moves_nothing(
    make: Make, place: Choosy
) -> None:
    mini: Miniature

    async def resolve(_: str) -> int:
        mini.pipe._core.forget([LANE])
        return 8

    mini = make(sleeps, resolve_side=resolve)
    place.begin("elsewhere")
    await mini.settle()
    assert place.runs[RUN_ID].lane == LANE


# Leaving


async def test_a_pipe_that_is_stopped_hands_over_what_it_has_not_begun(
    make: Make, place: Choosy
) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.turns(1)
    runner.free = 0
    await mini.turns(1)
    assert runner.started == {}
    mini.pipe.start_nothing()
    await mini.settle()
    assert len(place.tasks) == 1
    (step,) = [each for each in place.steps if each.task_run]
    assert step.task_attempt == [0]


async def test_a_pipe_whose_tenure_is_over_tells_what_has_come_of_its_attempts(
    make: Make, place: Choosy
) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.settle()
    runner.completes("act", "done")
    mini.pipe.kill()
    late: list[Any] = []
    mini.tenure.hand_to(lambda task, outcome: late.append((task.name, outcome.kind)))
    assert late == [("act", "completed")]
    assert not mini.pipe.busy
