"""Any program that waits, cancels and races, under any order of events, replays as it went.

Programs and events are drawn from a seed. After each transition the journal is replayed into the
same code, which must stand where the run stands: the same commands, the same open work.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.core import Event, kinds
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
)
from hotmesh.workflow import ActivityCancellationType, ChildWorkflowCancellationType
from unit.engine.driving import (
    Driven,
    cancel,
    canceled,
    child_completed,
    child_failed,
    child_not_started,
    child_started,
    completed,
    failed,
    fired,
    mail,
    not_sent,
    sent,
    signal,
    timed_out,
)

SEEDS = (*range(20), 175, 291)
"""The last ones found faults."""
TRANSITIONS_MAX = 14

Op = Callable[[], Awaitable[Any]]
EXPECTED = (ActivityError, ChildWorkflowError, ApplicationError, TimeoutError)


class Program:
    """What a workflow does, decided by a seed alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    async def __call__(self) -> int:
        self.random = random.Random(self.seed)
        self.tasks: list[asyncio.Task[Any]] = []
        self.heard = 0
        workflow.set_signal_handler("stop", self._stop_one)
        done = 0
        for _ in range(4):
            try:
                await self.op(2)
                done += 1
            except EXPECTED:
                workflow.enrich({"failed": done})
            except BaseExceptionGroup as group:
                _, rest = group.split((*EXPECTED, asyncio.CancelledError))
                if rest is not None:
                    raise
        return done

    def _stop_one(self, number: int) -> None:
        self.heard += 1
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    async def op(self, depth: int) -> Any:
        simple = [
            self.activity,
            self.activity,
            self.sleep,
            self.child,
            self.condition,
            self.external,
            self.mail,
            self.effects,
        ]
        nested = [self.gather, self.timeout, self.raced, self.shielded, self.group, self.first]
        chosen = self.random.choice([*simple, *nested] if depth else simple)
        if chosen in simple:
            return await chosen()  # type: ignore[call-arg]
        return await chosen(depth - 1)  # type: ignore[call-arg]

    async def activity(self) -> Any:
        kind = self.random.choice(list(ActivityCancellationType))
        options: Any = self.random.choice(
            [{}, {"schedule_to_close_timeout": 9}, {"activity_id": f"a{self.random.random()}"}]
        )
        return await workflow.execute_activity(
            self.random.choice("ab"),
            self.random.random(),
            start_to_close_timeout=5,
            cancellation_type=kind,
            **options,
        )

    async def sleep(self) -> None:
        await workflow.sleep(self.random.choice([0, 0.5, 3]))

    async def child(self) -> Any:
        kind = self.random.choice(list(ChildWorkflowCancellationType))
        handle = await workflow.start_child_workflow("C", cancellation_type=kind)
        if self.random.random() < 0.3:
            handle.cancel()
        return await handle

    async def condition(self) -> None:
        heard = self.heard
        await workflow.wait_condition(lambda: self.heard > heard, timeout=2)

    async def external(self) -> None:
        await workflow.get_external_workflow_handle("other").signal("s", self.random.random())

    async def mail(self) -> Any:
        return await asyncio.wait_for(workflow.wait_signal("key"), 4)

    async def effects(self) -> None:
        workflow.emit({"topic": str(workflow.uuid4())})
        if workflow.patched("patch"):
            workflow.upsert_memo({"m": workflow.random().random()})

    async def gather(self, depth: int) -> Any:
        return await asyncio.gather(self.op(depth), self.op(depth), return_exceptions=True)

    async def timeout(self, depth: int) -> Any:
        async with asyncio.timeout(1):
            return await self.op(depth)

    async def raced(self, depth: int) -> Any:
        task = asyncio.create_task(self.op(depth))
        self.tasks.append(task)
        await workflow.sleep(self.random.choice([0, 1]))
        for _ in range(self.random.choice([1, 2])):
            task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return None

    async def shielded(self, depth: int) -> Any:
        task = asyncio.ensure_future(self.op(depth))
        self.tasks.append(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            return await asyncio.wait([task])

    async def group(self, depth: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                self.tasks.append(group.create_task(self.op(depth)))

    async def first(self, depth: int) -> Any:
        tasks = [asyncio.create_task(self.op(depth)) for _ in range(2)]
        self.tasks += tasks
        _, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)


def outcomes(command: Event) -> list[Event]:
    """What may come of a command."""
    seq, error = command[1], ApplicationError("failed")
    return {
        kinds.ACTIVITY: [
            completed(seq, seq),
            failed(seq, error),
            canceled(seq, CancelledError("stopped")),
            timed_out(seq, 2),
        ],
        kinds.TIMER: [fired(seq)],
        kinds.CHILD: [
            child_started(seq),
            child_not_started(seq),
            child_completed(seq, seq),
            child_failed(seq, CancelledError("stopped")),
        ],
        kinds.SIGNAL_EXTERNAL: [sent(seq), not_sent(seq)],
        kinds.WAIT: [mail(seq, seq)],
    }.get(command[0], [])


def what_comes(draw: random.Random, run: Driven) -> list[Event]:
    """Some events for a run, each of which the core would deliver."""
    opened = {
        each[1]: each for _, _, commands in run.journal for each in commands if outcomes(each)
    }
    happened = {(job[0], job[1]) for _, jobs, _ in run.journal for job in jobs}
    waiting = [seq for seq in opened if run.ledger.is_open(seq)]
    jobs: list[Event] = []
    for seq in draw.sample(waiting, min(len(waiting), draw.choice([1, 1, 2, 3]))):
        possible = outcomes(opened[seq])
        if (kinds.CHILD_STARTED, seq) in happened:
            possible = possible[2:]
        jobs.append(draw.choice(possible))
    if draw.random() < 0.3 or not jobs:
        jobs.insert(draw.randrange(len(jobs) + 1), signal("stop", draw.randrange(9)))
    if draw.random() < 0.05:
        jobs.append(cancel("enough"))
    return jobs


def check_replay(run: Driven) -> None:
    """Its replay must stand where it stands."""
    again = run.replayed()
    assert not again.changed_arguments
    assert again.instance.seq == run.instance.seq
    assert sorted(again.instance.pending) == sorted(run.instance.pending)
    assert again.instance.closed == run.instance.closed
    assert again.instance.held_up == run.instance.held_up
    assert len(again.instance.loop.ready) == len(run.instance.loop.ready)
    assert again.instance.left == run.instance.left
    again.instance.dismantle()


def program(seed: int, core: ModuleType) -> Driven:
    """A run of the program of a seed."""

    async def code() -> int:
        return await Program(seed)()

    return Driven(code, core=core)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_replay_stands_where_the_run_stands(seed: int, core: ModuleType) -> None:
    draw, run = random.Random(seed), program(seed, core)
    run.start()
    for number in range(TRANSITIONS_MAX):
        check_replay(run)
        if not run.is_open:
            return
        run.give(*what_comes(draw, run), at=number)


@pytest.mark.parametrize("seed", SEEDS)
def test_and_so_it_does_when_the_code_is_stopped_wherever_it_can_be(
    seed: int, core: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hotmesh.engine.details.COUNTED_BYTES", 0)
    monkeypatch.setattr("hotmesh.engine.pausing.BATCH_BYTES_MAX", 1)
    draw, run = random.Random(seed), program(seed, core)
    run.start()
    for number in range(3 * TRANSITIONS_MAX):
        check_replay(run)
        if not run.is_open:
            return
        run.instance.events_first = draw.random() < 0.2
        is_rest = run.instance.held_up and draw.random() < 0.7
        run.give(*(() if is_rest else what_comes(draw, run)), at=number)
