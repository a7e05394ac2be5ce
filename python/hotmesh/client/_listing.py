"""Listing and counting runs, page by page."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Self

from hotmesh.backends.protocol import RunFilter, RunRow, RunStatus
from hotmesh.client._deadline import deadline
from hotmesh.client._execution import (
    STATUS_TITLES,
    WorkflowExecution,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    WorkflowExecutionStatus,
    execution_from_row,
)
from hotmesh.client._filter import ParsedFilter, parse_filter
from hotmesh.client._history import WorkflowHistory
from hotmesh.client._interceptor import ListWorkflowsInput
from hotmesh.client._payloads import Payloads
from hotmesh.exceptions import InvalidArgumentError

COUNT_PAGE = 1000
"""Runs read at once to be counted."""

ReadRuns = Callable[[RunFilter], Awaitable[Sequence[RunRow]]]


class WorkflowExecutionAsyncIterator:
    """Runs that match a filter, newest first; read page by page as it is iterated."""

    def __init__(
        self,
        input: ListWorkflowsInput,  # noqa: A002 - the name ported interceptors use
        namespace: str,
        payloads: Payloads,
        read: ReadRuns,
        history: Callable[[WorkflowExecution], Awaitable[WorkflowHistory]],
    ) -> None:
        if input.page_size < 1:
            raise InvalidArgumentError(f"page_size must be at least 1, not {input.page_size}")
        self._filter = parse_filter(namespace, input.query)
        if self._filter.by_status:
            raise InvalidArgumentError("GROUP BY is for count_workflows, not for list_workflows")
        self._page_size = input.page_size
        self._left = input.limit
        self._before: bytes | None = input.next_page_token or b""
        self._timeout = input.rpc_timeout
        self._payloads = payloads
        self._read = read
        self._history = history
        self._page: Sequence[WorkflowExecution] | None = None
        self._index = 0

    @property
    def current_page(self) -> Sequence[WorkflowExecution] | None:
        """The page being iterated; None before the first."""
        return self._page

    @property
    def current_page_index(self) -> int:
        """Index of the next run on the current page."""
        return self._index

    @property
    def next_page_token(self) -> bytes | None:
        """Where the next page begins; None when there is none."""
        return self._before or None

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Read the next page in place of the current one.

        Args:
            page_size: Its size, in place of the one given to ``list_workflows``.
        """
        async with deadline(self._timeout, "listing a page of workflows"):
            rows, self._before = await _read_page(
                self._filter, self._before or b"", page_size or self._page_size, self._read
            )
        self._page = [execution_from_row(row, self._payloads) for row in rows]
        self._index = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WorkflowExecution:
        if self._left is not None and self._left <= 0:
            raise StopAsyncIteration
        while self._page is None or self._index >= len(self._page):
            if self._page is not None and self._before is None:
                raise StopAsyncIteration
            await self.fetch_next_page()
        self._index += 1
        if self._left is not None:
            self._left -= 1
        assert self._page is not None
        return self._page[self._index - 1]

    async def map_histories(self) -> AsyncIterator[WorkflowHistory]:
        """The history of each run in turn."""
        async for execution in self:
            yield await self._history(execution)


async def count_runs(namespace: str, query: str | None, read: ReadRuns) -> WorkflowExecutionCount:
    """Count the runs that match a filter; reads them all.

    Raises:
        InvalidArgumentError: The filter is malformed or not supported.
    """
    parsed = parse_filter(namespace, query)
    counts: Counter[int] = Counter()
    before: bytes | None = b""
    while before is not None:
        rows, before = await _read_page(parsed, before, COUNT_PAGE, read)
        counts.update(row.status for row in rows)
    groups = [
        WorkflowExecutionCountAggregationGroup(count, [STATUS_TITLES[_status(number)]])
        for number, count in sorted(counts.items())
    ]
    return WorkflowExecutionCount(counts.total(), groups if parsed.by_status else [])


def _status(number: int) -> WorkflowExecutionStatus:
    return WorkflowExecutionStatus(RunStatus(number))


async def _read_page(
    parsed: ParsedFilter, before: bytes, size: int, read: ReadRuns
) -> tuple[Sequence[RunRow], bytes | None]:
    """Rows of a page that match, and where the next page begins (None: there is none)."""
    if parsed.nothing:
        return [], None
    rows = await read(dataclasses.replace(parsed.runs, before=before, limit=size))
    following = bytes(rows[-1].run_id) if len(rows) >= size else None
    return [row for row in rows if parsed.matches(row)], following
