"""Updates: stages, outcomes now and later, and updates sent with a start."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hotmesh.backends.protocol import RunStatus
from hotmesh.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from hotmesh.common import WorkflowIDConflictPolicy
from hotmesh.core import kinds
from hotmesh.exceptions import (
    ApplicationError,
    InvalidArgumentError,
    WorkflowAlreadyStartedError,
)
from unit.client.hands import QUEUE, Hands, Message, failure, transition, values

ACCEPTED, COMPLETED = WorkflowUpdateStage.ACCEPTED, WorkflowUpdateStage.COMPLETED


@pytest.fixture
async def started(client: Client, hands: Hands) -> tuple[WorkflowHandle[Any, Any], Message]:
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    return handle, await hands.next()


async def answer(hands: Hands, stage: str, data: bytes) -> Message:
    message = await hands.next()
    assert message.kind == kinds.UPDATE
    await hands.settle(message, reply=(bytes.fromhex(message.document[stage]), data))
    return message


@pytest.mark.usefixtures("started")
async def test_executed_to_its_result(client: Client, hands: Hands) -> None:
    handle = client.get_workflow_handle("w")
    updating = asyncio.ensure_future(handle.execute_update("add", 2, id="u1"))
    message = await answer(hands, "completed", b"R" + values(3))
    assert (message.name, message.args) == ("add", [2])
    assert (message.document["id"], "accepted" in message.document) == ("u1", False)
    assert await updating == 3


@pytest.mark.usefixtures("started")
@pytest.mark.parametrize("status", [b"F", b"X"])
async def test_a_failed_or_rejected_update(client: Client, hands: Hands, status: bytes) -> None:
    updating = asyncio.ensure_future(client.get_workflow_handle("w").execute_update("add"))
    await answer(hands, "completed", status + failure(ApplicationError("no", type="T")))
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await updating
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "T"


@pytest.mark.usefixtures("started")
async def test_accepted_first_and_completed_later(client: Client, hands: Hands) -> None:
    handle = client.get_workflow_handle("w")
    starting = asyncio.ensure_future(handle.start_update("add", wait_for_stage=ACCEPTED))
    first = await answer(hands, "accepted", b"A")
    update = await starting
    assert update.id == first.document["id"]
    assert update.workflow_id == "w"
    waiting = asyncio.ensure_future(update.result())
    second = await answer(hands, "completed", b"R" + values("done"))
    assert second.document["poll"] is True
    assert second.document["id"] == update.id
    assert await waiting == "done"
    assert await update.result() == "done"  # Known by now: nobody is asked.


@pytest.mark.usefixtures("started")
async def test_a_rejection_is_told_by_the_handle(client: Client, hands: Hands) -> None:
    handle = client.get_workflow_handle("w")
    starting = asyncio.ensure_future(handle.start_update("add", wait_for_stage=ACCEPTED))
    await answer(hands, "accepted", b"X" + failure(ValueError("never")))
    update = await starting
    with pytest.raises(WorkflowUpdateFailedError):
        await update.result()


@pytest.mark.usefixtures("started")
async def test_no_worker_has_code_for_it(client: Client, hands: Hands) -> None:
    updating = asyncio.ensure_future(client.get_workflow_handle("w").execute_update("add"))
    await answer(hands, "completed", b"Nno code for it")
    with pytest.raises(RPCError, match="no code for it"):
        await updating


@pytest.mark.usefixtures("started")
async def test_the_wait_may_be_limited(client: Client) -> None:
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
        await client.get_workflow_handle("w").execute_update(
            "add", rpc_timeout=timedelta(milliseconds=5)
        )


@pytest.mark.usefixtures("started")
async def test_the_wait_may_be_cancelled(client: Client, hands: Hands) -> None:
    updating = asyncio.ensure_future(client.get_workflow_handle("w").execute_update("add"))
    await hands.next()
    updating.cancel()
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
        await updating


async def test_the_run_closes_without_an_answer(
    client: Client,
    hands: Hands,
    started: tuple[WorkflowHandle[Any, Any], Message],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hotmesh.client._update.LAST_WORD_S", 0.01)
    handle, start = started
    updating = asyncio.ensure_future(handle.execute_update("add"))
    update = await hands.next()
    await hands.settle(start, update, status=RunStatus.TERMINATED, result=b"{}")
    with pytest.raises(RPCError, match="already completed") as caught:
        await updating
    assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_the_outcome_of_a_closed_run_is_read_from_its_journal(
    client: Client, hands: Hands, started: tuple[WorkflowHandle[Any, Any], Message]
) -> None:
    handle, start = started
    accepted = [(kinds.UPDATE_ACCEPTED, 0, 0, "add", name, b"") for name in (b"u1", b"u2")]
    completed = (kinds.UPDATE_COMPLETED, 0, 0, "add", b"u1", b"R" + values(5))
    await hands.settle(
        start,
        journal=(0, transition(*accepted, completed)),
        status=RunStatus.COMPLETED,
        result=values(None),
    )
    assert await handle.get_update_handle("u1").result() == 5
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.get_update_handle("u2").result()
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "AcceptedUpdateCompletedWorkflow"
    with pytest.raises(RPCError, match="'u3'"):
        await handle.get_update_handle("u3").result()


@pytest.mark.usefixtures("started")
async def test_an_open_run_does_not_know_the_update(client: Client, hands: Hands) -> None:
    handle = client.get_workflow_handle("w")
    waiting = asyncio.ensure_future(handle.get_update_handle("u9").result())
    await answer(hands, "completed", b"X" + failure(ApplicationError("?", type="NotFound")))
    with pytest.raises(RPCError, match="'u9'") as caught:
        await waiting
    assert caught.value.status == RPCStatusCode.NOT_FOUND


@pytest.mark.usefixtures("started")
async def test_admitted_cannot_be_awaited(client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="ADMITTED"):
        await client.get_workflow_handle("w").start_update(
            "add", wait_for_stage=WorkflowUpdateStage.ADMITTED
        )


def operation(
    policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.USE_EXISTING,
) -> WithStartWorkflowOperation[Any, Any]:
    return WithStartWorkflowOperation(
        "Greet", "a", id="w", task_queue=QUEUE, id_conflict_policy=policy
    )


async def test_update_with_start(client: Client, hands: Hands) -> None:
    start = operation()
    updating = asyncio.ensure_future(
        client.execute_update_with_start_workflow("add", 1, start_workflow_operation=start)
    )
    assert (await hands.next()).kind == kinds.START
    await answer(hands, "completed", b"R" + values(2))
    assert await updating == 2
    handle = await start.workflow_handle()
    assert (handle.id, handle.result_run_id is not None) == ("w", True)
    with pytest.raises(RuntimeError, match="cannot be reused"):
        await client.execute_update_with_start_workflow("add", start_workflow_operation=start)


async def test_update_with_start_finds_the_open_run(
    client: Client, hands: Hands, started: tuple[WorkflowHandle[Any, Any], Message]
) -> None:
    start = operation()
    updating = asyncio.ensure_future(
        client.start_update_with_start_workflow(
            "add", start_workflow_operation=start, wait_for_stage=COMPLETED
        )
    )
    await answer(hands, "completed", b"R" + values(2))
    assert await (await updating).result() == 2
    assert (await start.workflow_handle()).result_run_id == started[0].result_run_id


@pytest.mark.usefixtures("started")
async def test_update_with_start_is_refused(client: Client) -> None:
    start = operation(WorkflowIDConflictPolicy.FAIL)
    waiting = asyncio.ensure_future(start.workflow_handle())
    with pytest.raises(WorkflowAlreadyStartedError):
        await client.execute_update_with_start_workflow("add", start_workflow_operation=start)
    with pytest.raises(WorkflowAlreadyStartedError):
        await waiting
    with pytest.raises(InvalidArgumentError, match="id_conflict_policy"):
        operation(WorkflowIDConflictPolicy.UNSPECIFIED)
