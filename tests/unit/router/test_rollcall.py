"""A router in the rollcall: which lanes its pipes own, give back and take over; what it tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest

from hotmesh.backends.protocol import Backend, Beat, Registration, Step, StepReply
from hotmesh.converter import DataConverter
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.router import router as router_module
from hotmesh.router.pipe import Pipe
from hotmesh.router.router import PIPES, WorkerRouter
from hotmesh.router.router_options import RouterOptions

QUEUE = 7
HOME = [QUEUE * 64 + number for number in range(64)]
SIDE = 9 * 64


async def one() -> None: ...
async def two() -> None: ...


class Session:
    """Nothing is ever there."""

    def __init__(self) -> None:
        self.closed = False

    async def step(self, step: Step) -> StepReply:
        del step
        return StepReply(1_000_000)

    def forget(self, lanes: Any = None) -> None:
        """Nothing was read."""

    async def close(self) -> None:
        self.closed = True


class Store:
    """Answers beats as it is told."""

    name, url = "sqlite", "memory"

    def __init__(self) -> None:
        self.registrations: list[Registration] = []
        self.answers: list[Beat | Exception] = []
        self.lanes: Sequence[int] = HOME
        self.calls: list[tuple[str, Any]] = []
        self.queue = QUEUE
        self.sessions: list[Session] = []
        self.silent = False

    async def beat(self, registration: Registration) -> Beat:
        self.registrations.append(registration)
        if self.silent:
            await asyncio.Event().wait()
        answer = self.answers.pop(0) if self.answers else beat(self.lanes)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def queue_id(self, namespace: str, task_queue: str, side: str = "") -> int:
        self.calls.append(("queue_id", (namespace, task_queue, side)))
        return 9 if side else self.queue

    async def session(self, namespace: str, router_id: bytes, horizon_ms: int) -> Session:
        del namespace, router_id, horizon_ms
        self.sessions.append(Session())
        return self.sessions[-1]

    async def release(self, namespace: str, router_id: bytes, lanes: Sequence[int]) -> None:
        del namespace, router_id
        self.calls.append(("release", list(lanes)))

    async def stand_down(self, *given: Any) -> None:
        self.calls.append(("stand_down", given[1]))

    async def leave(self, namespace: str, router_id: bytes) -> None:
        self.calls.append(("leave", (namespace, router_id)))

    async def listen(self, channel: str, callback: Any) -> None:
        del callback
        self.calls.append(("listen", channel))

    async def unlisten(self, channel: str, callback: Any) -> None:
        del callback
        self.calls.append(("unlisten", channel))

    async def notify(self, hints: Any) -> None:
        self.calls.append(("notify", hints))

    def called(self, name: str) -> list[Any]:
        return [given for each, given in self.calls if each == name]


def beat(lanes: Sequence[int] = HOME, surplus: Sequence[int] = (), **changes: Any) -> Beat:
    return Beat(True, 1_000_000, lanes, surplus, changes.pop("routers", 1), **changes)


DEAD = Beat(False, 0, (), (), 0)

Make = Callable[..., WorkerRouter]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def make(store: Store) -> AsyncIterator[Make]:
    made: list[WorkerRouter] = []

    def of(*codes: Any, **changes: Any) -> WorkerRouter:
        async def opened() -> None:
            """It is open."""

        definitions = [WorkflowDefinition.from_function(code) for code in codes or (one,)]
        options: dict[str, Any] = {
            "open": opened,
            "namespace": "n",
            "task_queue": "q",
            "engine": EngineOptions(DataConverter.default),
            "definitions": {each.name: each for each in definitions},
            "inline": True,
            **changes,
        }
        backend = cast("Backend", cast("Any", store))
        made.append(WorkerRouter(backend, RouterOptions(**options)))
        return made[-1]

    yield of
    for router in made:
        for pipe in router.pipes:
            pipe.kill()
        if router._pipe_tasks:
            await asyncio.wait(router._pipe_tasks)


async def joined(make: Make, *codes: Any, **changes: Any) -> WorkerRouter:
    router = make(*codes, **changes)
    await router._join()
    return router


def owned(router: WorkerRouter) -> list[int]:
    return sorted(lane for pipe in router.pipes for lane in pipe.lanes)


async def test_a_router_that_joins_shares_its_lanes_among_its_pipes(
    make: Make, store: Store
) -> None:
    router = await joined(make, one, two)
    (registration,) = store.registrations
    assert (registration.namespace, registration.queue_id) == ("n", QUEUE)
    assert registration.workflow_types == ["one", "two"]
    assert registration.hosts_workflows
    assert registration.beats == 0
    assert len(router.pipes) == PIPES
    assert owned(router) == HOME
    for index, pipe in enumerate(router.pipes):
        assert all(lane % PIPES == index for lane in pipe.lanes)


async def test_what_a_router_hosts_is_in_its_row(make: Make, store: Store) -> None:
    router = await joined(make, activity_types=["act"], identity="me", extra={"more": 1})
    info = orjson.loads(store.registrations[0].info)
    assert (info["workflow_types"], info["activity_types"]) == (["one"], ["act"])
    assert (info["identity"], info["task_queue"], info["more"]) == ("me", "q", 1)
    assert info["idle"] is True
    router.show_activities(["act", "other"])
    router.add_definition(WorkflowDefinition.from_function(two))
    assert router._beat_now.is_set()
    await router._beat()
    info = orjson.loads(store.registrations[1].info)
    assert info["workflow_types"] == ["one", "two"]
    assert info["activity_types"] == ["act", "other"]
    assert store.registrations[1].beats == 1


async def test_a_router_that_hosts_any_type_says_so(make: Make, store: Store) -> None:
    router = make()
    dynamic = WorkflowDefinition.from_function(two)
    dynamic.name = None
    router.add_definition(dynamic)
    await router._join()
    assert store.registrations[0].workflow_types is None
    assert orjson.loads(store.registrations[0].info)["workflow_types"] == ["*", "one"]


async def test_a_router_without_workflows_has_no_pipes_until_the_first_comes(
    make: Make, store: Store
) -> None:
    router = make()
    router._engine.definitions.clear()
    await router._join()
    assert (store.registrations[0].hosts_workflows, router.pipes) == (False, [])
    router.add_definition(WorkflowDefinition.from_function(one))
    await router._beat()
    assert owned(router) == HOME


async def test_lanes_that_are_too_many_are_given_back_once_quiet(make: Make, store: Store) -> None:
    router = await joined(make)
    store.answers = [beat(HOME, HOME[:2], routers=2)]
    await router._beat()
    assert owned(router) == HOME
    for pipe in router.pipes:
        await pipe._turn(cast("Any", store.sessions[0]))
    assert owned(router) == HOME[2:]
    assert router._beat_now.is_set()
    store.answers = [beat(HOME)]  # as the store still has it
    await router._beat()
    assert sorted(store.called("release")[0]) == HOME[:2]


async def test_lanes_that_are_quiet_are_not_taken_again_before_they_are_released(
    make: Make, store: Store
) -> None:
    router = await joined(make)
    router._on_quiet(HOME[:2])
    router._take(beat(HOME, HOME[:3]))
    assert owned(router) == HOME[2:]
    assert [list(pipe._leaving) for pipe in router.pipes] == [[HOME[2]], []]


async def test_lanes_come_with_a_beat_and_go_with_one(make: Make, store: Store) -> None:
    store.lanes = HOME[:10]
    router = await joined(make)
    assert owned(router) == HOME[:10]
    assert not router._owns_all
    store.lanes = [*HOME, SIDE]
    await router._beat()
    assert owned(router) == [*HOME, SIDE]
    assert router._owns_all
    assert router._serves_sides
    assert ("listen", "lanes:9") in store.calls
    store.lanes = HOME
    await router._beat()
    assert not router._serves_sides


async def test_others_are_told_when_routers_come_or_go(make: Make, store: Store) -> None:
    router = await joined(make)
    store.answers = [beat(routers=3), beat(routers=3)]
    await router._beat()
    await router._beat()
    await asyncio.sleep(0)
    hints = [hint for hints in store.called("notify") for hint in hints]
    assert hints == [(f"routers:{QUEUE}", "")]


async def test_a_router_that_was_declared_dead_joins_anew(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    router = await joined(make)
    before, pipes, tenure = router._router_id, list(router.pipes), router.tenure
    store.answers = [DEAD]
    await router._beat()
    assert "is not in the rollcall any more" in caplog.text
    assert tenure.over
    assert store.called("stand_down") == [before]
    assert router._router_id != before
    assert not router.tenure.over
    assert all(pipe._dead for pipe in pipes)
    assert owned(router) == HOME
    assert not set(router.pipes).intersection(pipes)
    assert store.registrations[-1].beats == 0


async def test_a_join_that_fails_is_tried_again_with_the_next_beat(
    make: Make, store: Store
) -> None:
    router = await joined(make)
    store.answers = [DEAD, BackendUnavailableError("away")]
    with pytest.raises(BackendUnavailableError):
        await router._beat()
    await router._beat()
    assert owned(router) == HOME


async def test_a_step_that_was_refused_for_a_dead_router_leads_to_a_new_one(
    make: Make, store: Store
) -> None:
    router = await joined(make)
    before = router._router_id
    router.on_fenced()
    store.answers = [DEAD]
    await router._beat()
    assert router._router_id != before
    assert not router._fenced


async def test_a_pipe_that_breaks_again_at_once_waits_a_little(
    make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(router_module.time, "monotonic", lambda: now[0])
    router = await joined(make)
    ids = [router._router_id]
    for passed in (0.0, 0.0, 30.0):
        now[0] += passed
        router.on_fenced()
        await router._beat()
        ids.append(router._router_id)
    assert ids[0] != ids[1] == ids[2] != ids[3]


async def test_a_broken_pipe_is_said_and_the_router_joins_anew(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    router = await joined(make)

    async def breaks(_: object) -> None:
        raise ZeroDivisionError

    task = asyncio.create_task(breaks(None))
    await asyncio.wait({task})
    router._on_pipe_end(task)
    assert "a router pipe broke" in caplog.text
    assert router._fenced
    assert store.called("stand_down") == []


async def test_a_database_that_went_back_is_read_again(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    router = await joined(make)
    store.answers = [beat(went_back=True)]
    await router._beat()
    assert all(pipe._went_back for pipe in router.pipes)
    assert "went back" in caplog.text


async def test_a_task_queue_with_another_id_than_before_ends_the_worker(
    make: Make, store: Store
) -> None:
    router = await joined(make)
    store.answers = [DEAD]
    store.queue = 8
    with pytest.raises(BackendError, match="was 7 in the database and is 8 now"):
        await router._beat()


async def test_a_beat_that_is_not_answered_in_time_is_given_up(make: Make, store: Store) -> None:
    router = await joined(make, lease_ms=20)
    store.silent = True
    with pytest.raises(BackendUnavailableError, match="no answer within"):
        await router._beat()


async def test_a_jump_of_the_clock_is_told_with_the_next_beat(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = make()
    monkeypatch.setattr(router.clock, "_monotonic", lambda: 5.0)
    await router._join()
    router.clock.learn(router.clock.mark(), 1_000_000 + 3_600_000)
    assert "the clock of the database has jumped by about 3600 s" in caplog.text
    assert router._beat_now.is_set()
    await router._beat()
    assert store.registrations[-1].jump_ms == 3_600_001


async def test_queues_are_looked_up_once_and_side_queues_are_said(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    router = await joined(make)
    for _ in range(2):
        assert await router.queue_id("q") == QUEUE
        assert await router._side_queue_id("two") == 9
    assert store.called("queue_id") == [("n", "q", ""), ("n", "q", "two")]
    warned = [each for each in caplog.messages if "is not hosted by this worker" in each]
    assert len(warned) == 1
    assert "'two'" in warned[0]
    assert router.queue_of(None) == router.queue_of("unknown") == QUEUE


async def test_hints_wake_the_pipes_whose_lanes_they_name(make: Make) -> None:
    router = await joined(make)
    first, second = router.pipes
    for pipe in router.pipes:
        pipe._awake = False
    router._on_lanes_hint("1")
    assert (first._awake, second._awake) == (True, False)
    router._on_lanes_hint(None)
    assert second._awake
    for pipe in router.pipes:
        pipe._awake = False
    router._wake_pipes()
    router._on_tasks_hint("c")  # there is no pump
    router._on_slot_free()
    assert (first._awake, second._awake) == (True, True)
    router._beat_now.clear()
    router._on_routers_hint(None)
    assert not router._beat_now.is_set()
    router._on_routers_hint("")
    assert router._beat_now.is_set()


async def test_moves_are_told_to_others_once_in_a_while(make: Make, store: Store) -> None:
    router = await joined(make)
    for _ in range(3):
        router._on_moved()
    await asyncio.sleep(0)
    assert store.called("notify") == [[(f"routers:{QUEUE}", "")]]


async def test_a_worker_begins_works_and_leaves(make: Make, store: Store) -> None:
    router = make()
    started = asyncio.Event()
    running = asyncio.create_task(router.run(started.set))
    await asyncio.wait_for(started.wait(), 5)
    assert store.called("listen") == [f"lanes:{QUEUE}", f"tasks:{QUEUE}", f"routers:{QUEUE}"]
    router.stop()
    await asyncio.wait_for(running, 5)
    assert store.called("leave") == [("n", router._router_id)]
    assert store.called("unlisten") == store.called("listen")
    assert all(session.closed for session in store.sessions)


async def test_a_worker_waits_for_its_database_to_begin(
    make: Make, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class AtOnce(router_module.Backoff):
        async def pause(self) -> None:
            await asyncio.sleep(0)

    monkeypatch.setattr(router_module, "Backoff", AtOnce)
    store.answers = [BackendUnavailableError("away")] * 3
    router = make()
    started = asyncio.Event()
    running = asyncio.create_task(router.run(started.set))
    await asyncio.wait_for(started.wait(), 5)
    router.stop()
    await asyncio.wait_for(running, 5)
    assert len(store.registrations) >= 4


async def test_a_worker_that_is_turned_away_ends_with_the_error(make: Make, store: Store) -> None:
    store.answers = [BackendError("no")]
    router = make()
    with pytest.raises(BackendError, match="no"):
        await router.run(lambda: None)
    assert store.called("leave") == []


async def test_a_beat_holds_the_tenure_for_a_lease_and_wakes_those_who_waited_for_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, woken = 1_000.0, list[Pipe]()
    wake = Pipe.wake

    def noted(pipe: Pipe) -> None:
        woken.append(pipe)
        wake(pipe)

    monkeypatch.setattr("hotmesh.router.tenure.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(Pipe, "wake", noted)
    router = make(lease_ms=5_000)
    monkeypatch.setattr(router.clock, "mark", lambda: now * 1000)
    await router._join()
    now += 4.9
    assert router.tenure.is_held
    woken.clear()
    await router._beat()
    assert woken == []
    now += 5.0
    assert not router.tenure.is_held
    await router._beat()
    assert router.tenure.is_held
    assert woken == router.pipes
