"""What a workflow function raises fails its workflow once its worker's attempts are spent."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hotmesh import meshflow
from hotmesh.client import WorkflowFailureError
from hotmesh.exceptions import ApplicationError


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    """A database in which the face is shut down at the end."""
    yield database_url
    await meshflow.shutdown()


raised: list[int | str] = []


async def always_raises(key: int) -> None:
    raised.append(key)
    raise ValueError("boom")


async def recovers(key: int) -> str:
    raised.append(key)
    if raised.count(key) < 3:
        raise KeyError("not yet")
    return "done"


async def hosted(url: str, workflow_fn: Any, key: int, **options: Any) -> Any:
    """A started workflow whose worker has these options."""
    await meshflow.Worker.create(connection=url, workflow=workflow_fn, options=options)
    client = meshflow.Client(connection=url)
    return await client.workflow.start(workflow_name=workflow_fn.__name__, args=[key])


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_workflow_that_always_raises_fails_once_its_attempts_are_spent(
    url: str, attempts: int
) -> None:
    key = len(raised) + 1_000 * attempts
    options = {"maximum_attempts": attempts, "initial_interval": "0.01 seconds"}
    handle = await hosted(url, always_raises, key, **options)
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert "boom" in str(caught.value.cause)
    assert raised.count(key) == attempts
    assert await handle.status() == "failed"


class BareError(BaseException):
    """Not an Exception."""


BARE = {each.__name__: each for each in (SystemExit, KeyboardInterrupt, GeneratorExit, BareError)}


async def goes_on() -> str:
    return "fine"


async def leaves(name: str) -> None:
    raised.append(name)
    raise BARE[name]("out")


@pytest.mark.parametrize("attempts", [1, 3])
async def test_whatever_is_raised_fails_its_workflow_once_its_attempts_are_spent(
    url: str, attempts: int
) -> None:
    options = {"maximum_attempts": attempts, "initial_interval": "0.01 seconds"}
    await meshflow.Worker.create(connection=url, workflow=leaves, options=options)
    client = meshflow.Client(connection=url)
    for name in BARE:
        before = raised.count(name)
        handle = await client.workflow.start(workflow_name="leaves", args=[name])
        with pytest.raises(WorkflowFailureError) as caught:
            await asyncio.wait_for(handle.result(), 20)
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == name
        assert raised.count(name) - before == attempts
    await meshflow.Worker.create(connection=url, workflow=goes_on)
    other = await client.workflow.start(workflow_name="goes_on", args=[])
    assert await other.result() == "fine"


async def test_an_exception_that_is_not_to_be_retried_fails_its_workflow(url: str) -> None:
    key = len(raised) + 10_000
    options = {"maximum_attempts": 50, "non_retryable_error_types": ["ValueError"]}
    handle = await hosted(url, always_raises, key, **options)
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert raised.count(key) == 2  # once more, to record how it ends


async def test_a_workflow_that_comes_through_in_time_succeeds(url: str) -> None:
    key = len(raised) + 20_000
    options = {"maximum_attempts": 3, "initial_interval": "0.01 seconds"}
    handle = await hosted(url, recovers, key, **options)
    assert await handle.result() == "done"
    assert raised.count(key) == 3
