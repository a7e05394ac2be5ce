"""Exception groups end a workflow as what they hold would, wherever they come out."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hotmesh import activity, meshflow, workflow
from hotmesh.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from hotmesh.common import RetryPolicy
from hotmesh.exceptions import ActivityError, ApplicationError, CancelledError, ChildWorkflowError
from support.running import ONCE, QUEUE, SOON, eventually, failure_of, start, task_failure, working


@activity.defn
async def waits(number: int) -> int:
    await asyncio.sleep(60)
    return number


@activity.defn
async def refuses(number: int) -> None:
    raise ValueError(f"no {number}")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, fails: bool) -> None:
        if fails:
            raise ApplicationError("a child's failure", type="OfChild")
        await asyncio.sleep(60)


def call(fn: Any, number: int) -> Any:
    return workflow.execute_activity(fn, number, start_to_close_timeout=SOON, retry_policy=ONCE)


async def times_out() -> None:
    async with asyncio.timeout(0.001):
        await asyncio.sleep(60)


async def continues() -> None:
    workflow.continue_as_new(args=["", 1])


async def makes_a_mistake() -> None:
    raise KeyError("a mistake")


async def fails_when_cancelled() -> None:
    try:
        await asyncio.sleep(60)
    finally:
        raise ApplicationError("while cleaning up", type="CleanUp")


async def in_a_group_of_its_own(work: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work)


WAYS: dict[str, Callable[[], list[Any]]] = {
    "sleeps": lambda: [asyncio.sleep(60), asyncio.sleep(60)],
    "activities": lambda: [call(waits, 1), in_a_group_of_its_own(call(waits, 2))],
    "children": lambda: [workflow.execute_child_workflow(Child.run, False) for _ in range(2)],
    "activity fails": lambda: [call(refuses, 1), call(waits, 2), asyncio.sleep(60)],
    "child fails": lambda: [workflow.execute_child_workflow(Child.run, True), asyncio.sleep(60)],
    "timeout": lambda: [in_a_group_of_its_own(times_out()), asyncio.sleep(60)],
    "continues": lambda: [in_a_group_of_its_own(continues()), call(waits, 1)],
    "continues, then fails": lambda: [fails_when_cancelled(), continues()],
    "mistake": lambda: [makes_a_mistake(), call(refuses, 1)],
}


@workflow.defn
class Together:
    @workflow.run
    async def run(self, way: str, generation: int = 0) -> str:
        if generation:
            return f"generation {generation}"
        async with asyncio.TaskGroup() as group:
            for work in WAYS[way]():
                group.create_task(work)
        return "ended"


def types_of(error: BaseException | None) -> list[str]:
    """The types of a group's members, the innermost causes of each."""
    if isinstance(error, ApplicationError) and error.members:
        return [name for member in error.members for name in types_of(member)]
    if isinstance(error, ActivityError | ChildWorkflowError):
        return types_of(error.cause)
    return [(isinstance(error, ApplicationError) and error.type) or type(error).__name__]


async def test_what_remains_of_a_group_ends_the_workflow(any_client: Client) -> None:
    client = any_client
    async with (
        asyncio.timeout(30),
        working(client, Together, Child, activities=[waits, refuses]),
    ):
        handles = {way: await start(client, Together.run, way) for way in WAYS}
        for way in ("sleeps", "activities", "children"):
            await eventually(lambda at=way: has_begun(handles[at]), f"{way} has begun")
            await handles[way].cancel()
        for way in ("sleeps", "activities", "children"):
            assert isinstance(await failure_of(handles[way].result()), CancelledError)
            status = (await handles[way].describe()).status
            assert status == WorkflowExecutionStatus.CANCELED, way
        failed = {
            way: types_of(await failure_of(handles[way].result()))
            for way in ("activity fails", "child fails", "timeout", "continues, then fails")
        }
        assert await handles["continues"].result() == "generation 1"
        assert (await task_failure(handles["mistake"]))["type"] == "ExceptionGroup"
        status = (await handles["mistake"].describe()).status
        assert status == WorkflowExecutionStatus.RUNNING
    assert failed.pop("continues, then fails")[-1] == "CleanUp"
    assert failed == {
        "activity fails": ["ValueError", "CancelledError"],
        "child fails": ["OfChild"],
        "timeout": ["TimeoutError"],
    }


async def has_begun(handle: Any) -> bool:
    return len((await handle.fetch_history()).events) > 0


def group(*members: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("several", list(members))


@workflow.defn
class Handles:
    def __init__(self) -> None:
        self.done = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.done)
        return "done"

    @workflow.update
    async def updates(self, valid: bool) -> None:
        raise group(ApplicationError("1", type="One"), group(ApplicationError("2", type="Two")))

    @updates.validator
    def validates(self, valid: bool) -> None:
        if not valid:
            raise group(ValueError("invalid"))

    @workflow.query
    def asks(self) -> None:
        raise group(ValueError("a"), KeyError("b"))

    @workflow.signal
    async def fails(self) -> None:
        raise group(ApplicationError("1", type="One"))


async def test_groups_out_of_handlers_are_judged_the_same(client: Client) -> None:
    async with working(client, Handles):
        handle = await start(client, Handles.run)
        for valid, names in ((True, ["One", "Two"]), (False, ["ValueError"])):
            with pytest.raises(WorkflowUpdateFailedError) as update:
                await handle.execute_update(Handles.updates, valid)
            assert types_of(update.value.cause) == names
        with pytest.raises(WorkflowQueryFailedError) as query:
            await handle.query(Handles.asks)
        assert types_of(query.value.cause or query.value) == ["ValueError", "KeyError"]
        await handle.signal(Handles.fails)
        assert types_of(await failure_of(handle.result())) == ["One"]


@activity.defn
async def final(flag: bool) -> None:
    tried.append(activity.info().attempt)
    raise group(ValueError("x"), ApplicationError("y", type="Final", non_retryable=flag))


tried: list[int] = []


@pytest.mark.parametrize(
    ("flag", "policy"),
    [
        (True, RetryPolicy()),
        (False, RetryPolicy(non_retryable_error_types=["Final"])),
        (False, RetryPolicy(non_retryable_error_types=["ExceptionGroup"])),
    ],
)
async def test_a_member_that_may_not_be_retried_ends_activity_and_workflow(
    client: Client, flag: bool, policy: RetryPolicy
) -> None:
    tried.clear()

    async def calls() -> None:
        assert workflow.info().attempt == 1
        try:
            await workflow.execute_activity(
                final, flag, start_to_close_timeout=SOON, retry_policy=policy
            )
        except ActivityError as error:
            raise group(ApplicationError("x", type="Final", non_retryable=flag)) from error

    async with working(client, calls, activities=[final]):
        error = await failure_of((await start(client, "calls", retry_policy=policy)).result())
    assert tried == [1]
    assert types_of(error) == ["Final"]
    assert isinstance(error.__cause__, ActivityError)
    assert types_of(error.__cause__) == ["ValueError", "Final"]


async def test_an_own_type_that_fails_workflows_may_be_in_a_group(client: Client) -> None:
    async def fails() -> None:
        raise group(KeyError("x"), ApplicationError("y", type="Mine"))

    async with working(client, fails, workflow_failure_exception_types=[KeyError]):
        error = await failure_of((await start(client, "fails")).result())
    assert types_of(error) == ["KeyError", "Mine"]


# The function-first face


async def refuse(number: int) -> None:
    raise ApplicationError(f"no {number}", type="Refused", non_retryable=True)


async def together() -> None:
    activities = meshflow.workflow.proxy_activities(activities={"refuse": refuse})

    async def calls(number: int) -> None:
        await activities.refuse(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(calls(1))
        tasks.create_task(asyncio.sleep(60))


async def test_the_function_first_face_judges_them_the_same(sqlite_url: str) -> None:
    try:
        await meshflow.Worker.create(connection=sqlite_url, task_queue=QUEUE, workflow=together)
        face = meshflow.Client(connection=sqlite_url)
        handle = await face.workflow.start(workflow_name=together, task_queue=QUEUE, args=[])
        with pytest.raises(WorkflowFailureError) as error:
            await handle.result()
    finally:
        await meshflow.shutdown()
    assert types_of(error.value.cause) == ["Refused"]
