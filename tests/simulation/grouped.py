"""Workflows with task groups: what becomes of groups of exceptions."""

from __future__ import annotations

import asyncio
import contextlib

from hotmesh import workflow
from hotmesh.exceptions import ActivityError, ApplicationError, CancelledError
from simulation.app import EAGER, TASK


@workflow.defn
class Groups:
    """A task group of which a member fails; a shielded one; a scope that ends by a timeout."""

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        async def one(number: int) -> int:
            return await workflow.execute_activity("add_slowly", number, **EAGER)

        async def fails() -> None:
            await workflow.execute_activity("add", first, **EAGER)
            raise ApplicationError("as was to be expected")

        with contextlib.suppress(TimeoutError, ActivityError):
            async with asyncio.timeout(0.05 + first % 3 * 0.1):
                await workflow.execute_activity("add_for_long", first, **EAGER)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(first, first + count):
                    group.create_task(one(number))
                group.create_task(fails())
        except* (ApplicationError, ActivityError):  # those that were cancelled
            pass
        results = await asyncio.gather(*[one(number) for number in range(first, first + count)])
        return sum(results)


@workflow.defn
class Falls:
    """A task group whose members all fail, the last ones as the first has: it fails with each."""

    @workflow.run
    async def run(self, first: int, count: int) -> None:
        async def falls(number: int) -> None:
            try:
                await workflow.execute_activity("add_slowly", number, **EAGER)
            finally:
                raise ApplicationError(f"member {number}")

        async with asyncio.TaskGroup() as group:
            for number in range(first, first + count):
                group.create_task(falls(number))


@workflow.defn
class Halts:
    """A task group that works until it is cancelled, with nothing but cancellation in its end."""

    @workflow.run
    async def run(self, first: int, count: int) -> None:
        async def works(number: int) -> None:
            while True:
                options = TASK if number % 2 else EAGER
                name = "add_carefully" if number % 2 else "add_for_long"
                await workflow.execute_activity(name, number, **options)

        async def rests() -> None:
            async with asyncio.TaskGroup() as inner:
                inner.create_task(asyncio.sleep(3600))

        async with asyncio.TaskGroup() as group:
            group.create_task(rests())
            for number in range(first, first + count):
                group.create_task(works(number))


@workflow.defn
class Renews:
    """Continues as new out of a task group, of which other members are at work."""

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        async def goes_on() -> None:
            while True:
                await workflow.execute_activity("add_for_long", first, **EAGER)

        async def rests() -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise CancelledError("no longer wanted") from None

        async def works() -> None:
            async with asyncio.TaskGroup() as inner:
                inner.create_task(goes_on())
                inner.create_task(rests())

        async def renews() -> int:
            number = await workflow.execute_activity("add_slowly", first, **EAGER)
            if count > 1:
                workflow.continue_as_new(args=[number, count - 1])
            return number

        if count == 1:
            return await renews()
        async with asyncio.TaskGroup() as group:
            group.create_task(works())
            group.create_task(renews())
        raise AssertionError("unreachable")
