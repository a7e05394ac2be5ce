"""Attempts that are over when the call that begins them returns."""

from __future__ import annotations

from typing import Protocol

from hotmesh.activity import ActivityContext
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.worker._activity_registry import RegisteredActivity
from hotmesh.worker._activity_running import Done, RunningActivity


class Preparing(Protocol):
    """What makes the state of an attempt."""

    def prepare(
        self, task: ActivityTask, done: Done, registered: RegisteredActivity | None
    ) -> RunningActivity:
        """The state of an attempt that begins now."""
        ...


class AttemptAtOnce:
    """Such an attempt. What the activity may ask for is made when it asks: few do.

    Args:
        runner: Makes the attempt's state.
        task: What is attempted.
        done: Told the outcome.
        registered: The activity.
    """

    __slots__ = ("_done", "_registered", "_runner", "_task", "is_over", "prepared")

    def __init__(
        self, runner: Preparing, task: ActivityTask, done: Done, registered: RegisteredActivity
    ) -> None:
        self._runner = runner
        self._task = task
        self._done = done
        self._registered = registered
        self.is_over = False
        """The outcome is decided: whatever comes later is ignored."""
        self.prepared: RunningActivity | None = None
        """The attempt's state, once something has asked for it."""

    def running(self) -> RunningActivity:
        """The attempt's state."""
        if self.prepared is None:
            self.prepared = self._runner.prepare(self._task, self._done, self._registered)
            self.prepared.begun = True
            self.prepared.settled = self.is_over
        return self.prepared

    def context(self) -> ActivityContext:
        """What the functions of :mod:`hotmesh.activity` work on."""
        return self.running().context

    def end(self) -> None:
        """The outcome is decided."""
        self.is_over = True
        if self.prepared is not None:
            self.prepared.settled = True
