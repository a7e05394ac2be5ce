"""Errors for people: one line that says what happened, where, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hotmesh.client._pending import frames_of
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    BackendUnavailableError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    RPCError,
    RPCStatusCode,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    WorkflowAlreadyStartedError,
)
from hotmesh.groups import members_of

CAUSES_MAX = 10
"""Links of a chain of causes that are shown."""

ERRORS_MAX = 40
"""Errors that are shown of one failure: causes, members of groups, and theirs."""

_SPACE = re.compile(r"\s+")


def explain(error: BaseException, where: str) -> str:
    """An error in one line.

    Args:
        error: What a command raised.
        where: The namespace and the database it was working on.
    """
    text = one_line(error)
    if isinstance(error, WorkflowAlreadyStartedError):
        return (
            f"A workflow with id {error.workflow_id!r} exists already (run {error.run_id}). "
            "Give another --id."
        )
    if isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND:
        return f"{text} in {where}. `hotmesh list` shows what is there."
    if isinstance(error, BackendUnavailableError):
        return f"{text.rstrip('.')}. Is {where} running, and --url right?"
    return text


def failure_text(error: BaseException) -> str:
    """A failure with its chain of causes in one line, the outermost first.

    The members of an exception group are in brackets, each with its causes.
    """
    return _text(error, [ERRORS_MAX])


def _text(error: BaseException, room: list[int]) -> str:
    links: list[str] = []
    for each in _chain(error):
        if room[0] <= 0:
            links.append("…")
            break
        room[0] -= 1
        shown = [_text(member, room) for member in _members(each, room)]
        members = f" [{'; '.join(shown)}]" if shown else ""
        links.append(f"{type(each).__name__}: {one_line(each)}{_of_what(each)}{members}")
    return " ← ".join(links)


def _members(error: BaseException, room: list[int]) -> Iterator[BaseException]:
    """The members of a group, as long as there is room to show them."""
    for member in members_of(error):
        if room[0] <= 0:
            return
        yield member


def failure_document(error: BaseException) -> dict[str, Any]:
    """A failure with its chain of causes, for programs; of a group, the members with theirs."""
    return _document(error, [ERRORS_MAX])


def _document(error: BaseException, room: list[int]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for each in reversed(list(_chain(error))):
        cause = document
        message = each.message if isinstance(each, FailureError) else str(each)
        document = {"error": type(each).__name__, "message": message}
        room[0] -= 1
        members = [_document(member, room) for member in _members(each, room)]
        if members:
            document["members"] = members
        frames = frames_of(each)
        if frames:
            document["where"] = frames
        error_type = _type_of(each)
        if error_type is not None:
            document["type"] = error_type
        if isinstance(each, ApplicationError) or (
            isinstance(each, (CancelledError, TerminatedError)) and each.details
        ):
            document["details"] = list(each.details)
        elif isinstance(each, ActivityError):
            document["activity"] = each.activity_type
        elif isinstance(each, ChildWorkflowError):
            document["child_id"] = each.workflow_id
        if cause:
            document["cause"] = cause
    return document


def _type_of(error: BaseException) -> str | None:
    """The type that an error was raised with: the user's word, or which time was up."""
    if isinstance(error, ApplicationError):
        return error.type
    if isinstance(error, TimeoutError) and error.type is not None:
        return error.type.name
    return None


def _of_what(error: BaseException) -> str:
    if isinstance(error, ActivityError):
        return f" ({error.activity_type})"
    return f" ({error.workflow_id})" if isinstance(error, ChildWorkflowError) else ""


def root_of(error: BaseException) -> BaseException:
    """The innermost cause, which is what one looks for; of a group, its first member's."""
    *_, root = _chain(error)
    first, *_ = (*members_of(root), root)
    return root if first is root else root_of(first)


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks; its class if it says nothing."""
    return _SPACE.sub(" ", str(error)).strip() or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(CAUSES_MAX):
        if error is None:
            return
        yield error
        cause, members = error.__cause__, members_of(error)
        # Of a group without a cause of its own, the first member stands for it.
        error = None if members and cause is members[0] else cause
