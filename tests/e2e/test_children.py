"""Child workflows, and workflows that signal and cancel others."""

import asyncio
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import Client, WorkflowExecutionStatus
from hotmesh.common import WorkflowIDReusePolicy
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    RPCError,
    RPCStatusCode,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    WorkflowAlreadyStartedError,
)
from hotmesh.workflow import ChildWorkflowCancellationType, ParentClosePolicy
from support.running import attempts, eventually, execute, failure_of, start, working


@workflow.defn
class Child:
    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self, then: Any) -> Any:
        if then == "fail":
            raise ApplicationError("child failed", type="ChildFault")
        if then == "wait":
            await workflow.wait_condition(lambda: "end" in self.got)
            return self.got
        if then == "clean up":
            try:
                await workflow.wait_condition(lambda: False)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
                return "cleaned up"
        if then == "info":
            info = workflow.info()
            assert info.parent is not None
            assert info.root is not None
            return [info.parent.workflow_id, info.parent.run_id, info.root.workflow_id]
        if then == "again":
            workflow.continue_as_new("after continuing")
        if then == "flaky":
            if workflow.info().attempt < 3:
                raise ApplicationError("not yet")
            return workflow.info().attempt
        return then

    @workflow.signal
    def put(self, value: Any) -> None:
        self.got.append(value)


@workflow.defn
class Parent:
    @workflow.run
    async def run(self, then: Any, options: dict[str, Any]) -> Any:
        for key, kind in (
            ("parent_close_policy", ParentClosePolicy),
            ("cancellation_type", ChildWorkflowCancellationType),
        ):
            if key in options:
                options[key] = kind(options[key])
        if "attempts" in options:
            options["retry_policy"] = attempts(options.pop("attempts"))
        return await workflow.execute_child_workflow(Child.run, then, **options)


async def call(client: Client, then: Any, **options: Any) -> Any:
    return await execute(client, Parent.run, then, options)


async def call_failure(client: Client, then: Any, **options: Any) -> ChildWorkflowError:
    error = await failure_of(call(client, then, **options))
    assert isinstance(error, ChildWorkflowError), repr(error)
    return error


async def test_a_child_returns_its_result(any_client: Client) -> None:
    async with working(any_client, Parent, Child):
        assert await call(any_client, {"a": 1}) == {"a": 1}


async def test_a_child_knows_its_parent_and_root(client: Client) -> None:
    async with working(client, Parent, Child):
        handle = await start(client, Parent.run, "info", {})
        assert await handle.result() == [handle.id, handle.result_run_id, handle.id]


async def test_a_childs_failure_is_the_parents_with_its_chain(any_client: Client) -> None:
    async with working(any_client, Parent, Child):
        error = await call_failure(any_client, "fail", id="child-that-fails")
    assert (error.workflow_id, error.workflow_type) == ("child-that-fails", "Child")
    assert error.run_id
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, error.cause.type) == ("child failed", "ChildFault")


async def test_a_child_that_continues_as_new_returns_its_last_result(client: Client) -> None:
    async with working(client, Parent, Child):
        assert await call(client, "again") == "after continuing"


async def test_a_child_is_retried(client: Client) -> None:
    async with working(client, Parent, Child):
        assert await call(client, "flaky", attempts=3) == 3


async def test_a_child_that_times_out_fails_its_parent(client: Client) -> None:
    async with working(client, Parent, Child):
        error = await call_failure(client, "wait", run_timeout=0.05)
    assert isinstance(error.cause, TimeoutError)


async def test_a_child_that_is_terminated_fails_its_parent(client: Client) -> None:
    async with working(client, Parent, Child):
        handle = await start(client, Parent.run, "wait", {"id": "to-terminate"})
        await eventually(lambda: is_running(client, "to-terminate"), "the child runs")
        await client.get_workflow_handle("to-terminate").terminate(reason="enough")
        error = await failure_of(handle.result())
    assert isinstance(error, ChildWorkflowError)
    assert isinstance(error.cause, TerminatedError)


async def is_running(client: Client, workflow_id: str) -> bool:
    return await status_of(client, workflow_id) == WorkflowExecutionStatus.RUNNING


async def status_of(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    try:
        return (await client.get_workflow_handle(workflow_id).describe()).status
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None


async def test_a_taken_child_id_is_refused_at_the_start(any_client: Client) -> None:
    async def tries() -> str:
        try:
            await workflow.start_child_workflow(Child.run, "x", id="taken")
        except WorkflowAlreadyStartedError as error:
            return f"{error.workflow_id} {error.workflow_type} {error.run_id}"
        return "started"

    async with working(any_client, tries, Child):
        holder = await start(any_client, Child.run, "wait", id="taken")
        told = await execute(any_client, "tries")
        assert told == f"taken Child {holder.first_execution_run_id}"


async def test_a_closed_childs_id_can_be_refused_too(client: Client) -> None:
    async def tries() -> str:
        options: dict[str, Any] = {
            "id": "used",
            "id_reuse_policy": WorkflowIDReusePolicy.REJECT_DUPLICATE,
        }
        await workflow.execute_child_workflow(Child.run, "x", **options)
        try:
            await workflow.start_child_workflow(Child.run, "y", **options)
        except WorkflowAlreadyStartedError:
            return "refused"
        return "started"

    async with working(client, tries, Child):
        assert await execute(client, "tries") == "refused"


async def test_a_handle_tells_ids_and_signals(any_client: Client) -> None:
    async def signals() -> list[Any]:
        handle = await workflow.start_child_workflow(Child.run, "wait", id="signalled")
        assert (handle.id, bool(handle.first_execution_run_id)) == ("signalled", True)
        await handle.signal(Child.put, 1)
        await handle.signal("put", "end")
        return await handle

    async with working(any_client, signals, Child):
        assert await execute(any_client, "signals") == [1, "end"]


async def test_signalling_a_child_that_has_ended_fails(client: Client) -> None:
    async def signals() -> str:
        handle = await workflow.start_child_workflow(Child.run, "x", id="ended")
        await handle
        try:
            await handle.signal(Child.put, 1)
        except ApplicationError as error:
            return error.message
        return "delivered"

    async with working(client, signals, Child):
        assert await execute(client, "signals") == (
            "Unable to signal external workflow because not found: 'ended'"
        )


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        (ParentClosePolicy.TERMINATE, WorkflowExecutionStatus.TERMINATED),
        (ParentClosePolicy.REQUEST_CANCEL, WorkflowExecutionStatus.CANCELED),
        (ParentClosePolicy.ABANDON, WorkflowExecutionStatus.RUNNING),
    ],
)
async def test_what_happens_to_a_child_when_its_parent_closes(
    any_client: Client, policy: ParentClosePolicy, status: WorkflowExecutionStatus
) -> None:
    async def leaves() -> None:
        await workflow.start_child_workflow(
            Child.run, "wait", id="left", parent_close_policy=policy
        )

    async with working(any_client, leaves, Child):
        await execute(any_client, "leaves")
        child = any_client.get_workflow_handle("left")
        if policy == ParentClosePolicy.ABANDON:
            await child.signal("put", "end")
            assert await child.result() == ["end"]
        else:
            await failure_of(child.result())
            assert await status_of(any_client, "left") == status


@workflow.defn
class Cancels:
    @workflow.run
    async def run(self, kind: int, then: str) -> list[Any]:
        handle = await workflow.start_child_workflow(
            Child.run, then, id="cancelled", cancellation_type=ChildWorkflowCancellationType(kind)
        )
        handle.cancel()
        try:
            return ["returned", await handle]
        except ChildWorkflowError as error:
            return ["raised", type(error.cause).__name__]


@pytest.mark.parametrize(
    ("kind", "then", "result"),
    [
        (ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED, "clean up", "cleaned up"),
        (ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED, "wait", None),
        (ChildWorkflowCancellationType.TRY_CANCEL, "wait", None),
        (ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED, "wait", None),
    ],
)
async def test_cancelling_a_child_cancels_it(
    any_client: Client, kind: ChildWorkflowCancellationType, then: str, result: str | None
) -> None:
    async with working(any_client, Cancels, Child):
        told = await execute(any_client, Cancels.run, int(kind), then)
        if result is None:
            assert told == ["raised", "CancelledError"]
            error = await failure_of(any_client.get_workflow_handle("cancelled").result())
            assert isinstance(error, CancelledError | TerminatedError)
        else:
            assert told == ["returned", result]


async def test_abandoning_a_child_tells_it_nothing(client: Client) -> None:
    async def abandons() -> str:
        handle = await workflow.start_child_workflow(
            Child.run,
            "wait",
            id="abandoned",
            cancellation_type=ChildWorkflowCancellationType.ABANDON,
            parent_close_policy=ParentClosePolicy.ABANDON,
        )
        handle.cancel()
        try:
            await handle
        except ChildWorkflowError as error:
            return type(error.cause).__name__
        return "returned"

    async with working(client, abandons, Child):
        assert await execute(client, "abandons") == "CancelledError"
        child = client.get_workflow_handle("abandoned")
        await child.signal("put", "end")
        assert await child.result() == ["end"]


async def test_a_cancelled_parent_cancels_its_child(any_client: Client) -> None:
    async with working(any_client, Parent, Child):
        handle = await start(any_client, Parent.run, "wait", {"id": "childs"})
        await eventually(lambda: is_running(any_client, "childs"), "the child runs")
        await handle.cancel()
        assert isinstance(await failure_of(handle.result()), CancelledError)
        assert await status_of(any_client, "childs") == WorkflowExecutionStatus.CANCELED


async def test_a_child_runs_on_another_task_queue(client: Client) -> None:
    async with working(client, Parent), working(client, Child, task_queue="other"):
        assert await call(client, "x", task_queue="other") == "x"


async def test_many_children_of_one_parent(any_client: Client) -> None:
    async def many() -> list[int]:
        return list(
            await asyncio.gather(
                *(workflow.execute_child_workflow(Child.run, number) for number in range(20))
            )
        )

    async with working(any_client, many, Child):
        assert await execute(any_client, "many") == list(range(20))


async def test_external_workflows_are_signalled_and_cancelled(any_client: Client) -> None:
    async def reaches_out() -> list[str]:
        found: list[str] = []
        await workflow.get_external_workflow_handle("other").signal("put", "end")
        third = workflow.get_external_workflow_handle_for(Child.run, "third")
        await third.cancel(reason="enough")
        for action in ("signal", "cancel"):
            nobody = workflow.get_external_workflow_handle("nobody")
            try:
                await (nobody.signal("put", 1) if action == "signal" else nobody.cancel())
            except ApplicationError as error:
                found.append(f"{error.type}: {error.message}")
        return found

    missing = "ExternalWorkflowExecutionNotFound"
    async with working(any_client, reaches_out, Child):
        other = await start(any_client, Child.run, "wait", id="other")
        third = await start(any_client, Child.run, "wait", id="third")
        assert await execute(any_client, "reaches_out") == [
            f"{missing}: Unable to signal external workflow because not found: 'nobody'",
            f"{missing}: Unable to cancel external workflow because not found: 'nobody'",
        ]
        assert await other.result() == ["end"]
        assert isinstance(await failure_of(third.result()), CancelledError)


@pytest.mark.parametrize("then", ["x", "again"])
async def test_children_survive_replay_of_every_task(client: Client, then: str) -> None:
    async with working(client, Parent, Child, max_cached_workflows=0):
        assert await call(client, then) == ("x" if then == "x" else "after continuing")
