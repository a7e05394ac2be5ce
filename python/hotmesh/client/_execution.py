"""What a client shows of a run: listed, counted, or described."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hotmesh.backends.protocol import RunRow, RunStatus
from hotmesh.client._payloads import Payloads
from hotmesh.client._pending import PendingActivityInfo, PendingChildInfo
from hotmesh.client._records import Record
from hotmesh.common import (
    ARG_UNSET,
    SearchAttributes,
    SearchAttributeValue,
    TypedSearchAttributes,
)
from hotmesh.converter import DataConverter
from hotmesh.engine import wire


class WorkflowExecutionStatus(enum.IntEnum):
    """State of a run."""

    RUNNING = RunStatus.RUNNING
    COMPLETED = RunStatus.COMPLETED
    FAILED = RunStatus.FAILED
    CANCELED = RunStatus.CANCELED
    TERMINATED = RunStatus.TERMINATED
    CONTINUED_AS_NEW = RunStatus.CONTINUED_AS_NEW
    TIMED_OUT = RunStatus.TIMED_OUT


STATUS_TITLES = {
    each: "".join(part.title() for part in each.name.split("_")) for each in WorkflowExecutionStatus
}
"""Status → the name used in list filters, e.g. ``ContinuedAsNew``."""


@dataclass
class WorkflowExecution:
    """A run as it is listed."""

    close_time: datetime | None
    """When it closed; None while it is open."""
    execution_time: datetime | None
    """When it was to begin: its start time plus a start delay."""
    history_length: int
    """Transitions in its journal; counted for a described run only, else 0."""
    id: str
    """Its workflow id."""
    namespace: str
    parent_id: str | None
    parent_run_id: str | None
    root_id: str | None
    root_run_id: str | None
    raw_info: RunRow
    """The stored row."""
    run_id: str
    search_attributes: SearchAttributes
    """Its record as untyped search attributes."""
    start_time: datetime
    status: WorkflowExecutionStatus | None
    task_queue: str
    typed_search_attributes: TypedSearchAttributes
    """Its record as typed search attributes."""
    workflow_type: str
    record: Mapping[str, Any]
    """All attributes of the run: search attributes, and what its code enriched it with."""
    _memo: Mapping[str, str] = field(repr=False)
    _payloads: Payloads = field(repr=False)
    _header: Mapping[str, Any] = field(repr=False)

    @property
    def data_converter(self) -> DataConverter:
        """The converter that reads its memo."""
        return self._payloads.converter

    async def memo(self) -> Mapping[str, Any]:
        """All of the memo, converted without type hints."""
        return {name: await self.memo_value(name) for name in self._memo}

    async def memo_value(
        self, key: str, default: Any = ARG_UNSET, *, type_hint: type | None = None
    ) -> Any:
        """One value of the memo.

        Args:
            key: Its name.
            default: What to return if there is none.
            type_hint: What it should be.

        Raises:
            KeyError: There is no such value and no default.
        """
        stored = self._memo.get(key)
        if stored is None:
            if default is ARG_UNSET:
                raise KeyError(f"Memo does not have a value for key {key}")
            return default
        return await self._payloads.decode_one(
            wire.unpack_bytes(stored), type_hint, f"memo {key!r} of workflow {self.id!r}"
        )


@dataclass
class WorkflowExecutionDescription(WorkflowExecution):
    """A run with what is read only when one looks at it alone."""

    pending_activities: Sequence[PendingActivityInfo] = ()
    """The activities that an open run waits for."""
    pending_children: Sequence[PendingChildInfo] = ()
    """The child workflows of an open run that have not ended."""
    hosted: bool = True
    """Whether a live worker of its task queue hosts its type; an open run waits for one if not."""

    async def static_summary(self) -> str | None:
        """The one-line summary given at its start."""
        return self._header.get("summary")

    async def static_details(self) -> str | None:
        """The details given at its start."""
        return self._header.get("details")

    @property
    def raw_description(self) -> RunRow:
        """The stored row."""
        return self.raw_info


@dataclass
class WorkflowExecutionCountAggregationGroup:
    """How many runs share a value."""

    count: int
    group_values: Sequence[SearchAttributeValue]


@dataclass
class WorkflowExecutionCount:
    """How many runs match."""

    count: int
    groups: Sequence[WorkflowExecutionCountAggregationGroup]
    """Filled when the query has ``GROUP BY``."""


def execution_from_row(
    row: RunRow, payloads: Payloads, shape: type[WorkflowExecution] = WorkflowExecution
) -> WorkflowExecution:
    """Show a stored row.

    Args:
        row: The row.
        payloads: How to read its memo.
        shape: The class to make.
    """
    header = _header(row)
    record = Record(row.attributes, header)
    parent, root = header.get("parent"), header.get("root")
    return shape(
        close_time=_time(row.closed_ms) if row.closed_ms else None,
        execution_time=_time(row.started_ms, header.get("delay", 0)),
        history_length=row.transitions,
        id=row.workflow_id,
        namespace=row.namespace,
        parent_id=parent["wid"] if parent else None,
        parent_run_id=_run_id(parent),
        root_id=root["wid"] if root else row.workflow_id,
        root_run_id=_run_id(root) or wire.run_id_text(row.run_id),
        raw_info=row,
        run_id=wire.run_id_text(row.run_id),
        search_attributes=record.untyped(),
        start_time=_time(row.started_ms),
        status=_status(row.status),
        task_queue=row.task_queue,
        typed_search_attributes=record.typed(),
        workflow_type=row.workflow_type,
        record=record.values,
        _memo=record.memo,
        _payloads=payloads,
        _header=header,
    )


# A row may be damaged: it is shown as far as it goes, and hides no other row of a list.


def _header(row: RunRow) -> dict[str, Any]:
    try:
        header: dict[str, Any] = wire.load(row.header)
    except ValueError:
        return {}
    return header if header.__class__ is dict else {}


def _status(number: int) -> WorkflowExecutionStatus | None:
    try:
        return WorkflowExecutionStatus(number)
    except ValueError:
        return None


def _time(milliseconds: int, delay: int = 0) -> datetime:
    try:
        return datetime.fromtimestamp((milliseconds + delay) / 1000, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)


def _run_id(relative: Mapping[str, Any] | None) -> str | None:
    return wire.run_id_text(bytes.fromhex(relative["rid"])) if relative else None
