"""How much a pipe takes on before it writes a step, and how much it keeps in memory."""

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import (
    ANY_SIZE,
    LoadedRun,
    Loads,
    MessageRow,
    Session,
    Step,
    StepReply,
)
from hotmesh.converter import DataConverter, encode_values
from hotmesh.core import encode_event, kinds
from hotmesh.engine.activity_task import ActivityTask, Outcome, TaskOrigin
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions, RunDetails
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.limits import (
    BATCH_BYTES_MAX,
    BATCH_MESSAGES_MAX,
    CACHE_MOVING_S,
    LARGE_TURN_BYTES,
    ROPE_BYTES,
    SMALL_BYTES_MAX,
    STEP_BYTES_MAX,
)
from hotmesh.router.clock import BackendClock
from hotmesh.router.effects import Effects
from hotmesh.router.large_turn import LargeTurn
from hotmesh.router.memory import Held, PipeMemory
from hotmesh.router.pace import AverageCost
from hotmesh.router.pipe import Pipe
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.refused_ends import IN_VAIN_MAX
from hotmesh.router.replaying import Engine
from hotmesh.router.state import RunState
from hotmesh.router.tenure import Tenure
from hotmesh.router.workflow_thread import WorkflowThread

LANE = 64
START = encode_event((kinds.START, 0, 0, "", b"", b""))
PIECE = STEP_BYTES_MAX // 5


@workflow.defn
class Asks:
    """Asks for so many activities with large arguments at once."""

    @workflow.run
    async def run(self, count: int) -> None:
        for number in range(count):
            workflow.start_activity(
                "act", bytes([number]) * PIECE, start_to_close_timeout=timedelta(seconds=1)
            )
        await workflow.wait_condition(lambda: False)


class Store:
    """Starts that wait in a lane, and the journals that steps write."""

    def __init__(self, *counts: int) -> None:
        self.starts = {
            number: encode_values(DataConverter.default, [count], "arguments")
            for number, count in enumerate(counts, 1)
        }
        self.bodies = dict(self.starts)
        self.taken: set[int] = set()
        self.journal: dict[bytes, list[bytes]] = {}
        self.steps: list[list[int]] = []
        """Bytes of each transition of each step that wrote some."""
        self.rooms: list[int] = []
        self.sizes: list[int] = []
        self.large_waits = False
        self.failures: dict[bytes, bytes] = {}
        self.away_at = -1

    async def step(self, step: Step) -> StepReply:
        self.rooms.append(step.room)
        self.sizes.append(step.size_max)
        if len(self.rooms) == self.away_at:
            raise BackendUnavailableError("away")
        for run_id, seq, frame in zip(
            step.journal_run, step.journal_seq, step.journal_frame, strict=True
        ):
            assert len(self.journal.setdefault(run_id, [])) == seq
            self.journal[run_id].append(frame)
        if step.journal_frame:
            self.steps.append(list(map(len, step.journal_frame)))
        for run_id, name, value in zip(
            step.attribute_run, step.attribute_name, step.attribute_value, strict=True
        ):
            assert name == "hotmesh.task_failure"
            self.failures[run_id] = value
        for number in step.ack_id:
            del self.starts[number]
        rows: list[MessageRow] = []
        if step.room:
            rows = [self._row(number) for number in self.starts if number not in self.taken]
            self.taken.update(row.id for row in rows)
        return StepReply(1, messages=rows, large_waits=self.large_waits)

    def _row(self, number: int) -> MessageRow:
        run_id = bytes([number]) * 16
        known = run_id in self.journal
        body = self.starts[number]
        return MessageRow(number, LANE, run_id, START, f"w-{number}", "Asks", b"", body, known)

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        runs: list[LoadedRun] = []
        for run_id in run_ids:
            number, frames = run_id[0], self.journal.get(run_id, [])
            body = self.bodies[number]
            runs.append(
                LoadedRun(
                    run_id, LANE, 1, f"w-{number}", "Asks", b"", body, frames, b"{}", len(frames)
                )
            )
        return Loads(runs, ())

    def forget(self, lanes: object = None) -> None:
        del lanes
        self.taken.clear()

    async def close(self) -> None:
        """There is nothing to close."""


LARGE_PIECES = LARGE_TURN_BYTES // PIECE + 1


def pipe_of(**changes: Any) -> Pipe:
    definition = WorkflowDefinition.of(Asks)
    assert definition is not None
    fields: dict[str, Any] = {
        "namespace": "n",
        "queue_ids": {"q": 1},
        "task_queue": "q",
        "queue_id": 1,
        "clock": BackendClock(),
        "engine": Engine({definition.name: definition}, EngineOptions(DataConverter.default)),
        "converter": DataConverter.default,
        "workflows": WorkflowThread(0, inline=True),
        "tenure": Tenure(),
        "runner": None,
        "coder": None,
        "cost": AverageCost(),
        "max_cached": 100,
        "cache_bytes_max": STEP_BYTES_MAX * 100,
        "transition_bytes_max": STEP_BYTES_MAX * 100,
        "large_turn": LargeTurn(),
        "eager": True,
        "notifier": SimpleNamespace(tasks=lambda _: None),
    }
    context = SimpleNamespace(**fields | changes)
    pipe = Pipe(cast("PipeContext", cast("Any", context)), b"r" * 16)
    pipe.assign([LANE])
    return pipe


async def turn_until_idle(pipe: Pipe, store: Store) -> None:
    session = pipe._session = cast("Session", cast("Any", store))
    for _ in range(50):
        try:
            if await pipe._turn(session):
                return
        except BackendUnavailableError:
            pass
    raise AssertionError("it never came to rest")


@pytest.mark.parametrize("away_at", [-1, 2, 3, 4])
async def test_a_full_step_is_written_before_more_runs_are_activated(away_at: int) -> None:
    store, pipe = Store(*[3] * 8), pipe_of()
    store.away_at = away_at
    await turn_until_idle(pipe, store)
    assert {run_id[0]: len(frames) for run_id, frames in store.journal.items()} == dict.fromkeys(
        range(1, 9), 1
    )
    assert all(sum(step[:-1]) < STEP_BYTES_MAX for step in store.steps)
    assert store.starts == {}


async def test_only_what_is_small_is_read_while_much_is_in_hand() -> None:
    store, pipe = Store(*[3] * 5), pipe_of()
    await turn_until_idle(pipe, store)
    assert 0 < store.rooms[1] < store.rooms[0]
    assert store.sizes[1:3] == [SMALL_BYTES_MAX - 1] * 2
    assert store.rooms[-1] > 0
    assert store.sizes[-1] > SMALL_BYTES_MAX


async def test_nothing_is_read_while_as_much_is_held_as_a_batch_has() -> None:
    store, pipe = Store(*[3] * 5), pipe_of()
    session = pipe._session = cast("Session", cast("Any", store))
    await pipe._turn(session)
    run_id, jobs, row = pipe._memory.held[0]
    large = (kinds.SIGNAL, 0, 0, "s", b"", bytes(BATCH_BYTES_MAX))
    pipe._memory.held[0] = Held(run_id, [*jobs, large], row)
    await pipe._turn(session)
    assert store.rooms == [BATCH_MESSAGES_MAX, 0]


def test_what_makes_little_goes_before_what_has_made_much_but_not_for_ever() -> None:
    memory = PipeMemory()
    for number in range(1, 5):
        kept(memory, number, 100)
        memory.states[bytes([number]) * 16].is_heavy = number in (1, 2)
    fresh = MessageRow(1, LANE, b"\5" * 16, START, "w", "T", b"", bytes(SMALL_BYTES_MAX), False)
    job = (kinds.SIGNAL, 0, 0, "s", b"", b"")
    given = [(bytes([number]) * 16, [], -1) for number in (3, 4)]
    orders: list[list[int]] = []
    for _ in range(4):
        memory.hold(
            [(b"\1" * 16, [job], -1), (fresh[2], [job], 0), (b"\2" * 16, [job], -1)], [fresh]
        )
        found, rows = memory.with_held(given, [])
        assert rows == [fresh]
        assert [each[2] for each in found if each[0] == fresh[2]] == [0]
        orders.append([run_id[0] for run_id, _, _ in found])
    assert orders == [[3, 4, 1, 5, 2], [1, 5, 2, 3, 4]] * 2
    several = [job] * 2
    memory.hold([(b"\3" * 16, several, -1)], [])
    found, _ = memory.with_held([(b"\4" * 16, several[:1], -1)], [])
    assert [run_id[0] for run_id, _, _ in found] == [4, 3]


async def test_nothing_large_is_read_by_the_step_that_writes_something_large() -> None:
    turn = LargeTurn()
    store, pipe = Store(LARGE_PIECES), pipe_of(large_turn=turn)
    session = pipe._session = cast("Session", cast("Any", store))
    turn.ask(pipe, lambda: None)
    turn.ask("another", lambda: None)
    assert not await pipe._turn(session)
    pipe._let_go_of_turn()
    assert turn.has(pipe)
    await pipe._turn(session)
    assert store.rooms[1] > 0  # what is small has no turn to wait for
    assert store.sizes == [ANY_SIZE, LARGE_TURN_BYTES]
    assert pipe._awake  # it reads again at once
    pipe._let_go_of_turn()
    assert turn.has("another")


async def test_who_has_no_turn_reads_what_is_small_and_asks_for_it() -> None:
    turn = LargeTurn()
    store, pipe = Store(1), pipe_of(large_turn=turn)
    turn.ask("another", lambda: None)
    store.large_waits = True
    await turn_until_idle(pipe, store)
    assert len(store.journal) == 1
    assert max(store.sizes) == LARGE_TURN_BYTES
    pipe._awake = False
    turn.leave("another")
    assert turn.has(pipe)
    assert pipe._awake
    store.large_waits = False
    await turn_until_idle(pipe, store)
    assert store.sizes[-1] == ANY_SIZE
    pipe._let_go_of_turn()
    assert not turn.has(pipe)


@pytest.mark.parametrize("away_at", [-1, 3])
async def test_a_large_result_of_this_process_waits_for_its_turn_and_holds_up_no_other(
    away_at: int,
) -> None:
    turn = LargeTurn()
    store, pipe = Store(1, 1), pipe_of(large_turn=turn)
    await turn_until_idle(pipe, store)
    turn.ask("another", lambda: None)
    store.away_at = away_at
    for number, size in ((1, LARGE_TURN_BYTES + 1), (2, LARGE_TURN_BYTES)):
        run_id = bytes([number]) * 16
        origin = TaskOrigin("n", f"w-{number}", "t", "q")
        task = ActivityTask(run_id, 1, LANE, "act", {}, b"", 1, origin, True)
        result = (kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", bytes(size))
        pipe._activities.recorded(run_id, [], [task])
        pipe._activities._ended(task, Outcome("completed", result))
    await turn_until_idle(pipe, store)
    assert [len(store.journal[bytes([number]) * 16]) for number in (1, 2)] == [1, 2]
    pipe._awake = False
    turn.leave("another")
    assert pipe._awake
    assert turn.has(pipe)
    session = cast("Session", cast("Any", store))
    await pipe._turn(session)
    assert len(store.journal[b"\1" * 16]) == 2
    pipe._let_go_of_turn()
    assert not turn.has(pipe)


async def test_a_pipe_does_not_end_before_what_waits_for_its_turn_is_written() -> None:
    turn = LargeTurn()
    store, pipe = Store(1), pipe_of(large_turn=turn)
    await turn_until_idle(pipe, store)
    turn.ask("another", lambda: None)
    task = ActivityTask(
        b"\1" * 16, 1, LANE, "act", {}, b"", 1, TaskOrigin("n", "w", "t", "q"), True
    )
    result = (kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", bytes(LARGE_TURN_BYTES + 1))
    pipe._activities.recorded(b"\1" * 16, [], [task])
    pipe._activities._ended(task, Outcome("completed", result))
    pipe.stop()
    running = asyncio.create_task(pipe.run(cast("Session", cast("Any", store))))
    await asyncio.sleep(0.01)
    assert not running.done()
    turn.leave("another")
    await running
    assert len(store.journal[b"\1" * 16]) == 2


async def test_an_end_is_not_given_up_while_an_event_waits_for_the_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hotmesh.router.refused_ends.IN_VAIN_S", -1.0)
    pipe, run_id, given_up = pipe_of(), b"\1" * 16, list[RunState]()
    monkeypatch.setattr(pipe._failures, "refused", lambda state, _: given_up.append(state))

    def refuse() -> None:
        kept(pipe._memory, 1, 100)
        pipe._on_refused_ends(Effects(), [run_id])

    pipe._large_waits = True
    for _ in range(2 * IN_VAIN_MAX):
        refuse()
    pipe._large_waits = False
    for _ in range(IN_VAIN_MAX):
        refuse()
    assert not given_up
    refuse()
    assert [state.details.run_id for state in given_up] == [run_id]


@pytest.mark.parametrize(("free", "has_turn"), [(1, True), (0, False)])
async def test_arguments_that_wait_for_a_slot_give_others_their_turn(
    free: int, has_turn: bool
) -> None:
    turn = LargeTurn()
    pipe = pipe_of(large_turn=turn, runner=SimpleNamespace(free=free))
    turn.ask(pipe, lambda: None)
    assert turn.use(pipe)
    assert pipe._activities._has_place_for(LARGE_TURN_BYTES + 1)
    pipe._let_go_of_turn()
    assert turn.has(pipe) is has_turn


async def test_large_messages_do_not_wait_for_arguments_that_wait_for_a_slot() -> None:
    """What has the slots may last for hours, and so would the turn that is not used."""
    turn = LargeTurn()
    pipe = pipe_of(large_turn=turn, runner=SimpleNamespace(free=0))
    assert pipe._activities._has_place_for(LARGE_TURN_BYTES + 1)
    for each in (pipe, "another"):
        turn.ask(each, lambda: None)
    step, _ = pipe._drain()
    assert step.size_max == ANY_SIZE
    pipe._let_go_of_turn()
    assert turn.has("another")


async def test_a_transition_that_no_call_can_hold_sets_its_run_aside() -> None:
    store, pipe = Store(1, 5, 1), pipe_of(transition_bytes_max=4 * PIECE)
    session = cast("Session", cast("Any", store))
    for _ in range(4):
        await pipe._turn(session)
    assert sorted(run_id[0] for run_id in store.journal) == [1, 3]
    ((run_id, failure),) = store.failures.items()
    assert run_id[0] == 2
    assert b"TransitionTooLargeError" in failure
    assert b"w-2" in failure


def kept(memory: PipeMemory, number: int, size: int, moved_at: float = 0.0) -> None:
    details = RunDetails("n", "w", bytes([number]) * 16, "Asks", "q", LANE, {}, b"x" * size)
    state = RunState(details)
    state.moved_at = moved_at
    memory.keep(state)


def left(memory: PipeMemory) -> list[int]:
    return [run_id[0] for run_id in memory.states]


def test_runs_leave_the_memory_that_have_too_many_bytes() -> None:
    memory = PipeMemory()
    for number in range(1, 6):
        kept(memory, number, 100)
    memory.evict(10, 250)
    assert left(memory) == [4, 5]
    assert memory.cached_bytes == 200


@pytest.mark.parametrize(("allowed", "bytes_allowed"), [(2, 1_000), (10, 250)])
def test_runs_stay_that_have_gone_on_lately(allowed: int, bytes_allowed: int) -> None:
    memory = PipeMemory()
    for number in range(1, 6):
        kept(memory, number, 100)
    for number, now_ms in ((2, 70), (3, 30), (4, 50)):
        memory.states[bytes([number]) * 16].now_ms = now_ms
    memory.evict(allowed, bytes_allowed)
    assert left(memory) == [2, 4]


def test_what_a_step_journals_is_in_memory_and_what_it_answers_is_not() -> None:
    memory = PipeMemory()
    kept(memory, 1, 100)
    memory.step_bytes += 10
    memory.answered(40)
    assert (memory.step_bytes, memory.cached_bytes) == (50, 110)
    assert memory.take_step_bytes() == 50
    assert (memory.step_bytes, memory.cached_bytes) == (0, 110)


def test_what_leaves_for_its_bytes_leaves_the_core_too_unless_it_works() -> None:
    """Else the core would keep all that it ever had."""
    memory, asked = PipeMemory(), list[int]()
    core = SimpleNamespace(
        known=lambda run_id: run_id[0] != 2, evict=lambda run_id: asked.append(run_id[0])
    )
    memory.core = cast("Any", core)
    for number in range(1, 5):
        kept(memory, number, 100)
    memory.evict(10, 150)
    assert left(memory) == [4]
    assert asked == [1, 3]


def test_the_largest_run_stays_while_it_moves() -> None:
    now = time.monotonic()
    memory = PipeMemory()
    kept(memory, 1, 1_000, now)
    for number in range(2, 6):
        kept(memory, number, 100, now)
    memory.evict(10, 250)
    assert left(memory) == [1, 4, 5]
    memory.states[b"\1" * 16].moved_at = now - CACHE_MOVING_S - 1
    memory.evict(10, 250)
    assert left(memory) == [4, 5]


def test_what_a_large_run_held_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr("hotmesh.router.memory.let_go", sizes.append)
    memory = PipeMemory()
    kept(memory, 1, ROPE_BYTES)
    kept(memory, 2, ROPE_BYTES - 1)
    memory.drop(b"\1" * 16)
    memory.drop(b"\2" * 16)
    assert sizes == [ROPE_BYTES]


def test_what_a_large_run_held_goes_back_once_its_code_is_taken_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hotmesh.router.memory.let_go", lambda _: done.append("given back"))
    memory, later, done = PipeMemory(), list[Any](), list[str]()
    memory.elsewhere = later.append
    kept(memory, 1, ROPE_BYTES)
    apart = SimpleNamespace(
        journal_bytes=0, dismantle=lambda elsewhere: elsewhere(lambda: done.append("taken apart"))
    )
    memory.states[b"\1" * 16].instance = cast("Any", apart)
    memory.drop(b"\1" * 16)
    assert done == []
    for each in later:
        each()
    assert done == ["taken apart", "given back"]


@pytest.mark.parametrize(
    ("at_work", "stay"),
    [
        ((), [5, 6]),
        ((1, 2), [1, 2]),
        ((1, 2, 6), [1, 2, 6]),
        ((1, 2, 3, 4), [1, 2, 3, 4]),
        ((1, 2, 3, 4, 6), [2, 3, 4, 6]),
    ],
)
def test_twice_as_many_runs_stay_while_they_have_activities_going_on(
    at_work: tuple[int, ...], stay: list[int]
) -> None:
    """Each would soon be replayed."""
    memory = PipeMemory()
    core = SimpleNamespace(known=lambda _: True, evict=lambda run_id: run_id[0] not in at_work)
    memory.core = cast("Any", core)
    for number in range(1, 7):
        kept(memory, number, 1)
    memory.evict(2, 1_000)
    assert left(memory) == stay


def test_runs_that_may_not_go_are_not_looked_through_each_time() -> None:
    memory, asked = PipeMemory(), list[bytes]()

    def evict(run_id: bytes) -> bool:
        asked.append(run_id)
        return run_id[0] == 3

    memory.core = cast("Any", SimpleNamespace(known=lambda _: True, evict=evict))
    looked = list[int]()
    for number in range(1, 42):
        kept(memory, number, 1)
        memory.evict(32, 1_000)
        if asked:
            looked.append(number)
            asked.clear()
    # A sixteenth of 32 are two. One goes of the first 35; each time one more comes, and one call.
    assert looked == [35, 37, 39, 41]
    assert len(memory.states) == 40


@pytest.mark.parametrize("allowed", [0, 32])
def test_runs_go_that_could_not_when_they_were_looked_through(allowed: int) -> None:
    memory, at_work = PipeMemory(), True
    core = SimpleNamespace(known=lambda _: True, evict=lambda _: not at_work)
    memory.core = cast("Any", core)
    for number in range(1, 61):
        kept(memory, number, 1)
    memory._tolerated = 60
    at_work = False
    for _ in range(allowed + 1):
        memory.evict(allowed, 1_000)
    assert len(memory.states) == allowed


def test_a_run_whose_jobs_are_held_stays() -> None:
    memory = PipeMemory()
    kept(memory, 1, 100)
    kept(memory, 2, 100)
    memory.hold([(b"\1" * 16, [], -1)], [])
    memory.evict(0, 0)
    assert left(memory) == []  # unknown to the core: it goes by number
    kept(memory, 1, 100)
    memory.evict(10, 50)
    assert left(memory) == [1]
