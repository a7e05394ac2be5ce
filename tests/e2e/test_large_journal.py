"""A run whose journal is too large to be decoded as a whole when it is loaded."""

from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from hotmesh.router import recovering
from support.running import SOON, start, working

SIZE = 200_000


@activity.defn
async def large(number: int) -> str:
    return str(number) * SIZE


@workflow.defn(name="Collects")
class Collects:
    @workflow.run
    async def run(self) -> list[Any]:
        found = [
            await workflow.execute_activity(large, number, start_to_close_timeout=SOON)
            for number in range(4)
        ]
        await workflow.wait_condition(lambda: self.go)
        return [len(found), *(text[0] for text in found)]

    def __init__(self) -> None:
        self.go = False

    @workflow.signal
    def finish(self) -> None:
        self.go = True


@workflow.defn(name="Collects", failure_exception_types=[workflow.NondeterminismError])
class Changed(Collects):
    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.sleep(1000)
        return []


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovering, "JOURNAL_BYTES_MAX", SIZE)


async def test_it_goes_on_from_each_of_its_transitions(any_client: Client) -> None:
    async with working(any_client, Collects, activities=[large], max_cached_workflows=0):
        handle = await start(any_client, Collects.run)
        await handle.signal(Collects.finish)
        assert await handle.result() == [4, "0", "1", "2", "3"]


async def test_what_is_found_in_it_stays(client: Client) -> None:
    async with working(client, Collects, activities=[large], max_cached_workflows=0):
        handle = await start(client, Collects.run)
        while (await handle.describe()).history_length < 5:
            pass
    async with working(client, Changed, activities=[large]):
        await handle.signal(Collects.finish)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert (await handle.describe()).status == WorkflowExecutionStatus.FAILED
