"""A runner with a clock that stands still, and a place where its outcomes arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from hotmesh.converter import DataConverter, decode_failure, decode_values, encode_values
from hotmesh.engine import wire
from hotmesh.engine.activity_task import TaskOrigin
from hotmesh.engine.outside import outside_tasks
from hotmesh.worker._activity_runner import ActivityRunner, ActivityTask, Outcome
from hotmesh.worker._activity_running import state_details, state_failure

START_MS = 1_700_000_000_000
RUN_ID = bytes(range(16))


class Clock:
    """Milliseconds that pass only when told to."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


class Harness:
    """Starts attempts on a runner and collects what it reports."""

    def __init__(self, *activities: Callable[..., Any], **options: Any) -> None:
        self.clock = Clock()
        self.beats: list[bytes] = []
        self.beaten = asyncio.Event()
        self.converter: DataConverter = options.pop("data_converter", DataConverter.default)
        self.runner = ActivityRunner(
            activities,
            namespace="default",
            task_queue="queue",
            data_converter=self.converter,
            on_heartbeat=self._on_heartbeat,
            now_ms=self.clock,
            identity="tester",
            **options,
        )
        self._last_seq = 0

    def _on_heartbeat(self, task: ActivityTask, state: bytes) -> None:
        self.beats.append(state)
        self.beaten.set()

    def task(self, name: str, *args: Any, **changes: Any) -> ActivityTask:
        """A task of an activity; ``changes`` replace fields, others become options."""
        self._last_seq += 1
        fields: dict[str, Any] = {
            "run_id": RUN_ID,
            "seq": self._last_seq,
            "attempt": 1,
            "lane": 65,
            "state": b"",
            "body": encode_values(self.converter, args, "arguments"),
            "scheduled_ms": self.clock.now_ms,
        }
        fields |= {key: changes.pop(key) for key in list(changes) if key in fields}
        return ActivityTask(
            name=name,
            options={"st": 60_000, **changes},
            origin=TaskOrigin("default", "wf", "Flow", "queue"),
            started_ms=self.clock.now_ms,
            **fields,
        )

    def start(self, task: ActivityTask) -> asyncio.Future[Outcome]:
        """Begin an attempt; the future fails if its outcome comes twice."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        with outside_tasks():
            event = self.runner.start(task, lambda _, outcome: future.set_result(outcome))
            if event is not None:
                future.set_result(Outcome("completed", event))
        return future

    async def run(self, name: str, *args: Any, **changes: Any) -> Outcome:
        """Make one attempt and wait for its outcome."""
        return await asyncio.wait_for(self.start(self.task(name, *args, **changes)), 20)

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.clock.now_ms += milliseconds
        self.runner.tick()

    def result(self, outcome: Outcome) -> Any:
        """The value of a completed outcome."""
        assert outcome.kind == "completed", outcome
        assert outcome.event is not None
        return decode_values(self.converter, outcome.event[5])[0]

    def failure(self, outcome: Outcome) -> Any:
        """The error in a failed, cancelled or retried outcome, as a workflow would get it."""
        if outcome.kind == "retry":
            return decode_failure(self.converter, state_failure(outcome.state))
        assert outcome.event is not None
        return decode_failure(self.converter, outcome.event[5])

    def details(self, state: bytes) -> list[Any]:
        """The heartbeat details in a state."""
        return decode_values(self.converter, state_details(state))

    def last_beat(self) -> list[Any]:
        """The details of the last heartbeat that was sent."""
        return self.details(self.beats[-1])


def threads(count: int = 2) -> ThreadPoolExecutor:
    """A small pool."""
    return ThreadPoolExecutor(count)


def seconds(value: float) -> timedelta:
    """A timedelta."""
    return timedelta(seconds=value)


def with_document(document: dict[str, Any], body: bytes) -> bytes:
    """A body with a document in front."""
    return wire.join_document(document, body)
