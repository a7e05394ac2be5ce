"""Replays whose code calls with other arguments: a warning; in another order: an error."""

import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.common import Payload
from hotmesh.converter import DataConverter, PayloadCodec
from support.running import SOON, at_module_level, eventually, start, task_failure, working

CHANGED = "hotmesh.arguments_changed"


class Salted(PayloadCodec):
    """Writes something else each time, as encryption does."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            Payload({"encoding": b"salted"}, os.urandom(8) + each.SerializeToString())
            for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(each.data[8:]) for each in payloads]


@pytest.fixture(params=["plain", "codec"])
async def either_client(client: Client, request: pytest.FixtureRequest) -> Client:
    """A client whose bodies are stored as they are, and one whose codec hides them."""
    if request.param == "plain":
        return client
    config = client.config()
    config["data_converter"] = dataclasses.replace(DataConverter.default, payload_codec=Salted())
    return Client(**config)


@activity.defn
async def echo(value: Any) -> Any:
    return value


def calls(values: Sequence[Any], *, together: bool = True) -> Any:
    """A workflow that calls an activity with these values, all at once or one after the other."""

    @workflow.defn(name="Calls")
    class Calls:
        def __init__(self) -> None:
            self.goes_on = False
            self.ready = False

        @workflow.run
        @at_module_level
        async def run(self) -> list[Any]:
            found: list[Any] = []
            if together:
                handles = [self.call(value) for value in values]
                found = [await handle for handle in handles]
            else:
                for value in values:
                    found.append(await self.call(value))
            self.ready = True
            await workflow.wait_condition(lambda: self.goes_on)
            return found

        def call(self, value: Any) -> workflow.ActivityHandle[Any]:
            return workflow.start_activity(echo, value, start_to_close_timeout=SOON)

        @workflow.signal
        def go_on(self) -> None:
            self.goes_on = True

        @workflow.query
        def is_ready(self) -> bool:
            return self.ready

    return Calls


async def waiting(client: Client, values: Sequence[Any], together: bool = True) -> Any:
    """Such a workflow that has its results and waits; no worker has it in memory any more."""
    async with working(client, calls(values, together=together), activities=[echo]):
        handle = await start(client, "Calls")
        await eventually(lambda: handle.query("is_ready"), "the workflow has its results")
    return handle


@pytest.mark.parametrize("together", [True, False])
async def test_another_order_is_an_error_and_never_a_wrong_result(
    either_client: Client, together: bool
) -> None:
    client = either_client
    handle = await waiting(client, [1, 2, 3], together)
    changed = calls([2, 1, 3], together=together)
    async with working(client, changed, activities=[echo]) as worker:
        await handle.signal("go_on")
        failure = await task_failure(handle)
        worker.add_workflow(calls([1, 2, 3], together=together))
        assert await handle.result() == [1, 2, 3]
    assert failure["type"] == "NondeterminismError"
    assert (
        "ACTIVITY 'echo' (seq 1) with arguments that the journal has in another"
        in (failure["message"])
    )


async def test_other_arguments_are_one_warning_and_in_the_record(
    either_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await warns_once(either_client, caplog)


async def test_they_are_in_the_record_on_every_backend(
    any_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await warns_once(any_client, caplog)


async def warns_once(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    handle = await waiting(client, [1, 2])
    assert CHANGED not in (await handle.describe()).record
    with caplog.at_level(logging.WARNING, logger="hotmesh.router.pipe"):
        for _ in range(2):
            async with working(
                client, calls([1, {"with": "default"}]), activities=[echo], max_cached_workflows=0
            ):
                for _ in range(2):
                    assert await handle.query("is_ready")
                await eventually(lambda: recorded(handle), "the record says so")
        async with working(client, calls([1, {"with": "default"}]), activities=[echo]):
            await handle.signal("go_on")
            assert await handle.result() == [1, 2]
    warnings = [r.getMessage() for r in caplog.records if "other arguments" in r.getMessage()]
    assert len(warnings) == 1
    assert f"The code of {handle.id} (type Calls, run " in warnings[0]
    record = (await handle.describe()).record
    assert record[CHANGED] is True
    assert record[CHANGED + "_at"] == "ACTIVITY 'echo' (seq 2) at transition 0"
    listed = [each.id async for each in client.list_workflows(f"{CHANGED} = true")]
    assert listed == [handle.id]


async def recorded(handle: Any) -> bool:
    return CHANGED in (await handle.describe()).record


async def test_other_arguments_fail_the_task_of_a_strict_worker(either_client: Client) -> None:
    client = either_client
    handle = await waiting(client, [1, 2])
    async with working(client, calls([1, 5]), activities=[echo], strict_replay=True) as worker:
        await handle.signal("go_on")
        failure = await task_failure(handle)
        worker.add_workflow(calls([1, 2]))
        assert await handle.result() == [1, 2]
    assert failure["type"] == "NondeterminismError"
    assert "strict_replay=True" in failure["message"]


async def test_equal_arguments_are_no_change(either_client: Client) -> None:
    client = either_client
    handle = await waiting(client, [1, {"a": [2]}, None])
    async with working(client, calls([1, {"a": [2]}, None]), activities=[echo], strict_replay=True):
        await handle.signal("go_on")
        assert await handle.result() == [1, {"a": [2]}, None]
    assert CHANGED not in (await handle.describe()).record
