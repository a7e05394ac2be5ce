"""Activities that a client finishes: completed, failed, heartbeaten and cancelled from outside."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import AsyncActivityCancelledError, Client
from hotmesh.client._check import look
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    RPCError,
    RPCStatusCode,
)
from support.running import AT_ONCE, ONCE, SOON, eventually, failure_of, start, working

EAGER, AS_TASK = None, timedelta(seconds=10)
"""Without a heartbeat timeout an activity starts with its workflow's step, else as a task."""

each_way = pytest.mark.parametrize("beats", [EAGER, AS_TASK], ids=["eager", "task"])


class Desk:
    """Hands activities over to the test."""

    def __init__(self, says: str = "") -> None:
        self.handed_over: asyncio.Queue[activity.Info] = asyncio.Queue()
        self._says = says

    @activity.defn
    async def hand_over(self) -> str:
        if self._says and activity.info().attempt == 1:
            activity.heartbeat(self._says)
        self.handed_over.put_nowait(activity.info())
        activity.raise_complete_async()


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, beats: float | None, retry: bool) -> str:
        return await workflow.execute_activity(
            "hand_over",
            start_to_close_timeout=SOON,
            heartbeat_timeout=beats,
            retry_policy=AT_ONCE if retry else ONCE,
            result_type=str,
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


def seconds(beats: timedelta | None) -> float | None:
    return None if beats is None else beats.total_seconds()


async def started(client: Client, beats: timedelta | None, *, retry: bool = False) -> Any:
    return await start(client, Waits.run, seconds(beats), retry)


@each_way
async def test_a_client_completes_an_activity_by_its_token(
    any_client: Client, beats: timedelta | None
) -> None:
    desk = Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, beats)
        token = (await desk.handed_over.get()).task_token
        await any_client.get_async_activity_handle(task_token=token).complete("from outside")
        assert await handle.result() == "from outside"


@each_way
async def test_a_client_completes_an_activity_by_its_ids(
    any_client: Client, beats: timedelta | None
) -> None:
    desk = Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, beats)
        about = await desk.handed_over.get()
        await any_client.get_async_activity_handle(
            workflow_id=handle.id, run_id=None, activity_id=about.activity_id
        ).complete("by id")
        assert await handle.result() == "by id"


@each_way
async def test_a_failure_from_outside_is_retried_and_its_details_are_kept(
    any_client: Client, beats: timedelta | None
) -> None:
    desk = Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, beats, retry=True)
        first = any_client.get_async_activity_handle(
            task_token=(await desk.handed_over.get()).task_token
        )
        await first.fail(ApplicationError("not yet"), last_heartbeat_details=["half"])
        again = await desk.handed_over.get()
        assert (again.attempt, list(again.heartbeat_details)) == (2, ["half"])
        second = any_client.get_async_activity_handle(task_token=again.task_token)
        await second.complete("second try")
        assert await handle.result() == "second try"


@each_way
async def test_heartbeats_from_outside_are_kept_beside_what_the_activity_said_and_failed_with(
    any_client: Client, beats: timedelta | None
) -> None:
    desk = Desk(says="began")
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, beats, retry=True)
        outside = any_client.get_async_activity_handle(
            task_token=(await desk.handed_over.get()).task_token
        )
        await outside.fail(ApplicationError("first"))
        again = await desk.handed_over.get()
        assert list(again.heartbeat_details) == ["began"]
        outside = any_client.get_async_activity_handle(task_token=again.task_token)
        await outside.heartbeat("half", "way")
        (pending,) = (await handle.describe()).pending_activities
        assert pending.last_failure is not None
        assert "first" in str(pending.last_failure)
        await outside.fail(ApplicationError("second"))
        third = await desk.handed_over.get()
        assert (third.attempt, list(third.heartbeat_details)) == (3, ["half", "way"])
        await any_client.get_async_activity_handle(task_token=third.task_token).complete("done")
        assert await handle.result() == "done"


@each_way
async def test_what_a_client_completes_outlives_the_worker_that_began_it(
    any_client: Client, beats: timedelta | None
) -> None:
    desk, later = Desk(), Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, beats, retry=True)
        token = (await desk.handed_over.get()).task_token
        outside = any_client.get_async_activity_handle(task_token=token)
        await outside.heartbeat("it is stored")
    async with working(any_client, Waits, activities=[later.hand_over]):
        await outside.heartbeat("nobody else does it")
        await outside.complete("still the first")
        assert await handle.result() == "still the first"
    assert later.handed_over.empty()


async def test_an_activity_whose_function_still_runs_is_not_failed_from_outside(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotmesh.client._async_attempt.RAISED_WITHIN_S", 0.1)
    tokens: asyncio.Queue[bytes] = asyncio.Queue()
    may_end = asyncio.Event()

    @activity.defn
    async def hand_over() -> str:
        tokens.put_nowait(activity.info().task_token)
        await may_end.wait()
        return "its own"

    async with working(client, Waits, activities=[hand_over]):
        handle = await started(client, EAGER)
        outside = client.get_async_activity_handle(task_token=await tokens.get())
        await outside.heartbeat()
        for call in (outside.fail(ApplicationError("no")), outside.heartbeat("details")):
            with pytest.raises(RPCError, match="still running") as caught:
                await call
            assert caught.value.status == RPCStatusCode.FAILED_PRECONDITION
        may_end.set()
        assert await handle.result() == "its own"


async def test_a_completion_before_the_activity_has_raised_leaves_no_task(
    any_client: Client,
) -> None:
    completed = asyncio.Event()
    tokens: asyncio.Queue[bytes] = asyncio.Queue()

    @activity.defn
    async def hand_over() -> str:
        tokens.put_nowait(activity.info().task_token)
        await completed.wait()
        activity.raise_complete_async()

    async with working(any_client, Waits, activities=[hand_over]):
        handle = await started(any_client, EAGER)
        outside = any_client.get_async_activity_handle(task_token=await tokens.get())
        completing = asyncio.ensure_future(outside.complete("early"))
        await asyncio.sleep(0)
        completed.set()
        await completing
        assert await handle.result() == "early"
    assert await look(any_client.backend, "default") == []


@each_way
async def test_a_final_failure_from_outside_fails_the_activity(
    any_client: Client, beats: timedelta | None
) -> None:
    desk = Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, beats)
        token = (await desk.handed_over.get()).task_token
        await any_client.get_async_activity_handle(task_token=token).fail(
            ApplicationError("no", type="Refused")
        )
        error = await failure_of(handle.result())
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "Refused"


@each_way
async def test_heartbeats_from_outside_say_when_to_stop(
    any_client: Client, beats: timedelta | None
) -> None:
    desk = Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, beats)
        outside = any_client.get_async_activity_handle(
            task_token=(await desk.handed_over.get()).task_token
        )
        await outside.heartbeat("alive")
        await handle.cancel()

        async def is_told() -> bool:
            try:
                await outside.heartbeat("still alive")
            except AsyncActivityCancelledError:
                return True
            return False

        await eventually(is_told, "a heartbeat tells of the cancellation")
        await outside.report_cancellation("stopped")
        assert isinstance(await failure_of(handle.result()), CancelledError)


async def test_nobody_completes_an_activity_of_a_closed_workflow(any_client: Client) -> None:
    desk = Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, EAGER)
        outside = any_client.get_async_activity_handle(
            task_token=(await desk.handed_over.get()).task_token
        )
        await outside.complete("once")
        assert await handle.result() == "once"
        with pytest.raises(RPCError):
            await outside.heartbeat("late")
        with pytest.raises(RPCError) as caught:
            await outside.complete("twice")
    assert caught.value.status == RPCStatusCode.NOT_FOUND
