"""Updates: accepted or rejected in their turn, once for each id, and who asked is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.common import RawValue
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import ApplicationError, CancelledError
from unit.engine.driving import (
    Driven,
    answer,
    cancel,
    completed,
    failed,
    fired,
    kinds_of,
    signal,
    update,
    value_of,
    values,
)

SECOND = timedelta(seconds=1)


@workflow.defn
class Account:
    """Takes amounts."""

    def __init__(self) -> None:
        self.total = 0
        self.seen: list[Any] = []

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.total >= 100)
        return self.total

    @workflow.update
    async def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    @add.validator
    def check(self, amount: int) -> None:
        if amount < 0:
            raise ValueError("not negative")

    @workflow.update
    async def add_later(self, amounts: list[int]) -> int:
        await workflow.execute_activity("ask", start_to_close_timeout=SECOND)
        self.total += sum(amounts)
        return self.total

    @add_later.validator
    def check_later(self, amounts: list[int]) -> None:
        amounts.append(1_000)  # what it does to its arguments is not seen by the handler

    @workflow.update
    def at_once(self) -> str:
        info = workflow.current_update_info()
        assert info is not None
        return f"{info.id} {info.name}"

    @workflow.update
    def fails(self) -> None:
        raise ApplicationError("no", type="Refused")

    @workflow.update
    def is_wrong(self) -> None:
        raise KeyError("a mistake")

    @workflow.update
    async def is_cancelled(self) -> None:
        raise asyncio.CancelledError("enough")

    @workflow.update
    def goes_on(self) -> None:
        workflow.continue_as_new()

    @workflow.update
    def returns_what_can_not_be_stored(self) -> object:
        return object()

    @workflow.update
    def returns_much(self) -> str:
        return "x" * 50_000

    @workflow.update
    def validated_by_a_timer(self) -> None: ...

    @validated_by_a_timer.validator
    def starts_something(self) -> None:
        workflow.start_activity("never", start_to_close_timeout=SECOND)

    @workflow.update
    def exits(self) -> None: ...

    @exits.validator
    def raises_exit(self) -> None:
        raise SystemExit("not this way")


@workflow.defn
class Anything:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update(dynamic=True)
    def any(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} {len(args)}"


def test_an_accepted_update_is_recorded_twice_and_answered_twice(core: ModuleType) -> None:
    run = Driven(Account, core=core)
    run.start()
    accepted, done = run.give(update("add", 5, id="7"))
    assert kinds_of([accepted, done]) == ["UPDATE_ACCEPTED", "UPDATE_COMPLETED"]
    assert (accepted[3], done[3]) == ("add", "add")
    assert (accepted[4], done[4]) == (b"7", b"7")
    assert done[5][:1] == b"R"
    assert value_of(done[5][1:]) == 5
    assert run.replies == {b"accepted": b"A", b"completed": done[5]}
    assert run.replayed().instance.object.total == 5


def test_a_rejected_update_leaves_no_trace() -> None:
    run = Driven(Account)
    run.start()
    assert run.give(update("add", -1)) == []
    for reply in (b"accepted", b"completed"):
        assert run.replies[reply][:1] == b"X"
        with pytest.raises(ApplicationError, match="not negative") as raised:
            answer(run.replies[reply])
        assert raised.value.type == "ValueError"
    assert run.instance.object.total == 0


def test_a_rejected_update_is_not_run_by_a_replay_whatever_its_validator_says_then() -> None:
    run = Driven(Account)
    run.start()
    run.give(update("add", -1))
    run.give(update("add", 1, id="other"))
    again = run.replayed(Lenient)
    assert again.instance.object.total == 1


@workflow.defn(name="Account")
class Lenient(Account):
    """Validates nothing any more."""

    @workflow.run
    async def run(self) -> int:
        return await super().run()

    @workflow.update
    async def add(self, amount: int) -> int:
        self.total += amount
        return self.total


def test_an_update_waits_for_its_handler_and_is_answered_then() -> None:
    run = Driven(Account)
    run.start()
    assert kinds_of(run.give(update("add_later", [1, 2]))) == ["UPDATE_ACCEPTED", "ACTIVITY"]
    assert run.replies == {b"accepted": b"A"}
    assert kinds_of(run.give(completed(1))) == ["UPDATE_COMPLETED"]
    assert answer(run.replies[b"completed"]) == 3


def test_the_same_update_again_is_told_what_came_of_the_first() -> None:
    run = Driven(Account)
    run.start()
    run.give(update("add_later", [1], id="7"))
    again = update("add_later", [1], id="7", completed=b"second".hex())
    assert run.give(again) == []
    assert run.replies == {b"accepted": b"A"}
    run.give(completed(1))
    assert {name: answer(data) for name, data in run.replies.items()} == {
        b"completed": 1,
        b"second": 1,
    }
    run.give(update("add_later", [1], id="7", completed=b"third".hex()))
    assert answer(run.replies[b"third"]) == 1
    assert run.instance.object.total == 1


def test_who_asks_for_an_update_that_never_was_is_told() -> None:
    run = Driven(Account)
    run.start()
    run.give(update("", id="7", poll=True))
    with pytest.raises(ApplicationError, match="update '7' not found") as raised:
        answer(run.replies[b"completed"])
    assert raised.value.type == "NotFound"


def test_who_asks_again_for_an_update_gets_its_outcome() -> None:
    run = Driven(Account)
    run.start(update("add", 3, id="7"))
    run.give(update("", id="7", poll=True))
    assert answer(run.replies[b"completed"]) == 3


def test_an_unknown_update_is_rejected_with_the_names_there_are() -> None:
    run = Driven(Account)
    run.start()
    assert run.give(update("what")) == []
    with pytest.raises(ApplicationError, match=r"'what' expected but not found.*\[add add_later"):
        answer(run.replies[b"completed"])


@pytest.mark.parametrize("args", [(), (1, 2), ("no number",)])
def test_other_arguments_reject_an_update(args: tuple[Any, ...]) -> None:
    run = Driven(Account)
    run.start()
    assert run.give(update("add", *args)) == []
    assert run.replies[b"accepted"][:1] == b"X"


def test_a_failure_fails_the_update_and_not_the_run() -> None:
    run = Driven(Account)
    run.start()
    commands = run.give(update("fails"))
    assert kinds_of(commands) == ["UPDATE_ACCEPTED", "UPDATE_COMPLETED"]
    with pytest.raises(ApplicationError, match="no"):
        answer(run.replies[b"completed"])
    assert run.is_open


def test_an_activitys_failure_fails_the_update() -> None:
    run = Driven(Account)
    run.start(update("add_later", []))
    run.give(failed(1, ApplicationError("broken")))
    with pytest.raises(Exception, match="Activity task failed"):
        answer(run.replies[b"completed"])
    assert run.is_open


def test_cancellation_fails_the_update() -> None:
    run = Driven(Account)
    run.start(update("is_cancelled"))
    with pytest.raises(CancelledError, match="enough"):
        answer(run.replies[b"completed"])
    assert run.is_open


def test_a_mistake_fails_the_task() -> None:
    run = Driven(Account)
    run.start()
    with pytest.raises(KeyError, match="a mistake"):
        run.give(update("is_wrong"))


def test_an_update_that_continues_as_new_ends_the_run_and_who_asked_is_told() -> None:
    run = Driven(Account)
    run.start()
    commands = run.give(update("goes_on"))
    assert kinds_of(commands) == ["UPDATE_ACCEPTED", "CONTINUE"]
    assert run.replies[b"accepted"] == b"A"
    with pytest.raises(ApplicationError) as raised:
        answer(run.replies[b"completed"])
    assert raised.value.type == "AcceptedUpdateCompletedWorkflow"


def test_an_update_at_work_when_the_run_ends_is_told_so() -> None:
    run = Driven(Account)
    run.start(update("add_later", [1], id="1"))
    with pytest.warns(workflow.UnfinishedUpdateHandlersWarning, match="add_later"):
        commands = run.give(update("add", 100, id="2", completed=b"two".hex()))
    assert kinds_of(commands) == ["UPDATE_ACCEPTED", "UPDATE_COMPLETED", "COMPLETE"]
    assert answer(run.replies[b"two"]) == 100
    with pytest.raises(ApplicationError, match="completed before the Update") as raised:
        answer(run.replies[b"completed"])
    assert raised.value.type == "AcceptedUpdateCompletedWorkflow"


def test_an_update_that_completes_with_the_run_is_recorded_before_the_end() -> None:
    """It came to its end in the same activation, after the run had."""

    async def code() -> str:
        async def handle() -> str:
            await workflow.wait_condition(lambda: bool(done))
            await asyncio.sleep(0)
            workflow.start_activity("does not count", start_to_close_timeout=SECOND)
            return "handled"

        workflow.set_update_handler("up", handle)
        await workflow.sleep(1)
        done.append(1)
        return "returned"

    done: list[int] = []
    run = Driven(code)
    run.start()
    run.give(update("up"))
    commands = run.give(fired(1), at=1)
    assert kinds_of(commands) == ["UPDATE_COMPLETED", "COMPLETE"]
    assert answer(run.replies[b"completed"]) == "handled"
    done.clear()
    assert run.replayed().instance.closed


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("returns_what_can_not_be_stored", "ConversionError"),
        ("returns_much", "PayloadTooLargeError"),
    ],
)
def test_a_result_that_can_not_be_stored_fails_the_update_for_good(name: str, type_: str) -> None:
    run = Driven(Account, payload_limit=10_000)
    run.start(update(name))
    with pytest.raises(ApplicationError, match=f"result of update '{name}'") as raised:
        answer(run.replies[b"completed"])
    assert (raised.value.type, raised.value.non_retryable) == (type_, True)
    assert run.is_open


def test_a_validator_that_starts_something_fails_the_task() -> None:
    run = Driven(Account)
    run.start()
    with pytest.raises(workflow.ReadOnlyContextError, match="start activity"):
        run.give(update("validated_by_a_timer"))
    assert run.instance.read_only == ""


def test_whatever_else_comes_out_of_a_validator_rejects_the_update() -> None:
    run = Driven(Account)
    run.start()
    assert run.give(update("exits")) == []
    with pytest.raises(ApplicationError, match="not this way"):
        answer(run.replies[b"accepted"])


def test_an_update_that_nobody_waits_for_is_answered_to_nobody() -> None:
    run = Driven(Account)
    run.start()
    run.give((*update("add")[:5], wire.join_document({"id": "u"}, values(1))))
    assert run.replies == {}
    assert run.instance.object.total == 1


def test_a_rejection_is_told_to_who_waits_for_either_or_neither() -> None:
    run = Driven(Account)
    run.start()
    job = update("add")
    for document in ({}, {"accepted": b"a".hex()}, {"completed": b"c".hex()}):
        body = wire.join_document({"id": "u", **document}, values(-1))
        run.give((*job[:4], str(document).encode(), body))
        assert list(run.replies) == [bytes.fromhex(each) for each in document.values()]


def test_an_update_knows_its_id_and_name() -> None:
    run = Driven(Account)
    run.start(update("at_once", id="7"))
    assert answer(run.replies[b"completed"]) == "7 at_once"


def test_the_main_coroutine_handles_no_update() -> None:
    seen: list[Any] = []

    async def code() -> None:
        seen.append(workflow.current_update_info())

    Driven(code).start()
    assert seen == [None]


def test_the_dynamic_handler_takes_updates_that_have_none() -> None:
    run = Driven(Anything)
    run.start(update("what", 1, 2))
    assert answer(run.replies[b"completed"]) == "what 2"


def test_handlers_come_and_go_while_a_run_is_running() -> None:
    def refuse() -> None:
        raise ValueError("refused")

    def every(name: str, args: Sequence[RawValue]) -> str:
        return f"any {name} {len(args)}"

    async def code() -> None:
        workflow.set_update_handler("a", lambda: "first", validator=None)
        assert workflow.get_update_handler("a") is not None
        await workflow.sleep(1)
        workflow.set_update_handler("a", lambda: "second", validator=refuse)
        await workflow.sleep(1)
        workflow.set_update_handler("a", None)
        workflow.set_dynamic_update_handler(every)
        assert workflow.get_dynamic_update_handler() is every
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    run.give(update("a", id="1"))
    assert answer(run.replies[b"completed"]) == "first"
    run.give(fired(1), at=1)
    run.give(update("a", id="2"))
    with pytest.raises(ApplicationError, match="refused"):
        answer(run.replies[b"completed"])
    run.give(fired(2), at=2)
    run.give(update("a", id="3"))
    assert answer(run.replies[b"completed"]) == "any a 0"
    assert run.replayed().is_open


def test_updates_and_signals_are_taken_in_the_order_in_which_they_came() -> None:
    heard: list[str] = []

    async def code() -> None:
        workflow.set_signal_handler("s", lambda word: heard.append(f"s {word}"))
        workflow.set_update_handler("u", lambda word: heard.append(f"u {word}"))
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    run.give(signal("s", 1), update("u", 2, id="2"), signal("s", 3), update("u", 4, id="4"))
    assert heard == ["s 1", "u 2", "s 3", "u 4"]


def test_an_update_that_comes_with_the_cancellation_is_taken_first() -> None:
    run = Driven(Account)
    run.start()
    commands = run.give(cancel("enough"), update("add", 1))
    assert kinds_of(commands) == ["UPDATE_ACCEPTED", "UPDATE_COMPLETED", "CANCELED"]
    assert run.closing()[0] == kinds.CANCELED
