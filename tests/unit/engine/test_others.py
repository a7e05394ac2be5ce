"""Children, other workflows and mail: what a run asks for, and what it makes of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from hotmesh import workflow
from hotmesh.common import (
    Priority,
    RawValue,
    RetryPolicy,
    SearchAttributeKey,
    TypedSearchAttributes,
)
from hotmesh.common import SearchAttributePair as Pair
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    ConversionError,
    InvalidArgumentError,
    PayloadTooLargeError,
    RetryState,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
    UnsupportedOptionError,
    WorkflowAlreadyStartedError,
)
from unit.engine.driving import (
    OTHER_RUN,
    Driven,
    child_completed,
    child_failed,
    child_not_started,
    child_started,
    kinds_of,
    mail,
    not_sent,
    options_of,
    sent,
    shown,
    value_of,
    values,
)


@workflow.defn(name="Child type")
class Child:
    @workflow.run
    async def run(self, number: int) -> int:
        return number

    @workflow.signal(name="a signal")
    def signalled(self, word: str) -> None: ...

    @workflow.signal(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> None: ...


@workflow.defn(dynamic=True)
class AnyChild:
    @workflow.run
    async def run(self) -> None: ...


def starting(*args: Any, **options: Any) -> Driven:
    async def code() -> Any:
        return await workflow.execute_child_workflow(*args, **options)

    return Driven(code)


def test_a_child_is_one_command_with_ids_that_a_replay_finds_again(core: ModuleType) -> None:
    async def code() -> int:
        return await workflow.execute_child_workflow(Child.run, 5)

    run = Driven(code, core=core)
    (command,) = run.start()
    assert shown([command]) == [("CHILD", 1, "Child type")]
    options = options_of(command)
    assert value_of(command[5]) == 5
    assert UUID(options["id"]).version == 4
    assert UUID(options["rid"]).version == 7
    assert (options["close"], options["reuse"], set(options)) == (
        1,
        1,
        {"id", "rid", "close", "reuse"},
    )
    (again,) = Driven(code, core=core).start()
    assert again == command
    (other,) = Driven(code, core=core, run_id=b"x" * 16).start()
    assert options_of(other)["id"] != options["id"]
    run.give(child_started(1))
    run.give(child_completed(1, 6))
    assert run.outcome() == 6
    assert not run.replayed().changed_arguments


def test_all_options_of_a_child_are_in_the_document() -> None:
    key = SearchAttributeKey.for_int("n")
    run = starting(
        "Type",
        args=[1, 2],
        id="c",
        task_queue="others",
        parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
        execution_timeout=60,
        run_timeout=timedelta(seconds=30),
        task_timeout=5,
        id_reuse_policy=3,
        retry_policy=RetryPolicy(maximum_attempts=2),
        memo={"m": 1},
        search_attributes=TypedSearchAttributes([Pair(key, 7)]),
        static_summary="what",
        static_details="more",
        expire=90,
        record=True,
    )
    (command,) = run.start()
    options = options_of(command)
    del options["rid"]
    memo = {"m": wire.pack_bytes(values(1))}
    assert options == {
        "id": "c",
        "close": 3,
        "reuse": 3,
        "q": "others",
        "expire": 90,
        "record": True,
        "header": {
            "exec": 60_000,
            "run": 30_000,
            "task": 5_000,
            "retry": {"i": 1000, "c": 2.0, "a": 2},
            "memo": memo,
            "sa": {"n": [int(key.indexed_value_type), 7]},
            "summary": "what",
            "details": "more",
        },
    }


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"cron_schedule": "* * * * *"}, UnsupportedOptionError, "cron_schedule"),
        ({"priority": Priority(priority_key=1)}, UnsupportedOptionError, "priority_key"),
        ({"id": ""}, InvalidArgumentError, "child workflow id"),
        ({"task_queue": "\0"}, InvalidArgumentError, "task queue"),
        ({"run_timeout": -1}, InvalidArgumentError, "run_timeout"),
        ({"expire": -1}, InvalidArgumentError, "expire"),
        ({"args": [object()]}, ConversionError, "arguments of child workflow 'Type'"),
        ({"args": ["x" * 900]}, PayloadTooLargeError, "arguments of child workflow 'Type'"),
        ({"static_summary": "x" * 900}, PayloadTooLargeError, "options of child workflow 'Type'"),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_asked_for(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    async def code() -> None:
        with pytest.raises(error, match=text):
            await workflow.start_child_workflow("Type", **options)

    assert kinds_of(Driven(code, payload_limit=800).start()) == ["COMPLETE"]


def test_a_child_is_named_by_class_method_function_or_text() -> None:
    async def function() -> None: ...

    async def code() -> None:
        for target in (Child, Child.run, function, "text"):
            await workflow.start_child_workflow(target, args=[], id="c")
        with pytest.raises(ValueError, match="dynamic workflow"):
            await workflow.start_child_workflow(AnyChild)
        with pytest.raises(TypeError, match="string, method, class, or function"):
            await workflow.start_child_workflow(int)

    run = Driven(code)
    names = [each[3] for each in run.start()]
    for seq in (1, 2, 3, 4):
        names += [each[3] for each in run.give(child_started(seq))]
    assert names == ["Child type", "Child type", "function", "text", ""]


def test_a_started_child_knows_its_ids() -> None:
    seen: list[Any] = []

    async def code() -> None:
        handle = await workflow.start_child_workflow("Type", id="c")
        seen.extend((handle.id, handle.first_execution_run_id, handle.done()))
        assert await handle == "x"

    run = Driven(code)
    run.start()
    run.give(child_started(1, OTHER_RUN))
    assert seen == ["c", wire.run_id_text(OTHER_RUN), False]
    run.give(child_completed(1, "x"))
    assert run.outcome() is None


@pytest.mark.parametrize("taken_by", [OTHER_RUN, b""])
def test_a_taken_id_is_said_to_who_starts_a_child(taken_by: bytes) -> None:
    async def code() -> str | None:
        with pytest.raises(WorkflowAlreadyStartedError) as raised:
            await workflow.start_child_workflow("Type", id="c")
        assert (raised.value.workflow_id, raised.value.workflow_type) == ("c", "Type")
        return raised.value.run_id

    run = Driven(code)
    run.start()
    run.give(child_not_started(1, taken_by))
    assert run.outcome() == (wire.run_id_text(OTHER_RUN) if taken_by else None)


def test_the_end_of_a_child_may_come_before_the_news_of_its_start() -> None:
    run = starting("Type", id="c")
    run.start()
    run.give(child_completed(1, "x"))
    assert run.outcome() == "x"
    early = starting("Type", id="c")
    early.start()
    early.give(child_started(1), child_failed(1, ApplicationError("x")))
    with pytest.raises(ChildWorkflowError):
        early.outcome()


def timeout() -> TimeoutError:
    return TimeoutError("late", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[])


@pytest.mark.parametrize(
    ("cause", "ending", "state"),
    [
        (ApplicationError("x"), "failed", RetryState.RETRY_POLICY_NOT_SET),
        (CancelledError("x"), "cancelled", RetryState.CANCEL_REQUESTED),
        (TerminatedError("x"), "terminated", RetryState.NON_RETRYABLE_FAILURE),
        (timeout(), "timed out", RetryState.TIMEOUT),
    ],
)
def test_how_a_child_ended_is_said(cause: BaseException, ending: str, state: RetryState) -> None:
    run = starting("Type", id="c")
    run.start()
    run.give(child_started(1))
    run.give(child_failed(1, cause))
    with pytest.raises(ChildWorkflowError) as raised:
        run.outcome()
    error = raised.value
    assert str(error) == f"Child Workflow execution {ending}"
    assert (error.namespace, error.workflow_id, error.workflow_type) == ("n", "c", "Type")
    assert error.run_id == wire.run_id_text(OTHER_RUN)
    assert error.retry_state is state
    assert type(error.cause) is type(cause)


def test_a_childs_result_is_read_as_its_run_method_says() -> None:
    run = starting(Child.run, 1, id="c")
    run.start()
    with pytest.raises(ConversionError, match="result of child workflow 'Child type'"):
        run.give(child_completed(1, "no number"))
    nothing = starting("Type", id="c")
    nothing.start()
    nothing.give((kinds.CHILD_COMPLETED, 1, 2, "", OTHER_RUN, values()))
    assert nothing.outcome() is None


def test_news_of_a_child_that_nobody_waits_for_change_nothing() -> None:
    async def code() -> None:
        kind = workflow.ChildWorkflowCancellationType.TRY_CANCEL
        handle = await workflow.start_child_workflow("Type", id="c", cancellation_type=kind)
        handle.cancel()
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    run.give(child_started(1))
    assert run.give(child_completed(1, "too late")) == []


# Signals and requests


def test_a_signal_to_another_workflow_waits_until_it_is_stored(core: ModuleType) -> None:
    async def code() -> str:
        handle = workflow.get_external_workflow_handle("other", run_id="rid")
        assert (handle.id, handle.run_id) == ("other", "rid")
        await handle.signal("name", args=[1, 2])
        await handle.signal(Child.signalled, "x")
        return "sent"

    run = Driven(code, core=core)
    (first,) = run.start()
    assert shown([first]) == [("SIGNAL_EXTERNAL", 1, "name")]
    assert options_of(first) == {"ns": "n", "wid": "other", "rid": "rid"}
    assert first[5] == values(1, 2)
    (second,) = run.give(sent(1))
    assert shown([second]) == [("SIGNAL_EXTERNAL", 2, "a signal")]
    run.give(sent(2))
    assert run.outcome() == "sent"


def test_a_child_is_signalled_whichever_of_its_runs_is_open() -> None:
    async def code() -> None:
        handle = await workflow.start_child_workflow("Type", id="c")
        await handle.signal("name", 1)

    run = Driven(code)
    run.start()
    (command,) = run.give(child_started(1))
    assert options_of(command) == {"ns": "n", "wid": "c"}


def test_a_request_to_cancel_carries_its_reason() -> None:
    async def code() -> None:
        handle = workflow.get_external_workflow_handle_for(Child.run, "other", run_id="rid")
        await handle.cancel(reason="enough")
        await workflow.get_external_workflow_handle("another").cancel()

    run = Driven(code)
    (command,) = run.start()
    assert shown([command]) == [("CANCEL_EXTERNAL", 1, "")]
    assert options_of(command) == {"ns": "n", "wid": "other", "rid": "rid"}
    assert command[5] == b"enough"
    (command,) = run.give(sent(1))
    assert (options_of(command), command[5]) == ({"ns": "n", "wid": "another"}, b"")


@pytest.mark.parametrize("action", ["signal", "cancel"])
def test_a_workflow_that_is_not_there_is_said(action: str) -> None:
    async def code() -> None:
        handle = workflow.get_external_workflow_handle("other one")
        await (handle.signal("x") if action == "signal" else handle.cancel())

    run = Driven(code)
    run.start()
    run.give(not_sent(1))
    with pytest.raises(ApplicationError, match=f"Unable to {action} .*'other one'") as raised:
        run.outcome()
    assert raised.value.type == "ExternalWorkflowExecutionNotFound"


@pytest.mark.parametrize(
    ("signal", "error", "text"),
    [
        (Child.anything, ValueError, "dynamic signal"),
        (print, ValueError, "is not a signal method"),
        ("", InvalidArgumentError, "signal name"),
    ],
)
def test_what_is_no_signal_is_refused(signal: Any, error: type[Exception], text: str) -> None:
    async def code() -> None:
        with pytest.raises(error, match=text):
            await workflow.get_external_workflow_handle("w").signal(signal)
        with pytest.raises(InvalidArgumentError, match="workflow id"):
            await workflow.get_external_workflow_handle("").signal("s")
        with pytest.raises(ValueError, match="arg and args"):
            await workflow.get_external_workflow_handle("w").signal("s", 1, args=[2])

    assert kinds_of(Driven(code).start()) == ["COMPLETE"]


def test_a_handle_of_another_workflow_is_numbered_as_all_else() -> None:
    async def code() -> int:
        handles = [workflow.get_external_workflow_handle(str(each)) for each in range(3)]
        first = hash(handles[0])
        assert [hash(each) for each in handles] == [first, first + 1, first + 2]
        return first

    one, other = Driven(code), Driven(code)
    one.start()
    other.start()
    assert one.outcome() == other.outcome()


# Mail


def test_mail_is_waited_for_under_a_key_and_sent_to_one(core: ModuleType) -> None:
    async def code() -> Any:
        workflow.send_signal("there", {"a": 1})
        workflow.send_signal("nothing")
        return await workflow.wait_signal("here")

    run = Driven(code, core=core)
    first, second, wait = run.start()
    assert shown([first, second, wait]) == [
        ("SEND_MAIL", 0, "there"),
        ("SEND_MAIL", 0, "nothing"),
        ("WAIT", 1, "here"),
    ]
    assert (value_of(first[5]), value_of(second[5])) == ({"a": 1}, None)
    run.give(mail(1, "came"))
    assert run.outcome() == "came"


def test_mail_that_can_not_be_read_is_raised_where_it_is_awaited() -> None:
    async def code() -> Any:
        try:
            return await workflow.wait_signal("here")
        except ConversionError as error:
            return str(error)

    run = Driven(code)
    run.start()
    run.give((kinds.MAIL, 1, 0, "", b"", b"\xff\xff no body"))
    assert "unknown form" in run.outcome()
    empty = Driven(code)
    empty.start()
    empty.give((kinds.MAIL, 1, 0, "", b"", values()))
    assert empty.outcome() is None


def test_mail_whose_waiter_was_cancelled_is_nobodys() -> None:
    async def code() -> None:
        task = asyncio.create_task(workflow.wait_signal("here"))
        await asyncio.sleep(0)
        task.cancel()
        await workflow.wait_condition(lambda: False)

    run = Driven(code)
    run.start()
    assert run.give(mail(1, "too late")) == []


@pytest.mark.parametrize("key", ["", "\0"])
def test_a_key_is_a_name(key: str) -> None:
    async def code() -> None:
        with pytest.raises(InvalidArgumentError, match="signal id"):
            workflow.send_signal(key)
        with pytest.raises(InvalidArgumentError, match="signal id"):
            await workflow.wait_signal(key)
        with pytest.raises(ConversionError, match="data of signal 'k'"):
            workflow.send_signal("k", object())

    assert kinds_of(Driven(code).start()) == ["COMPLETE"]
