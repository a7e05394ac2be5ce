"""What attempts raise: any exception and group ends the attempt, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from hotmesh import activity
from hotmesh.common import Payload
from hotmesh.converter import DataConverter, PayloadCodec
from hotmesh.exceptions import ApplicationError, CancelledError
from unit.worker.activity_harness import Harness


async def cancels_a_helper() -> None:
    helper = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    helper.cancel()
    await helper


async def raises_cancelled_at_once() -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("odd", [cancels_a_helper, raises_cancelled_at_once])
async def test_a_cancellation_nobody_asked_for_is_a_failure_as_others(odd: Any) -> None:
    harness = Harness(odd)
    outcome = await harness.run(odd.__name__)
    assert outcome.kind == "retry"
    assert harness.failure(outcome).type == "CancelledError"
    last = await harness.run(odd.__name__, retry={"a": 1})
    assert last.event is not None
    assert last.event[3] == "MAXIMUM_ATTEMPTS_REACHED"


class Base(BaseException):
    """Not an Exception."""


ENDS = [KeyboardInterrupt, SystemExit, GeneratorExit, Base]


@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("waits", [False, True])
async def test_what_an_async_activity_raises_ends_the_attempt(
    error: type[BaseException], waits: bool
) -> None:
    async def at_once() -> None:
        raise error("out")

    async def later() -> None:
        await asyncio.sleep(0)
        raise error("out")

    async def bystander() -> str:
        await asyncio.sleep(0)
        return "fine"

    harness = Harness(at_once, later, bystander)
    beside = harness.start(harness.task("bystander"))
    outcome = await harness.run("later" if waits else "at_once")
    assert outcome.kind == "retry"
    assert harness.failure(outcome).type == error.__name__
    assert harness.result(await beside) == "fine"
    assert harness.runner.free == harness.runner.max_concurrent_activities


async def test_an_error_that_cannot_be_written_down_is_a_failure_all_the_same() -> None:
    class Odd(PayloadCodec):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            raise SystemExit(1)

        async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
            return list(payloads)

    async def fails() -> None:
        raise ApplicationError("secret", "detail", type="Mine", non_retryable=True)

    converter = replace(DataConverter.default, payload_codec=Odd())
    harness = Harness(fails, data_converter=converter)
    outcome = await harness.run("fails")
    assert outcome.kind == "failed"
    error = harness.failure(outcome)
    assert "storing it failed with SystemExit" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize("cancelled", [True, False])
async def test_a_task_group_in_an_activity_is_cancelled_if_all_of_it_is(cancelled: bool) -> None:
    async def together() -> None:
        async def waits() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise CancelledError if cancelled else ValueError from None

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(waits())

    harness = Harness(together)
    task = harness.task("together")
    started = harness.start(task)
    await asyncio.sleep(0.01)
    harness.runner.cancel(task.key, "cancel_requested")
    outcome = await started
    assert outcome.kind == ("canceled" if cancelled else "failed")


async def test_raising_complete_async_in_a_task_group_leaves_the_activity_open() -> None:
    async def elsewhere() -> None:
        async def hands_over() -> None:
            activity.raise_complete_async()

        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            group.create_task(hands_over())

    harness = Harness(elsewhere)
    assert (await harness.run("elsewhere")).kind == "async"
