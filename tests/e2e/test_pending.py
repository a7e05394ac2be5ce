"""What a workflow waits for can be seen: attempts, last failures, and that nobody hosts it."""

from datetime import timedelta
from typing import Any

from hotmesh import activity, workflow
from hotmesh.client import Client, PendingActivityState
from hotmesh.common import RetryPolicy
from support.running import eventually, start, working

RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=1),
    backoff_coefficient=1000.0,
    maximum_interval=timedelta(minutes=5),
    maximum_attempts=9,
)


@activity.defn
async def declines() -> None:
    activity.heartbeat("half")
    raise ValueError("declined")


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity(
            name,
            activity_id="the-one",
            start_to_close_timeout=timedelta(seconds=10),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=RETRIES,
        )


async def pending(handle: Any) -> Any:
    (found,) = (await handle.describe()).pending_activities
    return found


async def test_a_failing_activity_shows_its_attempts_and_its_last_failure(
    any_client: Client,
) -> None:
    async with working(any_client, Waits, activities=[declines]):
        handle = await start(any_client, Waits.run, "declines")

        async def failed_twice() -> bool:
            described = await handle.describe()
            return any(each.attempt == 3 for each in described.pending_activities)

        await eventually(failed_twice, "two attempts have failed")
        found = await pending(handle)
        assert (found.activity_id, found.activity_type) == ("the-one", "declines")
        assert (found.state, found.maximum_attempts) == (PendingActivityState.SCHEDULED, 9)
        assert "declined" in str(found.last_failure)
        assert list(found.heartbeat_details) == ["half"]
        assert found.next_attempt_schedule_time > found.scheduled_time
        assert found.hosted
        assert (await handle.describe()).hosted


async def test_what_nobody_hosts_says_so(any_client: Client) -> None:
    async with working(any_client, Waits):
        handle = await start(any_client, Waits.run, "nobody's")

        async def waits() -> bool:
            return bool((await handle.describe()).pending_activities)

        await eventually(waits, "the activity is scheduled")
        found = await pending(handle)
        assert (found.state, found.attempt) == (PendingActivityState.SCHEDULED, 1)
        assert not found.hosted
        unknown = await start(any_client, "NobodysWorkflow")
        described = await unknown.describe()
        assert not described.hosted
        assert list(described.pending_activities) == []
