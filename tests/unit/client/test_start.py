"""Starting workflows: options, policies, and arguments that are refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hotmesh.backends.protocol import RunStatus
from hotmesh.client import Client, WorkflowExecutionStatus
from hotmesh.common import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import (
    ConversionError,
    InvalidArgumentError,
    PayloadTooLargeError,
    WorkflowAlreadyStartedError,
)
from unit.client.hands import QUEUE, Hands, values


async def test_a_plain_start_has_no_header(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", "a", id="w", task_queue=QUEUE)
    message = await hands.next()
    assert message.kind == kinds.START
    assert wire.run_id_text(message.run_id) == handle.result_run_id
    assert handle.first_execution_run_id == handle.result_run_id
    assert handle.run_id is None
    assert message.header == b""
    assert message.input == values("a")


async def test_options_travel_in_the_header(client: Client, hands: Hands) -> None:
    when = datetime(2024, 1, 2, tzinfo=UTC)
    await client.start_workflow(
        "Greet",
        args=["a", 2],
        id="w",
        task_queue=QUEUE,
        execution_timeout=timedelta(seconds=3),
        run_timeout=timedelta(seconds=2),
        task_timeout=timedelta(seconds=1),
        retry_policy=RetryPolicy(maximum_attempts=4),
        memo={"m": [1]},
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(SearchAttributeKey.for_keyword("k"), "v"),
                SearchAttributePair(SearchAttributeKey.for_datetime("d"), when),
            ]
        ),
        static_summary="sum",
        static_details="det",
        expire=1.2,
        record={"$entity": "x"},
    )
    message = await hands.next()
    header = wire.load(message.header)
    assert {name: header[name] for name in ("exec", "run", "task", "expire")} == {
        "exec": 3000,
        "run": 2000,
        "task": 1000,
        "expire": 2,
    }
    assert header["retry"]["a"] == 4
    described = await client.get_workflow_handle("w").describe()
    assert await described.memo() == {"m": [1]}
    assert await described.memo_value("none", 7) == 7
    with pytest.raises(KeyError, match="none"):
        await described.memo_value("none")
    assert described.typed_search_attributes[SearchAttributeKey.for_datetime("d")] == when
    assert described.search_attributes["k"] == ["v"]
    assert described.record["$entity"] == "x"
    assert await described.static_summary() == "sum"
    assert await described.static_details() == "det"
    assert described.status == WorkflowExecutionStatus.RUNNING


async def test_a_taken_id_is_refused_with_its_run(client: Client) -> None:
    first = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    assert caught.value.run_id == first.result_run_id
    assert caught.value.workflow_id == "w"


async def test_use_existing_returns_the_open_run(client: Client) -> None:
    first = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    second = await client.start_workflow(
        "Greet",
        id="w",
        task_queue=QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    assert second.result_run_id == first.result_run_id


@pytest.mark.parametrize(
    "policies",
    [
        {"id_conflict_policy": WorkflowIDConflictPolicy.TERMINATE_EXISTING},
        {"id_reuse_policy": WorkflowIDReusePolicy.TERMINATE_IF_RUNNING},
    ],
)
async def test_an_open_run_is_terminated_first(
    client: Client, hands: Hands, policies: dict[str, Any]
) -> None:
    first = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    start = await hands.next()
    second = asyncio.ensure_future(
        client.start_workflow("Greet", id="w", task_queue=QUEUE, **policies)
    )
    terminate = await hands.next()
    assert terminate.kind == kinds.TERMINATE
    await hands.settle(
        start,
        terminate,
        status=RunStatus.TERMINATED,
        result=b"{}",
        reply=(bytes.fromhex(terminate.document["reply"]), b"T"),
    )
    assert (await second).result_run_id != first.result_run_id


async def test_reuse_policies_look_at_how_the_last_run_ended(client: Client, hands: Hands) -> None:
    await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.complete(await hands.next(), 1)
    for policy in (
        WorkflowIDReusePolicy.REJECT_DUPLICATE,
        WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    ):
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.start_workflow("Greet", id="w", task_queue=QUEUE, id_reuse_policy=policy)
    await client.start_workflow("Greet", id="w", task_queue=QUEUE)


async def test_signal_with_start_starts_and_then_only_signals(client: Client, hands: Hands) -> None:
    for number in range(2):
        await client.start_workflow(
            "Greet", id="w", task_queue=QUEUE, start_signal="go", start_signal_args=[number]
        )
    messages = [await hands.next() for _ in range(3)]
    assert [each.kind for each in messages] == [kinds.START, kinds.SIGNAL, kinds.SIGNAL]
    assert [each.args for each in messages[1:]] == [[0], [1]]
    assert len({each.run_id for each in messages}) == 1
    assert messages[1].meta != messages[2].meta


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"id": ""}, "workflow id"),
        ({"id": "a\0b"}, "workflow id"),
        ({"id": "é" * 501}, "workflow id"),
        ({"task_queue": ""}, "task queue"),
        ({"workflow": ""}, "workflow type"),
        ({"workflow": len}, "no workflow"),
        ({"run_timeout": timedelta(seconds=-1)}, "run_timeout"),
        ({"execution_timeout": timedelta(seconds=-1)}, "execution_timeout"),
        ({"start_delay": timedelta(seconds=-1)}, "start_delay"),
        ({"expire": -1}, "expire"),
        ({"retry_policy": RetryPolicy(backoff_coefficient=0.5)}, "Greet"),
        ({"cron_schedule": "* * * * *"}, "cron_schedule"),
        ({"arg": 1, "args": [2]}, "arg and args"),
        ({"start_signal_args": [1]}, "start_signal"),
        ({"args": "text"}, "args must be a list"),
        ({"start_signal": "go", "start_signal_args": "text"}, "args must be a list"),
        ({"search_attributes": {"k": "text"}}, "lists"),
        ({"search_attributes": {"k": [2**70]}}, "64-bit"),
        ({"search_attributes": {"k": [10**5000]}}, "digits"),
        ({"search_attributes": {"k": ["\ud800"]}}, "surrogates"),
        (
            {
                "id_reuse_policy": WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
                "id_conflict_policy": WorkflowIDConflictPolicy.FAIL,
            },
            "id_conflict_policy",
        ),
    ],
)
async def test_bad_options_are_named(client: Client, changes: dict[str, Any], named: str) -> None:
    options: dict[str, Any] = {"workflow": "Greet", "id": "w", "task_queue": QUEUE} | changes
    with pytest.raises(InvalidArgumentError, match=named):
        await client.start_workflow(**options)
    assert (await client.count_workflows()).count == 0


async def test_an_argument_that_cannot_be_stored_is_named(client: Client) -> None:
    with pytest.raises(ConversionError, match=r"arguments of workflow 'Greet'.*value 2"):
        await client.start_workflow("Greet", args=[1, object()], id="w", task_queue=QUEUE)
    with pytest.raises(ConversionError, match="'entity'"):
        await client.start_workflow("Greet", id="w", task_queue=QUEUE, record={"entity": object()})


async def test_arguments_that_are_too_large_are_named() -> None:
    async with await Client.connect("sqlite://", payload_limit=100) as client:
        with pytest.raises(PayloadTooLargeError, match=r"arguments of workflow 'Greet'") as caught:
            await client.start_workflow("Greet", "x" * 100, id="w", task_queue=QUEUE)
    assert caught.value.limit == 100


async def test_many_starts_at_once(client: Client) -> None:
    handles = await asyncio.gather(
        *(client.start_workflow("Greet", id=f"w{n}", task_queue=QUEUE) for n in range(1_200))
    )
    assert len({handle.result_run_id for handle in handles}) == 1_200
    assert (await client.count_workflows()).count == 1_200
