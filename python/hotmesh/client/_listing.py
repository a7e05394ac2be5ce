"""Listing and counting runs, page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from typing import Protocol, Self

from hotmesh.backends.protocol import RunFilter, RunPage, RunRow, RunStatus
from hotmesh.client._deadline import deadline
from hotmesh.client._execution import (
    STATUS_TITLES,
    WorkflowExecution,
    WorkflowExecutionCount,
    WorkflowExecutionCountAggregationGroup,
    WorkflowExecutionStatus,
    execution_from_row,
)
from hotmesh.client._history import WorkflowHistory
from hotmesh.client._interceptor import ListWorkflowsInput
from hotmesh.client._payloads import Payloads
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.visibility import Query, check_names, parse_query
from hotmesh.visibility.names import undeclared

COUNT_PAGE = 1000
"""Runs read at once to be counted."""

NAMES_MAX = 500
"""Names that are looked through for one that is near to one that nobody wrote."""


class Runs(Protocol):
    """Where runs are listed from."""

    async def runs(self, filter: RunFilter) -> RunPage: ...  # noqa: A002 - what it is
    async def attribute_names(
        self, namespace: str, wanted: Sequence[str], others: int
    ) -> Collection[str]: ...


async def check_attributes(namespace: str, names: Iterable[str], runs: Runs) -> None:
    """Refuse the name of an attribute that is neither declared here nor written by any run.

    Args:
        namespace: Whose runs.
        names: The attributes that a query names.
        runs: Where they are.

    Raises:
        InvalidArgumentError: There is such a name; lists near ones.
    """
    unknown = sorted(undeclared(names))
    if unknown:
        written = await runs.attribute_names(namespace, unknown, 0)
        if not set(unknown) <= set(written):
            check_names(unknown, await runs.attribute_names(namespace, unknown, NAMES_MAX))


class Pages:
    """The runs of a namespace that match a query, page by page.

    Args:
        namespace: Whose runs.
        query: Which of them.
        runs: Where they are listed from.
    """

    def __init__(self, namespace: str, query: Query, runs: Callable[[], Awaitable[Runs]]) -> None:
        self._namespace = namespace
        self._query = query
        self._runs = runs
        self._checked = False

    async def read(self, before: bytes, size: int) -> tuple[Sequence[RunRow], bytes | None]:
        """A page, and where the next one begins (None: there is none).

        Raises:
            InvalidArgumentError: The query names an attribute that nobody declared or wrote.
        """
        runs = await self._runs()
        if not self._checked:
            await check_attributes(self._namespace, self._query.names(), runs)
            self._checked = True
        page = await runs.runs(RunFilter(self._namespace, self._query.where, before, size))
        return page.rows, bytes(page.rows[-1].run_id) if page.more and page.rows else None


class WorkflowExecutionAsyncIterator:
    """Runs that match a filter, newest first; read page by page as it is iterated."""

    def __init__(
        self,
        input: ListWorkflowsInput,  # noqa: A002 - the name ported interceptors use
        namespace: str,
        payloads: Payloads,
        runs: Callable[[], Awaitable[Runs]],
        history: Callable[[WorkflowExecution], Awaitable[WorkflowHistory]],
    ) -> None:
        if input.page_size < 1:
            raise InvalidArgumentError(f"page_size must be at least 1, not {input.page_size}")
        query = parse_query(input.query)
        if query.by_status:
            raise InvalidArgumentError("GROUP BY is for count_workflows, not for list_workflows")
        self._page_size = input.page_size
        self._left = input.limit
        self._before: bytes | None = input.next_page_token or b""
        self._timeout = input.rpc_timeout
        self._payloads = payloads
        self._pages = Pages(namespace, query, runs)
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
    def has_more(self) -> bool:
        """Whether more runs match than were given so far, ``limit`` or not; asked of the database
        with each page."""
        if self._page is None:
            return True
        return self._index < len(self._page) or self._before is not None

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
            size = page_size or self._page_size
            rows, self._before = await self._pages.read(self._before or b"", size)
        self._page = [
            execution_from_row(row, self._payloads.of_workflow(row.namespace, row.workflow_id))
            for row in rows
        ]
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


async def count_runs(
    namespace: str, text: str | None, runs: Callable[[], Awaitable[Runs]]
) -> WorkflowExecutionCount:
    """Count the runs that match a query; reads them all.

    Raises:
        InvalidArgumentError: The query is malformed, not supported, or names what nobody wrote.
    """
    query = parse_query(text)
    pages = Pages(namespace, query, runs)
    counts: Counter[int] = Counter()
    before: bytes | None = b""
    while before is not None:
        rows, before = await pages.read(before, COUNT_PAGE)
        counts.update(row.status for row in rows)
    groups = [
        WorkflowExecutionCountAggregationGroup(count, [STATUS_TITLES[_status(number)]])
        for number, count in sorted(counts.items())
    ]
    return WorkflowExecutionCount(counts.total(), groups if query.by_status else [])


def _status(number: int) -> WorkflowExecutionStatus:
    return WorkflowExecutionStatus(RunStatus(number))
