"""Faults that the engine once had, put back: the simulation must find each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from hotmesh.backends.protocol import StepReply
from hotmesh.core._python.output import Output
from hotmesh.core._python.run import Arrival, MessageOrigin, Run
from hotmesh.router.clock import BackendClock
from hotmesh.router.local_activities import LocalActivities
from hotmesh.router.moving import Mover
from hotmesh.router.pipe import Pipe
from hotmesh.worker._activity_runner import ActivityRunner


@contextlib.contextmanager
def events_after_activities() -> Iterator[None]:
    """What a step has read is handed over when runs have moved on already, and acknowledged."""
    take_in, start = Pipe._take_in, Pipe._start_activities
    held: dict[Pipe, StepReply] = {}

    def take_nothing_in(pipe: Pipe, reply: StepReply) -> None:
        held[pipe] = reply
        take_in(pipe, StepReply(reply.now_ms))

    async def start_first(pipe: Pipe, effects: Any) -> None:
        await start(pipe, effects)
        take_in(pipe, held.pop(pipe))

    def acknowledge(output: Output, run: Run, arrival: Arrival, batch: Any) -> None:
        if isinstance(arrival.origin, MessageOrigin):
            batch.late.append((run.run_id, arrival.event))
        output.acknowledge(run, arrival.origin)

    with (
        mock.patch.object(Pipe, "_take_in", take_nothing_in),
        mock.patch.object(Pipe, "_start_activities", start_first),
        mock.patch.object(Output, "_close_out", acknowledge),
    ):
        yield


@contextlib.contextmanager
def anchors_let_go_early() -> Iterator[None]:
    """A duplicate is acknowledged before it is known what the run in hand asks for."""

    def dismiss(output: Output, run: Run, arrival: Arrival) -> None:
        if arrival.origin is not None and run.anchor is None and run.has_local_work():
            run.anchor = arrival.origin
        else:
            output.acknowledge(run, arrival.origin)

    with mock.patch.object(Output, "_dismiss", dismiss):
        yield


@contextlib.contextmanager
def cancelled_whatever_the_attempt() -> Iterator[None]:
    """Whoever cancels an attempt of an activity cancels the next one too."""
    cancel = ActivityRunner.cancel

    def cancel_all(runner: ActivityRunner, attempt: Any, reason: Any) -> None:
        for running in list(runner._running):
            if running[:2] == attempt[:2]:
                cancel(runner, running, reason)

    with mock.patch.object(ActivityRunner, "cancel", cancel_all):
        yield


@contextlib.contextmanager
def repeats_not_looked_for() -> Iterator[None]:
    """A send that is repeated is refused, or delivered again, though a run that closed has it."""
    with mock.patch("hotmesh.backends.sqlite.starts._heard", return_value=None):
        yield


@contextlib.contextmanager
def results_lost_with_the_tenure() -> Iterator[None]:
    """What the core has been given of a first attempt is forgotten when the tenure ends."""
    end = LocalActivities.end

    def forget(activities: LocalActivities) -> None:
        for task in activities.inflight.values():
            if (task.run_id, task.event) not in activities._memory.local:
                task.event = None
        end(activities)

    with mock.patch.object(LocalActivities, "end", forget):
        yield


@contextlib.contextmanager
def moves_that_wake_nobody() -> Iterator[None]:
    """A run that moves with nothing but what only its old router knew of is looked at by nobody."""
    send_after = Mover._send_after

    def silently(mover: Mover, run_id: bytes, lane: int) -> bool:
        send_after(mover, run_id, lane)
        return True

    with mock.patch.object(Mover, "_send_after", silently):
        yield


@contextlib.contextmanager
def jumps_believed() -> Iterator[None]:
    """What is due follows the database's clock, wherever it is set."""

    def believe(clock: BackendClock, by_ms: float) -> None:
        clock._offset += by_ms

    with mock.patch.object(BackendClock, "_saw_jump", believe):
        yield


MUTANTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    mutant.__name__: mutant
    for mutant in (
        events_after_activities,
        anchors_let_go_early,
        cancelled_whatever_the_attempt,
        repeats_not_looked_for,
        results_lost_with_the_tenure,
        moves_that_wake_nobody,
        jumps_believed,
    )
}
