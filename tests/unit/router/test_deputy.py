"""The thread that stands in for a router whose event loop does not turn."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from hotmesh.backends.protocol import Backend, Beat, HeldTask, Registration, Tasks, TasksReply
from hotmesh.engine.activity_task import ActivityTask, TaskOrigin
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.router import deputy
from hotmesh.router.deputy import Deputy
from hotmesh.router.tenure import Held, Tenure

INTERVAL_S = 0.25
LEASE_MS = 1_000
REGISTRATION = Registration(b"r" * 16, "n", 1, True, LEASE_MS, b"{}")


def task(attempt: int = 1) -> ActivityTask:
    origin = TaskOrigin("n", "wf", "Flow", "q")
    return ActivityTask(b"w" * 16, 1, 64, "crunch", {}, b"", 1, origin, attempt=attempt)


class Router:
    """Has one attempt, and notes what is asked of it."""

    def __init__(self) -> None:
        self.tenure = Tenure()
        self.woken = threading.Event()

    def registration(self) -> Registration:
        return REGISTRATION

    def end_tenure(self) -> None:
        held = HeldTask(1, "crunch", 64, b"w" * 16, 1, 1, b"", -1)
        self.tenure.end(lambda: Held([held], [task()]))

    def claims(self) -> Sequence[tuple[ActivityTask, int]]:
        return [(task(2), LEASE_MS), (task(3), 0)]  # of the third the time is up

    def running(self) -> Sequence[ActivityTask]:
        return [task()]

    def held_up_by(self) -> tuple[ActivityTask | None, str]:
        return task(), "time.sleep"

    def wake(self) -> None:
        self.woken.set()


class Store:
    """Notes calls, each with the thread that makes it."""

    def __init__(self, alive: bool = True) -> None:
        self.alive = alive
        self.calls: list[tuple[str, Any]] = []
        self.away = False
        self.threads: set[str] = set()
        self.changed = threading.Condition()

    def for_another_loop(self) -> "Store":
        return self

    def _note(self, name: str, what: Any) -> None:
        self.threads.add(threading.current_thread().name)
        if self.away:
            raise BackendUnavailableError("away")
        with self.changed:
            self.calls.append((name, what))
            self.changed.notify_all()

    async def beat(self, registration: Registration) -> Beat:
        self._note("beat", registration)
        return Beat(self.alive, 1, (), 0, 1)

    async def stand_down(self, *what: object) -> None:
        self._note("stand_down", what)

    async def notify(self, hints: object) -> None:
        self._note("notify", hints)

    async def tasks(self, batch: Tasks) -> TasksReply:
        self._note("tasks", batch)
        return TasksReply(1)

    async def close(self) -> None:
        self._note("close", None)

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def wait_for(self, name: str) -> Any:
        """Block the calling thread, the event loop with it, until a call has come."""
        with self.changed:
            assert self.changed.wait_for(lambda: name in dict(self.calls), 10)
            return dict(self.calls)[name]


class Scene:
    """A deputy whose clock and looks are the test's."""

    def __init__(self, store: Store) -> None:
        self.now = 1000.0
        self.router = Router()
        self.store = store
        self.deputy = Deputy(
            self.router,
            cast("Backend", cast("Any", store)),
            INTERVAL_S,
            LEASE_MS,
            lambda: self.now,
        )

    def passes(self, seconds: float, *, turning: bool = False) -> None:
        """Time passes, with a look each half interval."""
        for _ in range(round(seconds / (INTERVAL_S / 2))):
            self.now += INTERVAL_S / 2
            if turning:
                self.deputy.turned()
            self.deputy.look()


@pytest.fixture
def scene() -> Iterator[Scene]:
    scene = Scene(Store())
    yield scene
    scene.deputy.close()


def test_a_loop_that_turns_needs_nobody_to_stand_in(scene: Scene) -> None:
    scene.passes(10 * LEASE_MS / 1000, turning=True)
    assert scene.store.calls == []


def test_a_loop_that_is_held_up_keeps_its_lease_and_its_claims(scene: Scene) -> None:
    scene.passes(INTERVAL_S)
    (_, beaten), (_, renewed) = scene.store.calls
    assert beaten == REGISTRATION._replace(hosts_workflows=False)
    assert (renewed.room, list(renewed.types)) == (0, [])
    assert (renewed.beat_attempt, renewed.beat_lease) == ([2], [LEASE_MS])
    assert renewed.beat_state == [None]
    scene.passes(INTERVAL_S)
    assert scene.store.names() == ["beat", "tasks"] * 2
    assert not scene.router.tenure.over
    scene.deputy.turned()
    scene.passes(INTERVAL_S / 2)
    assert scene.store.names() == ["beat", "tasks"] * 2


def test_after_a_lease_the_router_stands_down(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.passes(LEASE_MS / 1000 + INTERVAL_S)
    router, calls = scene.router, dict(scene.store.calls)
    assert router.tenure.over
    assert router.tenure.stored
    assert router.woken.is_set()
    held = router.tenure.held.tasks
    assert calls["stand_down"] == ("n", REGISTRATION.router_id, LEASE_MS, held)
    assert ("routers:1", "") in calls["notify"]
    scene.passes(LEASE_MS / 1000)
    names = scene.store.names()
    assert names.count("stand_down") == 1
    assert set(names[names.index("stand_down") :]) == {"stand_down", "notify", "tasks"}
    assert "activity 'crunch' (workflow 'wf', activity id '1', attempt 1)" in caplog.text


def test_a_router_that_was_declared_dead_keeps_what_it_has_begun() -> None:
    scene = Scene(Store(alive=False))
    scene.passes(INTERVAL_S)
    assert scene.router.tenure.over
    assert scene.store.names() == ["beat", "stand_down", "notify", "tasks"]
    scene.deputy.close()


def test_a_store_that_is_away_is_asked_again(scene: Scene) -> None:
    scene.store.away = True
    scene.passes(LEASE_MS / 1000 + INTERVAL_S)
    assert scene.router.tenure.over
    assert not scene.router.tenure.stored
    scene.store.away = False
    scene.passes(INTERVAL_S)
    assert scene.router.tenure.stored


def test_what_holds_the_loop_up_is_named_once(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deputy, "WARNING_SECONDS", INTERVAL_S)
    scene.passes(INTERVAL_S * 3)
    (warning,) = [r for r in caplog.records if "has been blocked for" in r.message]
    assert "activity 'crunch'" in warning.message
    assert "time.sleep" in warning.message
    assert cast("Any", warning).activity_type == "crunch"


def test_a_process_that_did_not_run_names_its_activities(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.now += 3600
    scene.deputy.look()
    assert "no Python ran in this process for 3600.0 s" in caplog.text
    assert "activity 'crunch'" in caplog.text
    assert not scene.router.tenure.over  # the loop had no chance to turn
    assert scene.store.calls == []


async def test_its_own_thread_and_connection_do_all_that() -> None:
    store, router = Store(), Router()
    found = Deputy(router, cast("Backend", cast("Any", store)), 0.02, 100)
    found.start()
    await asyncio.sleep(0)
    store.wait_for("stand_down")  # the event loop is held up
    await found.stop()
    assert store.threads == {"hotmesh-deputy"}
    assert store.names()[-1] == "close"
