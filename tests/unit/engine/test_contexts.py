"""Converters that want to know whose data they work on are told the same on both sides."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from hotmesh import workflow
from hotmesh.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultPayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
    encode_failure,
    encode_values,
)
from hotmesh.core import kinds
from hotmesh.engine.contexts import RunContexts, own_converter
from hotmesh.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from unit.engine.driving import OTHER_RUN, Driven, child_started, fired, mail, sent

SEEN: list[tuple[str, str]] = []
"""(what was done, whose it was)."""


def shown(context: SerializationContext | None) -> str:
    if isinstance(context, ActivitySerializationContext):
        local = " local" if context.is_local else ""
        return f"activity {context.activity_id} {context.activity_task_queue}{local}"
    if isinstance(context, WorkflowSerializationContext):
        return f"workflow {context.workflow_id}"
    return "nobody"


class Noting(DefaultPayloadConverter, WithSerializationContext):
    """Notes whose each value is."""

    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Self:
        made = type(self)()
        made.context = context
        return made

    def to_payloads(self, values: Any) -> Any:
        SEEN.append(("to", shown(self.context)))
        return super().to_payloads(values)

    def from_payloads(self, payloads: Any, type_hints: Any = None) -> Any:
        SEEN.append(("from", shown(self.context)))
        return super().from_payloads(payloads, type_hints)


CONVERTER = DataConverter(payload_converter_class=Noting)


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def of_others() -> list[tuple[str, str]]:
    """What was seen of values that are not the run's own."""
    return [each for each in SEEN if each[1] != "workflow w"]


def body(*values: Any) -> bytes:
    return encode_values(DataConverter.default, values, "values")


def begun(code: Any) -> Driven:
    run = Driven(code, converter=CONVERTER)
    SEEN.clear()
    run.start()
    return run


def test_the_runs_own_values_are_the_runs() -> None:
    async def code() -> str:
        workflow.set_signal_handler("s", lambda word: None)
        workflow.upsert_memo({"m": 1})
        await workflow.sleep(1)
        return "x"

    run = begun(code)
    run.give((kinds.SIGNAL, 0, 0, "s", b"1", body(1)))
    run.give(fired(1), at=1)
    assert SEEN == [("to", "workflow w"), ("from", "workflow w"), ("to", "workflow w")]


def test_an_activitys_values_are_the_activitys() -> None:
    async def code() -> None:
        await workflow.execute_activity("a", 1, start_to_close_timeout=1)
        await workflow.execute_activity(
            "b", 1, start_to_close_timeout=1, task_queue="others", activity_id="mine"
        )
        await workflow.execute_local_activity("c", 1, start_to_close_timeout=1)

    run = Driven(code, converter=CONVERTER, hosts_activity=lambda _: True)
    SEEN.clear()
    run.start()
    for seq in (1, 2, 3):
        run.give((kinds.ACTIVITY_COMPLETED, seq, 1, "", b"", body(1)))
    assert of_others() == [
        ("to", "activity 1 q"),
        ("from", "activity 1 q"),
        ("to", "activity mine others"),
        ("from", "activity mine others"),
        ("to", "activity 3 q local"),
        ("from", "activity 3 q local"),
    ]


def test_a_failed_activitys_details_are_the_activitys() -> None:
    async def code() -> None:
        with pytest.raises(ActivityError) as raised:
            await workflow.execute_activity("a", start_to_close_timeout=1)
        assert isinstance(raised.value.cause, ApplicationError)
        assert list(raised.value.cause.details) == ["why"]

    run = begun(code)
    SEEN.clear()
    failure = encode_failure(DataConverter.default, ApplicationError("x", "why"))
    run.give((kinds.ACTIVITY_FAILED, 1, 1, "", b"", failure))
    assert ("from", "activity 1 q") in SEEN
    assert run.outcome() is None


def test_a_childs_values_are_the_childs() -> None:
    async def code() -> None:
        handle = await workflow.start_child_workflow("C", 1, id="c", memo={"m": 1})
        await handle.signal("s", 2)
        with pytest.raises(ChildWorkflowError) as raised:
            await handle
        assert isinstance(raised.value.cause, ApplicationError)
        assert list(raised.value.cause.details) == ["why"]
        other = await workflow.start_child_workflow("C", 1, id="d")
        await other

    run = begun(code)
    run.give(child_started(1))
    run.give(sent(2))
    failure = encode_failure(DataConverter.default, ApplicationError("x", "why"))
    run.give((kinds.CHILD_FAILED, 1, 3, "", OTHER_RUN, failure))
    run.give(child_started(3))
    run.give((kinds.CHILD_COMPLETED, 3, 2, "", OTHER_RUN, body(1)))
    assert of_others() == [
        *[("to", "workflow c")] * 2,  # the memo and the arguments
        ("to", "workflow c"),  # the signal
        ("from", "workflow c"),
        ("to", "workflow d"),
        ("from", "workflow d"),
    ]


def test_a_signal_to_another_is_the_others_and_mail_is_nobodys() -> None:
    async def code() -> None:
        await workflow.get_external_workflow_handle("other").signal("s", 1)
        workflow.send_signal("k", 1)
        await workflow.wait_signal("k")

    run = begun(code)
    run.give(sent(1))
    run.give(mail(2, 1))
    assert of_others() == [("to", "workflow other"), ("to", "nobody"), ("from", "nobody")]


def test_a_converter_that_does_not_ask_is_told_nothing() -> None:
    async def code() -> None:
        await asyncio.sleep(0)

    run = Driven(code)
    assert run.instance.contexts is None
    assert own_converter(DataConverter.default, run.details) is DataConverter.default
    assert own_converter(CONVERTER, run.details) is not CONVERTER


def test_what_answers_a_command_of_the_journal_is_that_commands() -> None:
    contexts = RunContexts("n", "w", "T", "q")
    contexts.of_command((kinds.ACTIVITY, 1, 0, "a", b'{"q":"others"}', b""))
    contexts.of_command((kinds.CHILD, 2, 0, "C", b'{"id":"c"}', b""))
    assert shown(contexts.of_job((kinds.ACTIVITY_FAILED, 1, 0, "", b"", b""))) == (
        "activity 1 others"
    )
    assert shown(contexts.of_job((kinds.CHILD_FAILED, 2, 0, "", b"", b""))) == "workflow c"
    assert shown(contexts.of_job((kinds.SIGNAL, 0, 0, "s", b"", b""))) == "workflow w"
    assert contexts.of_command((kinds.WAIT, 3, 0, "k", b"", b"")) is None
    assert shown(contexts.of_command((kinds.COMPLETE, 0, 0, "", b"", b""))) == "workflow w"
