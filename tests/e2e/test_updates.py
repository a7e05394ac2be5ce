"""Updates: validated, carried out once, and answered."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    WorkflowUpdateStage,
)
from hotmesh.common import RawValue, WorkflowIDConflictPolicy
from hotmesh.exceptions import (
    ApplicationError,
    InvalidArgumentError,
    RPCError,
    RPCStatusCode,
    WorkflowAlreadyStartedError,
)
from hotmesh.limits import BATCH_BYTES_MAX
from support.running import QUEUE, start, task_failure, working


@workflow.defn
class Account:
    """A balance that updates change until it is closed."""

    def __init__(self) -> None:
        self.balance = 0
        self.log: list[Any] = []
        self.open = True
        self.released = False

    @workflow.run
    async def run(self) -> list[Any]:
        self.log.append("main")
        workflow.set_update_handler("installed", lambda value: f"installed {value}")
        await workflow.wait_condition(lambda: not self.open)
        return self.log

    @workflow.signal
    def close(self) -> None:
        self.open = False

    @workflow.signal
    def release(self) -> None:
        self.released = True

    @workflow.update
    def add(self, amount: int) -> int:
        self.balance += amount
        self.log.append(amount)
        return self.balance

    @add.validator
    def check_add(self, amount: int) -> None:
        if amount < 0:
            raise ValueError("must not be negative")

    @workflow.update
    def tell(self, size: int) -> str:
        return "x" * size

    @workflow.update
    async def add_slowly(self, amount: int) -> str:
        await workflow.wait_condition(lambda: self.released)
        self.balance += amount
        info = workflow.current_update_info()
        assert info is not None
        return f"{info.name} {info.id} {self.balance}"

    @workflow.update(name="give-up")
    async def give_up(self, kind: str) -> None:
        await asyncio.sleep(0)
        if kind == "bug":
            raise RuntimeError("a bug in an update")
        raise ApplicationError("gave up", "detail", type="GaveUp")

    @workflow.update
    def invalid(self) -> None:
        self.log.append("invalid")

    @invalid.validator
    def starts_timer(self) -> None:
        workflow.start_activity("x", start_to_close_timeout=timedelta(seconds=1))

    @workflow.update(dynamic=True)
    def anything(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return [name, len(args)]

    @workflow.query
    def logged(self) -> list[Any]:
        return self.log


@workflow.defn
class Few:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.update
    def known(self, value: int) -> int:
        return value


async def test_an_update_returns_its_result(any_client: Client) -> None:
    async with working(any_client, Account):
        handle = await start(any_client, Account.run)
        assert await handle.execute_update(Account.add, 5) == 5
        assert await handle.execute_update(Account.add, 6) == 11


async def test_a_rejected_update_changes_nothing_and_is_not_recorded(any_client: Client) -> None:
    async with working(any_client, Account):
        handle = await start(any_client, Account.run)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(Account.add, -1)
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.message == "must not be negative"
        assert caught.value.cause.type == "ValueError"
        assert await handle.query(Account.logged) == ["main"]


async def test_a_failed_update_leaves_the_workflow_running(client: Client) -> None:
    async with working(client, Account):
        handle = await start(client, Account.run)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update("give-up", "properly")
        assert isinstance(caught.value.cause, ApplicationError)
        assert (caught.value.cause.type, *caught.value.cause.details) == ("GaveUp", "detail")
        assert await handle.execute_update(Account.add, 1) == 1


async def test_a_bug_in_an_update_fails_the_task(client: Client) -> None:
    async with working(client, Account):
        handle = await start(client, Account.run)
        update = asyncio.create_task(handle.execute_update("give-up", "bug"))
        assert (await task_failure(handle))["message"] == "a bug in an update"
        await handle.terminate()
        with pytest.raises((RPCError, WorkflowUpdateFailedError)):
            await update


async def test_a_validator_that_changes_something_fails_the_task(client: Client) -> None:
    async with working(client, Account):
        handle = await start(client, Account.run)
        update = asyncio.create_task(handle.execute_update(Account.invalid))
        failure = await task_failure(handle)
        assert failure["type"] == "ReadOnlyContextError"
        await handle.terminate()
        with pytest.raises(RPCError):
            await update


async def test_an_unknown_update_is_rejected_and_names_the_known_ones(client: Client) -> None:
    async with working(client, Few):
        handle = await start(client, Few.run)
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update("unknown")
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.message == (
        "Update handler for 'unknown' expected but not found, and there is no dynamic handler. "
        "known updates: [known]"
    )


async def test_a_wrong_argument_count_or_type_rejects(client: Client) -> None:
    async with working(client, Few):
        handle = await start(client, Few.run)
        for args in ([], [1, 2], ["text"]):
            with pytest.raises(WorkflowUpdateFailedError):
                await handle.execute_update("known", args=args)
        assert await handle.execute_update("known", 3) == 3


async def test_installed_and_dynamic_updates(client: Client) -> None:
    async with working(client, Account):
        handle = await start(client, Account.run)
        await handle.query(Account.logged)
        assert await handle.execute_update("installed", "x") == "installed x"
        assert await handle.execute_update("else", args=[1, 2]) == ["else", 2]


async def test_an_accepted_update_completes_later(any_client: Client) -> None:
    async with working(any_client, Account):
        handle = await start(any_client, Account.run)
        update = await handle.start_update(
            Account.add_slowly, 7, id="slow", wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        again = handle.get_update_handle_for(Account.add_slowly, "slow")
        await handle.signal(Account.release)
        assert await update.result() == "add_slowly slow 7"
        assert await again.result() == "add_slowly slow 7"
        await handle.signal(Account.close)
        await handle.result()
        closed = handle.get_update_handle_for(Account.add_slowly, "slow")
        assert await closed.result() == "add_slowly slow 7"


async def test_the_same_update_id_is_carried_out_once(any_client: Client) -> None:
    async with working(any_client, Account):
        handle = await start(any_client, Account.run)
        results = await asyncio.gather(
            *(handle.execute_update(Account.add, 5, id="once") for _ in range(5))
        )
        assert results == [5] * 5
        assert await handle.execute_update(Account.add, 9, id="once") == 5
        assert [each for each in await handle.query(Account.logged) if each != "main"] == [5]


async def test_a_large_outcome_is_found_in_the_journal_by_who_asks_again(
    any_client: Client,
) -> None:
    size = BATCH_BYTES_MAX // 3
    async with working(any_client, Account):
        handle = await start(any_client, Account.run)
        assert await handle.execute_update(Account.tell, size, id="large") == "x" * size
        for number in range(3):  # of which it keeps no more
            await handle.execute_update(Account.tell, size, id=f"{number}")
        assert await handle.execute_update(Account.tell, 7, id="large") == "x" * size
        known = handle.get_update_handle("large", result_type=str)
        assert await known.result() == "x" * size
        operation = with_start(handle.id, WorkflowIDConflictPolicy.USE_EXISTING)
        again = await any_client.execute_update_with_start_workflow(
            Account.tell, 7, id="large", start_workflow_operation=operation
        )
        assert again == "x" * size


async def test_waiting_for_admission_is_refused(client: Client) -> None:
    handle = await start(client, Account.run)
    with pytest.raises(InvalidArgumentError, match="ADMITTED"):
        await handle.start_update(Account.add, 1, wait_for_stage=WorkflowUpdateStage.ADMITTED)


async def test_an_update_without_a_worker_ends_in_time(client: Client) -> None:
    handle = await start(client, Account.run)
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError):
        await handle.execute_update(Account.add, 1, rpc_timeout=timedelta(milliseconds=50))
    async with working(client, Account):  # It was admitted all the same.
        await handle.signal(Account.close)
        assert await handle.result() == [1, "main"]


async def test_updates_and_signals_are_handled_in_the_order_sent(client: Client) -> None:
    handle = await start(client, Order.run)
    updates = []
    for number in range(0, 6, 2):
        await handle.signal(Order.put, number)
        updates.append(asyncio.create_task(handle.execute_update(Order.put_too, number + 1)))
        await asyncio.wait(updates, timeout=0.05)
    async with working(client, Order):
        assert await handle.result() == [0, 1, 2, 3, 4, 5]
        await asyncio.gather(*updates)


@workflow.defn
class Order:
    def __init__(self) -> None:
        self.got: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        await workflow.wait_condition(lambda: len(self.got) >= 6)
        return self.got

    @workflow.signal
    def put(self, number: int) -> None:
        self.got.append(number)

    @workflow.update
    def put_too(self, number: int) -> None:
        self.got.append(number)

    @put_too.validator
    def sees_what_came_before(self, number: int) -> None:
        if self.got != list(range(number)):
            raise ValueError(f"{self.got} before {number}")


async def test_an_update_to_a_closed_workflow_says_so(any_client: Client) -> None:
    async with working(any_client, Account):
        handle = await start(any_client, Account.run)
        await handle.signal(Account.close)
        await handle.result()
        with pytest.raises(RPCError, match="already completed") as caught:
            await handle.execute_update(Account.add, 1)
    assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_an_update_that_the_run_leaves_unfinished_fails(client: Client) -> None:
    async with working(client, Account):
        handle = await start(client, Account.run)
        update = await handle.start_update(
            Account.add_slowly, 1, wait_for_stage=WorkflowUpdateStage.ACCEPTED
        )
        waiting = asyncio.create_task(update.result())
        await handle.query(Account.logged)
        await handle.signal(Account.close)
        with pytest.warns(workflow.UnfinishedUpdateHandlersWarning, match=r"\[TMPRL1102\]"):
            await handle.result()
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await waiting
    assert isinstance(caught.value.cause, ApplicationError)
    assert caught.value.cause.type == "AcceptedUpdateCompletedWorkflow"


async def test_the_outcome_of_an_unknown_update_is_not_found(client: Client) -> None:
    async with working(client, Account):
        handle = await start(client, Account.run)
        with pytest.raises(RPCError, match="not found") as caught:
            await handle.get_update_handle("never-sent").result()
    assert caught.value.status == RPCStatusCode.NOT_FOUND


def with_start(workflow_id: str, policy: WorkflowIDConflictPolicy) -> Any:
    return WithStartWorkflowOperation(
        Account.run, id=workflow_id, task_queue=QUEUE, id_conflict_policy=policy
    )


async def test_update_with_start_starts_once_and_updates_each_time(any_client: Client) -> None:
    async with working(any_client, Account):
        for expected in (3, 6):
            operation = with_start("wallet", WorkflowIDConflictPolicy.USE_EXISTING)
            balance = await any_client.execute_update_with_start_workflow(
                Account.add, 3, start_workflow_operation=operation
            )
            assert balance == expected
        handle = await operation.workflow_handle()
        await handle.signal(Account.close)
        assert await handle.result() == [3, "main", 3]


async def test_update_with_start_fails_when_the_workflow_is_open(client: Client) -> None:
    async with working(client, Account):
        handle = await start(client, Account.run, id="open")
        operation = with_start("open", WorkflowIDConflictPolicy.FAIL)
        with pytest.raises(WorkflowAlreadyStartedError):
            await client.execute_update_with_start_workflow(
                Account.add, 3, start_workflow_operation=operation
            )
        with pytest.raises(WorkflowAlreadyStartedError):
            await operation.workflow_handle()
        assert await handle.execute_update(Account.add, 1) == 1


async def test_a_start_operation_is_good_for_one_call(client: Client) -> None:
    async with working(client, Account):
        operation = with_start("twice", WorkflowIDConflictPolicy.USE_EXISTING)
        await client.execute_update_with_start_workflow(
            Account.add, 3, start_workflow_operation=operation
        )
        with pytest.raises(RuntimeError, match="cannot be reused"):
            await client.execute_update_with_start_workflow(
                Account.add, 3, start_workflow_operation=operation
            )


async def test_updates_survive_replay_of_every_task(client: Client) -> None:
    async with working(client, Account, max_cached_workflows=0):
        handle = await start(client, Account.run)
        assert await handle.execute_update(Account.add, 5, id="a") == 5
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Account.add, -1)
        assert await handle.execute_update(Account.add, 6) == 11
        assert await handle.execute_update(Account.add, 6, id="a") == 5
        await handle.signal(Account.close)
        result = await handle.result()
    assert [each for each in result if each != "main"] == [5, 6]


async def test_a_rejected_update_stays_rejected_when_the_code_changes(client: Client) -> None:
    async with working(client, Few, max_cached_workflows=0) as worker:
        handle = await start(client, "Few")
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update("new-one")
        worker.add_workflow(FewMore)
        assert await handle.execute_update("new-one") == "now known"
        assert await handle.execute_update("new-one") == "now known"
        await handle.signal("end")
        assert await handle.result() == 2


@workflow.defn(name="Few")
class FewMore:
    def __init__(self) -> None:
        self.count = 0
        self.ended = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.ended)
        return self.count

    @workflow.signal
    def end(self) -> None:
        self.ended = True

    @workflow.update(name="new-one")
    def new_one(self) -> str:
        self.count += 1
        return "now known"
