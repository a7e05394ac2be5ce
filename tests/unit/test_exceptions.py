"""Every error type: its message, its fields, and that it survives pickling."""

from __future__ import annotations

import asyncio
import pickle
from datetime import timedelta

import pytest

from hotmesh import exceptions
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    BackendError,
    BackendUnavailableError,
    CancelledError,
    ChildWorkflowError,
    ConversionError,
    CorruptJournalError,
    DeadlockError,
    FailureError,
    FencedError,
    HotMeshError,
    InvalidArgumentError,
    MissingExtraError,
    NexusOperationError,
    NondeterminismError,
    PayloadTooLargeError,
    RetryState,
    RPCError,
    RPCStatusCode,
    SchemaVersionError,
    ServerError,
    TerminatedError,
    TimeoutType,
    TransitionTooLargeError,
    UnknownWorkflowTypeError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)


def activity_error() -> ActivityError:
    return ActivityError(
        "Activity error",
        scheduled_event_id=5,
        started_event_id=6,
        identity="worker-1",
        activity_type="charge",
        activity_id="1",
        retry_state=RetryState.TIMEOUT,
    )


def child_error() -> ChildWorkflowError:
    return ChildWorkflowError(
        "Child workflow error",
        namespace="default",
        workflow_id="child-1",
        run_id="run-1",
        workflow_type="Child",
        initiated_event_id=3,
        started_event_id=4,
        retry_state=None,
    )


ERRORS: list[HotMeshError] = [
    FailureError("plain"),
    WorkflowAlreadyStartedError("order-1", "Order", run_id="run-1"),
    exceptions.ActivityAlreadyStartedError("a-1", "charge"),
    ApplicationError(
        "no funds",
        {"left": 3},
        type="NoFunds",
        non_retryable=True,
        next_retry_delay=timedelta(seconds=9),
        category=ApplicationErrorCategory.BENIGN,
    ),
    CancelledError("stop", 1),
    TerminatedError("killed", "by", "hand"),
    exceptions.TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[7]),
    ServerError("broken", non_retryable=True),
    activity_error(),
    child_error(),
    NexusOperationError(
        "nexus", scheduled_event_id=1, endpoint="e", service="s", operation="o", operation_token="t"
    ),
    RPCError("workflow not found", RPCStatusCode.NOT_FOUND),
    InvalidArgumentError("bad id"),
    exceptions.UnsupportedOptionError("tuner", "Worker", "leave it out"),
    MissingExtraError("postgres", "A postgres:// database"),
    ConversionError("arguments of activity 'charge'", "not JSON", index=1),
    PayloadTooLargeError(11, 10, "result of 'order-1'"),
    TransitionTooLargeError(11, 10, "workflow 'order-1'"),
    exceptions.BackendAccessError("wrong password"),
    exceptions.ForkedError("connection"),
    exceptions.UnknownActivityTypeError("charge", ["ship"]),
    UnknownWorkflowTypeError("Order", ["B", "A"]),
    NondeterminismError("timer 1 expected"),
    DeadlockError("run-1 did not yield within 2 s"),
    CorruptJournalError("run-1", 4, "checksum differs"),
    BackendError("constraint violated"),
    BackendUnavailableError("connection refused"),
    FencedError("lane 3 belongs to another router"),
    SchemaVersionError(9, 2),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_pickle_keeps_type_text_fields_and_cause(error: HotMeshError) -> None:
    error.__cause__ = ApplicationError("below", type="Below")
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is type(error)
    assert str(copied) == str(error)
    assert copied.args == error.args
    assert vars(copied) == vars(error)
    assert isinstance(copied.cause, ApplicationError)
    assert copied.cause.type == "Below"
    error.__cause__ = None


def test_list_of_errors_is_complete() -> None:
    tested = {type(error) for error in ERRORS} | {HotMeshError}
    public = {getattr(exceptions, name) for name in exceptions.__all__}
    errors = {each for each in public if isinstance(each, type) and issubclass(each, Exception)}
    assert errors == tested


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_has_the_common_base_and_says_when_it_is_raised(error: HotMeshError) -> None:
    assert isinstance(error, HotMeshError)
    assert exceptions.TemporalError is HotMeshError
    assert type(error).__doc__


def test_application_error_puts_its_type_before_the_message() -> None:
    error = ApplicationError("no funds", 1, 2, type="NoFunds")
    assert str(error) == "NoFunds: no funds"
    assert error.message == "no funds"
    assert error.details == (1, 2)
    assert error.failure is None
    assert error.next_retry_delay is None
    assert not error.non_retryable
    assert str(ApplicationError("plain")) == "plain"


def test_builtin_bases() -> None:
    assert isinstance(InvalidArgumentError("x"), ValueError)
    assert isinstance(MissingExtraError("redis", "x"), ImportError)
    assert isinstance(ConversionError("x", "y"), TypeError)
    assert issubclass(BackendUnavailableError, BackendError)
    assert issubclass(FencedError, BackendError)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            MissingExtraError("postgres", "A postgres:// database"),
            "pip install 'hotmesh[postgres]'",
        ),
        (PayloadTooLargeError(11, 10, "result of 'o'"), "result of 'o': 11 bytes exceed the limit"),
        (
            TransitionTooLargeError(11, 10, "workflow 'o'"),
            "workflow 'o': one transition of 11 bytes",
        ),
        (ConversionError("arguments of 'f'", "why", index=1), "arguments of 'f', value 2: why"),
        (ConversionError("result of 'f'", "why"), "Cannot convert result of 'f': why"),
        (UnknownWorkflowTypeError("C", ["B", "A"]), "available workflows: A, B"),
        (UnknownWorkflowTypeError("C"), "available workflows: none"),
        (NondeterminismError("x"), "[TMPRL1100] Nondeterminism error: x"),
        (DeadlockError("x"), "[TMPRL1101] x"),
        (CorruptJournalError("r", 4, "bad"), "journal of run 'r' is corrupt at entry 4: bad"),
        (CorruptJournalError("r", None, "bad"), "journal of run 'r' is corrupt: bad"),
        (SchemaVersionError(9, 2), "schema version 9, this HotMesh knows up to 2"),
    ],
)
def test_messages_say_what_where_and_what_to_do(error: HotMeshError, text: str) -> None:
    assert text in str(error)


@pytest.mark.parametrize("error_type", [NondeterminismError, DeadlockError])
def test_code_is_not_repeated(error_type: type[NondeterminismError | DeadlockError]) -> None:
    once = error_type("x")
    assert str(error_type(once.message)) == str(once)


def caused_by(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncio.CancelledError(), True),
        (CancelledError(), True),
        (caused_by(activity_error(), CancelledError()), True),
        (caused_by(child_error(), CancelledError()), True),
        (caused_by(activity_error(), ApplicationError("x")), False),
        (caused_by(ApplicationError("x"), CancelledError()), False),
        (activity_error(), False),
        (ValueError(), False),
    ],
)
def test_is_cancelled_exception(error: BaseException, expected: bool) -> None:
    assert is_cancelled_exception(error) is expected


def test_rpc_error_fields() -> None:
    error = RPCError("gone", RPCStatusCode.NOT_FOUND)
    assert (error.message, error.status, error.raw_grpc_status) == ("gone", 5, b"")
