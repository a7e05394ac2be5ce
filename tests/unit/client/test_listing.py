"""Listing and counting: filters reach the rows, pages join up."""

import itertools

import pytest

from hotmesh.client import Client, WorkflowExecutionStatus
from hotmesh.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from hotmesh.engine import wire
from hotmesh.exceptions import InvalidArgumentError
from unit.client.hands import QUEUE, Hands


@pytest.fixture
async def listed(client: Client, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Client:
    """w0 … w4 newest last, w0 closed, odd ones on another queue and coloured."""
    # Real run ids of one millisecond are in no order; these are.
    numbers = itertools.count(1)
    monkeypatch.setattr(wire, "new_run_id", lambda: next(numbers).to_bytes(16, "big"))
    for number in range(5):
        odd = number % 2
        await client.start_workflow(
            "Odd" if odd else "Even",
            id=f"w{number}",
            task_queue="other" if odd else QUEUE,
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(SearchAttributeKey.for_keyword("color"), "red")]
            )
            if odd
            else None,
        )
        if not number:
            await hands.complete(await hands.next(), 1)
    return client


async def ids(client: Client, query: str | None = None, **options: int) -> list[str]:
    return [each.id async for each in client.list_workflows(query, **options)]


@pytest.mark.parametrize("page_size", [1, 2, 1000])
async def test_pages_join_up(listed: Client, page_size: int) -> None:
    assert await ids(listed, page_size=page_size) == ["w4", "w3", "w2", "w1", "w0"]
    assert await ids(listed, "TaskQueue = 'other'", page_size=page_size) == ["w3", "w1"]
    assert await ids(listed, page_size=page_size, limit=3) == ["w4", "w3", "w2"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("WorkflowType = 'Odd'", ["w3", "w1"]),
        ("WorkflowId = 'w2'", ["w2"]),
        ("ExecutionStatus = 'Completed'", ["w0"]),
        ("ExecutionStatus = 'Running' AND WorkflowType = 'Even'", ["w4", "w2"]),
        ("color = 'red'", ["w3", "w1"]),
        ("color = 'red' AND WorkflowId = 'w1'", ["w1"]),
        ("color = 'blue'", []),
        ("WorkflowId = 'w1' AND WorkflowId = 'w2'", []),
        ("WorkflowId = 'w1' OR color = 'red' AND WorkflowId IN ('w2', 'w3')", ["w3", "w1"]),
    ],
)
async def test_filters(listed: Client, query: str, expected: list[str]) -> None:
    assert await ids(listed, query) == expected
    assert (await listed.count_workflows(query)).count == len(expected)


async def test_what_a_listed_run_shows(listed: Client) -> None:
    (run,) = [each async for each in listed.list_workflows("WorkflowId = 'w0'")]
    assert (run.workflow_type, run.task_queue, run.namespace) == ("Even", QUEUE, "default")
    assert run.status == WorkflowExecutionStatus.COMPLETED
    assert run.close_time is not None
    assert run.close_time >= run.start_time == run.execution_time
    assert (run.parent_id, run.root_id, run.root_run_id) == (None, "w0", run.run_id)


async def test_counts_by_status(listed: Client) -> None:
    counted = await listed.count_workflows("GROUP BY ExecutionStatus")
    assert counted.count == 5
    groups = {tuple(each.group_values): each.count for each in counted.groups}
    assert groups == {("Running",): 4, ("Completed",): 1}
    assert (await listed.count_workflows()).groups == []


async def test_histories_of_listed_runs(listed: Client) -> None:
    runs = listed.list_workflows("WorkflowType = 'Odd'")
    assert [each.workflow_id async for each in runs.map_histories()] == ["w3", "w1"]


async def test_pages_by_hand(listed: Client) -> None:
    runs = listed.list_workflows(page_size=3)
    assert runs.current_page is None
    await runs.fetch_next_page()
    assert [each.id for each in runs.current_page or ()] == ["w4", "w3", "w2"]
    rest = listed.list_workflows(next_page_token=runs.next_page_token)
    assert [each.id async for each in rest] == ["w1", "w0"]


async def test_namespaces_do_not_mix(listed: Client) -> None:
    config = listed.config()
    config["namespace"] = "elsewhere"
    assert await ids(Client(**config)) == []


async def test_what_can_not_be_listed(listed: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="GROUP BY"):
        listed.list_workflows("GROUP BY ExecutionStatus")
    with pytest.raises(InvalidArgumentError, match="page_size"):
        listed.list_workflows(page_size=0)
    with pytest.raises(InvalidArgumentError, match="StartTime"):
        await listed.count_workflows("StartTime > '2020'")


@pytest.mark.parametrize(("limit", "more"), [(4, True), (5, False), (6, False)])
@pytest.mark.parametrize("page_size", [1, 2, 4, 5, 1000])
async def test_a_list_says_whether_there_is_more(
    listed: Client, limit: int, more: bool, page_size: int
) -> None:
    runs = listed.list_workflows(limit=limit, page_size=page_size)
    assert len([each async for each in runs]) == min(limit, 5)
    assert runs.has_more is more


async def test_a_name_that_nobody_wrote_is_a_mistake(listed: Client) -> None:
    with pytest.raises(InvalidArgumentError, match=r"colour in a filter.*Did you mean color"):
        await ids(listed, "colour = 'red'")
    with pytest.raises(InvalidArgumentError, match="colour"):
        await listed.count_workflows("color = 'red' AND colour = 'red'")
    SearchAttributeKey.for_keyword("colour")
    assert await ids(listed, "colour = 'red'") == []
