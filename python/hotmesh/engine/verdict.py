"""What an exception comes to that leaves workflow code: one rule, wherever it leaves it."""

from __future__ import annotations

from enum import Enum

from hotmesh.engine.failures import is_workflow_failure
from hotmesh.engine.outbound import ContinueAsNewError
from hotmesh.exceptions import is_cancelled_exception
from hotmesh.groups import leaves


class Verdict(Enum):
    """What follows."""

    CANCELLED = 1
    """Nothing but cancellation: the run is cancelled, if that was asked for."""
    CONTINUED = 2
    """The run goes on as a new one."""
    FAILED = 3
    """The run fails, or the update does."""
    TASK_FAILED = 4
    """The task fails and is tried again: this is a mistake in the code."""


def verdict_of(error: BaseException, failure_types: tuple[type[BaseException], ...]) -> Verdict:
    """Judge an exception; a group by its members.

    Cancelled members don't count beside others: that is how a task group ends its other tasks. A
    single member that is no failure makes the group a mistake in the code, as it would be alone; a
    failure beside a continue-as-new is not hidden by it.

    Args:
        error: What was raised.
        failure_types: What fails the run besides failures.
    """
    if is_cancelled_exception(error):
        return Verdict.CANCELLED
    rest = [each for each in leaves(error) if not is_cancelled_exception(each)]
    failures = [each for each in rest if not isinstance(each, ContinueAsNewError)]
    if not failures:
        return Verdict.CONTINUED
    if is_workflow_failure(error, failure_types) or all(
        is_workflow_failure(each, failure_types) for each in failures
    ):
        return Verdict.FAILED
    return Verdict.TASK_FAILED


def continuation(error: BaseException) -> ContinueAsNewError:
    """The continue-as-new in an exception that was judged to be one."""
    return next(each for each in leaves(error) if isinstance(each, ContinueAsNewError))
