"""The workloads: small workflows that each exercise one thing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hotmesh import activity, workflow
from hotmesh.bench.plan import Plan
from hotmesh.client import WorkflowHandle

ACTIVITY_TIMEOUT = timedelta(minutes=10)
"""Far beyond any measurement: a time-out would repeat work and spoil it."""

SLEEP = timedelta(seconds=1)

SEQUENTIAL_STEPS = 10


@activity.defn(name="bench_echo")
async def echo(value: int) -> int:
    """What a step does: nothing."""
    return value


@workflow.defn(name="bench_noop")
class Noop:
    """No step."""

    @workflow.run
    async def run(self) -> int:
        """Return at once."""
        return 0


@workflow.defn(name="bench_steps")
class Steps:
    """Activities one after the other."""

    @workflow.run
    async def run(self, count: int) -> int:
        """Run ``count`` activities, each after the one before."""
        total = 0
        for value in range(count):
            total += await workflow.execute_activity(
                echo, value, start_to_close_timeout=ACTIVITY_TIMEOUT
            )
        return total


@workflow.defn(name="bench_fan")
class Fan:
    """Activities side by side."""

    @workflow.run
    async def run(self, width: int) -> int:
        """Run ``width`` activities at once."""
        results = await asyncio.gather(
            *(
                workflow.execute_activity(echo, value, start_to_close_timeout=ACTIVITY_TIMEOUT)
                for value in range(width)
            )
        )
        return sum(results)


@workflow.defn(name="bench_signal")
class Signalled:
    """A workflow that waits for a signal."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self) -> int:
        """Wait for the signal."""
        await workflow.wait_condition(lambda: self._told)
        return 1

    @workflow.signal
    def go(self) -> None:
        """What is waited for."""
        self._told = True

    @workflow.query
    def waits(self) -> bool:
        """Whether it is still waiting."""
        return not self._told


@workflow.defn(name="bench_sleep")
class Sleeper:
    """A timer."""

    @workflow.run
    async def run(self) -> float:
        """Sleep.

        Returns:
            How late it woke, in seconds, by the machine's clock. The value is for measuring only:
            a real workflow reads no clock but ``workflow.now``.
        """
        due = (workflow.now() + SLEEP).timestamp()
        await workflow.sleep(SLEEP)
        return time.time() - due


@workflow.defn(name="bench_parent")
class Parent:
    """A child workflow."""

    @workflow.run
    async def run(self) -> int:
        """Run one child."""
        return await workflow.execute_child_workflow(Noop.run)


@workflow.defn(name="bench_remote")
class Remote:
    """An activity in another process."""

    @workflow.run
    async def run(self, task_queue: str) -> int:
        """Run one activity on ``task_queue``."""
        return await workflow.execute_activity(
            echo, 1, task_queue=task_queue, start_to_close_timeout=ACTIVITY_TIMEOUT
        )


WORKFLOWS: list[Any] = [Noop, Steps, Fan, Signalled, Sleeper, Parent, Remote]

Finish = Callable[[WorkflowHandle[Any, Any]], Awaitable[float | None]]
"""Sees a started workflow through; a latency in seconds in place of start to result, or None."""


async def _result(handle: WorkflowHandle[Any, Any]) -> None:
    await handle.result()


async def _lateness(handle: WorkflowHandle[Any, Any]) -> float:
    return float(await handle.result())


async def _signal(handle: WorkflowHandle[Any, Any]) -> float:
    # The query's answer says that the workflow waits: from here on it is the signal alone.
    await handle.query(Signalled.waits)
    began = time.perf_counter()
    await handle.signal(Signalled.go)
    await handle.result()
    return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Workload:
    """What one workflow of it is."""

    workflow: Any
    arguments: Callable[[Plan], list[Any]] = lambda plan: []
    steps: Callable[[Plan], int] = lambda plan: 1
    finish: Finish = _result
    latency: str = "start to result"
    remote: bool = False
    """Whether its activities have a process of their own."""


WORKLOADS: dict[str, Workload] = {
    "noop": Workload(Noop.run, steps=lambda plan: 0),
    "one": Workload(Steps.run, lambda plan: [1]),
    "ten": Workload(Steps.run, lambda plan: [SEQUENTIAL_STEPS], lambda plan: SEQUENTIAL_STEPS),
    "fan": Workload(Fan.run, lambda plan: [plan.width], lambda plan: plan.width),
    "signal": Workload(Signalled.run, finish=_signal, latency="signal to result"),
    "sleep": Workload(Sleeper.run, finish=_lateness, latency="lateness of a 1 s sleep"),
    "child": Workload(Parent.run),
    "remote": Workload(Remote.run, lambda plan: [plan.remote_queue], remote=True),
}
