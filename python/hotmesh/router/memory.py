"""What a pipe holds in memory: its runs, and what is to go out with the next step.

All of it can be lost at any time; the database has what counts.
"""

from __future__ import annotations

import heapq
import operator
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from hotmesh.backends.protocol import MessageRow
from hotmesh.core import Event, Router
from hotmesh.giving_back import let_go
from hotmesh.limits import (
    BATCH_BYTES_MAX,
    BATCH_MESSAGES_MAX,
    CACHE_MOVING_S,
    ROPE_BYTES,
    SMALL_BYTES_MAX,
    TIMER_HORIZON_MS,
)
from hotmesh.router.effects import Effects
from hotmesh.router.state import RunState

BACKEND_PAUSE_SECONDS = 0.25
"""Before a run is tried again whose task needed a backend that was away."""

Activation = tuple[bytes, list[Event], int]
"""Run id, jobs, and which of the messages read has begun the run (-1: none)."""


class Held(NamedTuple):
    """An activation that waits."""

    run_id: bytes
    jobs: list[Event]
    row: MessageRow | None
    """The message that has begun the run, if it was that one."""

    @property
    def is_rest(self) -> bool:
        """Whether the run's code was stopped midway, and goes on."""
        return not self.jobs and self.row is None


class PipeMemory:
    """One pipe's runs and its next step, shared by the parts of the pipe."""

    __slots__ = (
        "_cached",
        "_due",
        "_light_first",
        "_postponed",
        "_tolerated",
        "core",
        "effects",
        "elsewhere",
        "has_columns",
        "held",
        "kept_back",
        "loads",
        "local",
        "read",
        "states",
        "step_bytes",
    )

    def __init__(self) -> None:
        self.core = Router(TIMER_HORIZON_MS)
        self.elsewhere: Callable[[Callable[[], None]], None] | None = None
        """Runs what is left of the code of runs that go; None: here."""
        self.states: dict[bytes, RunState] = {}
        """Runs with code or a journal in memory."""
        self.effects = Effects()
        """What the next step does besides the core's columns."""
        self.local: list[tuple[bytes, Event]] = []
        """Events made in this process, for the next batch: (run id, event)."""
        self.kept_back: list[tuple[bytes, Event]] = []
        """Large ones among them, until it is the pipe's turn to have such a one in hand."""
        self.read: list[MessageRow] = []
        """Messages that the core was given and has not delivered yet."""
        self.loads: list[bytes] = []
        """Runs whose journal is to be read next."""
        self.has_columns = False
        """Whether the core has something for the next step."""
        self.step_bytes = 0
        """What the next step journals and answers so far."""
        self.held: list[Held] = []
        """Activations that wait for that step to be written: it is full."""
        self._tolerated = 0
        """So many runs are not looked through for such as may go: they were, or are few."""
        self._cached = 0
        """Inputs and journals of the runs in memory, without what the next step journals."""
        self._light_first = False
        """Whether the latest order of activations had those first that make little."""
        self._postponed: list[tuple[float, bytes]] = []
        self._due: dict[bytes, float] = {}
        """What was said last of each postponed run."""

    @property
    def cached_bytes(self) -> int:
        """Inputs and journals of the runs in memory, as stored."""
        return self._cached + self.step_bytes

    def answered(self, size: int) -> None:
        """The next step gives so many bytes to clients; no run keeps them."""
        self.step_bytes += size
        self._cached -= size

    def take_step_bytes(self) -> int:
        """What the step that begins now journals and answers."""
        size, self.step_bytes = self.step_bytes, 0
        self._cached += size
        return size

    def take_local(self) -> list[tuple[bytes, Event]]:
        """The local events so far."""
        local, self.local = self.local, []
        return local

    def keep_back(self, size: int) -> None:
        """Keep the local events with more bytes out of the next batch."""
        local, self.local = self.local, []
        for each in local:
            (self.kept_back if len(each[1][5]) > size else self.local).append(each)

    def bring_forward(self) -> None:
        """What was kept back may be part of the next batch."""
        self.local[:0] = self.kept_back
        self.kept_back = []

    def take_read(self) -> list[MessageRow]:
        """The messages that the core has delivered just now."""
        read, self.read = self.read, []
        return read

    def hold(self, activations: Sequence[Activation], messages: Sequence[MessageRow]) -> None:
        """Keep these activations until the next step is written.

        Args:
            activations: What the core has handed out.
            messages: The messages that `fresh` counts.
        """
        self.held += [
            Held(run_id, jobs, messages[fresh] if fresh >= 0 else None)
            for run_id, jobs, fresh in activations
        ]

    def hold_rest(self, run_id: bytes) -> None:
        """The code of a run was stopped midway: it goes on once the next step is written."""
        self.held.append(Held(run_id, [], None))

    def _drop_rests(self, activations: Sequence[Activation]) -> list[Held]:
        """What is held, without the rests of runs that have jobs to be activated with."""
        moved = {activation[0] for activation in activations}
        moved.update(each.run_id for each in self.held if not each.is_rest)
        kept: list[Held] = []
        for each in self.held:
            if each.is_rest and (each.run_id in moved or not self.core.known(each.run_id)):
                continue
            moved.add(each.run_id)
            kept.append(each)
        return kept

    def with_held(
        self, activations: Sequence[Activation], messages: Sequence[MessageRow]
    ) -> tuple[Sequence[Activation], list[MessageRow]]:
        """What was held and these activations, in the order in which they are to be run.

        Every other time those go first that will not fill the step, as far as one can tell, and
        those with few jobs, so that nobody waits for all that is held; the other times it is the
        turn of what is held.

        Args:
            activations: As :meth:`hold` is given them.
            messages: Likewise.
        """
        held, self.held = self._drop_rests(activations), []
        rows = [each.row for each in held if each.row is not None]
        places = iter(range(len(rows)))
        first = [
            (each.run_id, each.jobs, -1 if each.row is None else next(places)) for each in held
        ]
        shifted = [
            (run_id, jobs, fresh + len(rows) if fresh >= 0 else -1)
            for run_id, jobs, fresh in activations
        ]
        found, rows = first + shifted, [*rows, *messages]
        self._light_first = not self._light_first
        if self._light_first:
            found.sort(key=lambda each: (self._is_heavy(each, rows), len(each[1])))
        return found, rows

    def _is_heavy(self, activation: Activation, messages: Sequence[MessageRow]) -> bool:
        """Whether an activation brings much, or its run's last one has made much."""
        run_id, jobs, fresh = activation
        if fresh >= 0 and len(messages[fresh][7] or b"") >= SMALL_BYTES_MAX:
            return True
        state = self.states.get(run_id)
        if state is not None and state.is_heavy:
            return True
        return sum(len(job[5]) for job in jobs) >= SMALL_BYTES_MAX

    def room_beside_held(self) -> int:
        """How many messages may be read beside what is held: none if that has a batch's bytes."""
        held = self.held
        size = sum(len(job[5]) for each in held for job in each.jobs)
        size += sum(len(each.row[7] or b"") for each in held if each.row is not None)
        return max(0, BATCH_MESSAGES_MAX - len(held)) if size < BATCH_BYTES_MAX else 0

    def is_held(self, run_id: bytes) -> bool:
        """Whether the run has jobs that its code has not been given yet."""
        return any(each.run_id == run_id for each in self.held)

    def held_lanes(self) -> set[int]:
        """The lanes of what is held."""
        lanes: set[int] = set()
        for run_id, _, row in self.held:
            if row is not None:
                lanes.add(row[1])
            elif run_id in self.states:
                lanes.add(self.states[run_id].lane)
        return lanes

    def drop_held(self, run_ids: Collection[bytes]) -> None:
        """The core has taken these runs' jobs back."""
        if self.held:
            self.held = [each for each in self.held if each.run_id not in run_ids]

    def largest_leaving(self) -> int:
        """Bytes of the largest of what is in memory only until the next step is written: arguments
        of activities that have ended, and runs that it closes. It looks at all of them."""
        effects, states = self.effects, self.states
        arguments = max((len(task.body) for task, _ in effects.ended), default=0)
        closed = (states[each].bytes for each in effects.closed if each in states)
        return max(arguments, max(closed, default=0))

    def take_effects(self) -> Effects:
        """The effects so far."""
        effects, self.effects = self.effects, Effects()
        return effects

    def drop(self, run_id: bytes) -> bool:
        """Let a run go from memory; false if it was not there."""
        state = self.states.pop(run_id, None)
        if state is None:
            return False
        size = state.bytes
        self._cached -= size
        if state.instance is not None:
            state.instance.dismantle(self.elsewhere)
        del state
        if size >= ROPE_BYTES:
            if self.elsewhere is None:
                let_go(size)
            else:
                self.elsewhere(lambda: let_go(size))  # behind what is taken apart there
        return True

    def keep(self, state: RunState) -> None:
        """A run is in memory now."""
        self.states[state.details.run_id] = state
        self._cached += state.bytes

    def drop_lanes(self, lanes: Collection[int]) -> None:
        """Let the runs of these lanes go."""
        for run_id in [r for r, state in self.states.items() if state.lane in lanes]:
            self.drop(run_id)

    def evict(self, allowed: int, bytes_allowed: int) -> None:
        """Keep about so many runs with at most so many bytes; the longest idle go first.

        While those are runs with activities going on in this process, twice as many: each would
        soon be replayed. Of those only the code goes, the core still knows what they wait for.

        Args:
            allowed: Runs; they are looked through once there are a sixteenth more. What can't go
                then is not looked through again for as many calls, or until as many have come.
            bytes_allowed: Inputs and journals, as stored. Beside them the largest run may stay
                while it moves: replaying it for each message would take longer than all others.
        """
        count, slack = len(self.states), allowed // 16
        self._tolerated = max(allowed + slack, min(self._tolerated - 1, count + slack))
        if count > self._tolerated:
            self._evict_number(count - allowed, allowed)
            self._tolerated = len(self.states) + slack
        if self.cached_bytes > bytes_allowed:
            self._evict_bytes(bytes_allowed)

    def _evict_number(self, excess: int, allowed: int) -> None:
        at_work: list[bytes] = []
        for run_id in self._longest_idle_first():
            if self.core.known(run_id) and not self.core.evict(run_id):
                at_work.append(run_id)
                continue
            self.drop(run_id)
            excess -= 1
            if excess <= 0:
                return
        self._drop_code(at_work[: max(0, len(at_work) - 2 * allowed)])

    def _evict_bytes(self, allowed: int) -> None:
        largest = max(self.states.values(), key=_bytes_of)
        stays = None
        if time.monotonic() - largest.moved_at < CACHE_MOVING_S:
            stays = largest.details.run_id
            allowed += largest.bytes
        gone: list[bytes] = []
        left = self.cached_bytes
        for run_id in self._longest_idle_first():
            if left <= allowed:
                break
            if run_id != stays:
                gone.append(run_id)
                left -= self.states[run_id].bytes
        for run_id in gone:
            if self.core.known(run_id):
                self.core.evict(run_id)
        self._drop_code(gone)

    def _longest_idle_first(self) -> list[bytes]:
        """The runs in memory by the time of their newest transition."""
        return [state.details.run_id for state in sorted(self.states.values(), key=_now_of)]

    def _drop_code(self, run_ids: Sequence[bytes]) -> None:
        """Let the code of these runs go, unless it is about to be run."""
        held = {each.run_id for each in self.held}
        for run_id in run_ids:
            if run_id not in held:
                self.drop(run_id)

    def postpone(self, run_id: bytes, seconds: float) -> None:
        """Read the run's journal again after a while."""
        due = self._due[run_id] = time.monotonic() + seconds
        heapq.heappush(self._postponed, (due, run_id))

    def is_postponed(self, run_id: bytes) -> bool:
        """Whether the run waits for its journal to be read again."""
        return run_id in self._due

    def next_postponed(self) -> float | None:
        """Seconds until the first postponed run is due."""
        return self._postponed[0][0] - time.monotonic() if self._postponed else None

    def due_again(self) -> list[bytes]:
        """The postponed runs whose time has come."""
        due: list[bytes] = []
        while self._postponed and self._postponed[0][0] <= time.monotonic():
            due_at, run_id = heapq.heappop(self._postponed)
            if self._due.get(run_id) != due_at:
                continue  # postponed anew since
            del self._due[run_id]
            if self.core.known(run_id) and run_id not in self.states:
                due.append(run_id)
        return due


def _bytes_of(state: RunState) -> int:
    return state.bytes


_now_of = operator.attrgetter("now_ms")
