"""Whatever comes out of user code ends at what it was called for: neighbours and worker go on."""

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from hotmesh.common import Payload
from hotmesh.converter import DataConverter, PayloadCodec
from hotmesh.engine import wire
from hotmesh.exceptions import ActivityError, ApplicationError, CancelledError
from hotmesh.router.recovering import Recovery
from hotmesh.worker import (
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
)
from support.running import (
    ONCE,
    SOON,
    attempts,
    eventually,
    execute,
    failure_of,
    start,
    task_failure,
    working,
)


class BareError(BaseException):
    """Not an Exception."""


ERRORS: dict[str, type[BaseException]] = {
    each.__name__: each for each in (KeyboardInterrupt, SystemExit, GeneratorExit, BareError)
}
HEALED: set[str] = set()
"""Names of errors that are raised no more."""


def leave(name: str) -> None:
    """Raise, until it is healed."""
    if name in ERRORS and name not in HEALED:
        raise ERRORS[name]("out")


@pytest.fixture(autouse=True)
def _nothing_is_healed() -> None:
    HEALED.clear()


@activity.defn
async def leaves(name: str) -> str:
    leave(name)
    return "fine"


@workflow.defn
class Leaves:
    """Raises in a task of its own, in its main coroutine, or calls what raises."""

    @workflow.run
    async def run(self, name: str, where: str) -> str:
        if where == "task":

            async def task() -> None:
                leave(name)

            await asyncio.gather(task(), asyncio.sleep(0.001))
        elif where == "main":
            leave(name)
        elif where == "activity":
            return await workflow.execute_activity(
                leaves, name, start_to_close_timeout=SOON, retry_policy=ONCE
            )
        return "fine"


async def test_what_workflows_and_activities_raise_ends_there(any_client: Client) -> None:
    client = any_client
    async with asyncio.timeout(30), working(client, Leaves, activities=[leaves]):
        failing = [
            await start(client, Leaves.run, name, where)
            for name in ERRORS
            for where in ("main", "task")
        ]
        activities = {name: await start(client, Leaves.run, name, "activity") for name in ERRORS}
        assert await execute(client, Leaves.run, "", "nowhere") == "fine"
        for handle in failing:
            assert (await task_failure(handle))["type"] in ERRORS
        for name, handle in activities.items():
            error = await failure_of(handle.result())
            assert isinstance(error, ActivityError)
            assert isinstance(error.cause, ApplicationError)
            assert error.cause.type == name
        HEALED.update(ERRORS)
        assert {await handle.result() for handle in failing} == {"fine"}


@workflow.defn
class Handles:
    def __init__(self) -> None:
        self.stops = False

    @workflow.run
    async def run(self, generation: int = 1) -> int:
        await workflow.wait_condition(lambda: self.stops)
        return generation

    @workflow.signal
    def stop(self) -> None:
        self.stops = True

    @workflow.signal
    async def signal_leaves(self, name: str) -> None:
        leave(name)

    @workflow.update
    async def update_leaves(self, name: str) -> str:
        await asyncio.sleep(0)
        leave(name)
        return "fine"

    @workflow.update
    async def validated(self, name: str) -> str:
        return "fine"

    @validated.validator
    def validates(self, name: str) -> None:
        leave(name)

    @workflow.query
    def query_leaves(self, name: str) -> str:
        leave(name)
        return "fine"

    @workflow.signal
    async def signal_continues(self, later: bool) -> None:
        await self.continues(later)

    @workflow.update
    async def update_continues(self, later: bool) -> None:
        await self.continues(later)

    async def continues(self, later: bool) -> None:
        if later:
            await asyncio.sleep(0.001)
        workflow.continue_as_new(2)

    @workflow.query
    def query_continues(self) -> None:
        workflow.continue_as_new(2)

    @workflow.signal
    async def signal_cancels_a_helper(self) -> None:
        await self.cancels_a_helper()

    @workflow.update
    async def update_cancels_a_helper(self) -> None:
        await self.cancels_a_helper()

    async def cancels_a_helper(self) -> None:
        helper = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        helper.cancel()
        await helper


@pytest.mark.parametrize("name", ERRORS)
async def test_what_handlers_raise_ends_there(client: Client, name: str) -> None:
    async with asyncio.timeout(30), working(client, Handles):
        handle = await start(client, Handles.run)
        with pytest.raises(WorkflowQueryFailedError):
            await handle.query(Handles.query_leaves, name)
        with pytest.raises(WorkflowUpdateFailedError) as rejected:
            await handle.execute_update(Handles.validated, name)
        assert isinstance(rejected.value.cause, ApplicationError)
        assert rejected.value.cause.type == name
        update = asyncio.create_task(handle.execute_update(Handles.update_leaves, name))
        assert (await task_failure(handle))["type"] == name
        HEALED.add(name)
        assert await update == "fine"
        HEALED.clear()
        await handle.signal(Handles.signal_leaves, name)
        assert (await task_failure(handle))["type"] == name
        HEALED.add(name)
        await handle.signal(Handles.stop)
        assert await handle.result() == 1


@pytest.mark.parametrize("later", [False, True])
async def test_handlers_continue_as_new(any_client: Client, later: bool) -> None:
    client = any_client
    async with asyncio.timeout(30), working(client, Handles):
        handle = await start(client, Handles.run)
        await handle.signal(Handles.signal_continues, later)
        assert await ended_as_new(client, handle) == 2

        handle = await start(client, Handles.run)
        with pytest.raises(WorkflowUpdateFailedError) as update:
            await handle.execute_update(Handles.update_continues, later)
        assert isinstance(update.value.cause, ApplicationError)
        assert update.value.cause.type == "AcceptedUpdateCompletedWorkflow"
        assert await ended_as_new(client, handle) == 2


async def ended_as_new(client: Client, handle: Any) -> int:
    """What the next run of a workflow that continued as new returns."""
    first = client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)

    async def continued() -> bool:
        return (await first.describe()).status == WorkflowExecutionStatus.CONTINUED_AS_NEW

    await eventually(continued, "the run has continued as new")
    current = client.get_workflow_handle(handle.id)
    await current.signal(Handles.stop)
    return await current.result()


async def test_a_query_cannot_continue_as_new(client: Client) -> None:
    async with working(client, Handles):
        handle = await start(client, Handles.run)
        with pytest.raises(WorkflowQueryFailedError, match="continue as new"):
            await handle.query(Handles.query_continues)
        await handle.signal(Handles.stop)
        assert await handle.result() == 1


async def test_a_cancellation_nobody_asked_for_fails_what_raised_it(client: Client) -> None:
    async with working(client, Handles):
        handle = await start(client, Handles.run)
        with pytest.raises(WorkflowUpdateFailedError) as update:
            await handle.execute_update(Handles.update_cancels_a_helper)
        assert isinstance(update.value.cause, CancelledError)
        await handle.signal(Handles.signal_cancels_a_helper)
        assert isinstance(await failure_of(handle.result()), CancelledError)
        assert (await handle.describe()).status == WorkflowExecutionStatus.FAILED


tries: list[int] = []


@activity.defn
async def cancels_a_helper() -> int:
    tries.append(activity.info().attempt)
    if len(tries) < 3:
        helper = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        helper.cancel()
        await helper
    return len(tries)


async def test_an_activity_that_cancels_a_helper_is_tried_again(any_client: Client) -> None:
    tries.clear()

    async def calls() -> int:
        return await workflow.execute_activity(
            cancels_a_helper, start_to_close_timeout=SOON, retry_policy=attempts(5)
        )

    async with working(any_client, calls, activities=[cancels_a_helper]):
        assert await execute(any_client, "calls") == 3
    assert tries == [1, 2, 3]


# Converters, codecs and interceptors


class Leaving(PayloadCodec):
    """Raises where a value says so."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.checked(each, b"encode") for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self.checked(each, b"decode") for each in payloads]

    def checked(self, payload: Payload, way: bytes) -> Payload:
        for name in ERRORS:
            if way + b" " + name.encode() in payload.data:
                leave(name)
        return payload


@pytest.mark.parametrize("name", ERRORS)
async def test_what_a_codec_raises_ends_at_the_run(client: Client, name: str) -> None:
    config = client.config()
    config["data_converter"] = dataclasses.replace(DataConverter.default, payload_codec=Leaving())

    async def gives(text: str) -> str:
        return text.replace("later ", "encode ")

    async with asyncio.timeout(30), working(Client(**config), gives):
        failing = [await start(client, "gives", f"{way} {name}") for way in ("decode", "later")]
        assert await execute(client, "gives", "fine") == "fine"
        for handle in failing:
            assert (await task_failure(handle))["type"] == name
        HEALED.add(name)
        for handle in failing:
            assert name in await handle.result()


class LeavingInbound(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        leave(input.args[0])
        return await super().execute_workflow(input)


class Intercepts(Interceptor):
    def workflow_interceptor_class(self, input: Any) -> type[WorkflowInboundInterceptor]:  # noqa: A002
        return LeavingInbound

    def intercept_activity(self, next: Any) -> Any:  # noqa: A002
        async def execute_activity(input: ExecuteActivityInput) -> Any:  # noqa: A002
            leave(input.args[0])

        next.execute_activity = execute_activity
        return next


@pytest.mark.parametrize("name", ERRORS)
async def test_what_interceptors_raise_ends_there(client: Client, name: str) -> None:
    @activity.defn
    async def never(name: str) -> None:
        raise AssertionError("the interceptor has raised before")

    async def calls(at_once: str, name: str) -> None:
        await workflow.execute_activity(never, name, start_to_close_timeout=SOON, retry_policy=ONCE)

    async with (
        asyncio.timeout(30),
        working(client, calls, activities=[never], interceptors=[Intercepts()]),
    ):
        handle = await start(client, "calls", name, name)
        assert (await task_failure(handle))["type"] == name
        HEALED.update(set(ERRORS) - {name})
        bystander = next(each for each in ERRORS if each != name)
        error = await failure_of((await start(client, "calls", bystander, name)).result())
        assert isinstance(error, ActivityError)
        assert isinstance(error.cause, ApplicationError)
        assert error.cause.type == name


async def test_a_panic_while_a_run_is_taken_in_sets_that_run_aside(
    any_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Recovery._take_in

    async def panics(self: Recovery, run_id: bytes, *rest: Any) -> None:
        if run_id == wire.run_id_bytes(victim.first_execution_run_id or ""):
            raise BareError("panic")
        await real(self, run_id, *rest)

    client = any_client
    async with working(client, Handles):
        victim = await start(client, Handles.run, run_timeout=SOON * 6)
        neighbours = [await start(client, Handles.run) for _ in range(3)]
        for handle in (victim, *neighbours):
            await handle.query(Handles.query_leaves, "nothing")
    monkeypatch.setattr(Recovery, "_take_in", panics)
    async with working(client, Handles):
        for handle in (victim, *neighbours):
            await handle.signal(Handles.stop)
        assert [await handle.result() for handle in neighbours] == [1, 1, 1]
        assert "panic" in (await task_failure(victim))["message"]
