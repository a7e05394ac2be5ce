"""Failures that the engine raises inside workflow code, and the rules of what fails a run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson

from hotmesh.converter import DataConverter, decode_failure, encode_failure
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    PayloadTooLargeError,
    RetryState,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
    WorkflowAlreadyStartedError,
)

if TYPE_CHECKING:
    from hotmesh.engine.handles import ActivityHandle, ChildWorkflowHandle

Event = tuple[int, int, int, str, bytes, bytes]

WHATEVER = (BaseException,)
"""What fails a run whose attempts are spent; cancellation and continue-as-new are no failures."""


def stored_failure(converter: DataConverter, error: BaseException, limit: int, what: str) -> bytes:
    """An error as it is stored; of one that exceeds the limit, its type and how large it was."""
    failure = encode_failure(converter, error)
    if len(failure) <= limit:
        return failure
    too_large = PayloadTooLargeError(len(failure), limit, f"failure of {what}")
    name = error.type if isinstance(error, ApplicationError) else type(error).__name__
    shortened = ApplicationError(str(too_large), type=name or type(too_large).__name__)
    return encode_failure(converter, shortened)


def is_workflow_failure(error: BaseException, extra_types: tuple[type[BaseException], ...]) -> bool:
    """Whether an exception fails the run; any other fails the task, which is tried again."""
    return isinstance(error, (FailureError, asyncio.TimeoutError)) or (
        bool(extra_types) and isinstance(error, extra_types)
    )


def activity_cancelled(handle: ActivityHandle) -> ActivityError:
    """What awaiting a cancelled activity raises."""
    return _activity_error(
        handle, RetryState.CANCEL_REQUESTED, CancelledError("Cancelled"), "Activity cancelled"
    )


def activity_failed(handle: ActivityHandle, job: Event, converter: DataConverter) -> BaseException:
    """What awaiting a failed, timed out or cancelled activity raises."""
    kind, _, number, state_name, meta, body = job
    if kind == kinds.ACTIVITY_TIMED_OUT:
        timeout = TimeoutType.SCHEDULE_TO_START if number == 1 else TimeoutType.SCHEDULE_TO_CLOSE
        shown = "ScheduleToStart" if number == 1 else "ScheduleToClose"
        cause: BaseException = TimeoutError(
            f"activity {shown} timeout", type=timeout, last_heartbeat_details=[]
        )
        if body:
            cause.__cause__ = decode_failure(converter, body)
        state = RetryState.TIMEOUT
    else:
        cause = decode_failure(converter, body)
        state = (
            RetryState.CANCEL_REQUESTED
            if kind == kinds.ACTIVITY_CANCELED
            else RetryState.__members__.get(state_name)  # None: nobody said, or a later release did
        )
    local = "local" in handle.activity.document
    if kind == kinds.ACTIVITY_CANCELED:
        message = "Local Activity cancelled" if local else "Activity cancelled"
    elif isinstance(cause, TimeoutError):
        message = "Local Activity timed out" if local else "Activity task timed out"
    elif local:
        return cause  # as there: a local activity's own failure, with nothing around it
    else:
        message = "Activity task failed"
    identity = orjson.loads(meta).get("identity", "") if meta else ""
    return _activity_error(handle, state, cause, message, identity)


def _activity_error(
    handle: ActivityHandle,
    state: RetryState | None,
    cause: BaseException,
    message: str,
    identity: str = "",
) -> ActivityError:
    error = ActivityError(
        message,
        scheduled_event_id=handle.seq,
        started_event_id=handle.seq,
        identity=identity,
        activity_type=handle.activity_type,
        activity_id=handle.activity_id,
        retry_state=state,
    )
    error.__cause__ = cause
    return error


def child_cancelled(handle: ChildWorkflowHandle) -> ChildWorkflowError:
    """What awaiting a cancelled child raises."""
    return _child_error(handle, RetryState.CANCEL_REQUESTED, CancelledError("Cancelled"))


def child_failed(
    handle: ChildWorkflowHandle, job: Event, converter: DataConverter
) -> ChildWorkflowError:
    """What awaiting a child raises that failed, was cancelled, terminated or timed out."""
    cause = decode_failure(converter, job[5])
    if isinstance(cause, CancelledError):
        state = RetryState.CANCEL_REQUESTED
    elif isinstance(cause, TerminatedError):
        state = RetryState.NON_RETRYABLE_FAILURE
    elif isinstance(cause, TimeoutError):
        state = RetryState.TIMEOUT
    else:
        state = RetryState.RETRY_POLICY_NOT_SET
    return _child_error(handle, state, cause)


def child_not_started(handle: ChildWorkflowHandle, job: Event) -> BaseException:
    """What starting a child raises when its id is taken."""
    return WorkflowAlreadyStartedError(
        handle.id, handle.workflow_type, run_id=wire.run_id_text(job[4]) if job[4] else None
    )


def _child_error(
    handle: ChildWorkflowHandle, state: RetryState, cause: BaseException
) -> ChildWorkflowError:
    if isinstance(cause, CancelledError):
        ending = "cancelled"
    elif isinstance(cause, TerminatedError):
        ending = "terminated"
    else:
        ending = "timed out" if isinstance(cause, TimeoutError) else "failed"
    error = ChildWorkflowError(
        f"Child Workflow execution {ending}",
        namespace=handle.namespace,
        workflow_id=handle.id,
        run_id=handle.run_id or "",
        workflow_type=handle.workflow_type,
        initiated_event_id=handle.seq,
        started_event_id=handle.seq,
        retry_state=state,
    )
    error.__cause__ = cause
    return error


def external_failed(job: Event, target: str) -> ApplicationError:
    """What signalling or cancelling another workflow raises when there is none."""
    action, _, workflow_id = target.partition(" ")
    return ApplicationError(
        f"Unable to {action} external workflow because not found: {workflow_id!r}",
        type=job[3] or "ExternalWorkflowExecutionNotFound",
        non_retryable=False,
    )
