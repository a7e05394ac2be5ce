"""Cancellation: of workflows, of what they wait for, and what each side gets to see."""

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from hotmesh.exceptions import ActivityError, ApplicationError, CancelledError, RPCError
from hotmesh.workflow import ActivityCancellationType
from support.running import SOON, at_module_level, eventually, execute, failure_of, start, working


class Probe:
    """An activity that waits until it is cancelled, and says what it saw."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()
        self.saw: list[str] = []

    @activity.defn
    async def wait(self, then: str) -> str:
        self.begun.set()
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            assert details is not None
            self.saw += [name for name, told in dataclasses.asdict(details).items() if told]
            if then == "swallow":
                return "finished all the same"
            if then == "fail":
                raise ApplicationError("failed while stopping", non_retryable=True) from None
            raise
        finally:
            self.ended.set()


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, kind: int, then: str) -> str:
        handle = workflow.start_activity_method(
            Probe.wait,
            then,
            start_to_close_timeout=SOON,
            heartbeat_timeout=SOON,
            cancellation_type=ActivityCancellationType(kind),
        )
        try:
            return await handle
        except ActivityError as error:
            assert workflow.cancellation_reason() is not None
            self.error = error
            raise


@workflow.defn
class Sleeps:
    @workflow.run
    async def run(self, then: str) -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if then == "swallow":
                return f"swallowed: {workflow.cancellation_reason()}"
            if then == "clean up":
                await asyncio.sleep(0.001)
                return "cleaned up"
            if then == "fail":
                raise ApplicationError("instead") from None
            raise
        return "slept"


async def test_a_cancelled_workflow_ends_cancelled(any_client: Client) -> None:
    async with working(any_client, Sleeps):
        handle = await start(any_client, Sleeps.run, "")
        await handle.cancel()
        error = await failure_of(handle.result())
        described = await handle.describe()
    assert isinstance(error, CancelledError)
    assert described.status == WorkflowExecutionStatus.CANCELED


@pytest.mark.parametrize(
    ("then", "result"), [("swallow", "swallowed: because"), ("clean up", "cleaned up")]
)
async def test_a_workflow_may_do_something_else_when_cancelled(
    any_client: Client, then: str, result: str
) -> None:
    async with working(any_client, Sleeps):
        handle = await start(any_client, Sleeps.run, then)
        await handle.cancel(reason="because")
        assert await handle.result() == result


async def test_a_workflow_may_fail_when_cancelled(client: Client) -> None:
    async with working(client, Sleeps):
        handle = await start(client, Sleeps.run, "fail")
        await handle.cancel()
        error = await failure_of(handle.result())
    assert isinstance(error, ApplicationError)
    assert error.message == "instead"


async def test_a_cancellation_before_the_first_task_cancels(client: Client) -> None:
    handle = await start(client, Sleeps.run, "")
    await handle.cancel()
    async with working(client, Sleeps):
        assert isinstance(await failure_of(handle.result()), CancelledError)


async def test_cancelling_again_is_delivered_again(client: Client) -> None:
    cancelled = 0

    async def stubborn() -> int:
        nonlocal cancelled
        for count in range(1, 3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled = max(cancelled, count)
        return cancelled

    async with working(client, stubborn):
        handle = await start(client, "stubborn")
        await handle.cancel()

        async def once() -> bool:
            return cancelled == 1

        await eventually(once, "the first cancellation is seen")
        await handle.cancel()
        assert await handle.result() == 2


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        (ActivityCancellationType.TRY_CANCEL, ""),
        (ActivityCancellationType.WAIT_CANCELLATION_COMPLETED, ""),
    ],
)
@pytest.mark.parametrize("eager", [True, False])
async def test_cancelling_a_workflow_cancels_its_activity(
    any_client: Client, kind: ActivityCancellationType, then: str, eager: bool
) -> None:
    probe = Probe()
    async with working(
        any_client, Waits, activities=[probe.wait], disable_eager_activity_execution=not eager
    ):
        handle = await start(any_client, Waits.run, int(kind), then)
        await probe.begun.wait()
        await handle.cancel()
        error = await failure_of(handle.result())
        async with asyncio.timeout(10):
            await probe.ended.wait()
    assert isinstance(error, CancelledError)
    # Where the workflow does not wait, it may have closed before the activity hears of it.
    waited = kind == ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    expected = [["cancel_requested"]] if waited else [["cancel_requested"], ["not_found"]]
    assert probe.saw in expected


async def test_waiting_for_a_cancelled_activity_gets_what_it_returns(client: Client) -> None:
    probe = Probe()
    kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    async with working(client, Waits, activities=[probe.wait]):
        handle = await start(client, Waits.run, int(kind), "swallow")
        await probe.begun.wait()
        await handle.cancel()
        assert await handle.result() == "finished all the same"


async def test_waiting_for_a_cancelled_activity_gets_how_it_fails(client: Client) -> None:
    probe = Probe()
    kind = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
    async with working(client, Waits, activities=[probe.wait]):
        handle = await start(client, Waits.run, int(kind), "fail")
        await probe.begun.wait()
        await handle.cancel()
        error = await failure_of(handle.result())
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)


async def test_an_abandoned_activity_is_not_told(client: Client) -> None:
    @workflow.defn
    class Abandons:
        @workflow.run
        @at_module_level
        async def run(self) -> str:
            handle = workflow.start_activity_method(
                Probe.wait,
                "",
                start_to_close_timeout=SOON,
                cancellation_type=ActivityCancellationType.ABANDON,
            )
            await asyncio.sleep(0.02)
            handle.cancel()
            with pytest.raises(ActivityError, match="cancelled"):
                await handle
            await asyncio.sleep(0.05)
            return "abandoned"

    probe = Probe()
    async with working(client, Abandons, activities=[probe.wait]):
        assert await execute(client, Abandons.run) == "abandoned"
        await probe.ended.wait()
    assert probe.saw == ["not_found"]  # Only that its workflow has closed.


async def test_an_activity_cancelled_before_it_is_sent_never_runs(client: Client) -> None:
    probe = Probe()

    async def at_once() -> str:
        handle = workflow.start_activity_method(Probe.wait, "", start_to_close_timeout=SOON)
        handle.cancel()
        try:
            await handle
        except asyncio.CancelledError:
            return "never sent"
        return "sent"

    async with working(client, at_once, activities=[probe.wait]):
        assert await execute(client, "at_once") == "never sent"
    assert not probe.begun.is_set()


async def test_a_cancelled_handle_raises_an_activity_error_with_its_cause(client: Client) -> None:
    probe = Probe()

    async def cancels() -> list[str]:
        handle = workflow.start_activity_method(Probe.wait, "", start_to_close_timeout=SOON)
        await asyncio.sleep(0.02)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return [type(error.cause).__name__, error.activity_type]
        return []

    async with working(client, cancels, activities=[probe.wait]):
        assert await execute(client, "cancels") == ["CancelledError", "wait"]


async def test_a_task_in_the_queue_that_nobody_took_is_cancelled_at_once(
    any_client: Client,
) -> None:
    async def nobody_takes() -> str:
        handle = workflow.start_activity(
            "none",
            start_to_close_timeout=SOON,
            task_queue="nobody",
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await asyncio.sleep(0.01)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            return type(error.cause).__name__
        return "ran"

    async with working(any_client, nobody_takes):
        assert await execute(any_client, "nobody_takes") == "CancelledError"


async def test_a_threaded_activity_gets_the_exception_in_its_thread(client: Client) -> None:
    begun, saw = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @activity.defn
    def blocks() -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            for _ in range(2000):
                activity.heartbeat()
                threading.Event().wait(0.005)
        except CancelledError:
            saw.set()
            raise

    async def waits() -> None:
        await workflow.execute_activity(
            blocks,
            start_to_close_timeout=SOON,
            heartbeat_timeout=timedelta(seconds=1),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )

    with ThreadPoolExecutor(1) as executor:
        async with working(client, waits, activities=[blocks], activity_executor=executor):
            handle = await start(client, "waits")
            await begun.wait()
            await handle.cancel()
            assert isinstance(await failure_of(handle.result()), CancelledError)
    assert saw.is_set()


async def test_shield_and_timeout_scopes_are_plain_asyncio(client: Client) -> None:
    @activity.defn
    async def quick() -> str:
        await asyncio.sleep(0.02)
        return "done"

    async def scopes() -> list[Any]:
        found: list[Any] = []
        handle = workflow.start_activity(quick, start_to_close_timeout=SOON)
        waiting = asyncio.create_task(asyncio.wait_for(asyncio.shield(handle), 0.001))
        try:
            await waiting
        except TimeoutError:
            found.append("timed out")
        found.append(await handle)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            found.append("scope over")
        return found

    async with working(client, scopes, activities=[quick]):
        assert await execute(client, "scopes") == ["timed out", "done", "scope over"]


async def test_cancelling_a_closed_workflow_is_accepted(client: Client) -> None:
    async def quick() -> None:
        return None

    async with working(client, quick):
        handle = await start(client, "quick")
        await handle.result()
        await handle.cancel()
        assert (await handle.describe()).status == WorkflowExecutionStatus.COMPLETED
        with pytest.raises(RPCError, match="not found"):
            await client.get_workflow_handle("nobody").cancel()


async def test_cancellation_survives_replay_of_every_task(client: Client) -> None:
    async with working(client, Sleeps, max_cached_workflows=0):
        handle = await start(client, Sleeps.run, "clean up")
        await handle.cancel()
        assert await handle.result() == "cleaned up"
        handle = await start(client, Sleeps.run, "")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
