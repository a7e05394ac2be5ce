"""How many runs a worker keeps in memory, and what a run may know of its journal."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.common import RetryPolicy
from hotmesh.engine import wire
from hotmesh.exceptions import ApplicationError
from hotmesh.limits import CONTINUE_SUGGESTED_BYTES
from support.running import SOON, eventually, execute, start, working

STEPS = 5


@activity.defn
async def echo(value: Any) -> Any:
    return value


def counted(entered: Counter[str]) -> Any:
    async def steps() -> str:
        entered[workflow.info().workflow_id] += 1
        for step in range(STEPS):
            await workflow.execute_activity(echo, step, start_to_close_timeout=SOON)
        return "done"

    return steps


async def test_a_cache_of_none_replays_for_every_task(any_client: Client) -> None:
    entered: Counter[str] = Counter()
    async with working(any_client, counted(entered), activities=[echo], max_cached_workflows=0):
        assert await execute(any_client, "steps", id="one") == "done"
    assert entered["one"] == STEPS + 1


async def test_a_cache_with_room_replays_nothing(client: Client) -> None:
    entered: Counter[str] = Counter()
    async with working(client, counted(entered), activities=[echo]):
        assert await execute(client, "steps", id="one") == "done"
    assert entered["one"] == 1


async def test_a_first_attempt_that_fails_without_its_run_in_memory_is_retried(
    any_client: Client,
) -> None:
    attempts: list[tuple[int, list[Any]]] = []

    @activity.defn
    async def fails_twice() -> str:
        info = activity.info()
        attempts.append((info.attempt, list(info.heartbeat_details)))
        activity.heartbeat("beat", info.attempt)
        if info.attempt < 3:
            raise ApplicationError("not yet")
        return "at last"

    async def waits() -> str:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=10))
        return await workflow.execute_activity(
            fails_twice, start_to_close_timeout=SOON, retry_policy=policy
        )

    async with working(any_client, waits, activities=[fails_twice], max_cached_workflows=0):
        assert await execute(any_client, "waits") == "at last"
    assert attempts == [(1, []), (2, ["beat", 1]), (3, ["beat", 2])]


@workflow.defn
class Measures:
    """Looks at its journal's length and size at each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    @workflow.run
    async def run(self) -> list[tuple[int, int]]:
        self._look()
        for _ in range(3):
            await workflow.execute_activity(echo, "x" * 1_000, start_to_close_timeout=SOON)
            self._look()
        await workflow.wait_condition(lambda: len(self.seen) > 4)
        return self.seen

    @workflow.signal
    def go_on(self) -> None:
        self._look()

    @workflow.query
    def looks(self) -> list[tuple[int, int]]:
        return self.seen

    def _look(self) -> None:
        info = workflow.info()
        length = info.get_current_history_length()
        self.seen.append((length, info.get_current_history_size()))


@pytest.mark.parametrize("cached", [0, 100])
async def test_a_run_sees_the_stored_size_of_its_journal(any_client: Client, cached: int) -> None:
    async with working(any_client, Measures, activities=[echo], max_cached_workflows=cached):
        handle = await start(any_client, Measures.run)
        await eventually(lambda: looks_at(handle, 4), "four looks")
        frames = await any_client.backend.journal(
            any_client.namespace, wire.run_id_bytes(handle.result_run_id)
        )
        for _ in range(3):  # what is asked is not journaled, and must not count
            await handle.query(Measures.looks)
        await handle.signal(Measures.go_on)
        seen = [tuple(each) for each in await handle.result()]
    sizes = list(map(len, frames))
    assert seen == [(rows, sum(sizes[:rows])) for rows in range(5)]


async def looks_at(handle: Any, times: int) -> bool:
    return len(await handle.query(Measures.looks)) >= times


async def test_a_long_journal_suggests_to_continue_as_new(client: Client) -> None:
    async def grows() -> list[bool]:
        suggested: list[bool] = []
        text, info = "x" * (CONTINUE_SUGGESTED_BYTES // 9), workflow.info()
        for _ in range(6):  # each is journaled twice: as an argument and as a result
            suggested.append(info.is_continue_as_new_suggested())
            await workflow.execute_activity(echo, text, start_to_close_timeout=SOON)
        return suggested

    async with working(client, grows, activities=[echo]):
        assert await execute(client, "grows") == [False] * 5 + [True]
