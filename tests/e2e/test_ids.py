"""Workflow ids: who gets one when it is taken, and what is found under it."""

import asyncio
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import Client, WorkflowExecutionStatus
from hotmesh.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from hotmesh.exceptions import (
    ApplicationError,
    RPCError,
    RPCStatusCode,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from support.running import execute, failure_of, start, working

Reuse = WorkflowIDReusePolicy
Conflict = WorkflowIDConflictPolicy


@workflow.defn
class Job:
    @workflow.run
    async def run(self, then: str) -> str:
        if then == "wait":
            await workflow.wait_condition(lambda: False)
        if then == "fail":
            raise ApplicationError("failed")
        return then


async def test_an_open_id_is_refused_by_default(any_client: Client) -> None:
    first = await start(any_client, Job.run, "wait", id="taken")
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await start(any_client, Job.run, "x", id="taken")
    assert (caught.value.workflow_id, caught.value.workflow_type) == ("taken", "Job")
    assert caught.value.run_id == first.result_run_id


async def test_a_closed_id_may_be_used_again_by_default(any_client: Client) -> None:
    async with working(any_client, Job):
        one = await start(any_client, Job.run, "one", id="again")
        assert await one.result() == "one"
        two = await start(any_client, Job.run, "two", id="again")
        assert await two.result() == "two"
        assert await one.result() == "one"
    assert one.result_run_id != two.result_run_id
    assert await any_client.get_workflow_handle("again").result() == "two"


@pytest.mark.parametrize(
    ("policy", "first", "allowed"),
    [
        (Reuse.ALLOW_DUPLICATE_FAILED_ONLY, "fail", True),
        (Reuse.ALLOW_DUPLICATE_FAILED_ONLY, "fine", False),
        (Reuse.REJECT_DUPLICATE, "fail", False),
        (Reuse.REJECT_DUPLICATE, "fine", False),
    ],
)
async def test_reuse_policies(any_client: Client, policy: Reuse, first: str, allowed: bool) -> None:
    async with working(any_client, Job):
        handle = await start(any_client, Job.run, first, id="reused")
        if first == "fail":
            await failure_of(handle.result())
        else:
            await handle.result()
        again = start(any_client, Job.run, "second", id="reused", id_reuse_policy=policy)
        if allowed:
            assert await (await again).result() == "second"
        else:
            with pytest.raises(WorkflowAlreadyStartedError):
                await again


async def test_the_existing_workflow_may_be_used(any_client: Client) -> None:
    first = await start(any_client, Job.run, "wait", id="existing")
    second = await start(
        any_client, Job.run, "other", id="existing", id_conflict_policy=Conflict.USE_EXISTING
    )
    assert second.result_run_id == first.result_run_id
    assert second.first_execution_run_id == first.first_execution_run_id


@pytest.mark.parametrize(
    "options",
    [
        {"id_conflict_policy": Conflict.TERMINATE_EXISTING},
        {"id_reuse_policy": Reuse.TERMINATE_IF_RUNNING},
    ],
)
async def test_the_existing_workflow_may_be_terminated(
    any_client: Client, options: dict[str, Any]
) -> None:
    async with working(any_client, Job):
        first = await start(any_client, Job.run, "wait", id="replaced")
        second = await start(any_client, Job.run, "new", id="replaced", **options)
        assert isinstance(await failure_of(first.result()), TerminatedError)
        assert await second.result() == "new"


async def test_of_many_starts_of_one_id_one_wins(any_client: Client) -> None:
    results = await asyncio.gather(
        *(start(any_client, Job.run, "wait", id="race") for _ in range(10)),
        return_exceptions=True,
    )
    refused = [each for each in results if isinstance(each, WorkflowAlreadyStartedError)]
    assert len(refused) == 9


async def test_the_same_id_is_free_in_another_namespace(sqlite_url: str) -> None:
    async with (
        await Client.connect(sqlite_url, namespace="one") as one,
        await Client.connect(sqlite_url, namespace="two") as two,
    ):
        async with working(one, Job), working(two, Job):
            assert await execute(one, Job.run, "first", id="same") == "first"
            assert await execute(two, Job.run, "second", id="same") == "second"
        assert await one.get_workflow_handle("same").result() == "first"


async def test_an_unknown_id_is_not_found(any_client: Client) -> None:
    handle = any_client.get_workflow_handle("nobody")
    for call in (handle.result, handle.describe, handle.cancel, handle.terminate):
        with pytest.raises(RPCError, match="not found") as caught:
            await call()
        assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_a_run_id_names_one_run(any_client: Client) -> None:
    async with working(any_client, Job):
        first = await start(any_client, Job.run, "one", id="runs")
        await first.result()
        await execute(any_client, Job.run, "two", id="runs")
    old = any_client.get_workflow_handle("runs", run_id=first.result_run_id)
    assert (await old.describe()).run_id == first.result_run_id
    with pytest.raises(RPCError, match="not found"):
        await any_client.get_workflow_handle("runs", run_id="no-uuid").describe()


COLOR = SearchAttributeKey.for_keyword("color")
SIZE = SearchAttributeKey.for_int("size")


@workflow.defn
class Attributed:
    @workflow.run
    async def run(self) -> list[Any]:
        typed = workflow.info().typed_search_attributes
        before = [typed.get(COLOR), typed.get(SIZE), workflow.memo_value("note", "none")]
        workflow.upsert_search_attributes([COLOR.value_set("blue"), SIZE.value_unset()])
        workflow.upsert_memo({"note": "changed", "added": [1, 2]})
        await workflow.sleep(0.001)
        typed = workflow.info().typed_search_attributes
        return [before, [typed.get(COLOR), typed.get(SIZE), workflow.memo()]]


@pytest.mark.parametrize("cached", [1000, 0])
async def test_memo_and_search_attributes_are_read_changed_and_shown(
    any_client: Client, cached: int
) -> None:
    async with working(any_client, Attributed, max_cached_workflows=cached):
        handle = await start(
            any_client,
            Attributed.run,
            memo={"note": "first"},
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(COLOR, "red"), SearchAttributePair(SIZE, 7)]
            ),
        )
        assert await handle.result() == [
            ["red", 7, "first"],
            ["blue", None, {"note": "changed", "added": [1, 2]}],
        ]
        described = await handle.describe()
    assert described.typed_search_attributes.get(COLOR) == "blue"
    assert described.typed_search_attributes.get(SIZE) is None
    assert await described.memo() == {"note": "changed", "added": [1, 2]}
    assert described.status == WorkflowExecutionStatus.COMPLETED
