"""Errors in one line, and failures for programs."""

import pytest

from hotmesh.cli.failures import (
    CAUSES_MAX,
    ERRORS_MAX,
    explain,
    failure_document,
    failure_text,
)
from hotmesh.converter import DataConverter, decode_failure, encode_failure
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    BackendUnavailableError,
    HotMeshError,
    InvalidArgumentError,
    RPCError,
    RPCStatusCode,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
    WorkflowAlreadyStartedError,
)

WHERE = "namespace 'default' of sqlite:///x.db"


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (WorkflowAlreadyStartedError("w-1", "order", run_id="r-1"), ["'w-1'", "r-1", "--id"]),
        (RPCError("no such", RPCStatusCode.NOT_FOUND), ["no such", WHERE, "hotmesh list"]),
        (BackendUnavailableError("refused."), ["refused.", WHERE, "--url"]),
        (InvalidArgumentError("two\nlines"), ["two lines"]),
        (HotMeshError(), ["HotMeshError"]),
    ],
)
def test_an_error_is_one_line_that_says_what_to_do(error: HotMeshError, parts: list[str]) -> None:
    text = explain(error, WHERE)
    assert "\n" not in text
    assert [part for part in parts if part not in text] == []


def chained() -> ApplicationError:
    inner = ApplicationError("card refused", {"code": 7}, type="CardError")
    outer = ApplicationError("order failed", type="OrderError")
    outer.__cause__ = inner
    return outer


def test_a_failure_is_told_from_the_outside_in() -> None:
    assert failure_text(chained()) == (
        "ApplicationError: OrderError: order failed ← ApplicationError: CardError: card refused"
    )


def test_it_is_said_which_activity_failed() -> None:
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=1,
        identity="",
        activity_type="charge",
        activity_id="1",
        retry_state=None,
    )
    assert failure_text(error) == "ActivityError: Activity task failed (charge)"
    assert failure_document(error)["activity"] == "charge"


def test_a_failure_document_has_the_whole_chain() -> None:
    assert failure_document(chained()) == {
        "error": "ApplicationError",
        "message": "order failed",
        "type": "OrderError",
        "details": [],
        "cause": {
            "error": "ApplicationError",
            "message": "card refused",
            "type": "CardError",
            "details": [{"code": 7}],
        },
    }
    assert failure_document(TerminatedError("gone")) == {
        "error": "TerminatedError",
        "message": "gone",
    }
    assert failure_document(TerminatedError("gone", 7))["details"] == [7]


def test_a_failure_document_says_which_time_was_up() -> None:
    late = TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
    assert failure_document(late) == {
        "error": "TimeoutError",
        "message": "late",
        "type": "HEARTBEAT",
    }


def test_a_chain_that_bites_its_tail_ends() -> None:
    error = ApplicationError("round")
    error.__cause__ = error
    assert failure_text(error).count("round") == CAUSES_MAX


def grouped() -> ApplicationError:
    """A group of two, one of them caused by another error, as it is decoded."""
    group = ExceptionGroup("both", [chained(), ExceptionGroup("one", [ValueError("no")])])
    error = decode_failure(DataConverter.default, encode_failure(DataConverter.default, group))
    assert isinstance(error, ApplicationError)
    return error


def test_the_members_of_a_group_are_told_each_with_its_causes() -> None:
    assert failure_text(grouped()) == (
        "ApplicationError: ExceptionGroup: both (2 sub-exceptions) ["
        "ApplicationError: OrderError: order failed ← ApplicationError: CardError: card refused; "
        "ApplicationError: ExceptionGroup: one (1 sub-exception) "
        "[ApplicationError: ValueError: no]]"
    )


def test_the_members_of_a_group_are_given_to_programs() -> None:
    document = failure_document(grouped())
    assert document["type"] == "ExceptionGroup"
    assert "cause" not in document
    first, second = document["members"]
    assert (first["type"], first["cause"]["type"]) == ("OrderError", "CardError")
    assert second["members"][0]["type"] == "ValueError"


def test_of_a_huge_group_some_members_are_shown() -> None:
    huge = ExceptionGroup("many", [ExceptionGroup("x", [ValueError("no")] * 20)] * 20)
    assert failure_text(huge).count("ValueError") + failure_text(huge).count("Group") <= ERRORS_MAX
    assert len(str(failure_document(huge)).split("ValueError")) <= ERRORS_MAX
