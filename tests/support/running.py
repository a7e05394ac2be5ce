"""Workers and workflows for end-to-end tests: one task queue, short names for what tests repeat."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from hotmesh.client import Client, WorkflowFailureError, WorkflowHandle
from hotmesh.common import RetryPolicy
from hotmesh.worker import Worker

_Function = TypeVar("_Function", bound=Callable[..., Any])

QUEUE = "tests"
SOON = timedelta(seconds=10)
"""A timeout that no healthy test reaches."""

AT_ONCE = RetryPolicy(initial_interval=timedelta(milliseconds=1), backoff_coefficient=1.0)
"""Retries without end and without noticeable pause."""

ONCE = RetryPolicy(maximum_attempts=1)
"""No retries."""


def at_module_level(function: _Function) -> _Function:
    """Let a run method of a class that a test makes inside a function be declared all the same.

    For classes that stand for the same one, deployed with other code.
    """
    function.__qualname__ = function.__qualname__.rpartition("<locals>.")[2]
    return function


def attempts(count: int) -> RetryPolicy:
    """A policy of `count` attempts without noticeable pause."""
    return RetryPolicy(
        initial_interval=timedelta(milliseconds=1), backoff_coefficient=1.0, maximum_attempts=count
    )


@contextlib.asynccontextmanager
async def working(
    client: Client, *workflows: Any, activities: Sequence[Callable[..., Any]] = (), **options: Any
) -> AsyncIterator[Worker]:
    """A worker on the tests' task queue."""
    options.setdefault("task_queue", QUEUE)
    async with Worker(client, workflows=workflows, activities=activities, **options) as worker:
        yield worker


async def start(client: Client, workflow: Any, *args: Any, **options: Any) -> Any:
    """Start a workflow under an id of its own."""
    options.setdefault("id", f"wf-{uuid.uuid4().hex}")
    options.setdefault("task_queue", QUEUE)
    return await client.start_workflow(workflow, args=args, **options)


async def execute(client: Client, workflow: Any, *args: Any, **options: Any) -> Any:
    """Start a workflow and wait for its result."""
    return await (await start(client, workflow, *args, **options)).result()


async def run(
    client: Client,
    workflow: Any,
    *args: Any,
    activities: Sequence[Callable[..., Any]] = (),
    **options: Any,
) -> Any:
    """Start a workflow beside a worker that hosts just it, and wait for its result."""
    async with working(client, workflow, activities=activities):
        return await execute(client, workflow, *args, **options)


async def failure_of(result: Awaitable[Any]) -> BaseException:
    """The cause with which a workflow fails."""
    try:
        value = await result
    except WorkflowFailureError as error:
        return error.cause
    raise AssertionError(f"the workflow did not fail but returned {value!r}")


async def eventually(
    check: Callable[[], Awaitable[bool]], what: str, seconds: float = 10.0
) -> None:
    """Ask until the answer is yes; for facts that nothing announces."""
    try:
        async with asyncio.timeout(seconds):
            while not await check():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def task_failure(handle: WorkflowHandle[Any, Any]) -> dict[str, Any]:
    """What the run's record says about its failing workflow task; waits until it says so."""
    found: list[dict[str, Any]] = []

    async def is_there() -> bool:
        described = await handle.describe()
        failure = described.record.get("hotmesh.task_failure")
        if failure is not None:
            found.append(failure)
        return failure is not None

    await eventually(is_there, "the record names a task failure")
    return found[-1]


async def timers(client: Client) -> list[int]:
    """The keys of the timers that are stored."""
    backend, cursor, found = client.connection.backend, b"", list[int]()
    while True:
        rows, cursor = await backend.pending(client.namespace, cursor, 100)
        found += [row.number for row in rows if row.kind == "timer"]
        if not cursor:
            return found
