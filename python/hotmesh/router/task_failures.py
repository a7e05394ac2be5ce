"""Workflow tasks that fail: each is logged, noted in the run's record, and tried again later."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from hotmesh import json_bytes
from hotmesh.common import RetryPolicy
from hotmesh.core import Event, kinds
from hotmesh.core.kinds import ENDING
from hotmesh.engine import wire
from hotmesh.engine.loop import between_runs
from hotmesh.exceptions import (
    CorruptJournalError,
    CorruptRowError,
    DeadlockError,
    HotMeshError,
    NondeterminismError,
    RefusedRowError,
)
from hotmesh.printing import message_of, printable, told, user_frames
from hotmesh.router.clock import BackendClock
from hotmesh.router.closing import Closer
from hotmesh.router.effects import Effects
from hotmesh.router.memory import PipeMemory
from hotmesh.router.refused_ends import RefusedEnds
from hotmesh.router.state import RunState
from hotmesh.shortening import cut

logger = logging.getLogger("hotmesh.router.pipe")

RETRY_SECONDS = (0.25, 10.0)
"""First and longest pause before a failed workflow task is tried again."""

BLOCKED_SHARE = 5
"""Code that blocked is left alone for so many times as long: the other runs have the time."""

_NOT_THE_CODES = (
    *(NondeterminismError, DeadlockError, RefusedRowError, CorruptRowError),
    CorruptJournalError,
)
"""What waits until code or data are right again, however long that takes."""

ATTRIBUTE = "hotmesh.task_failure"
"""Name in a run's record that says why its workflow task fails."""

ARGUMENTS_CHANGED = "hotmesh.arguments_changed"
"""Name in a run's record that says that a replay called something with other arguments; the same
with ``_at`` says where."""

LOST_ATTRIBUTE = "hotmesh.lost"
"""Name in a run's record that says what was stored for it and could not be read."""

_IN_ATTRIBUTES = f'"{ATTRIBUTE}"'.encode()


class TaskFailures:
    """The failing runs of a pipe."""

    def __init__(
        self,
        memory: PipeMemory,
        clock: BackendClock,
        closer: Closer,
        policy_of: Callable[[str], RetryPolicy | None],
    ) -> None:
        self._memory = memory
        self._policy_of = policy_of
        """How long code of a type may go on raising before its run fails."""
        self._last: set[bytes] = set()
        """Runs whose next attempt is the last."""
        self._clock = clock
        self._closer = closer
        self._counts: dict[bytes, int] = {}
        self._barred: dict[bytes, float] = {}
        """When runs may be activated again whose part of a step the database has refused."""
        self._limited: set[bytes] = set()
        """Runs whose timeouts are stored, or in the next step."""
        self._refused_queries: set[bytes] = set()
        """Queries that a task failed with: answered so, and not asked of the code again."""
        self.gathering: Collection[bytes] = ()
        """Runs that are not activated before what waits for them has been read."""
        self.refused_ends: Collection[bytes] | RefusedEnds = ()
        """Runs whose end the store has refused, those among them."""
        self.any = False
        """Whether there is anything to look for in here; mostly there is not."""

    def add(self, state: RunState, jobs: Sequence[Event], error: BaseException) -> None:
        """A run's task failed: nothing of it counts."""
        memory, run_id = self._memory, state.details.run_id
        if memory.core.known(run_id):
            memory.core.fail(run_id)
        memory.drop(run_id)
        memory.effects.begin(run_id)
        for job in jobs:
            if job[0] == kinds.START and run_id not in self._limited:
                self._limited.add(run_id)
                self.limit_time(state)
            if job[0] == kinds.QUERY:
                self._refused_queries.add(job[4])
                self.any = True
                memory.effects.replies.append(
                    (job[4], b"N" + cut(message_of(error)).encode("utf-8", "replace"))
                )
        self.report(state, error)

    def set_aside(self, state: RunState, error: BaseException) -> None:
        """Something that belongs to one run has failed in an unforeseen way: only that run waits.

        Args:
            state: The run, as far as it is known.
            error: What was raised.
        """
        memory, run_id = self._memory, state.details.run_id
        if not isinstance(error, HotMeshError):
            corrupt = CorruptRowError(wire.run_id_text(run_id), "row", told(error))
            corrupt.__cause__ = error
            error = corrupt
        if memory.core.known(run_id):
            memory.core.fail(run_id)
        memory.drop(run_id)
        self.report(state, error)

    def limit_time(self, state: RunState) -> None:
        """A run that never gets through its first task is timed out all the same."""
        try:
            self._closer.first_timers(state, self._clock.now_ms(), self._memory.effects)
        except (TypeError, ValueError) as error:
            # What is to be reported is that the header is damaged, not that it can't be used.
            logger.debug("run %s has no timeouts: %s", state.details.run_id.hex(), error)

    def report(self, state: RunState, error: BaseException) -> float:
        """Say so to people, and try again after a pause that grows; how long, in seconds."""
        details = state.details
        run_id = details.run_id
        failures = self._counts[run_id] = self._counts.get(run_id) or _recorded_attempts(state)
        failures = self._counts[run_id] = failures + 1
        self.any = True
        first, longest = RETRY_SECONDS
        message = cut(message_of(error)).encode("utf-8", "replace").decode()
        pause = min(first * 2 ** (failures - 1), longest)
        if isinstance(error, DeadlockError):
            pause = max(pause, BLOCKED_SHARE * error.seconds)
        policy = self._policy_of(details.workflow_type)
        if policy is not None and not isinstance(error, _NOT_THE_CODES):
            pause = self._by_policy(run_id, failures, policy, error)
        between_runs()
        logger.error(
            "Failed workflow task of %s (type %s, run %s), attempt %d, next in %.2f s: %s: %s",
            details.workflow_id,
            details.workflow_type,
            wire.run_id_text(run_id),
            failures,
            pause,
            type(error).__name__,
            message,
            exc_info=printable(error),
            extra=_log_fields(state),
        )
        document: dict[str, Any] = {
            "type": type(error).__name__,
            "message": message[:2000],
            "attempt": failures,
        }
        frames = user_frames(error)
        if frames:
            document["where"] = frames
        self._memory.effects.attributes.append((run_id, ATTRIBUTE, json_bytes.dumps(document)))
        self._memory.postpone(run_id, pause)
        return pause

    def _by_policy(
        self, run_id: bytes, failures: int, policy: RetryPolicy, error: BaseException
    ) -> float:
        """Seconds until the next attempt; notes if that is the last."""
        if type(error).__name__ in (policy.non_retryable_error_types or ()):
            self._last.add(run_id)
            return 0.0
        if policy.maximum_attempts and failures >= policy.maximum_attempts - 1:
            self._last.add(run_id)
        return policy.interval_before(failures + 1).total_seconds()

    def is_last(self, run_id: bytes) -> bool:
        """Whether any exception of this attempt of a run's task fails the run."""
        return run_id in self._last

    def refused(self, state: RunState, reason: Exception) -> None:
        """The database won't store what a run asks for; read anew, it would ask for it again."""
        run_id = state.details.run_id
        error = RefusedRowError(wire.run_id_text(run_id), message_of(reason))
        error.__cause__ = reason
        self._barred[run_id] = time.monotonic() + self.report(state, error)

    def bars(self, run_id: bytes, jobs: Sequence[Event]) -> bool:
        """Whether a run has to wait: for what is stored for it to be read; or for its next attempt,
        unless it is to be ended."""
        if run_id in self.gathering:
            return True
        left = self._barred.get(run_id, 0.0) - time.monotonic()
        if left <= 0 or any(job[0] in ENDING for job in jobs):
            return False
        self._memory.postpone(run_id, left)
        return True

    def note_changed_arguments(self, state: RunState) -> None:
        """Say, once for a run, that its replay has called something with other arguments."""
        details, where = state.details, state.changed_arguments
        state.changed_arguments = ""
        if ARGUMENTS_CHANGED in wire.load(details.attributes):
            return
        between_runs()
        logger.warning(
            "The code of %s (type %s, run %s) calls %s with other arguments than its journal has. "
            "The recorded result stands. Worker(strict_replay=True) makes this an error.",
            details.workflow_id,
            details.workflow_type,
            wire.run_id_text(details.run_id),
            where,
            extra=_log_fields(state),
        )
        self._memory.effects.attributes += [
            (details.run_id, ARGUMENTS_CHANGED, b"true"),
            (details.run_id, ARGUMENTS_CHANGED + "_at", json_bytes.dumps(where)),
        ]

    def note(self, run_id: bytes, what: str, reason: str) -> None:
        """Say in a run's record what it has lost; nothing is tried again."""
        lost = CorruptRowError(wire.run_id_text(run_id), what, reason)
        text = json_bytes.dumps({"type": type(lost).__name__, "message": str(lost), "attempt": 0})
        self._memory.effects.attributes.append((run_id, LOST_ATTRIBUTE, text))

    def is_failing(self, run_id: bytes) -> bool:
        """Whether the run waits for its next attempt."""
        memory = self._memory
        return run_id in self._counts and run_id not in memory.states and memory.core.known(run_id)

    def admitted(self, jobs: list[Event]) -> list[Event]:
        """The jobs without the queries that its code has failed with."""
        refused = self._refused_queries
        if not refused:
            return jobs
        return [job for job in jobs if job[0] != kinds.QUERY or job[4] not in refused]

    def forget(self, run_id: bytes, jobs: Sequence[Event]) -> None:
        """The run's task has succeeded."""
        if run_id not in self._barred:
            self._counts.pop(run_id, None)
            self._last.discard(run_id)
        self._limited.discard(run_id)
        if self._refused_queries:
            self._refused_queries.difference_update(j[4] for j in jobs if j[0] == kinds.QUERY)
        self.any = bool(self._counts or self._refused_queries or self.refused_ends)

    def stored(self, run_ids: Sequence[bytes]) -> None:
        """These runs' transitions are committed: the database has nothing against them."""
        for run_id in self._barred.keys() & set(run_ids):
            del self._barred[run_id]
            self._counts.pop(run_id, None)

    def lost(self, effects: Effects) -> None:
        """A step was not applied, or nobody knows: what is said once only is to be said again."""
        self._limited.difference_update(run_id for _, _, run_id, _ in effects.timers)
        self._refused_queries.difference_update(reply_id for reply_id, _ in effects.replies)

    def clear_record(self, state: RunState) -> None:
        """The record no longer says that the run's task fails, if it did."""
        if _IN_ATTRIBUTES in state.details.attributes:
            self._memory.effects.attributes.append((state.details.run_id, ATTRIBUTE, b""))
        state.details.attributes = b""


def _recorded_attempts(state: RunState) -> int:
    """How often the task has failed according to the run's record."""
    if _IN_ATTRIBUTES not in state.details.attributes:
        return 0
    attempt = wire.load(state.details.attributes)[ATTRIBUTE].get("attempt", 0)
    return attempt if isinstance(attempt, int) else 0


def _log_fields(state: RunState) -> dict[str, str]:
    details = state.details
    return {
        "namespace": details.namespace,
        "workflow_id": details.workflow_id,
        "run_id": wire.run_id_text(details.run_id),
        "workflow_type": details.workflow_type,
        "task_queue": details.task_queue,
    }
