"""Every error HotMesh raises.

This module owns the closed list of error types: those that workflow and activity authors meet
(failures, which travel through the journal) and those that say something is wrong with a call,
a stored row or a backend. It imports nothing of HotMesh at run time, so any module may use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from hotmesh.converter.failure import Failure

__all__ = [
    "ActivityAlreadyStartedError",
    "ActivityError",
    "ApplicationError",
    "ApplicationErrorCategory",
    "BackendAccessError",
    "BackendError",
    "BackendUnavailableError",
    "CancelledError",
    "ChildWorkflowError",
    "ConversionError",
    "CorruptJournalError",
    "DeadlockError",
    "FailureError",
    "FencedError",
    "ForkedError",
    "HotMeshError",
    "InvalidArgumentError",
    "UnsupportedOptionError",
    "MissingExtraError",
    "NexusOperationError",
    "NondeterminismError",
    "PayloadTooLargeError",
    "RPCError",
    "RPCStatusCode",
    "RetryState",
    "SchemaVersionError",
    "ServerError",
    "TemporalError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "TransitionTooLargeError",
    "UnknownActivityTypeError",
    "UnknownWorkflowTypeError",
    "WorkflowAlreadyStartedError",
    "is_cancelled_exception",
]


def _rebuild(error_type: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make an exception without running its ``__init__``; pickle restores its state next."""
    return error_type.__new__(error_type, *args)


class HotMeshError(Exception):
    """Base of every error HotMesh raises. Catch it to catch them all."""

    @property
    def cause(self) -> BaseException | None:
        """The error this one was raised from; the same object as ``__cause__``."""
        return self.__cause__

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without calling ``__init__``, whose arguments differ from ``args``."""
        state = dict(self.__dict__)
        if self.__cause__ is not None:
            state["__cause__"] = self.__cause__
        return (_rebuild, (type(self), self.args), state)


TemporalError = HotMeshError
"""The same class under the name ported code expects."""


# -- Failures: errors of running workflows and activities, which travel through the journal --


class FailureError(HotMeshError):
    """Base of the errors that a workflow or an activity fails with.

    Raising one from workflow code fails the workflow; any other exception only fails the
    workflow task, which is then retried.

    Args:
        message: What went wrong.
        failure: The stored document this error was decoded from, if it was.
        exc_args: What ``args`` (and so ``str()``) holds. Default is the message.
    """

    def __init__(
        self,
        message: str,
        *,
        failure: Failure | None = None,
        exc_args: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(*((message,) if exc_args is None else exc_args))
        self._message = message
        self._failure = failure
        self._members: tuple[BaseException, ...] = ()

    @property
    def members(self) -> tuple[BaseException, ...]:
        """If this was raised as an exception group, its members, each with its causes; else ()."""
        return self._members

    @property
    def message(self) -> str:
        """What went wrong, without the type prefix that ``str()`` may add."""
        return self._message

    @property
    def failure(self) -> Failure | None:
        """The stored document this error was decoded from, or None if it was raised here."""
        return self._failure


class WorkflowAlreadyStartedError(FailureError):
    """Raised when a workflow is started under an id that is taken.

    Args:
        workflow_id: The id that is taken.
        workflow_type: Type of the workflow that was to be started.
        run_id: Run that holds the id, if raised by the client.
    """

    def __init__(self, workflow_id: str, workflow_type: str, *, run_id: str | None = None) -> None:
        super().__init__("Workflow execution already started")
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id


class ActivityAlreadyStartedError(FailureError):
    """Raised when a standalone activity is started under an id that is taken.

    Args:
        activity_id: The id that is taken.
        activity_type: Type of the activity that was to be started.
        run_id: Run that holds the id, if known.
    """

    def __init__(self, activity_id: str, activity_type: str, *, run_id: str | None = None) -> None:
        super().__init__("Activity execution already started")
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.run_id = run_id


class ApplicationErrorCategory(IntEnum):
    """How loudly an application error is reported."""

    UNSPECIFIED = 0

    BENIGN = 1
    """Expected: logged at debug level and not counted as a failure."""


class ApplicationError(FailureError):
    """Raised by workflow and activity code to fail with details of its own.

    Any other exception raised by an activity reaches the workflow as an ApplicationError whose
    ``type`` is the name of the exception's class.

    Args:
        message: What went wrong.
        details: Values to carry along; anything the data converter takes.
        type: Name that retry policies and callers match on.
        non_retryable: True to fail at once, whatever the retry policy says.
        next_retry_delay: Delay before the next attempt, in place of the policy's.
        category: How loudly to report it.
    """

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,  # noqa: A002 - a keyword callers use
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED,
    ) -> None:
        super().__init__(message, exc_args=(f"{type}: {message}" if type else message,))
        self._details = details
        self._type = type
        self._non_retryable = bool(non_retryable)
        self._next_retry_delay = next_retry_delay
        self._category = category

    @property
    def details(self) -> Sequence[Any]:
        """Values the raiser attached."""
        return self._details

    @property
    def type(self) -> str | None:
        """Name that retry policies and callers match on."""
        return self._type

    @property
    def non_retryable(self) -> bool:
        """Whether the raiser forbade retries. A retry policy may forbid them as well."""
        return self._non_retryable

    @property
    def next_retry_delay(self) -> timedelta | None:
        """Delay before the next attempt, in place of the policy's."""
        return self._next_retry_delay

    @property
    def category(self) -> ApplicationErrorCategory:
        """How loudly to report it."""
        return self._category


class CancelledError(FailureError):
    """Raised when a workflow or an activity was cancelled."""

    def __init__(self, message: str = "Cancelled", *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """Values attached to the cancellation."""
        return self._details


class TerminatedError(FailureError):
    """Raised when a workflow was terminated."""

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """Values attached to the termination."""
        return self._details


class TimeoutType(IntEnum):
    """Which timeout a :class:`TimeoutError` is about."""

    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4


class TimeoutError(FailureError):  # noqa: A001 - the name ported code imports
    """Raised when a workflow or an activity ran out of time.

    Args:
        message: What timed out.
        type: Which timeout it was.
        last_heartbeat_details: Values of the activity's last heartbeat, else empty.
    """

    def __init__(
        self,
        message: str,
        *,
        type: TimeoutType | None,  # noqa: A002 - a keyword callers use
        last_heartbeat_details: Sequence[Any],
    ) -> None:
        super().__init__(message)
        self._type = type
        self._last_heartbeat_details = last_heartbeat_details

    @property
    def type(self) -> TimeoutType | None:
        """Which timeout it was."""
        return self._type

    @property
    def last_heartbeat_details(self) -> Sequence[Any]:
        """Values of the activity's last heartbeat, else empty."""
        return self._last_heartbeat_details


class ServerError(FailureError):
    """Raised when HotMesh itself, not user code, failed the execution."""

    def __init__(self, message: str, *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self._non_retryable = bool(non_retryable)

    @property
    def non_retryable(self) -> bool:
        """Whether trying again is useless."""
        return self._non_retryable


class RetryState(IntEnum):
    """Why an activity or a child workflow was not tried again."""

    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7


class ActivityError(FailureError):
    """Raised in a workflow when an activity it awaits failed; ``cause`` says why.

    Args:
        message: What went wrong.
        scheduled_event_id: Journal entry that scheduled the activity.
        started_event_id: Journal entry that started it.
        identity: Worker that ran it.
        activity_type: Its type.
        activity_id: Its id.
        retry_state: Why it was not tried again.
    """

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        started_event_id: int,
        identity: str,
        activity_type: str,
        activity_id: str,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._scheduled_event_id = scheduled_event_id
        self._started_event_id = started_event_id
        self._identity = identity
        self._activity_type = activity_type
        self._activity_id = activity_id
        self._retry_state = retry_state

    @property
    def scheduled_event_id(self) -> int:
        """Journal entry that scheduled the activity."""
        return self._scheduled_event_id

    @property
    def started_event_id(self) -> int:
        """Journal entry that started the activity."""
        return self._started_event_id

    @property
    def identity(self) -> str:
        """Worker that ran the activity."""
        return self._identity

    @property
    def activity_type(self) -> str:
        """Type of the activity."""
        return self._activity_type

    @property
    def activity_id(self) -> str:
        """Id of the activity."""
        return self._activity_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why the activity was not tried again."""
        return self._retry_state


class ChildWorkflowError(FailureError):
    """Raised in a workflow when a child it awaits did not complete; ``cause`` says why.

    Args:
        message: What went wrong.
        namespace: Namespace of the child.
        workflow_id: Its workflow id.
        run_id: Its run.
        workflow_type: Its type.
        initiated_event_id: Journal entry that asked for the child.
        started_event_id: Journal entry that saw it started.
        retry_state: Why it was not tried again.
    """

    def __init__(
        self,
        message: str,
        *,
        namespace: str,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        initiated_event_id: int,
        started_event_id: int,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._workflow_type = workflow_type
        self._initiated_event_id = initiated_event_id
        self._started_event_id = started_event_id
        self._retry_state = retry_state

    @property
    def namespace(self) -> str:
        """Namespace of the child."""
        return self._namespace

    @property
    def workflow_id(self) -> str:
        """Workflow id of the child."""
        return self._workflow_id

    @property
    def run_id(self) -> str:
        """Run of the child."""
        return self._run_id

    @property
    def workflow_type(self) -> str:
        """Type of the child."""
        return self._workflow_type

    @property
    def initiated_event_id(self) -> int:
        """Journal entry that asked for the child."""
        return self._initiated_event_id

    @property
    def started_event_id(self) -> int:
        """Journal entry that saw the child started."""
        return self._started_event_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why the child was not tried again."""
        return self._retry_state


class NexusOperationError(FailureError):
    """Kept so that ported ``except`` clauses import; HotMesh has no Nexus and never raises it."""

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        endpoint: str,
        service: str,
        operation: str,
        operation_token: str,
    ) -> None:
        super().__init__(message)
        self.scheduled_event_id = scheduled_event_id
        self.endpoint = endpoint
        self.service = service
        self.operation = operation
        self.operation_token = operation_token


def is_cancelled_exception(exception: BaseException) -> bool:
    """Tell whether an exception means that something was cancelled.

    Args:
        exception: What was caught.

    Returns:
        True for asyncio's and HotMesh's cancelled errors, for an activity or child workflow error
        caused by one, and for a group of nothing else.
    """
    return all(map(_is_cancelled, leaves(exception)))


def _is_cancelled(exception: BaseException) -> bool:
    if isinstance(exception, asyncio.CancelledError | CancelledError):
        return True
    return isinstance(
        exception, ActivityError | ChildWorkflowError | NexusOperationError
    ) and isinstance(exception.cause, CancelledError)


def members_of(error: BaseException) -> tuple[BaseException, ...]:
    """The members of an exception group, groups among them; () if it is none.

    A failure that was stored as a group has members too.
    """
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return error.members if isinstance(error, FailureError) else ()


def leaves(error: BaseException) -> list[BaseException]:
    """The members of a group and of the groups within it, in order; else the error itself."""
    found: list[BaseException] = []
    waiting, seen = [error], {id(error)}
    while waiting:
        each = waiting.pop()
        members = members_of(each)
        if not members:
            found.append(each)
        for member in reversed(members):
            if id(member) not in seen:  # However often it is in there.
                seen.add(id(member))
                waiting.append(member)
    return found


# -- Client calls --


class RPCStatusCode(IntEnum):
    """Why a client call failed; numbered like gRPC's codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RPCError(HotMeshError):
    """Raised when a client call could not be carried out, e.g. the workflow does not exist.

    Args:
        message: What went wrong.
        status: Why.
        raw_grpc_status: Always empty here; kept for ported code that builds one in tests.
    """

    def __init__(self, message: str, status: RPCStatusCode, raw_grpc_status: bytes = b"") -> None:
        super().__init__(message)
        self._message = message
        self._status = status
        self._raw_grpc_status = raw_grpc_status

    @property
    def message(self) -> str:
        """What went wrong."""
        return self._message

    @property
    def status(self) -> RPCStatusCode:
        """Why the call failed."""
        return self._status

    @property
    def raw_grpc_status(self) -> bytes:
        """Empty unless the error was built with one."""
        return self._raw_grpc_status


# -- Errors of HotMesh's own --


class InvalidArgumentError(HotMeshError, ValueError):
    """Raised at the call when an id, name, policy or timeout is not acceptable."""


class UnsupportedOptionError(InvalidArgumentError):
    """An option of Temporal's that this version can't honour was given; dropping it would mislead.

    Args:
        option: Its name.
        where: The call or thing it was given to.
        advice: What to do instead.
    """

    def __init__(self, option: str, where: str, advice: str) -> None:
        super().__init__(f"{where}: option {option!r} is not supported; {advice}")
        self.option = option


class MissingExtraError(HotMeshError, ImportError):
    """Raised when a feature needs a library that is not installed.

    Args:
        extra: HotMesh's extra that brings the library, e.g. ``postgres``.
        feature: What was asked for, e.g. ``the postgres:// backend``.
    """

    def __init__(self, extra: str, feature: str) -> None:
        super().__init__(
            f"{feature} needs the {extra!r} extra, which is not installed. "
            f"Install it: pip install 'hotmesh[{extra}]'"
        )
        self.extra = extra
        self.feature = feature


class ConversionError(HotMeshError, TypeError):
    """Raised when a value can't be serialised, or stored bytes can't become what was asked.

    Args:
        what: What was converted, e.g. ``arguments of activity 'charge'``.
        reason: Why it can't be converted.
        index: Which of the values it was, counted from 0, if known.
    """

    def __init__(self, what: str, reason: str, *, index: int | None = None) -> None:
        where = what if index is None else f"{what}, value {index + 1}"
        super().__init__(f"Cannot convert {where}: {reason}")
        self.what = what
        self.reason = reason
        self.index = index


class PayloadTooLargeError(HotMeshError):
    """Raised when a serialised value is larger than HotMesh stores.

    Args:
        size: Its size in bytes.
        limit: The largest allowed size in bytes.
        what: What was too large, e.g. ``arguments of workflow 'order-1'``.
    """

    def __init__(self, size: int, limit: int, what: str) -> None:
        super().__init__(
            f"[TMPRL1103] {what}: {size} bytes exceed the limit of {limit} bytes. "
            "Store large data elsewhere and pass a reference to it."
        )
        self.size = size
        self.limit = limit
        self.what = what


class TransitionTooLargeError(HotMeshError):
    """Raised when a run does more at once than can be stored in one transition.

    Args:
        size: Bytes of what came in and of what its code asked for.
        limit: The most that this backend stores.
        what: Whose transition, e.g. ``workflow 'order-1'``.
    """

    def __init__(self, size: int, limit: int, what: str) -> None:
        super().__init__(
            f"{what}: one transition of {size} bytes exceeds the limit of {limit} bytes. Await "
            "some of the work before asking for more, or store large data elsewhere and pass "
            "references to it."
        )
        self.size = size
        self.limit = limit
        self.what = what


class UnknownWorkflowTypeError(HotMeshError):
    """Raised when a worker gets a run of a workflow type it was not given.

    Args:
        workflow_type: The type that is unknown here.
        known_types: The types this worker has.
    """

    def __init__(self, workflow_type: str, known_types: Sequence[str] = ()) -> None:
        known = ", ".join(sorted(known_types)) or "none"
        super().__init__(
            f"Workflow type {workflow_type!r} is not registered on this worker, available "
            f"workflows: {known}. Pass the class to the worker's workflows argument."
        )
        self.workflow_type = workflow_type
        self.known_types = tuple(known_types)


class UnknownActivityTypeError(HotMeshError):
    """Raised when a workflow calls a local activity that its worker was not given.

    Args:
        activity_type: The type that is unknown here.
        known_types: The types this worker has.
    """

    def __init__(self, activity_type: str, known_types: Sequence[str] = ()) -> None:
        super().__init__(
            f"Activity function {activity_type} is not registered on this worker, available "
            f"activities: {', '.join(sorted(known_types)) or 'none'}"
        )
        self.activity_type = activity_type
        self.known_types = tuple(known_types)


_NONDETERMINISM_PREFIX = "[TMPRL1100] Nondeterminism error: "
_DEADLOCK_PREFIX = "[TMPRL1101] "


class NondeterminismError(HotMeshError):
    """Raised when replayed workflow code does not ask for what its journal holds.

    Args:
        message: How code and journal differ; the code ``[TMPRL1100]`` is put before it.
    """

    def __init__(self, message: str) -> None:
        if not message.startswith(_NONDETERMINISM_PREFIX):
            message = _NONDETERMINISM_PREFIX + message
        super().__init__(message)
        self.message = message


class DeadlockError(HotMeshError):
    """Raised when workflow code did not yield in time: it blocks, or computes for too long.

    Args:
        message: Which run, and for how long; the code ``[TMPRL1101]`` is put before it.
        seconds: How long it held up everything else.
    """

    def __init__(self, message: str, *, seconds: float = 0.0) -> None:
        if not message.startswith(_DEADLOCK_PREFIX):
            message = _DEADLOCK_PREFIX + message
        super().__init__(message)
        self.message = message
        self.seconds = seconds


class CorruptJournalError(HotMeshError):
    """Raised when a stored journal can't be read; the run is set aside, others go on.

    Args:
        run: The run whose journal it is.
        seq: Sequence number of the bad entry, if known.
        reason: What is wrong with it.
    """

    def __init__(self, run: str, seq: int | None, reason: str) -> None:
        where = "" if seq is None else f" at entry {seq}"
        super().__init__(
            f"The journal of run {run!r} is corrupt{where}: {reason}. "
            "Restore the row from a backup."
        )
        self.run = run
        self.seq = seq
        self.reason = reason


class CorruptRowError(HotMeshError):
    """Raised when what is stored of a run can't be read; the run is set aside, others go on.

    Args:
        run: The run that it belongs to.
        what: Which part: ``header``, ``message 7``, ``activity task 3``.
        reason: What is wrong with it.
    """

    def __init__(self, run: str, what: str, reason: str) -> None:
        super().__init__(
            f"The {what} of run {run!r} is corrupt: {reason}. "
            "Restore the row from a backup, or terminate the workflow."
        )
        self.run = run
        self.what = what
        self.reason = reason


class RefusedRowError(HotMeshError):
    """Raised when a database won't store what a run asks for; the run is set aside, others go on.

    Args:
        run: The run.
        reason: What the database says.
    """

    def __init__(self, run: str, reason: str) -> None:
        super().__init__(f"The database refuses what run {run!r} is to store: {reason}")
        self.run = run
        self.reason = reason


class BackendError(HotMeshError):
    """Raised when a storage backend refuses or fails an operation; the message says which."""


class BackendUnavailableError(BackendError):
    """Raised when the database can't be reached; the operation may be tried again."""


class BackendAccessError(BackendError):
    """Raised when the database turns this program away; the message says what it asks for.

    A wrong user, password, certificate or database name, or a right that is missing. Trying again
    does not help until somebody changes that.
    """


class ForkedError(HotMeshError, RuntimeError):
    """Raised in a forked process that uses what its parent had opened.

    Args:
        what: What was used.
        advice: What to do instead.
    """

    def __init__(
        self,
        what: str,
        advice: str = "Open a new one in the child (Client.connect, Worker), or fork before "
        "opening any.",
    ) -> None:
        super().__init__(
            f"This {what} was opened in another process, before a fork, and can't be shared by "
            f"two. {advice}"
        )
        self.what = what


class FencedError(BackendError):
    """Raised when a write comes from a router that no longer owns the lane.

    Nothing of the write was applied. Not an accident to report: another router took over, and
    this one must forget what it holds of the lane.
    """


class SchemaVersionError(BackendError):
    """Raised when the stored schema is newer than this version of HotMesh can use.

    Args:
        found: Version of the stored schema.
        supported: Newest version this code knows.
    """

    def __init__(self, found: int, supported: int) -> None:
        super().__init__(
            f"The database has schema version {found}, this HotMesh knows up to {supported}. "
            "Upgrade hotmesh on this machine."
        )
        self.found = found
        self.supported = supported
