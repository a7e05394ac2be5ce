"""Failure: the document that errors are stored as.

The fields are those of Temporal's Failure message, so that a history reads the same.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import orjson

from hotmesh import json_bytes
from hotmesh.common import Payload
from hotmesh.exceptions import ConversionError
from hotmesh.shortening import FRAMES_ALL, FRAMES_EACH, FRAMES_LEAST

CAUSE_DEPTH_MAX = 64
"""Causes of causes that are stored; Python allows chains without end, and even circles."""

FAILURES_MAX = 256
"""Failures in one document: causes and members of groups, and theirs."""

CAUSES_LEFT_OUT = "CausesLeftOut"
"""The type of what stands at the end of a chain that was cut."""


def _no_payloads() -> list[Payload]:
    return []


def _no_members() -> list[Failure]:
    return []


@dataclass(slots=True)
class _Room:
    """What there is still room for in a document."""

    failures: int = FAILURES_MAX - 1
    frames: int = FRAMES_ALL


@dataclass(slots=True)
class ApplicationFailureInfo:
    """What an :class:`~hotmesh.exceptions.ApplicationError` adds."""

    type: str = ""
    non_retryable: bool = False
    details: list[Payload] = field(default_factory=_no_payloads)
    next_retry_delay: timedelta | None = None
    category: int = 0


@dataclass(slots=True)
class TimeoutFailureInfo:
    """What a :class:`~hotmesh.exceptions.TimeoutError` adds."""

    timeout_type: int = 0
    last_heartbeat_details: list[Payload] = field(default_factory=_no_payloads)


@dataclass(slots=True)
class CanceledFailureInfo:
    """What a :class:`~hotmesh.exceptions.CancelledError` adds."""

    details: list[Payload] = field(default_factory=_no_payloads)


@dataclass(slots=True)
class TerminatedFailureInfo:
    """What a :class:`~hotmesh.exceptions.TerminatedError` adds."""

    details: list[Payload] = field(default_factory=_no_payloads)


@dataclass(slots=True)
class ServerFailureInfo:
    """What a :class:`~hotmesh.exceptions.ServerError` adds."""

    non_retryable: bool = False


@dataclass(slots=True)
class ActivityFailureInfo:
    """What an :class:`~hotmesh.exceptions.ActivityError` adds."""

    scheduled_event_id: int = 0
    started_event_id: int = 0
    identity: str = ""
    activity_type: str = ""
    activity_id: str = ""
    retry_state: int = 0


@dataclass(slots=True)
class ChildWorkflowFailureInfo:
    """What a :class:`~hotmesh.exceptions.ChildWorkflowError` adds."""

    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
    started_event_id: int = 0
    retry_state: int = 0


@dataclass(slots=True)
class Failure:
    """One error as it is stored. At most one of the ``_info`` fields is set."""

    message: str = ""
    source: str = ""
    stack_trace: str = ""
    encoded_attributes: Payload | None = None
    cause: Failure | None = None
    members: list[Failure] = field(default_factory=_no_members)
    """Of an exception group."""
    application_failure_info: ApplicationFailureInfo | None = None
    timeout_failure_info: TimeoutFailureInfo | None = None
    canceled_failure_info: CanceledFailureInfo | None = None
    terminated_failure_info: TerminatedFailureInfo | None = None
    server_failure_info: ServerFailureInfo | None = None
    activity_failure_info: ActivityFailureInfo | None = None
    child_workflow_execution_failure_info: ChildWorkflowFailureInfo | None = None
    depth: int = field(default=0, repr=False, compare=False)
    """How many failures this one is a cause or member of; not stored."""
    room: _Room = field(default_factory=_Room, repr=False, compare=False)
    """How much more there may be in the document, shared by all of it; not stored."""

    def add_cause(self) -> Failure | None:
        """Put an empty cause in place, to be filled in.

        Returns:
            The cause, or None if the chain is as long as it may be.
        """
        self.cause = self._below()
        return self.cause

    def leave_causes_out(self, count: int) -> None:
        """Say, in place of a cause if there is room for that, that so many of them had none."""
        message = f"… {count:,} more causes are not kept"
        if self.room.failures <= 0:
            self.stack_trace += f"  {message}\n"
            return
        self.room.failures -= 1
        info = ApplicationFailureInfo(type=CAUSES_LEFT_OUT)
        self.cause = Failure(message, application_failure_info=info)

    def take_frames(self, count: int) -> int:
        """How many of so many frames its stack trace may have; others have fewer then."""
        taken = min(count, max(FRAMES_LEAST, min(FRAMES_EACH, self.room.frames)))
        self.room.frames -= taken
        return taken

    def add_member(self) -> Failure | None:
        """Add an empty member of a group, to be filled in.

        Returns:
            The member, or None if there are as many failures as there may be.
        """
        member = self._below()
        if member is not None:
            self.members.append(member)
        return member

    def _below(self) -> Failure | None:
        if self.depth >= CAUSE_DEPTH_MAX or self.room.failures <= 0:
            return None
        self.room.failures -= 1
        return Failure(depth=self.depth + 1, room=self.room)

    def all(self) -> list[Failure]:
        """This failure, its causes and members, and theirs."""
        found: list[Failure] = [self]
        for each in found:  # It grows meanwhile.
            found += each.members if each.cause is None else [each.cause, *each.members]
        return found

    def copy_from(self, other: Failure) -> None:
        """Become equal to another failure; its causes and members are copied, too."""
        copied = Failure.from_json(other.to_json())
        self.room.failures -= len(copied.all()) - 1
        for each in dataclasses.fields(Failure):
            if each.name not in _UNSTORED:
                setattr(self, each.name, getattr(copied, each.name))

    def details(self) -> list[Payload] | None:
        """The list of payloads in whichever info is set, or None."""
        if self.application_failure_info is not None:
            return self.application_failure_info.details
        if self.timeout_failure_info is not None:
            return self.timeout_failure_info.last_heartbeat_details
        if self.canceled_failure_info is not None:
            return self.canceled_failure_info.details
        if self.terminated_failure_info is not None:
            return self.terminated_failure_info.details
        return None

    def to_json(self) -> bytes:
        """Return the document as JSON text, without the fields that are at their default."""
        document = _to_document(self)
        try:
            return json_bytes.dumps(document)
        except TypeError:  # A lone surrogate, which a message may well contain.
            return json_bytes.dumps(_scrubbed(document))

    @staticmethod
    def from_json(data: bytes) -> Failure:
        """Read what :meth:`to_json` wrote.

        Raises:
            ConversionError: The bytes are not such a document.
        """
        try:
            document: Any = orjson.loads(data)
            return _from_document(Failure, document)
        except (ValueError, TypeError, KeyError, AttributeError) as err:
            raise ConversionError("stored failure", f"malformed document ({err})") from err


_UNSTORED = frozenset(("depth", "room"))

_INFO_TYPES: dict[str, type[Any]] = {
    "cause": Failure,
    "application_failure_info": ApplicationFailureInfo,
    "timeout_failure_info": TimeoutFailureInfo,
    "canceled_failure_info": CanceledFailureInfo,
    "terminated_failure_info": TerminatedFailureInfo,
    "server_failure_info": ServerFailureInfo,
    "activity_failure_info": ActivityFailureInfo,
    "child_workflow_execution_failure_info": ChildWorkflowFailureInfo,
}


def _to_document(message: Any) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for each in dataclasses.fields(message):
        name, value = each.name, getattr(message, each.name)
        if name in _UNSTORED or value in ("", 0, None, []):
            continue
        document[name] = _to_json_value(value)
    return document


def _to_json_value(value: Any) -> Any:
    if isinstance(value, Payload):
        return _payload_document(value)
    if isinstance(value, list):
        return [_to_json_value(each) for each in cast("list[Any]", value)]
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _to_document(value) if dataclasses.is_dataclass(value) else value


def _from_document(message_type: type[Any], document: Mapping[str, Any]) -> Any:
    message = message_type()
    known = {each.name for each in dataclasses.fields(message_type)}
    for name, value in document.items():
        if name not in known:
            continue  # Written by a newer version.
        read = _READERS.get(name)
        nested = _INFO_TYPES.get(name)
        if read is not None:
            value = read(value)
        elif nested is not None:
            value = _from_document(nested, value)
        setattr(message, name, value)
    return message


def _payload_document(payload: Payload) -> dict[str, Any]:
    return {
        "metadata": {key: _to_base64(value) for key, value in payload.metadata.items()},
        "data": _to_base64(payload.data),
    }


def _read_payload(document: Any) -> Payload:
    metadata = cast("dict[str, str]", document["metadata"])
    return Payload(
        {key: base64.b64decode(value) for key, value in metadata.items()},
        base64.b64decode(document["data"]),
    )


def _read_payloads(documents: Any) -> list[Payload]:
    return [_read_payload(document) for document in documents]


def _read_members(documents: Any) -> list[Failure]:
    return [_from_document(Failure, document) for document in documents]


def _read_seconds(seconds: Any) -> timedelta:
    return timedelta(seconds=seconds)


_READERS: dict[str, Callable[[Any], Any]] = {
    "encoded_attributes": _read_payload,
    "details": _read_payloads,
    "members": _read_members,
    "last_heartbeat_details": _read_payloads,
    "next_retry_delay": _read_seconds,
}


def _to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _scrubbed(value: Any) -> Any:
    """Put ``?`` in place of what UTF-8 can't express."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_scrubbed(key): _scrubbed(item) for key, item in items}
    if isinstance(value, list):
        return [_scrubbed(item) for item in cast("list[Any]", value)]
    return value
