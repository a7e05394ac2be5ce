"""Failure converters: exceptions to failures and back."""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar, cast

from hotmesh.common import Payload
from hotmesh.converter.failure import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowFailureInfo,
    Failure,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from hotmesh.converter.payload_converter import PayloadConverter
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the name ported code uses
    TimeoutType,
)
from hotmesh.groups import is_benign, is_non_retryable, members_of, requested_delay
from hotmesh.printing import message_of, stack_of
from hotmesh.shortening import chain_length, following, frame_count

ENCODED_MESSAGE = "Encoded failure"
"""What stands for a message that was moved into the encoded attributes."""

JUDGED_DEPTH_MAX = 2
"""How many errors a group may be a cause or member of for what it comes to to be noted."""

_logger = logging.getLogger(__name__)


class FailureConverter(ABC):
    """Converts exceptions to failures, which are stored, and back."""

    default: ClassVar[FailureConverter]
    """The default converter."""

    @abstractmethod
    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Describe an exception.

        Args:
            exception: The exception. Not to be changed.
            payload_converter: For the values it carries.
            failure: An empty failure to fill in.
        """

    @abstractmethod
    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """Make an exception of a failure.

        Args:
            failure: The failure. Not to be changed.
            payload_converter: For the values it carries.

        Returns:
            The exception, its ``__cause__`` included.
        """


class DefaultFailureConverter(FailureConverter):
    """Keeps class, message, stack trace, details and causes.

    Exceptions that are no :class:`~hotmesh.exceptions.FailureError` become application errors
    whose type is the name of their class. Of an exception group the members are kept as
    :attr:`~hotmesh.exceptions.FailureError.members`, the first one as cause if there is no other;
    it is non-retryable if a member is.

    Args:
        encode_common_attributes: True to move message and stack trace to where a codec sees
            them, for those that encrypt.
    """

    def __init__(self, *, encode_common_attributes: bool = False) -> None:
        self._encode_common_attributes = encode_common_attributes

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """See base class."""
        if isinstance(exception, FailureError) and exception.failure is not None:
            failure.copy_from(exception.failure)  # It was decoded from it: nothing gets lost.
        else:
            self._describe(exception, payload_converter, failure)
            members = members_of(exception)
            for count, member in enumerate(members):
                place = failure.add_member()
                if place is None:
                    left_out = f"  … {len(members) - count:,} more members are not kept\n"
                    failure.stack_trace += left_out
                    break
                self.to_failure(member, payload_converter, place)
            cause = following(exception)
            nested = failure.add_cause() if cause is not None else None
            if nested is not None and cause is not None:
                self.to_failure(cause, payload_converter, nested)
            elif cause is not None:
                failure.leave_causes_out(chain_length(cause))
        if self._encode_common_attributes:
            failure.encoded_attributes = payload_converter.to_payload(
                {"message": failure.message, "stack_trace": failure.stack_trace}
            )
            failure.message = ENCODED_MESSAGE
            failure.stack_trace = ""

    def _describe(
        self, exception: BaseException, converter: PayloadConverter, failure: Failure
    ) -> None:
        frames = failure.take_frames(frame_count(exception.__traceback__))
        failure.stack_trace = stack_of(exception, frames)
        if not isinstance(exception, FailureError):
            failure.message = message_of(exception)
            failure.application_failure_info = _unknown_error(exception, failure.depth)
            return
        failure.message = exception.message
        if not isinstance(failure.message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            failure.message = message_of(exception)
        for error_type, write in _WRITERS:
            if isinstance(exception, error_type):
                write(exception, converter, failure)
                return

    def from_failure(self, failure: Failure, payload_converter: PayloadConverter) -> BaseException:
        """See base class."""
        failure = _with_attributes_decoded(failure, payload_converter)
        error = _read_error(failure, payload_converter)
        error._failure = failure  # pyright: ignore[reportPrivateUsage]
        error._members = tuple(  # pyright: ignore[reportPrivateUsage]
            self.from_failure(member, payload_converter) for member in failure.members
        )
        if failure.cause is not None:
            error.__cause__ = self.from_failure(failure.cause, payload_converter)
        elif error.members:
            error.__cause__ = error.members[0]
        return error


class DefaultFailureConverterWithEncodedAttributes(DefaultFailureConverter):
    """The default converter, with message and stack trace moved to where a codec sees them."""

    def __init__(self) -> None:
        super().__init__(encode_common_attributes=True)


def _unknown_error(exception: BaseException, depth: int) -> ApplicationFailureInfo:
    """What is said of an error of any class, and of a group: it is what its members make of it.

    Deep within others nothing is said of a group: whoever reads it looks at its members himself,
    and to walk through all of them again at each depth would take too long.
    """
    info = ApplicationFailureInfo(type=type(exception).__name__)
    if depth <= JUDGED_DEPTH_MAX and members_of(exception):
        info.non_retryable = is_non_retryable(exception)
        info.next_retry_delay = requested_delay(exception) or None
        if is_benign(exception):
            info.category = int(ApplicationErrorCategory.BENIGN)
    return info


def _payloads(values: Sequence[Any], converter: PayloadConverter) -> list[Payload]:
    return converter.to_payloads(values) if values else []


def _values(payloads: Sequence[Payload], converter: PayloadConverter) -> list[Any]:
    return converter.from_payloads(payloads) if payloads else []


_APPLICATION_FIELDS = {"type": str, "next_retry_delay": timedelta, "category": int}


# -- Writing: one function per error that has an info of its own --


def _write_application(
    error: ApplicationError, converter: PayloadConverter, failure: Failure
) -> None:
    for name, kind in _APPLICATION_FIELDS.items():
        value = getattr(error, name)
        if value is not None and not isinstance(value, kind):
            raise TypeError(
                f"{name} of an ApplicationError must be {kind.__name__}, not {type(value).__name__}"
            )
    failure.application_failure_info = ApplicationFailureInfo(
        type=error.type or "",
        non_retryable=error.non_retryable,
        details=_payloads(error.details, converter),
        next_retry_delay=error.next_retry_delay or None,
        category=int(error.category),
    )


def _write_timeout(error: TimeoutError, converter: PayloadConverter, failure: Failure) -> None:
    failure.timeout_failure_info = TimeoutFailureInfo(
        timeout_type=int(error.type or 0),
        last_heartbeat_details=_payloads(error.last_heartbeat_details, converter),
    )


def _write_cancelled(error: CancelledError, converter: PayloadConverter, failure: Failure) -> None:
    failure.canceled_failure_info = CanceledFailureInfo(_payloads(error.details, converter))


def _write_terminated(
    error: TerminatedError, converter: PayloadConverter, failure: Failure
) -> None:
    failure.terminated_failure_info = TerminatedFailureInfo(_payloads(error.details, converter))


def _write_server(error: ServerError, converter: PayloadConverter, failure: Failure) -> None:
    failure.server_failure_info = ServerFailureInfo(non_retryable=error.non_retryable)


def _write_activity(error: ActivityError, converter: PayloadConverter, failure: Failure) -> None:
    failure.activity_failure_info = ActivityFailureInfo(
        scheduled_event_id=error.scheduled_event_id,
        started_event_id=error.started_event_id,
        identity=error.identity,
        activity_type=error.activity_type,
        activity_id=error.activity_id,
        retry_state=int(error.retry_state or 0),
    )


def _write_child(error: ChildWorkflowError, converter: PayloadConverter, failure: Failure) -> None:
    failure.child_workflow_execution_failure_info = ChildWorkflowFailureInfo(
        namespace=error.namespace,
        workflow_id=error.workflow_id,
        run_id=error.run_id,
        workflow_type=error.workflow_type,
        initiated_event_id=error.initiated_event_id,
        started_event_id=error.started_event_id,
        retry_state=int(error.retry_state or 0),
    )


_Writer = Callable[[Any, PayloadConverter, Failure], None]

_WRITERS: tuple[tuple[type[FailureError], _Writer], ...] = (
    (ApplicationError, _write_application),
    (TimeoutError, _write_timeout),
    (CancelledError, _write_cancelled),
    (TerminatedError, _write_terminated),
    (ServerError, _write_server),
    (ActivityError, _write_activity),
    (ChildWorkflowError, _write_child),
)


# -- Reading --


def _with_attributes_decoded(failure: Failure, converter: PayloadConverter) -> Failure:
    if failure.encoded_attributes is None:
        return failure
    try:
        attributes: Any = converter.from_payload(failure.encoded_attributes)
    except Exception:
        _logger.warning("A failure's encoded attributes could not be decoded", exc_info=True)
        return failure
    if not isinstance(attributes, dict):
        return failure
    found = {
        name: value
        for name, value in cast("dict[str, Any]", attributes).items()
        if name in ("message", "stack_trace") and isinstance(value, str)
    }
    return dataclasses.replace(failure, **found)


def _read_error(failure: Failure, converter: PayloadConverter) -> FailureError:
    if failure.application_failure_info is not None:
        return _read_application(failure.message, failure.application_failure_info, converter)
    if failure.activity_failure_info is not None:
        return _read_activity(failure.message, failure.activity_failure_info)
    if failure.child_workflow_execution_failure_info is not None:
        return _read_child(failure.message, failure.child_workflow_execution_failure_info)
    if failure.timeout_failure_info is not None:
        timeout = failure.timeout_failure_info
        return TimeoutError(
            failure.message or "Timeout",
            type=TimeoutType(timeout.timeout_type) if timeout.timeout_type else None,
            last_heartbeat_details=_values(timeout.last_heartbeat_details, converter),
        )
    if failure.canceled_failure_info is not None:
        details = _values(failure.canceled_failure_info.details, converter)
        return CancelledError(failure.message or "Cancelled", *details)
    if failure.terminated_failure_info is not None:
        details = _values(failure.terminated_failure_info.details, converter)
        return TerminatedError(failure.message or "Terminated", *details)
    if failure.server_failure_info is not None:
        non_retryable = failure.server_failure_info.non_retryable
        return ServerError(failure.message or "Server error", non_retryable=non_retryable)
    return FailureError(failure.message or "Failure error")


def _read_application(
    message: str, info: ApplicationFailureInfo, converter: PayloadConverter
) -> ApplicationError:
    return ApplicationError(
        message or "Application error",
        *_values(info.details, converter),
        type=info.type or None,
        non_retryable=info.non_retryable,
        next_retry_delay=info.next_retry_delay,
        category=ApplicationErrorCategory(info.category),
    )


def _read_activity(message: str, info: ActivityFailureInfo) -> ActivityError:
    return ActivityError(
        message or "Activity error",
        scheduled_event_id=info.scheduled_event_id,
        started_event_id=info.started_event_id,
        identity=info.identity,
        activity_type=info.activity_type,
        activity_id=info.activity_id,
        retry_state=RetryState(info.retry_state) if info.retry_state else None,
    )


def _read_child(message: str, info: ChildWorkflowFailureInfo) -> ChildWorkflowError:
    return ChildWorkflowError(
        message or "Child workflow error",
        namespace=info.namespace,
        workflow_id=info.workflow_id,
        run_id=info.run_id,
        workflow_type=info.workflow_type,
        initiated_event_id=info.initiated_event_id,
        started_event_id=info.started_event_id,
        retry_state=RetryState(info.retry_state) if info.retry_state else None,
    )
