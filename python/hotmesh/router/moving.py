"""Runs that this worker has no code for: they go to the lanes of those who have.

A lane belongs to one router, whatever types its runs have. Where routers of a task queue host
different types, a run that its lane's router can't run is moved into the lane of the same number of
a *side queue*, for its type alone, whose lanes are shared by the routers that host the type. Where
all host the same there are no side queues.

A move takes the run and its unread events. What else comes for it in its old lane, late, is found
by the owner of that lane and sent after it.
"""

from __future__ import annotations

import logging

from hotmesh.backends.protocol import MessageKind, Step
from hotmesh.core import kinds
from hotmesh.limits import LANES_PER_QUEUE
from hotmesh.retrying import PASSING
from hotmesh.router.effects import START_FRAME
from hotmesh.router.memory import BACKEND_PAUSE_SECONDS, PipeMemory
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.state import RunState

logger = logging.getLogger(__name__)

HOME_PAUSE_SECONDS = 0.05
"""Until it is looked whether a run came home."""

LEFT_BEHIND_MAX = 10_000
"""Runs of which is known where else they have been."""


class Mover:
    """Moves a pipe's runs, and sends after them what came too late."""

    def __init__(self, context: PipeContext, memory: PipeMemory) -> None:
        self._context = context
        self._memory = memory
        self._called_home: set[bytes] = set()
        self._left_behind: dict[bytes, int] = {}
        """The lanes that runs were moved from with timers in them, perhaps."""

    def taken_in(self, run_id: bytes, lane: int, *, has_begun: bool) -> None:
        """A run is looked after here, in the lane that it is in.

        Args:
            run_id: The run.
            lane: Its lane.
            has_begun: Whether it may have stored timers elsewhere.
        """
        home = self._home_of(lane)
        if has_begun and lane != home:
            self._has_been_in(run_id, home)

    def clear_left_behind(self, step: Step) -> None:
        """Have a step delete the timers that it deletes where their runs have been before, too.

        Timers stay where they are when their run is moved, and are sent after it once they are due.
        Those of a run that has no use for them any more would lie there as long, or for good: a
        side queue is not read without open runs.
        """
        left = self._left_behind
        if not left:
            return
        rows = zip(step.drop_timer_run, step.drop_timer_due, step.drop_timer_key, strict=True)
        for run_id, due_ms, key in [row for row in rows if row[0] in left]:
            step.drop_timer_lane.append(left[run_id])
            step.drop_timer_due.append(due_ms)
            step.drop_timer_run.append(run_id)
            step.drop_timer_key.append(key)
        for run_id in step.close_run:
            left.pop(run_id, None)

    def _has_been_in(self, run_id: bytes, lane: int) -> None:
        if len(self._left_behind) >= LEFT_BEHIND_MAX:
            del self._left_behind[next(iter(self._left_behind))]
        self._left_behind[run_id] = lane

    def _home_of(self, lane: int) -> int:
        """The lane of the task queue that a lane of a side queue belongs to."""
        return self._context.queue_id * LANES_PER_QUEUE + lane % LANES_PER_QUEUE

    async def move(self, state: RunState) -> None:
        """Put a run that has just failed for want of its code where those read who have it.

        A closed one stays where it is: only what was asked of it goes there.
        """
        details, context = state.details, self._context
        run_id, lane = details.run_id, details.lane
        try:
            queue_id = await context.resolve_side(details.workflow_type)
        except PASSING:
            self._memory.postpone(run_id, BACKEND_PAUSE_SECONDS)
            return
        if not self._memory.core.known(run_id):
            return  # its lane was given back meanwhile
        target = queue_id * LANES_PER_QUEUE + lane % LANES_PER_QUEUE
        logger.debug(
            "workflow %r (type %s) is not hosted here: it goes to lane %d",
            details.workflow_id,
            details.workflow_type,
            target,
        )
        effects = self._memory.effects
        effects.moves.append((run_id, lane, target))
        if not self._send_after(run_id, target):
            # What the run has open may be known to this process only: somebody has to look.
            effects.messages.append((target, run_id, MessageKind.START, START_FRAME))

    def is_others(self, state: RunState) -> bool:
        """See to what came here for a run that is in another router's lane, if it is for others.

        It is sent after the run; what this process made itself is forgotten, for the run's owner
        does that work again. Whoever has the code may answer for a closed run.
        """
        memory, run_id, lane = self._memory, state.details.run_id, state.lane
        waiting = memory.core.waiting_kinds(run_id)
        if state.closed:
            if self._context.engine.hosts(state.workflow_type):
                return False
            if kinds.QUERY not in waiting:
                memory.core.load(run_id, lane, [], True, [])  # too late, whatever it is
                return True
        elif not kinds.ENDING.isdisjoint(waiting) and self._call_home(run_id, lane):
            return True
        self._send_after(run_id, lane)
        return True

    def _call_home(self, run_id: bytes, lane: int) -> bool:
        """Have a run back whose end has come, if nobody owns its lane and so could end it.

        Asked for once; the run is looked at again then.
        """
        home = self._home_of(lane)
        if lane == home or run_id in self._called_home:
            self._called_home.discard(run_id)
            return False
        self._called_home.add(run_id)
        self._memory.effects.moves.append((run_id, lane, home))
        self._has_been_in(run_id, lane)
        self._memory.postpone(run_id, HOME_PAUSE_SECONDS)
        return True

    def _send_after(self, run_id: bytes, lane: int) -> bool:
        """Forget a run and send what came for it into its lane; whether there was something."""
        effects = self._memory.effects
        if not self._memory.core.known(run_id):
            return False
        messages, timers = self._memory.core.forward(run_id, lane)
        for kind, frame in messages:
            effects.messages.append((lane, run_id, _message_kind(kind), frame))
        for due_ms, key in timers:
            effects.timers.append((lane, due_ms, run_id, key))
        self._memory.has_columns = True
        return bool(messages or timers)


def _message_kind(kind: int) -> int:
    if kind == kinds.START:
        return MessageKind.START
    return MessageKind.EVENT if kind in kinds.EVENTS else MessageKind.RESULT
