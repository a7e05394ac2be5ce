"""What a handle does: results, messages, queries, cancellation, termination, history."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from hotmesh.backends.protocol import RunStatus
from hotmesh.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowHistoryEventFilterType,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from hotmesh.common import QueryRejectCondition
from hotmesh.core import kinds
from hotmesh.exceptions import ApplicationError, InvalidArgumentError, TerminatedError
from unit.client.hands import QUEUE, Hands, failure, transition, values


@dataclass
class Order:
    id: int


async def test_a_result_of_its_type(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE, result_type=Order)
    await hands.complete(await hands.next(), {"id": 3})
    assert await handle.result() == Order(3)
    assert await handle.result() == Order(3)
    assert await client.get_workflow_handle("w").result() == {"id": 3}


async def test_a_result_awaited_before_the_run_closes(client: Client, hands: Hands) -> None:
    waits = asyncio.ensure_future(client.execute_workflow("Greet", id="w", task_queue=QUEUE))
    await hands.complete(await hands.next(), 1)
    assert await waits == 1


async def test_a_failed_run_raises_its_cause(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    error = ApplicationError("no stock", {"sku": 1}, type="Stock", non_retryable=True)
    await hands.settle(await hands.next(), status=RunStatus.FAILED, result=failure(error))
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert (caught.value.cause.type, list(caught.value.cause.details)) == ("Stock", [{"sku": 1}])


async def test_results_are_followed_through_new_runs(client: Client, hands: Hands) -> None:
    first = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    start = await hands.next()
    next_id = b"n" * 16
    await hands.settle(start, status=RunStatus.CONTINUED_AS_NEW, result=next_id + values(1))
    with pytest.raises(WorkflowContinuedAsNewError) as caught:
        await first.result(follow_runs=False)
    assert caught.value.new_execution_run_id.replace("-", "") == next_id.hex()
    with pytest.raises(RPCError, match="workflow not found for ID: w"):
        await first.result()  # The run that follows was never made.


async def test_a_retried_run_leads_to_the_next_one(client: Client, hands: Hands) -> None:
    first = await client.start_workflow("Greet", id="a", task_queue=QUEUE)
    start = await hands.next()
    second = await client.start_workflow("Greet", id="b", task_queue=QUEUE)
    other = await hands.next()
    error = failure(ApplicationError("again"))
    await hands.settle(start, status=RunStatus.FAILED, result=b"\0NEXT" + other.run_id + error)
    await hands.complete(other, 2)
    assert await first.result() == await second.result() == 2
    with pytest.raises(WorkflowFailureError):
        await first.result(follow_runs=False)


async def test_a_wait_may_be_limited(client: Client) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    with pytest.raises(RPCError) as caught:
        await handle.result(rpc_timeout=timedelta(milliseconds=1))
    assert caught.value.status == RPCStatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("run_id", [None, "no uuid", "00000000-0000-7000-8000-000000000000"])
async def test_an_unknown_workflow_is_named(client: Client, run_id: str | None) -> None:
    handle = client.get_workflow_handle("nobody", run_id=run_id)
    for call in (
        handle.result(),
        handle.describe(),
        handle.signal("s"),
        handle.cancel(),
        handle.terminate(),
        handle.query("q"),
        handle.execute_update("u"),
        handle.fetch_history(),
    ):
        with pytest.raises(RPCError, match="workflow not found for ID: nobody") as caught:
            await call
        assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_a_closed_workflow_takes_no_more_messages(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.complete(await hands.next(), 1)
    for call in (
        handle.signal("s"),
        handle.terminate(),
        handle.execute_update("u"),
    ):
        with pytest.raises(RPCError, match="workflow execution already completed") as caught:
            await call
        assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_signals_arrive_in_order(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.next()
    for number in range(3):
        await handle.signal("s", number)
    messages = [await hands.next() for _ in range(3)]
    assert [(each.kind, each.name, each.args) for each in messages] == [
        (kinds.SIGNAL, "s", [number]) for number in range(3)
    ]
    with pytest.raises(InvalidArgumentError, match="signal name"):
        await handle.signal("")


async def test_cancel_carries_its_reason(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.next()
    await handle.cancel(reason="too late")
    message = await hands.next()
    assert (message.kind, message.body) == (kinds.CANCEL, b"too late")


async def test_cancel_stays_within_its_chain(client: Client, hands: Hands) -> None:
    first = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.complete(await hands.next(), 1)
    await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    with pytest.raises(RPCError, match="workflow not found for ID: w"):
        await first.cancel()
    await client.get_workflow_handle("w").cancel()


async def test_terminate_waits_for_a_live_worker(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    start = await hands.next()
    terminating = asyncio.ensure_future(handle.terminate(1, 2, reason="why"))
    message = await hands.next()
    assert (message.kind, message.document["reason"], message.args) == (
        kinds.TERMINATE,
        "why",
        [1, 2],
    )
    assert not terminating.done()
    await hands.settle(
        start,
        message,
        status=RunStatus.TERMINATED,
        result=failure(TerminatedError("why")),
        reply=(bytes.fromhex(message.document["reply"]), b"T"),
    )
    await terminating
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert isinstance(caught.value.cause, TerminatedError)


async def test_terminate_without_a_worker_is_only_stored(client: Client) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await handle.terminate()
    assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING


async def test_a_query_is_answered(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.next()
    asking = asyncio.ensure_future(handle.query("state", 1, result_type=Order))
    message = await hands.next()
    assert (message.kind, message.name, message.args) == (kinds.QUERY, "state", [1])
    await hands.settle(message, reply=(message.meta, b"R" + values({"id": 1})))
    assert await asking == Order(1)


@pytest.mark.parametrize(
    ("answer", "text"),
    [(b"F" + failure(RuntimeError("broken")), "broken"), (b"Nno code for it", "no code for it")],
)
async def test_a_query_fails(client: Client, hands: Hands, answer: bytes, text: str) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.next()
    asking = asyncio.ensure_future(handle.query("state"))
    message = await hands.next()
    await hands.settle(message, reply=(message.meta, answer))
    with pytest.raises(WorkflowQueryFailedError, match=text):
        await asking


async def test_a_query_is_rejected(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    await hands.complete(await hands.next(), 1)
    asking = asyncio.ensure_future(
        handle.query("state", reject_condition=QueryRejectCondition.NOT_OPEN)
    )
    message = await hands.next()
    assert message.document == {"reject": "not_open"}
    await hands.settle(message, reply=(message.meta, b"J\x02"))
    with pytest.raises(WorkflowQueryRejectedError) as caught:
        await asking
    assert caught.value.status == WorkflowExecutionStatus.COMPLETED


async def test_a_query_nobody_answers(client: Client) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    with pytest.raises(RPCError, match="No worker is running for its task queue") as caught:
        await handle.query("state", rpc_timeout=timedelta(milliseconds=10))
    assert caught.value.status == RPCStatusCode.DEADLINE_EXCEEDED


async def test_history_round_trip(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", "a", id="w", task_queue=QUEUE, memo={"m": 1})
    start = await hands.next()
    timer = (kinds.TIMER, 1, 5_000, "", b"", b"")
    done = (kinds.COMPLETE, 0, 0, "", b"", values(1))
    await hands.settle(start, journal=(0, transition(timer)))
    await hands.settle(
        start, journal=(1, transition(done)), status=RunStatus.COMPLETED, result=values(1)
    )
    history = await handle.fetch_history()
    assert [each.commands for each in history.events] == [[timer], [done]]
    assert history.run_id == handle.result_run_id
    assert WorkflowHistory.from_json("w", history.to_json()) == history
    last = await handle.fetch_history(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT)
    assert [each.number for each in last.events] == [1]
    exported = await handle.export()
    assert exported["events"][0]["commands"][0]["kind"] == "TIMER"
    assert exported["status"] == RunStatus.COMPLETED
    assert (await handle.describe()).history_length == 2
    with pytest.raises(InvalidArgumentError, match="'w'"):
        WorkflowHistory.from_json("w", "{}")


async def test_history_can_be_followed(client: Client, hands: Hands) -> None:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    start = await hands.next()
    timer = (kinds.TIMER, 1, 5_000, "", b"", b"")
    await hands.settle(start, journal=(0, transition(timer)))
    events = handle.fetch_history_events(wait_new_event=True)
    assert (await anext(events)).commands == [timer]
    done = (kinds.COMPLETE, 0, 0, "", b"", values(1))
    await hands.settle(
        start, journal=(1, transition(done)), status=RunStatus.COMPLETED, result=values(1)
    )
    assert [each.commands async for each in events] == [[done]]
