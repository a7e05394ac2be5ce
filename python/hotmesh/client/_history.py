"""The history of a run: its journal, decoded for people and for replay."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Self

from hotmesh.backends.protocol import RunRow
from hotmesh.core import CodecError, decode_transition, kinds
from hotmesh.engine import wire
from hotmesh.exceptions import CorruptJournalError, InvalidArgumentError

Event = tuple[int, int, int, str, bytes, bytes]
"""Kind, seq, number, name, meta, body."""

_NUMBERS = {name: number for number, name in kinds.NAMES.items()}


class WorkflowHistoryEventFilterType(IntEnum):
    """Which part of a history to fetch."""

    ALL_EVENT = 1
    CLOSE_EVENT = 2
    """Only the last transition."""


@dataclass(frozen=True)
class HistoryTransition:
    """One step of a run: what reached it, and what it asked for."""

    number: int
    """Counted from 0."""
    now_ms: int
    """The run's time, milliseconds since 1970."""
    jobs: Sequence[Event]
    commands: Sequence[Event]

    def to_json_dict(self) -> dict[str, Any]:
        """This transition as JSON values; bytes are base64 text."""
        return {
            "number": self.number,
            "nowMs": self.now_ms,
            "jobs": [_event_document(each) for each in self.jobs],
            "commands": [_event_document(each) for each in self.commands],
        }


@dataclass(frozen=True)
class WorkflowHistory:
    """A run with its journal."""

    workflow_id: str
    events: Sequence[HistoryTransition]
    """Its transitions, in order."""
    run_id: str = ""
    workflow_type: str = ""
    namespace: str = ""
    task_queue: str = ""
    status: int = 1
    header: bytes = b""
    """How it was started: parent, timeouts, memo."""
    input: bytes = b""
    """Its arguments, as stored."""

    def to_json_dict(self) -> dict[str, Any]:
        """This history as JSON values; bytes are base64 text."""
        return {
            "workflowId": self.workflow_id,
            "runId": self.run_id,
            "workflowType": self.workflow_type,
            "namespace": self.namespace,
            "taskQueue": self.task_queue,
            "status": self.status,
            "header": wire.load(self.header),
            "input": wire.pack_bytes(self.input),
            "events": [each.to_json_dict() for each in self.events],
        }

    def to_json(self) -> str:
        """This history as JSON text."""
        return json.dumps(self.to_json_dict())

    @classmethod
    def from_json(cls, workflow_id: str, history: str | Mapping[str, Any]) -> Self:
        """Read what :meth:`to_json` wrote.

        Args:
            workflow_id: The id to give it.
            history: JSON text, or the values.

        Raises:
            InvalidArgumentError: It is not such a history.
        """
        try:
            document = json.loads(history) if isinstance(history, str) else history
            return cls(
                workflow_id=workflow_id,
                events=[_transition(each) for each in document["events"]],
                run_id=document["runId"],
                workflow_type=document["workflowType"],
                namespace=document["namespace"],
                task_queue=document["taskQueue"],
                status=document["status"],
                header=wire.dump(document["header"]),
                input=wire.unpack_bytes(document["input"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(
                f"The history of workflow {workflow_id!r} can't be read: {error!r}"
            ) from error


class WorkflowHistoryEventAsyncIterator:
    """Transitions of a run, in order."""

    def __init__(self, source: AsyncIterator[HistoryTransition]) -> None:
        self._source = source

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> HistoryTransition:
        return await anext(self._source)


def decode_journal(run_id: str, frames: Sequence[bytes]) -> list[HistoryTransition]:
    """Decode a journal.

    Raises:
        CorruptJournalError: A row is damaged; names run and row.
    """
    transitions: list[HistoryTransition] = []
    for number, frame in enumerate(frames):
        try:
            now_ms, jobs, commands = decode_transition(frame)
        except CodecError as error:
            raise CorruptJournalError(run_id, number, str(error)) from error
        transitions.append(HistoryTransition(number, now_ms, jobs, commands))
    return transitions


def history_from_row(row: RunRow, events: Sequence[HistoryTransition]) -> WorkflowHistory:
    """The history of a run."""
    return WorkflowHistory(
        workflow_id=row.workflow_id,
        events=events,
        run_id=wire.run_id_text(row.run_id),
        workflow_type=row.workflow_type,
        namespace=row.namespace,
        task_queue=row.task_queue,
        status=row.status,
        header=bytes(row.header),
        input=bytes(row.input),
    )


def _event_document(event: Event) -> dict[str, Any]:
    kind, seq, number, name, meta, body = event
    return {
        "kind": kinds.NAMES.get(kind, kind),
        "seq": seq,
        "number": number,
        "name": name,
        "meta": wire.pack_bytes(meta),
        "body": wire.pack_bytes(body),
    }


def _transition(document: Mapping[str, Any]) -> HistoryTransition:
    return HistoryTransition(
        number=document["number"],
        now_ms=document["nowMs"],
        jobs=[_event(each) for each in document["jobs"]],
        commands=[_event(each) for each in document["commands"]],
    )


def _event(document: Mapping[str, Any]) -> Event:
    kind = document["kind"]
    return (
        kind if isinstance(kind, int) else _NUMBERS[kind],
        document["seq"],
        document["number"],
        document["name"],
        wire.unpack_bytes(document["meta"]),
        wire.unpack_bytes(document["body"]),
    )
