"""A worker of one of two kinds, and kill -9 by its own hand in the midst of a move.

``python moving_app.py URL LEASE TYPE WHEN`` hosts the workflow TYPE alone, says "ready", and works
until it is killed. WHEN is "before" or "after": it kills itself in its first step that moves
a run, before the database has it or before its answer is heard. "never": it does not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

from hotmesh import workflow
from hotmesh.backends.protocol import Session, Step, StepReply
from hotmesh.client import Client
from hotmesh.worker import Worker

TASK_QUEUE = "moves"


@workflow.defn
class Entries:
    """Takes entries until it has enough, then says them in order."""

    def __init__(self) -> None:
        self.entries: list[int] = []

    @workflow.run
    async def run(self, count: int) -> list[int]:
        await workflow.sleep(0.05)
        await workflow.wait_condition(lambda: len(self.entries) >= count)
        return self.entries

    @workflow.signal
    def enter(self, number: int) -> None:
        self.entries.append(number)


@workflow.defn
class Parent:
    """Hosted apart from its child; the one that it abandons ends after it."""

    @workflow.run
    async def run(self) -> list[int]:
        me = workflow.info().workflow_id
        child = await workflow.start_child_workflow("Entries", 1, id=f"{me}-child")
        await child.signal("enter", 7)
        await workflow.start_child_workflow(
            "Entries",
            1,
            id=f"{me}-abandoned",
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
        )
        return await child


TYPES: dict[str, Any] = {"Entries": Entries, "Parent": Parent}


class _Dying:
    """A session whose process ends in its first step that moves a run."""

    def __init__(self, session: Session, when: str) -> None:
        self._session = session
        self._when = when

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def step(self, step: Step) -> StepReply:
        if step.move_run and self._when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        reply = await self._session.step(step)
        if step.move_run and self._when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return reply


async def main(url: str, lease: float, type_name: str, when: str) -> None:
    """Work until the end."""
    async with await Client.connect(url) as client:
        kind = type(client.backend)
        session = kind.session

        async def dying(self: Any, *arguments: Any) -> Any:
            return _Dying(await session(self, *arguments), when)

        if when != "never":
            kind.session = dying  # type: ignore[method-assign]
        async with Worker(client, task_queue=TASK_QUEUE, workflows=[TYPES[type_name]], lease=lease):
            print("ready", flush=True)  # noqa: T201
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]))
