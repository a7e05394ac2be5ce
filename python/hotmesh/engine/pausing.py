"""Stopping a run's code midway once it has made much, so that no step of a router is too large.

What is stopped goes on in the next transition as if nothing had been: no job is applied before, and
its time stands still. So code can't tell, and a replay may stop it wherever the same commands have
been issued. (But for a run whose end was refused: the events that it must not end without come
first.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from hotmesh.core import Event, kinds, match_commands
from hotmesh.exceptions import PayloadTooLargeError
from hotmesh.limits import BATCH_BYTES_MAX

if TYPE_CHECKING:
    from hotmesh.engine.details import EngineOptions
    from hotmesh.engine.handlers import Handlers
    from hotmesh.engine.loop import WorkflowLoop

PAUSE: Final = BaseException()
"""In the place of the error of a task: the callback that runs is the last one for now."""

_PAUSED: Event = (kinds.PAUSED, 0, 0, "", b"", b"")
_RESUMED: Event = (kinds.RESUMED, 0, 0, "", b"", b"")
_RESUMED_BEHIND: Event = (kinds.RESUMED, 0, 1, "", b"", b"")
"""The events of the transition came first."""

_EVENTS = kinds.EVENTS - kinds.ENDING
"""What the store lets no run end without, as far as its code has a say in that."""


class Pausing:
    """The part of a run that applies several jobs, and stops its code."""

    __slots__ = ()

    closed: bool
    commands: list[Event]
    events_first: bool
    """Whether code that goes on is given events first: without them the run must not end."""
    held_up: bool
    """Whether the run has not begun, or its code was stopped midway."""
    handlers: Handlers
    is_replaying: bool
    left: list[tuple[int, Sequence[Event]]] | None
    """Jobs behind the code that was stopped, and their time; None: the run has not begun."""
    loop: WorkflowLoop
    made: tuple[int, int]
    """Transition, and the bytes that were made in it so far."""
    now_ms: int
    options: EngineOptions
    read_only: str
    stopped_ms: int
    """The time at which the code was stopped."""
    task_error: BaseException | None
    transitions: int
    unanswered: int
    until: Sequence[Event] | None
    """When replaying: what is issued before the code is stopped."""

    if TYPE_CHECKING:

        def _apply(self, job: Event) -> None: ...
        def _run_once(self) -> None: ...

    def within_limit(self, data: bytes, what: str) -> bytes:
        """Data that may be stored. Once there is much of it the code is stopped.

        Raises:
            PayloadTooLargeError: it exceeds the worker's payload limit.
        """
        if len(data) > self.options.small_bytes:
            self._count(len(data), what)
        return data

    def _count(self, size: int, what: str) -> None:
        if size > self.options.payload_limit:
            raise PayloadTooLargeError(size, self.options.payload_limit, what)
        if self.is_replaying or self.read_only:
            return
        transition, made = self.made
        made = size if transition != self.transitions else made + size
        self.made = (self.transitions, made)
        if made >= BATCH_BYTES_MAX and self.task_error is None:
            self.task_error = PAUSE

    def replay_as(self, recorded: Sequence[Event]) -> None:
        """Have a replay go on and stop as it was recorded of a transition.

        Args:
            recorded: Its commands, without what is not compared; not none.
        """
        if recorded[0][0] == kinds.RESUMED:
            self.events_first = recorded[0] == _RESUMED_BEHIND
        if recorded[-1][0] == kinds.PAUSED:
            self.until = recorded[:-1]
            self.task_error = PAUSE

    def _stopped(self, batch: Sequence[Any], handle: Any) -> bool:
        """Whether the code stops here, after a callback.

        Raises:
            BaseException: The callback has failed the task.
        """
        error = self.task_error
        if error is not PAUSE:
            self.task_error = None
            assert error is not None
            raise error
        if self.until is not None and not self._has_issued(self.until):
            return False
        loop = self.loop
        at = next(index for index, each in enumerate(batch) if each is handle)
        rest = [each for each in (*batch[at + 1 :], *loop.ready) if not each.cancelled_]
        if self.closed or not rest:
            if self.until is None:
                self.task_error = None
            return False
        self.task_error = self.until = None
        loop.ready = rest
        self.held_up, self.left, self.stopped_ms = True, [], self.now_ms
        self.commands.append(_PAUSED)
        return True

    def _has_issued(self, recorded: Sequence[Event]) -> bool:
        if len(self.commands) < len(recorded):
            return False
        issued = [each for each in self.commands if each[0] not in kinds.UNCOMPARED]
        return len(issued) == len(recorded) and match_commands(recorded, issued) < 0

    def _apply_in_order(self, jobs: Sequence[Event]) -> None:
        """Signals and updates first, queries last."""
        main: list[Event] = []
        queries: list[Event] = []
        for job in jobs:
            kind = job[0]
            if kind == kinds.SIGNAL:
                self.handlers.on_signal(job)
            elif kind == kinds.UPDATE:
                self.handlers.on_update(job)
            elif kind == kinds.QUERY:
                queries.append(job)
            else:
                main.append(job)
        if len(main) + len(queries) < len(jobs):
            self._run_once()
            if self.held_up:
                self._leave([*main, *queries])
                return
        if main:
            for job in main:
                self._apply(job)
            self._run_once()
        if queries:
            if self.held_up:
                self._leave(queries)
            else:
                self.handlers.answer(queries)

    def _leave(self, jobs: Sequence[Event]) -> None:
        """Keep jobs until the code that was stopped has gone on; queries come again."""
        assert self.left is not None
        kept = [job for job in jobs if job[0] != kinds.QUERY]
        self.unanswered += len(jobs) - len(kept)
        if kept:
            self.left.append((self.now_ms, kept))

    def _begin_events(self, jobs: Sequence[Event]) -> Sequence[Event]:
        """Have the code take events before it goes on; the other jobs."""
        loop = self.loop
        rest, loop.ready = loop.ready, []
        for job in jobs:
            if job[0] == kinds.SIGNAL:
                self.handlers.on_signal(job)
            elif job[0] == kinds.UPDATE:
                self.handlers.on_update(job)
            elif job[0] == kinds.CANCEL:
                self._apply(job)
        loop.ready += rest
        self.events_first = False
        return [job for job in jobs if job[0] not in _EVENTS]

    def _go_on(self, jobs: Sequence[Event]) -> Sequence[Event]:
        """Run the code from where it was stopped.

        Args:
            jobs: What has come since.

        Returns:
            Of these, what is to be applied now: nothing if the code was stopped again.
        """
        assert self.left is not None
        self.commands.append(_RESUMED_BEHIND if self.events_first else _RESUMED)
        if self.events_first:
            jobs = self._begin_events(jobs)
        groups = [*self.left, (self.now_ms, jobs)]
        self.held_up, self.now_ms = False, self.stopped_ms
        self._run_once()
        while not self.held_up:
            self.now_ms, group = groups.pop(0)
            if not groups:
                return group
            self._apply_in_order(group)
        now_ms = self.now_ms
        for self.now_ms, group in groups:
            self._leave(group)
        self.now_ms = now_ms
        return ()
