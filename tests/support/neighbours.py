"""Workflows that have nothing to do with what a test does to others: they finish all the same."""

import asyncio

from hotmesh import workflow
from hotmesh.client import Client
from support.running import SOON, start

NEIGHBOURS = 40


@workflow.defn
class Neighbour:
    """Ends at once."""

    @workflow.run
    async def run(self) -> str:
        return "fine"


async def neighbours_finish(
    client: Client, count: int = NEIGHBOURS, seconds: float = 3 * SOON.total_seconds()
) -> None:
    """Runs in many lanes finish, so each lane's pipe is alive."""
    async with asyncio.timeout(seconds):
        handles = await asyncio.gather(*(start(client, Neighbour.run) for _ in range(count)))
        for handle in handles:
            assert await handle.result() == "fine"
