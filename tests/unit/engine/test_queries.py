"""Queries: they see the run as it is after all else, and change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.common import RawValue, SearchAttributeKey
from hotmesh.core import kinds
from hotmesh.engine import handlers
from hotmesh.exceptions import ApplicationError
from unit.engine.driving import Driven, answer, cancel, fired, query, signal, value_of

SECOND = timedelta(seconds=1)


@workflow.defn
class Counts:
    """Counts signals."""

    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.count >= 3)
        return self.count

    @workflow.signal
    def more(self) -> None:
        self.count += 1

    @workflow.query
    def seen(self, times: int = 1) -> int:
        return self.count * times

    @workflow.query(name="at once")
    async def seen_at_once(self) -> int:
        return self.count

    @workflow.query
    async def waits(self) -> None:
        await workflow.sleep(1)

    @workflow.query
    async def waits_for_nothing(self) -> None:
        await workflow.wait_condition(lambda: True)

    @workflow.query
    def fails(self) -> None:
        raise ApplicationError("no answer", type="Refused")

    @workflow.query
    def exits(self) -> None:
        raise SystemExit(3)

    @workflow.query(description="says much")
    def large(self) -> str:
        return "x" * 3000


@workflow.defn
class Answers:
    @workflow.run
    async def run(self) -> None:
        workflow.set_current_details("waiting")
        await workflow.wait_condition(lambda: False)

    @workflow.query(dynamic=True)
    def any(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} {len(args)}"


def test_a_query_sees_what_came_with_it_whatever_its_place() -> None:
    run = Driven(Counts)
    run.start()
    assert run.give(query("seen"), signal("more"), signal("more")) == []
    assert answer(run.replies[b"asked"]) == 2


def test_a_query_alone_is_answered_and_nothing_is_recorded() -> None:
    run = Driven(Counts)
    run.start(signal("more"))
    assert (run.ask("seen"), run.ask("seen", 5), run.ask("at once")) == (1, 5, 1)
    assert len(run.journal) == 1


def test_a_query_with_the_start_sees_the_run_begun() -> None:
    run = Driven(Counts)
    run.start(query("seen"), signal("more"))
    assert answer(run.replies[b"asked"]) == 1


def test_a_closed_run_answers_too() -> None:
    run = Driven(Counts)
    run.start(signal("more"), signal("more"), signal("more"))
    assert run.outcome() == 3
    assert run.ask("seen") == 3


def test_an_unknown_query_is_told_which_there_are() -> None:
    run = Driven(Counts)
    run.start()
    with pytest.raises(ApplicationError, match=r"'what' expected but not found.*__stack_trace.*s"):
        run.ask("what")


def test_a_query_with_other_arguments_is_refused() -> None:
    run = Driven(Counts)
    run.start()
    with pytest.raises(ApplicationError, match=r"takes 0 to 1 argument\(s\) but 2 were given"):
        run.ask("seen", 1, 2)
    with pytest.raises(ApplicationError, match="arguments of query 'seen'"):
        run.ask("seen", "no number")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("fails", "no answer"),
        ("exits", "3"),
        ("waits", "While in read-only function"),
        ("waits_for_nothing", "While in read-only function"),
        ("large", "result of query 'large'"),
    ],
)
def test_whatever_comes_out_of_a_query_fails_the_query_only(name: str, text: str) -> None:
    run = Driven(Counts, payload_limit=2000)
    run.start()
    with pytest.raises(ApplicationError, match=text):
        run.ask(name)
    assert run.is_open
    assert run.ask("seen") == 0
    assert run.instance.read_only == ""


def test_a_query_that_waits_is_refused() -> None:
    async def code() -> None:
        future = asyncio.get_running_loop().create_future()

        async def waits() -> None:
            await future

        workflow.set_query_handler("waits", waits)
        await future

    run = Driven(code)
    run.start()
    with pytest.raises(ApplicationError, match="queries must answer at once"):
        run.ask("waits")


def test_the_dynamic_handler_answers_what_has_none() -> None:
    run = Driven(Answers)
    run.start()
    assert run.ask("anything", 1, 2) == "anything 2"


def test_handlers_come_and_go_while_a_run_is_running() -> None:
    def every(name: str, args: Sequence[RawValue]) -> str:
        return f"any {name} {len(args)}"

    async def code() -> None:
        workflow.set_query_handler("a", lambda: "first")
        assert workflow.get_query_handler("a") is not None
        await workflow.sleep(1)
        workflow.set_query_handler("a", None)
        workflow.set_dynamic_query_handler(every)
        assert workflow.get_dynamic_query_handler() is every
        await workflow.sleep(1)
        workflow.set_dynamic_query_handler(None)
        assert workflow.get_query_handler("a") is None
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    assert run.ask("a") == "first"
    run.give(fired(1), at=1)
    assert run.ask("a") == "any a 0"
    run.give(fired(2), at=2)
    with pytest.raises(ApplicationError, match="not found"):
        run.ask("a")


def test_the_stacks_of_a_run_are_shown() -> None:
    run = Driven(Counts)
    run.start()
    for name in ("__stack_trace", "__enhanced_stack_trace"):
        text = run.ask(name)
        assert "in run" in text
        assert "wait_condition(lambda: self.count >= 3)" in text
        assert text.index("in run") < text.index("in wait_condition")


def test_the_metadata_names_the_handlers_and_what_is_going_on() -> None:
    run = Driven(Answers)
    run.start()
    assert run.ask("__temporal_workflow_metadata") == {
        "definition": {
            "type": "Answers",
            "queryDefinitions": [{"name": "", "description": ""}],
            "signalDefinitions": [],
            "updateDefinitions": [],
        },
        "currentDetails": "waiting",
    }
    counts = Driven(Counts)
    counts.start()
    found = counts.ask("__temporal_workflow_metadata")["definition"]["queryDefinitions"]
    assert {"name": "large", "description": "says much"} in found


@pytest.mark.parametrize(
    ("condition", "status", "rejected"),
    [
        ("not_open", 1, False),
        ("not_open", 2, True),
        ("not_completed_cleanly", 1, False),
        ("not_completed_cleanly", 2, False),
        ("not_completed_cleanly", 3, True),
    ],
)
def test_a_query_may_be_rejected_by_the_state_of_the_run(
    condition: str, status: int, rejected: bool
) -> None:
    run = Driven(Counts)
    run.start()
    run.instance.status = status
    run.give(query("seen", reject=condition))
    expected = b"J" + bytes([status]) if rejected else run.replies[b"asked"]
    assert run.replies[b"asked"] == expected
    assert run.replies[b"asked"].startswith(b"J" if rejected else b"R")


def test_answers_that_fill_a_batch_leave_the_rest_for_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handlers, "BATCH_BYTES_MAX", 5000)
    run = Driven(Counts)
    run.start()
    asked = [query("large", reply=b"%d" % number) for number in range(5)]
    run.give(*asked)
    assert list(run.replies) == [b"0", b"1"]
    assert run.instance.unanswered == 3


FORBIDDEN: dict[str, Callable[[], Any]] = {
    "start activity": lambda: workflow.start_activity("a", start_to_close_timeout=SECOND),
    "start child workflow": lambda: _send(workflow.start_child_workflow("c")),
    "signal external workflow": lambda: _send(
        workflow.get_external_workflow_handle("w").signal("s")
    ),
    "cancel external workflow": lambda: _send(workflow.get_external_workflow_handle("w").cancel()),
    "continue as new": workflow.continue_as_new,
    "wait condition": lambda: _send(workflow.wait_condition(lambda: True)),
    "start a timer": lambda: _send(workflow.sleep(1)),
    "enrich": lambda: workflow.enrich({"a": 1}),
    "emit": lambda: workflow.emit({"a": 1}),
    "trace": lambda: workflow.trace({"a": 1}),
    "upsert memo": lambda: workflow.upsert_memo({"a": 1}),
    "upsert search attributes": lambda: workflow.upsert_search_attributes(
        [SearchAttributeKey.for_int("a").value_set(1)]
    ),
    "wait for a signal": lambda: _send(workflow.wait_signal("k")),
    "send a signal": lambda: workflow.send_signal("k"),
    "use patched": lambda: workflow.patched("p"),
    "use workflow random": workflow.random,
    "set current details": lambda: workflow.set_current_details("x"),
    "set signal handler": lambda: workflow.set_signal_handler("x", None),
    "set query handler": lambda: workflow.set_query_handler("x", None),
    "set update handler": lambda: workflow.set_update_handler("x", None),
}


def _send(coroutine: Any) -> None:
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


@pytest.mark.parametrize("action", FORBIDDEN)
def test_a_query_may_change_nothing(action: str) -> None:
    async def code() -> None:
        workflow.set_query_handler("tries", FORBIDDEN[action])
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    with pytest.raises(ApplicationError, match=f"action attempted: {action}"):
        run.ask("tries")
    assert run.instance.seq == 0
    assert len(run.instance.conditions) == 1


def test_a_query_may_look_at_everything() -> None:
    async def code() -> None:
        def look() -> list[Any]:
            return [
                workflow.in_workflow(),
                workflow.unsafe.is_read_only(),
                workflow.info().workflow_id,
                workflow.cancellation_reason(),
                workflow.memo(),
            ]

        workflow.set_query_handler("look", look)
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    assert run.ask("look") == [True, True, "w", None, {}]


def test_what_a_query_makes_shifts_no_number() -> None:
    """It is not asked again in a replay: tasks made after it have the numbers they would have."""

    async def code() -> None:
        def look() -> None:
            asyncio.get_running_loop().create_future()

        workflow.set_query_handler("look", look)
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    made = run.instance.loop.made
    run.ask("look")
    assert run.instance.loop.made == made


def test_queries_in_the_stream_are_never_part_of_the_journal() -> None:
    run = Driven(Counts)
    run.start(query("seen"), signal("more"), cancel())
    assert [job[0] for job in run.journal[0][1]] == [kinds.START, kinds.SIGNAL, kinds.CANCEL]
    assert value_of(run.replies[b"asked"][1:]) == 1


def test_an_error_that_is_too_large_says_so() -> None:
    async def code() -> None:
        def fail() -> None:
            raise ValueError("x" * 1000)

        workflow.set_query_handler("fails", fail)
        await workflow.wait_condition(lambda: False)

    run = Driven(code, payload_limit=300)
    run.start()
    with pytest.raises(ApplicationError, match="failure of query 'fails'") as raised:
        run.ask("fails")
    assert raised.value.type == "ValueError"
