"""What asyncio keeps in sets is walked in the same order in every replay, on every backend."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.exceptions import ActivityError
from support.running import ONCE, SOON, start, working

COUNT = 8
_kept: list[Any] = []


@activity.defn
async def echo(number: int) -> int:
    return number


@activity.defn
async def fails(number: int) -> None:
    raise ValueError(f"no {number}")


@workflow.defn
class Child:
    @workflow.run
    async def run(self, number: int) -> int:
        return number


def call(number: int) -> workflow.ActivityHandle[int]:
    """Call an activity from somewhere else in memory each time, so that addresses tell nothing."""
    _kept.extend(object() for _ in range(random.randrange(200)))
    _kept.extend(bytearray(random.randrange(600)) for _ in range(random.randrange(20)))
    del _kept[: max(0, len(_kept) - 5_000) : 2]
    return workflow.start_activity(echo, number, start_to_close_timeout=SOON)


async def called(number: int) -> int:
    return await call(number)


async def checked(numbers: list[int], wrong: list[tuple[int, int]]) -> None:
    """A second call for each, in this order: a replay in another order gets other results."""
    for number in numbers:
        found = await call(number)
        if found != number:
            wrong.append((number, found))


async def waits(wrong: list[Any]) -> None:
    done, _ = await asyncio.wait([asyncio.create_task(called(i)) for i in range(COUNT)])
    await checked([task.result() for task in done], wrong)


async def waits_for_handles(wrong: list[Any]) -> None:
    done, _ = await asyncio.wait([call(i) for i in range(COUNT)])
    await checked([handle.result() for handle in done], wrong)


async def waits_for_children(wrong: list[Any]) -> None:
    handles = {await workflow.start_child_workflow(Child.run, i) for i in range(4)}
    done, _ = await asyncio.wait(handles)
    await checked([handle.result() for handle in done], wrong)


async def waits_for_gatherings(wrong: list[Any]) -> None:
    done, _ = await asyncio.wait([asyncio.gather(call(i), call(i)) for i in range(COUNT)])
    await checked([future.result()[0] for future in done], wrong)


async def waits_for_futures(wrong: list[Any]) -> None:
    loop = asyncio.get_running_loop()
    futures = {loop.create_future() for _ in range(COUNT)}
    for number, future in enumerate(futures):
        future.set_result(number)
    done, _ = await asyncio.wait(futures)
    await checked([future.result() for future in done], wrong)


async def takes_coroutines_as_completed(wrong: list[Any]) -> None:
    for number, each in enumerate(asyncio.as_completed([called(i) for i in range(COUNT)])):
        await checked([await each, number], wrong)


async def takes_handles_as_completed(wrong: list[Any]) -> None:
    for each in asyncio.as_completed([call(i) for i in range(COUNT)]):
        await checked([await each], wrong)


async def aborts_a_task_group(wrong: list[Any]) -> None:
    async def compensates(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await checked([number], wrong)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(COUNT):
                group.create_task(compensates(number))
            refused = workflow.start_activity(
                fails, 1, start_to_close_timeout=SOON, retry_policy=ONCE
            )
            group.create_task(_awaited(refused))
    except* ActivityError:
        pass


async def _awaited(handle: Awaitable[Any]) -> Any:
    return await handle


async def cancels_all_tasks(wrong: list[Any]) -> None:
    async def compensates(number: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await checked([number], wrong)

    tasks = [asyncio.create_task(compensates(i)) for i in range(COUNT)]
    await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*tasks)


async def cancels_a_gathering(wrong: list[Any]) -> None:
    async def compensates(number: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await checked([number], wrong)
            raise

    gathering = asyncio.gather(*[compensates(i) for i in range(COUNT)])
    await asyncio.sleep(0)
    gathering.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gathering


async def times_out(wrong: list[Any]) -> None:
    async def compensates(number: int) -> None:
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        except TimeoutError:
            await checked([number], wrong)

    await asyncio.gather(*[compensates(i) for i in range(COUNT)])


async def shares_a_semaphore(wrong: list[Any]) -> None:
    semaphore, queue = asyncio.Semaphore(2), asyncio.Queue[int]()

    async def works() -> None:
        async with semaphore:
            await checked([await queue.get()], wrong)

    async with asyncio.TaskGroup() as group:
        for number in range(COUNT):
            group.create_task(works())
            queue.put_nowait(number)


WAYS: dict[str, Callable[[list[Any]], Awaitable[None]]] = {
    way.__name__: way
    for way in (
        waits,
        waits_for_handles,
        waits_for_children,
        waits_for_gatherings,
        waits_for_futures,
        takes_coroutines_as_completed,
        takes_handles_as_completed,
        aborts_a_task_group,
        cancels_all_tasks,
        cancels_a_gathering,
        times_out,
        shares_a_semaphore,
    )
}


@workflow.defn
class Walks:
    @workflow.run
    async def run(self, way: str) -> list[Any]:
        wrong: list[Any] = []
        await WAYS[way](wrong)
        return wrong


async def test_results_go_to_the_right_calls_when_every_step_is_a_replay(
    any_client: Client,
) -> None:
    async with (
        asyncio.timeout(30),
        working(
            any_client,
            Walks,
            Child,
            activities=[echo, fails],
            max_cached_workflows=0,
            strict_replay=True,
        ),
    ):
        handles = {way: await start(any_client, Walks.run, way) for way in WAYS}
        wrong = {way: await handle.result() for way, handle in handles.items()}
    assert wrong == {way: [] for way in WAYS}
