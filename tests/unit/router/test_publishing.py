"""Events, spans and hints leave after the commit, in order, and stop nobody when they can't."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from hotmesh import telemetry, workflow
from hotmesh.backends.protocol import Backend
from hotmesh.core import kinds
from hotmesh.engine.details import RunDetails
from hotmesh.exceptions import BackendUnavailableError, HotMeshError
from hotmesh.router import notifier, publishing
from hotmesh.router.effects import Publication
from hotmesh.router.notifier import Notifier
from hotmesh.router.publishing import Publisher
from hotmesh.router.state import RunState
from unit.engine.driving import OTHER_RUN, RUN_ID, START_MS
from unit.router.miniature import Make, Place


class Bus:
    """Takes events, after what it is told to do first."""

    def __init__(self) -> None:
        self.published: list[list[tuple[str, bytes]]] = []
        self.before: list[Any] = []

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        if self.before:
            first = self.before.pop(0)
            if isinstance(first, Exception):
                raise first
            await first
        self.published.append(list(events))


def emitted(body: bytes, kind: int = kinds.EMIT) -> Publication:
    details = RunDetails("n", "w", RUN_ID, "Type", "q", 64, {}, b"")
    return Publication(kind, RunState(details), body, START_MS)


async def turn(times: int = 5) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_events_go_out_in_the_order_of_commits_and_in_few_calls() -> None:
    bus = Bus()
    publisher = Publisher(bus)
    publisher.publish([emitted(b'{"a":1,"b":2}'), emitted(b'{"c":3}')])
    publisher.publish([emitted(b'{"d":4}')])
    await turn()
    assert bus.published == [[("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"4")]]


async def test_what_comes_while_the_bus_is_busy_goes_out_with_the_next_call() -> None:
    bus, gate = Bus(), asyncio.Event()
    bus.before = [gate.wait()]
    publisher = Publisher(bus)
    publisher.publish([emitted(b'{"a":1}')])
    await turn()
    publisher.publish([emitted(b'{"b":2}')])
    publisher.publish([emitted(b'{"c":3}')])
    gate.set()
    await turn()
    assert bus.published == [[("a", b"1")], [("b", b"2"), ("c", b"3")]]


async def test_events_that_the_bus_does_not_take_are_lost_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus()
    bus.before = [HotMeshError("no bus")]
    publisher = Publisher(bus)
    publisher.publish([emitted(b'{"a":1}')])
    await turn()
    publisher.publish([emitted(b'{"b":2}')])
    await turn()
    assert bus.published == [[("b", b"2")]]
    assert "1 events could not be published: no bus" in caplog.text


async def test_events_that_can_not_be_read_are_said_and_no_others_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bus = Bus()
    Publisher(bus).publish([emitted(b"no json"), emitted(b'{"b":2}')])
    await turn()
    assert bus.published == [[("b", b"2")]]
    assert "are lost" in caplog.text
    assert "01020304-0506-0708" in caplog.text


async def test_a_span_is_recorded_with_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(telemetry, "record_span", lambda *given: seen.append(given))
    Publisher(None).publish([emitted(b'{"name":"x"}', kinds.TRACE)])
    ((name, attributes, now_ms, whose),) = seen
    assert (name, attributes, now_ms) == (telemetry.SPAN_NAME, {"name": "x"}, START_MS)
    assert (whose["namespace"], whose["workflow_id"], whose["workflow_type"]) == ("n", "w", "Type")


async def test_an_exporter_that_raises_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise SystemExit(1)

    monkeypatch.setattr(telemetry, "record_span", fails)
    bus = Bus()
    Publisher(bus).publish([emitted(b"{}", kinds.TRACE), emitted(b'{"b":2}')])
    await turn()
    assert bus.published == [[("b", b"2")]]
    assert "are lost" in caplog.text


async def test_without_a_bus_nothing_is_sent() -> None:
    publisher = Publisher(None)
    publisher.publish([emitted(b'{"a":1}')])
    await publisher.close()


async def test_a_router_that_goes_publishes_what_is_left() -> None:
    bus, gate = Bus(), asyncio.Event()
    bus.before = [gate.wait()]
    publisher = Publisher(bus)
    publisher.publish([emitted(b'{"a":1}')])
    closing = asyncio.create_task(publisher.close())
    await turn()
    gate.set()
    await closing
    assert bus.published == [[("a", b"1")]]


async def test_a_router_that_goes_does_not_wait_for_a_silent_bus(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publishing, "CLOSE_SECONDS", 0.01)
    bus = Bus()
    bus.before = [asyncio.Event().wait()]
    publisher = Publisher(bus)
    publisher.publish([emitted(b'{"a":1}')])
    await publisher.close()
    assert bus.published == []
    assert "the last events were not published" in caplog.text


async def test_events_of_a_run_leave_once_the_step_is_applied_and_never_at_replay(
    make: Make, place: Place
) -> None:
    async def emits() -> None:
        workflow.emit({"topic": 1})
        await workflow.sleep(60)
        workflow.emit({"topic": 2})

    bus = Bus()
    mini = make(emits, bus=bus)
    place.begin("emits")
    place.fates = ["applied", "lost"]
    await mini.turns(2)
    await turn()
    assert bus.published == []
    await mini.settle()
    await turn()
    assert bus.published == [[("topic", b"1")]]
    other = make(emits, bus=bus)
    await other.pass_seconds(60)
    await turn()
    assert bus.published == [[("topic", b"1")], [("topic", b"2")]]


# Hints


class Hinted:
    """Takes hints."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, str]]] = []
        self.error: Exception | None = None

    async def notify(self, hints: list[tuple[str, str]]) -> None:
        if self.error is not None:
            raise self.error
        self.calls.append(hints)


def notifier_on(backend: Hinted) -> Notifier:
    return Notifier(cast("Backend", cast("Any", backend)), "n")


async def test_hints_of_a_moment_are_one_call() -> None:
    backend = Hinted()
    hints = notifier_on(backend)
    hints.lanes([7 * 64, 7 * 64 + 3, 9 * 64 + 1])
    hints.tasks(7)
    hints.tasks(9, "c")
    hints.tasks(9)
    hints.routers(7)
    hints.routers(7)
    hints.done([RUN_ID])
    hints.done(iter([OTHER_RUN]))
    await turn()
    assert backend.calls == [
        [
            ("lanes:7", "9"),
            ("lanes:9", "2"),
            ("tasks:7", ""),
            ("tasks:9", "c"),
            ("routers:7", ""),
            ("done:n", f"{RUN_ID.hex()},{OTHER_RUN.hex()}"),
        ]
    ]
    hints.done([])
    await turn()
    assert len(backend.calls) == 1


async def test_many_ids_are_several_hints() -> None:
    backend = Hinted()
    count = notifier._IDS_PER_HINT
    notifier_on(backend).done([RUN_ID] * (count + 1))
    await turn()
    ((first, second),) = backend.calls
    assert first[1].count(",") == count - 1
    assert second == ("done:n", RUN_ID.hex())


async def test_hints_that_can_not_be_sent_stop_nobody() -> None:
    backend = Hinted()
    backend.error = BackendUnavailableError("away")
    hints = notifier_on(backend)
    hints.tasks(7)
    await turn()
    backend.error = None
    hints.tasks(9)
    await turn()
    assert backend.calls == [[("tasks:9", "")]]


async def test_a_router_that_goes_sends_its_last_hints_unless_that_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = Hinted()
    hints = notifier_on(backend)
    await hints.close()
    hints.tasks(7)
    await hints.close()
    assert backend.calls == [[("tasks:7", "")]]
    monkeypatch.setattr(notifier, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(backend, "notify", lambda _: asyncio.Event().wait())
    hints.tasks(9)
    task = hints._task
    await hints.close()
    await turn()
    assert task is not None
    assert task.cancelled()
