"""A worker that stops gives what it has not begun to others, as if it had never had it."""

import asyncio
import time
from datetime import timedelta

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.common import RetryPolicy
from support.running import start, working

WIDTH = 400
BURN_SECONDS = 0.002


@activity.defn
async def burn(number: int) -> int:
    """Never waits, so that a whole fan is taken on at once; long enough to be stopped within."""
    _begun.append((number, activity.info().attempt))
    time.sleep(BURN_SECONDS)  # noqa: ASYNC251 - on purpose
    return number


_begun: list[tuple[int, int]] = []


@workflow.defn
class Burns:
    """A fan of activities that may be attempted once."""

    @workflow.run
    async def run(self, width: int) -> list[int]:
        return await asyncio.gather(
            *(
                workflow.execute_activity(
                    burn,
                    number,
                    start_to_close_timeout=timedelta(seconds=30),
                    retry_policy=RetryPolicy(maximum_attempts=1),
                )
                for number in range(width)
            )
        )


async def test_a_graceful_stop_uses_up_no_attempts(any_client: Client) -> None:
    _begun.clear()
    async with working(any_client, Burns, activities=[burn]):
        handle = await start(any_client, Burns.run, WIDTH)
        while not _begun:
            await asyncio.sleep(0.001)
    assert len(_begun) < WIDTH  # the worker was stopped in the midst of it
    async with working(any_client, Burns, activities=[burn]):
        assert await handle.result() == list(range(WIDTH))
    assert sorted(_begun) == [(number, 1) for number in range(WIDTH)]
