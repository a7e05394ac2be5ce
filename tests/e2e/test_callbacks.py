"""What conditions and callbacks of workflow code raise is judged as what its coroutines raise."""

import asyncio
from typing import Any

import pytest

from hotmesh import meshflow, workflow
from hotmesh.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError
from hotmesh.exceptions import ApplicationError, CancelledError
from support.running import eventually, failure_of, start, task_failure, working

ERRORS: dict[str, BaseException] = {
    "failure": ApplicationError("it fails", type="Fails"),
    "group": ExceptionGroup("both", [ApplicationError("it fails", type="Fails")]),
    "mistake": ValueError("a mistake"),
    "stop": StopIteration("a mistake"),
    "exit": SystemExit("a mistake"),
    "cancelled": asyncio.CancelledError("nobody asked"),
}


def raises(kind: str) -> bool:
    error = ERRORS[kind]
    error.__traceback__ = error.__context__ = None
    raise error


@workflow.defn
class Raises:
    def __init__(self) -> None:
        self.ready = False

    @workflow.run
    async def run(self, place: str, kind: str) -> str:
        loop = asyncio.get_running_loop()
        if place == "condition":
            await workflow.wait_condition(lambda: self.ready and raises(kind))
        elif place == "caught":
            try:
                await workflow.wait_condition(lambda: raises(kind))
            except Exception as error:
                return type(error).__name__
        elif place == "timer":
            loop.call_later(0.001, raises, kind)
        elif place == "soon":
            loop.call_soon(raises, kind)
        elif place == "done":
            task = asyncio.create_task(asyncio.sleep(0.001))
            task.add_done_callback(lambda _: raises(kind))
        await workflow.wait_condition(lambda: False)
        return "never"

    @workflow.signal
    def go(self) -> None:
        self.ready = True

    @workflow.update
    async def change(self, kind: str) -> None:
        await workflow.wait_condition(lambda: raises(kind))


PLACES = ["condition", "timer", "soon", "done"]


async def begun(client: Client, place: str, kind: str) -> Any:
    handle = await start(client, Raises.run, place, kind)
    if place == "condition":
        await handle.signal(Raises.go)
    return handle


@pytest.mark.parametrize("place", PLACES)
async def test_a_failure_fails_the_workflow(client: Client, place: str) -> None:
    async with working(client, Raises):
        for kind in ("failure", "group"):
            error = await failure_of((await begun(client, place, kind)).result())
            assert isinstance(error, ApplicationError)
            assert error.type in ("Fails", "ExceptionGroup")
        handle = await begun(client, place, "cancelled")
        assert isinstance(await failure_of(handle.result()), CancelledError)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["mistake", "stop", "exit"])
async def test_a_mistake_fails_the_task(client: Client, place: str, kind: str) -> None:
    async with working(client, Raises):
        handle = await begun(client, place, kind)
        await eventually(lambda: is_failing(handle), "its task fails")
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING


async def is_failing(handle: Any) -> bool:
    return bool(await task_failure(handle))


async def test_what_a_condition_raises_can_be_caught_where_it_is_waited_for(client: Client) -> None:
    async with working(client, Raises):
        names = {"failure": "ApplicationError", "mistake": "ValueError", "stop": "RuntimeError"}
        for kind, name in names.items():
            assert await (await start(client, Raises.run, "caught", kind)).result() == name


async def test_a_condition_of_an_update_fails_the_update(client: Client) -> None:
    async with working(client, Raises):
        handle = await start(client, Raises.run, "", "")
        with pytest.raises(WorkflowUpdateFailedError) as caught:
            await handle.execute_update(Raises.change, "failure")
        assert isinstance(caught.value.cause, ApplicationError)


async def fails_in_a_callback(kind: str) -> None:
    asyncio.get_running_loop().call_soon(raises, kind)
    await asyncio.sleep(60)


@pytest.mark.parametrize("kind", ["mistake", "exit"])
async def test_a_function_fails_by_its_callbacks_too(sqlite_url: str, kind: str) -> None:
    await meshflow.Worker.create(
        connection=sqlite_url,
        task_queue="q",
        workflow=fails_in_a_callback,
        options={"maximum_attempts": 2, "initial_interval": 0.01},
    )
    handle = await meshflow.Client(connection=sqlite_url).workflow.start(
        task_queue="q", workflow_name=fails_in_a_callback, args=[kind]
    )
    with pytest.raises(Exception, match="a mistake"):
        await asyncio.wait_for(handle.result(), 20)
    await meshflow.shutdown()
