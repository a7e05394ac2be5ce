"""Attempts that are over when the call that begins them returns."""

from __future__ import annotations

from collections.abc import Callable

from hotmesh.activity import ActivityContext
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.worker._activity_registry import RegisteredActivity
from hotmesh.worker._activity_running import Done, RunningActivity

Prepare = Callable[[ActivityTask, Done, RegisteredActivity], RunningActivity]


class AttemptAtOnce:
    """Such an attempt. What the activity may ask for is made when it asks: few do.

    Args:
        prepare: Makes the attempt's state.
        task: What is attempted.
        done: Told the outcome.
        registered: The activity.
    """

    __slots__ = ("_done", "_prepare", "_registered", "_task", "is_over", "prepared")

    def __init__(
        self, prepare: Prepare, task: ActivityTask, done: Done, registered: RegisteredActivity
    ) -> None:
        self._prepare = prepare
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
            self.prepared = self._prepare(self._task, self._done, self._registered)
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
