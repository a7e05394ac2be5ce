"""Activities that a client finishes: completed, failed, heartbeaten and cancelled from outside."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import AsyncActivityCancelledError, Client
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

    def __init__(self) -> None:
        self.handed_over: asyncio.Queue[activity.Info] = asyncio.Queue()

    @activity.defn
    async def hand_over(self) -> str:
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


async def test_a_failure_from_outside_is_retried_and_its_details_are_kept(
    any_client: Client,
) -> None:
    desk = Desk()
    async with working(any_client, Waits, activities=[desk.hand_over]):
        handle = await started(any_client, AS_TASK, retry=True)
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
