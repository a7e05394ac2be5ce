"""Workers that come and go share the runs out anew. Nobody waits for that."""

import asyncio
from collections import Counter
from datetime import timedelta

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.exceptions import TerminatedError
from support.running import SOON, failure_of, start, working

RUNS = 16
"""So many that there are some among the half of the lanes that a second worker is given."""

LONG = timedelta(minutes=5)

IN_TIME_S = 15
"""Far less than what must not be waited for."""


@workflow.defn
class Steers:
    """Has something long going on, and does as it is told meanwhile."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            "work_long", workflow.info().workflow_id, start_to_close_timeout=LONG
        )

    @workflow.signal
    async def hear(self, what: str) -> None:
        await workflow.sleep(0.05)
        self.heard.append(what)

    @workflow.query
    def what_was_heard(self) -> list[str]:
        return self.heard


@workflow.defn
class Breaks:
    """Its task fails while results of its activities have come that it can't take."""

    @workflow.run
    async def run(self) -> None:
        both = [
            workflow.execute_activity("work", number, start_to_close_timeout=SOON)
            for number in range(2)
        ]
        for each in asyncio.as_completed(both):
            await each
            raise RuntimeError("a fault of the code")


class Work:
    """An activity that takes long, and one that doesn't; with how often each was begun."""

    def __init__(self) -> None:
        self.begun = Counter[str]()
        self.may_end = asyncio.Event()

    @activity.defn
    async def work_long(self, who: str) -> str:
        self.begun[who] += 1
        await self.may_end.wait()
        return who

    @activity.defn
    async def work(self, number: int) -> int:
        await asyncio.sleep(0.01 * number)
        return number


async def test_runs_are_served_while_their_lanes_wait_to_go_elsewhere(any_client: Client) -> None:
    work = Work()
    activities = [work.work_long]
    async with working(any_client, Steers, activities=activities):
        handles = [await start(any_client, Steers.run) for _ in range(RUNS)]
        async with asyncio.timeout(IN_TIME_S):
            while len(work.begun) < RUNS:
                await asyncio.sleep(0.01)
        async with working(any_client, Steers, activities=activities):
            await asyncio.sleep(1.0)  # until the first worker knows of the second
            async with asyncio.timeout(IN_TIME_S):
                for what in ("one", "two"):
                    await asyncio.gather(*(each.signal(Steers.hear, what) for each in handles))
                for each in handles:
                    while await each.query(Steers.what_was_heard) != ["one", "two"]:
                        await asyncio.sleep(0.05)
                work.may_end.set()
                results = await asyncio.gather(*(each.result() for each in handles))
    assert results == [each.id for each in handles]
    assert set(work.begun.values()) == {1}


async def test_a_run_whose_task_fails_is_ended_though_its_lane_is_to_go(
    any_client: Client,
) -> None:
    work = Work()
    async with working(any_client, Breaks, activities=[work.work]):
        handles = [await start(any_client, Breaks.run) for _ in range(RUNS)]
        await asyncio.sleep(0.5)  # until their tasks have failed
        async with working(any_client, Breaks, activities=[work.work]):
            await asyncio.sleep(1.0)
            async with asyncio.timeout(IN_TIME_S):
                for each in handles:
                    await each.terminate()
                failures = [await failure_of(each.result()) for each in handles]
    assert {type(each) for each in failures} == {TerminatedError}
