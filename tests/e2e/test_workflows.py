"""What a workflow is: its forms, arguments and results, what fails it and what only delays it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from hotmesh.common import RawValue
from hotmesh.exceptions import ApplicationError, RPCError, RPCStatusCode, TerminatedError
from support.running import at_module_level, execute, failure_of, run, start, task_failure, working


@workflow.defn
class Greet:
    @workflow.run
    async def run(self, name: str) -> str:
        return f"Hello, {name}!"


@dataclass
class Order:
    item: str
    count: int


@workflow.defn(name="renamed")
class Double:
    @workflow.init
    def __init__(self, order: Order) -> None:
        self.order = order

    @workflow.run
    async def run(self, order: Order) -> Order:
        assert order == self.order
        return Order(order.item, order.count * 2)


@workflow.defn
class Inherits(Greet):
    @workflow.run
    async def run(self, name: str) -> str:
        return (await super().run(name)).upper()


@workflow.defn(dynamic=True)
class AnyWorkflow:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[str]:
        read = [workflow.payload_converter().from_payload(each.payload, str) for each in args]
        return [workflow.info().workflow_type, *read]


async def plain(first: int, second: int) -> int:
    return first + second


@workflow.defn
class Raises:
    @workflow.run
    async def run(self, what: str) -> None:
        if what == "application":
            raise ApplicationError("bad order", "detail", 7, type="BadOrder")
        if what == "timeout":
            raise TimeoutError("too slow")
        if what == "cause":
            try:
                raise ValueError("inner")
            except ValueError as error:
                raise ApplicationError("outer") from error
        raise ValueError(what)


class OrderError(Exception):
    pass


@workflow.defn(failure_exception_types=[OrderError])
class RaisesItsOwn:
    @workflow.run
    async def run(self) -> None:
        raise OrderError("no such order")


async def test_a_result_comes_back_on_every_backend(any_client: Client) -> None:
    assert await run(any_client, Greet.run, "world") == "Hello, world!"


async def test_init_gets_the_arguments_and_dataclasses_come_back_typed(client: Client) -> None:
    assert await run(client, Double.run, Order("tea", 2)) == Order("tea", 4)


async def test_a_workflow_is_known_by_its_given_name(client: Client) -> None:
    async with working(client, Double):
        handle = await start(client, "renamed", Order("tea", 1))
        assert await handle.result() == {"item": "tea", "count": 2}


async def test_a_run_method_may_override_an_inherited_one(client: Client) -> None:
    assert await run(client, Inherits.run, "you") == "HELLO, YOU!"


async def test_a_dynamic_workflow_takes_every_unknown_type(client: Client) -> None:
    async with working(client, AnyWorkflow, Greet):
        assert await execute(client, "whatever", "a", "b") == ["whatever", "a", "b"]
        assert await execute(client, Greet.run, "a") == "Hello, a!"


async def test_a_dynamic_workflow_configures_itself_by_its_type(client: Client) -> None:
    @workflow.defn(dynamic=True)
    class StandIn:
        @workflow.dynamic_config
        def configure(self) -> workflow.DynamicWorkflowConfig:
            strict = workflow.info().workflow_type == "strict"
            return workflow.DynamicWorkflowConfig(
                failure_exception_types=[ValueError] if strict else None
            )

        @workflow.run
        @at_module_level
        async def run(self, args: Sequence[RawValue]) -> None:
            raise ValueError("not for us")

    async with working(client, StandIn):
        assert "not for us" in str(await failure_of(execute(client, "strict")))
        handle = await start(client, "lenient")
        assert "not for us" in (await task_failure(handle))["message"]


def test_a_dynamic_config_has_its_place() -> None:
    with pytest.raises(ValueError, match="not dynamic"):

        @workflow.defn
        class Named:  # pyright: ignore[reportUnusedClass]
            @workflow.dynamic_config
            def configure(self) -> workflow.DynamicWorkflowConfig:
                return workflow.DynamicWorkflowConfig()

            @workflow.run
            @at_module_level
            async def run(self) -> None:
                pass

    with pytest.raises(ValueError, match="synchronous"):

        @workflow.dynamic_config
        async def later(_: Any) -> None:  # pyright: ignore[reportUnusedFunction]
            pass


async def test_a_plain_function_is_a_workflow(client: Client) -> None:
    assert await run(client, plain, 1, 2) == 3


async def test_an_application_error_fails_the_run_with_all_it_says(any_client: Client) -> None:
    async with working(any_client, Raises):
        handle = await start(any_client, Raises.run, "application")
        error = await failure_of(handle.result())
        described = await handle.describe()
    assert isinstance(error, ApplicationError)
    assert (error.message, error.type, list(error.details)) == (
        "bad order",
        "BadOrder",
        ["detail", 7],
    )
    assert described.status == WorkflowExecutionStatus.FAILED


async def test_a_failure_keeps_its_cause(client: Client) -> None:
    async with working(client, Raises):
        error = await failure_of(execute(client, Raises.run, "cause"))
    assert isinstance(error.__cause__, ApplicationError)
    assert error.__cause__.type == "ValueError"
    assert error.__cause__.message == "inner"


async def test_a_timeout_error_fails_the_run(client: Client) -> None:
    async with working(client, Raises):
        error = await failure_of(execute(client, Raises.run, "timeout"))
    assert isinstance(error, ApplicationError)
    assert error.type == "TimeoutError"


async def test_failure_exception_types_of_the_workflow_fail_it(client: Client) -> None:
    async with working(client, RaisesItsOwn):
        error = await failure_of(execute(client, RaisesItsOwn.run))
    assert isinstance(error, ApplicationError)
    assert (error.type, error.message) == ("OrderError", "no such order")


async def test_failure_exception_types_of_the_worker_fail_every_workflow(client: Client) -> None:
    async with working(client, Raises, workflow_failure_exception_types=[ValueError]):
        error = await failure_of(execute(client, Raises.run, "wrong value"))
    assert isinstance(error, ApplicationError)
    assert (error.type, error.message) == ("ValueError", "wrong value")


async def test_any_other_exception_keeps_the_run_open_until_the_code_is_fixed(
    any_client: Client,
) -> None:
    async with working(any_client, Raises, Greet) as worker:
        handle = await start(any_client, "Raises", "a bug")
        failure = await task_failure(handle)
        assert await execute(any_client, Greet.run, "others") == "Hello, others!"
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        worker.add_workflow(fixed())
        assert await handle.result() == "fixed: a bug"
    assert failure["type"] == "ValueError"
    assert failure["message"] == "a bug"


def fixed() -> type:
    @workflow.defn(name="Raises")
    class Fixed:
        @workflow.run
        @at_module_level
        async def run(self, what: str) -> str:
            return f"fixed: {what}"

    return Fixed


async def test_a_healed_task_failure_leaves_the_record(client: Client) -> None:
    async with working(client, Raises) as worker:
        handle = await start(client, "Raises", "a bug")
        await task_failure(handle)
        worker.add_workflow(fixed())
        await handle.result()
        assert "hotmesh.task_failure" not in (await handle.describe()).record


@workflow.defn
class ReportsItself:
    @workflow.run
    async def run(self) -> dict[str, object]:
        info = workflow.info()
        return {
            "id": info.workflow_id,
            "run": info.run_id,
            "first": info.first_execution_run_id,
            "type": info.workflow_type,
            "queue": info.task_queue,
            "namespace": info.namespace,
            "attempt": info.attempt,
            "continued": info.continued_run_id,
            "run_timeout": info.run_timeout.total_seconds() if info.run_timeout else None,
            "execution_timeout": (
                info.execution_timeout.total_seconds() if info.execution_timeout else None
            ),
            "parent": info.parent,
            "in": workflow.in_workflow(),
        }


async def test_info_says_what_the_run_is(client: Client) -> None:
    async with working(client, ReportsItself):
        handle = await start(
            client,
            ReportsItself.run,
            id="me",
            run_timeout=timedelta(seconds=30),
            execution_timeout=timedelta(seconds=60),
        )
        said = await handle.result()
    assert said == {
        "id": "me",
        "run": handle.result_run_id,
        "first": handle.result_run_id,
        "type": "ReportsItself",
        "queue": "tests",
        "namespace": "default",
        "attempt": 1,
        "continued": None,
        "run_timeout": 30.0,
        "execution_timeout": 60.0,
        "parent": None,
        "in": True,
    }


def test_workflow_functions_refuse_to_work_outside_workflows() -> None:
    assert not workflow.in_workflow()
    with pytest.raises(workflow.NotInWorkflowError, match="Not in workflow event loop"):
        workflow.info()


async def test_a_terminated_workflow_ends_without_being_asked(any_client: Client) -> None:
    async def stubborn() -> None:
        while True:
            try:
                await workflow.wait_condition(lambda: False)
            except asyncio.CancelledError:
                continue

    async with working(any_client, stubborn):
        handle = await start(any_client, "stubborn")
        await handle.terminate("seen", 7, reason="no longer needed")
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result()
        described = await handle.describe()
    assert isinstance(caught.value.cause, TerminatedError)
    assert str(caught.value.cause) == "no longer needed"
    assert list(caught.value.cause.details) == ["seen", 7]
    assert described.status == WorkflowExecutionStatus.TERMINATED


async def test_a_run_that_leaves_memory_cleans_up_but_changes_nothing(client: Client) -> None:
    refused: list[str] = []

    async def cleans_up() -> str:
        try:
            await asyncio.sleep(0.05)
        finally:
            try:
                asyncio.create_task(workflow.sleep(60))  # noqa: RUF006 - refused
                workflow.start_activity("x", start_to_close_timeout=1)
            except workflow.ReadOnlyContextError as error:
                refused.append(str(error))
        return "done"

    async with working(client, cleans_up):
        handle = await start(client, "cleans_up")
        await handle.query("__stack_trace")
    assert refused == ["While in read-only function, action attempted: start activity"]
    async with working(client, cleans_up):
        assert await handle.result() == "done"


async def test_a_closed_workflow_cannot_be_terminated(client: Client) -> None:
    async with working(client, Greet):
        handle = await start(client, Greet.run, "you")
        await handle.result()
        with pytest.raises(RPCError, match="already completed") as caught:
            await handle.terminate()
    assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_the_result_can_be_read_again_by_id(any_client: Client) -> None:
    async with working(any_client, Greet):
        await execute(any_client, Greet.run, "you", id="again")
    for _ in range(2):
        handle = any_client.get_workflow_handle_for(Greet.run, "again")
        assert await handle.result() == "Hello, you!"
