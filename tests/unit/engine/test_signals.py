"""Signals: to which handler they go, in what order, and what comes of their errors."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar

import pytest

from hotmesh import workflow
from hotmesh.common import RawValue
from hotmesh.core import kinds
from hotmesh.exceptions import ApplicationError, CancelledError
from unit.engine.driving import (
    Driven,
    completed,
    fired,
    kinds_of,
    shown,
    signal,
    update,
)

SECOND = timedelta(seconds=1)


@dataclass
class Place:
    street: str


@workflow.defn
class Listens:
    """Notes what it hears, and ends when told to."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: "end" in self.heard)
        return self.heard

    @workflow.signal
    def say(self, word: str) -> None:
        self.heard.append(word)

    @workflow.signal(name="slowly")
    async def say_slowly(self, word: str) -> None:
        await workflow.sleep(1)
        self.heard.append(word)

    @workflow.signal
    def fail(self) -> None:
        raise ApplicationError("told to fail")

    @workflow.signal
    def be_wrong(self) -> None:
        raise RuntimeError("a mistake")

    @workflow.signal
    def go_on(self) -> None:
        workflow.continue_as_new()

    @workflow.signal
    async def be_cancelled(self) -> None:
        raise asyncio.CancelledError


@workflow.defn
class Collects:
    """Takes whatever is said."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.heard) == 2)
        return self.heard

    @workflow.signal(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> None:
        converter = workflow.payload_converter()
        self.heard.append([name, *converter.from_payloads([each.payload for each in args])])


def test_a_signal_calls_its_handler_before_the_run_moves_on(core: ModuleType) -> None:
    run = Driven(Listens, core=core)
    assert run.start(signal("say", "one")) == []
    assert shown(run.give(signal("say", "two"), signal("say", "end"))) == [("COMPLETE", 0, "")]
    assert run.outcome() == ["one", "two", "end"]
    assert run.replayed().instance.closed


@workflow.defn
class Looks:
    """Notes what comes first."""

    seen: ClassVar[list[str]] = []

    @workflow.run
    async def run(self) -> None:
        Looks.seen.append("run")

    @workflow.signal
    def say(self, word: str) -> None:
        Looks.seen.append(word)


def test_a_signal_that_came_before_the_start_is_heard_first() -> None:
    Looks.seen.clear()
    Driven(Looks).start(signal("say", "early"))
    assert Looks.seen == ["early", "run"]


def test_a_handler_that_waits_lets_the_next_one_begin() -> None:
    run = Driven(Listens)
    run.start()
    commands = run.give(signal("slowly", "late"), signal("say", "soon"))
    assert kinds_of(commands) == ["TIMER"]
    run.give(fired(commands[0][1]), at=1)
    run.give(signal("say", "end"))
    assert run.outcome() == ["soon", "late", "end"]


def test_a_signal_without_a_handler_waits_for_one() -> None:
    heard: list[Any] = []

    async def code() -> list[Any]:
        await workflow.sleep(1)
        workflow.set_signal_handler("b", lambda word: heard.append(("b", word)))
        await workflow.sleep(1)
        workflow.set_signal_handler("a", lambda word: heard.append(("a", word)))
        await workflow.wait_condition(lambda: len(heard) == 4)
        return heard

    run = Driven(code)
    run.start(signal("a", 1), signal("b", 2))
    run.give(signal("b", 3), signal("a", 4))
    assert heard == []
    run.give(fired(1), at=1)
    assert heard == [("b", 2), ("b", 3)]
    run.give(fired(2), at=2)
    assert heard == [("b", 2), ("b", 3), ("a", 1), ("a", 4)]


def test_a_dynamic_handler_that_is_installed_takes_all_that_waits_in_order() -> None:
    heard: list[str] = []

    def take(name: str, args: Sequence[RawValue]) -> None:
        heard.append(f"{name}{len(args)}")

    async def code() -> None:
        await workflow.sleep(1)
        workflow.set_dynamic_signal_handler(take)
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start(signal("b", 1, 2), signal("a"))
    run.give(fired(1), at=1)
    assert heard == ["b2", "a0"]
    run.give(signal("c", 1))
    assert heard[-1] == "c1"


def test_a_handler_that_is_removed_hears_nothing_more() -> None:
    heard: list[str] = []

    async def code() -> None:
        workflow.set_signal_handler("a", heard.append)
        await workflow.sleep(1)
        workflow.set_signal_handler("a", None)
        await workflow.sleep(1)
        workflow.set_signal_handler("a", heard.append)
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start(signal("a", "one"))
    run.give(fired(1), at=1)
    run.give(signal("a", "two"))
    assert heard == ["one"]
    run.give(fired(2), at=2)
    assert heard == ["one", "two"]


def test_a_dynamic_handler_gets_the_name_and_raw_values() -> None:
    run = Driven(Collects)
    run.start(signal("what", 1, "x"), signal("ever"))
    assert run.outcome() == [["what", 1, "x"], ["ever"]]


@pytest.mark.parametrize("args", [(3, 4), ()])
def test_a_signal_that_can_not_be_read_is_dropped_and_logged(
    args: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    run = Driven(Listens)
    run.start()
    assert run.give(signal("say", *args)) == []
    assert run.is_open
    (record,) = caplog.records
    assert "Failed deserializing signal input for say" in record.getMessage()
    assert vars(record)["workflow_id"] == "w"


def test_a_failure_in_a_handler_fails_the_run() -> None:
    run = Driven(Listens)
    run.start()
    run.give(signal("fail"))
    with pytest.raises(ApplicationError, match="told to fail"):
        run.outcome()


def test_a_mistake_in_a_handler_fails_the_task() -> None:
    run = Driven(Listens)
    run.start()
    with pytest.raises(RuntimeError, match="a mistake"):
        run.give(signal("be_wrong"))


def test_a_handler_may_continue_as_new() -> None:
    run = Driven(Listens)
    run.start()
    assert shown(run.give(signal("go_on"))) == [("CONTINUE", 0, "Listens")]


def test_cancellation_out_of_a_handler_fails_the_run_unless_it_was_asked_for() -> None:
    run = Driven(Listens)
    run.start()
    run.give(signal("be_cancelled"))
    assert run.closing()[0] == kinds.FAIL
    with pytest.raises(CancelledError):
        run.outcome()


def test_what_follows_the_end_in_the_same_activation_does_not_count() -> None:
    async def code() -> None:
        async def act() -> None:
            await workflow.execute_activity("too late", start_to_close_timeout=SECOND)

        def end() -> None:
            raise ApplicationError("the end")

        workflow.set_signal_handler("act", act)
        workflow.set_signal_handler("end", end)
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    with pytest.warns(workflow.UnfinishedSignalHandlersWarning, match="act"):
        commands = run.give(signal("end"), signal("act"))
    assert kinds_of(commands) == ["FAIL"]
    assert run.replayed().instance.closed


@workflow.defn
class Leaves:
    """Ends while handlers are at work."""

    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(1)

    @workflow.signal
    async def work(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def work_on(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    async def change(self) -> None:
        await workflow.wait_condition(lambda: False)


def test_handlers_left_at_work_are_warned_of_by_kind() -> None:
    run = Driven(Leaves)
    run.start(signal("work"), signal("work_on"), update("change", id="7"))
    with pytest.warns() as warned:
        run.give(fired(1), at=1)
    assert [each.category for each in warned] == [
        workflow.UnfinishedUpdateHandlersWarning,
        workflow.UnfinishedSignalHandlersWarning,
    ]
    assert "change (7)" in str(warned[0].message)
    assert "work_on" not in str(warned[1].message)


def test_a_replay_does_not_warn_again() -> None:
    run = Driven(Leaves)
    run.start(signal("work"))
    with pytest.warns(workflow.UnfinishedSignalHandlersWarning):
        run.give(fired(1), at=1)
    assert run.replayed().instance.closed  # warnings are errors here


def test_handlers_are_finished_when_none_is_at_work() -> None:
    seen: list[bool] = []

    async def code() -> None:
        async def handle() -> None:
            await workflow.execute_activity("act", start_to_close_timeout=SECOND)

        workflow.set_signal_handler("go", handle)
        await workflow.wait_condition(lambda: seen.append(workflow.all_handlers_finished()))

    run = Driven(code)
    run.start()
    run.give(signal("go"))
    assert seen[-1] is False
    run.give(completed(1))
    assert seen[-1] is True


def test_a_signal_for_a_run_that_has_ended_asks_for_nothing() -> None:
    run = Driven(Listens)
    run.start(signal("say", "end"))
    instance = run.instance
    assert instance.activate(run.now_ms, [signal("slowly", "x")]) == []


def test_a_signal_with_headers_is_read_without_them() -> None:
    run = Driven(Listens)
    run.start(signal("say", "end", headers={"trace": [{}, ""]}))
    assert run.outcome() == ["end"]


def test_a_handler_set_while_running_is_given_what_it_is_annotated_for() -> None:
    heard: list[Any] = []

    def take(where: Place) -> None:
        heard.append(where)

    async def code() -> None:
        workflow.set_signal_handler("a", take)
        assert workflow.get_signal_handler("a") is take
        assert workflow.get_signal_handler("b") is None
        assert workflow.get_dynamic_signal_handler() is None
        await workflow.wait_condition(lambda: False)

    Driven(code).start(signal("a", {"street": "Main"}))
    assert heard == [Place("Main")]
