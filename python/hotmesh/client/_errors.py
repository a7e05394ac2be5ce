"""What client calls raise when a workflow, a query, an update or an activity did not succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hotmesh.engine import wire
from hotmesh.exceptions import HotMeshError, RPCError, RPCStatusCode

if TYPE_CHECKING:
    from hotmesh.activity import ActivityCancellationDetails
    from hotmesh.backends.protocol import SendOutcome
    from hotmesh.client._execution import WorkflowExecutionStatus


class _CausedError(HotMeshError):
    """An error that is always about another one."""

    def __init__(self, message: str, cause: BaseException) -> None:
        super().__init__(message)
        self.__cause__ = cause

    @property
    def cause(self) -> BaseException:
        """Why; the same object as ``__cause__``."""
        assert self.__cause__ is not None
        return self.__cause__


class WorkflowFailureError(_CausedError):
    """Raised by ``WorkflowHandle.result`` when the workflow did not complete; see ``cause``.

    Args:
        cause: An ApplicationError, CancelledError, TerminatedError, TimeoutError, ActivityError
            or ChildWorkflowError.
    """

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__("Workflow execution failed", cause)


class WorkflowContinuedAsNewError(HotMeshError):
    """Raised by ``WorkflowHandle.result(follow_runs=False)`` when the run was continued.

    Args:
        new_execution_run_id: The run that continues it.
    """

    def __init__(self, new_execution_run_id: str) -> None:
        super().__init__("Workflow continued as new")
        self.new_execution_run_id = new_execution_run_id


class WorkflowQueryRejectedError(HotMeshError):
    """Raised when a query's reject condition held.

    Args:
        status: State of the workflow.
    """

    def __init__(self, status: WorkflowExecutionStatus | None) -> None:
        super().__init__(f"Query rejected, status: {status}")
        self.status = status


class WorkflowQueryFailedError(HotMeshError):
    """Raised when a query handler failed or there is none.

    Args:
        message: What the worker said.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class WorkflowUpdateFailedError(_CausedError):
    """Raised when an update was rejected or its handler failed; see ``cause``."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__("Workflow update failed", cause)


class RPCTimeoutOrCancelledError(HotMeshError):
    """Base of errors that say the *call* ended, not what it waited for."""


class WorkflowUpdateRPCTimeoutOrCancelledError(RPCTimeoutOrCancelledError):
    """Raised when waiting for an update timed out or was cancelled; the update itself goes on.

    Args:
        why: Why its workflow does not get to it, if that is known.
    """

    def __init__(self, why: str = "") -> None:
        super().__init__(f"Timeout or cancellation waiting for update. {why}".rstrip(". "))


class AsyncActivityCancelledError(HotMeshError):
    """Raised by a heartbeat of an asynchronous activity whose cancellation was asked for.

    Args:
        details: Why, if known.
    """

    def __init__(self, details: ActivityCancellationDetails | None = None) -> None:
        super().__init__("Activity cancelled")
        self.details = details


def not_found(workflow_id: str, run_id: str | None = None) -> RPCError:
    """No run has this workflow id; or some have, but none this run id."""
    run = f", run {run_id}" if run_id else ""
    return RPCError(f"workflow not found for ID: {workflow_id}{run}", RPCStatusCode.NOT_FOUND)


def already_completed(workflow_id: str) -> RPCError:
    """The run is closed, so it takes no more messages."""
    return RPCError(f"workflow execution already completed: {workflow_id}", RPCStatusCode.NOT_FOUND)


def refused(outcome: SendOutcome, workflow_id: str, run_id: bytes) -> RPCError:
    """Why a message was not taken: the run is closed, or there is none."""
    if outcome.status:
        return already_completed(workflow_id)
    return not_found(workflow_id, wire.run_id_text(run_id) if run_id else None)
