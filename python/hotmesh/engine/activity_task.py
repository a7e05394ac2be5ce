"""One attempt of an activity, and what came of it: the values a router and a runner exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from hotmesh.engine import wire

Event: TypeAlias = tuple[int, int, int, str, bytes, bytes]
"""(kind, seq, number, name, meta, body), as the core frames it."""

CancelReason: TypeAlias = Literal["cancel_requested", "timed_out", "not_found", "worker_shutdown"]
"""Why a running attempt is to stop."""

AttemptKey: TypeAlias = tuple[bytes, int, int]
"""An attempt: (run id, seq, attempt). Without its last part it names the activity only."""

FIRST_ATTEMPT = 1

OutcomeKind: TypeAlias = Literal["completed", "failed", "canceled", "retry", "async"]


class Origin(Protocol):
    """The run that asked for an activity, as far as the activity may know."""

    @property
    def namespace(self) -> str: ...
    @property
    def workflow_id(self) -> str: ...
    @property
    def workflow_type(self) -> str: ...
    @property
    def task_queue(self) -> str:
        """The queue that the attempt is made for."""
        ...


@dataclass(slots=True, frozen=True)
class TaskOrigin:
    """The origin of a task of the queue."""

    namespace: str
    workflow_id: str
    workflow_type: str
    task_queue: str


@dataclass(slots=True, eq=False)
class ActivityTask:
    """One attempt to be made. Times are milliseconds since the epoch."""

    run_id: bytes
    seq: int
    lane: int
    name: str
    """Activity type."""
    options: dict[str, Any]
    """What the workflow asked for: timeouts, retry policy, id."""
    body: bytes
    """The arguments, with headers in front if there are any."""
    scheduled_ms: int
    origin: Origin
    local: bool = False
    """Whether it is a first attempt in the process of its run, after the commit."""
    attempt: int = FIRST_ATTEMPT
    state: bytes = b""
    """What earlier attempts left: heartbeat details and their last failure. b"" for nothing."""
    started_ms: int = 0
    """0 until it has begun."""
    event: Event | None = None
    """What a first attempt has come to, on its way to its run. Kept here until the run has recorded
    it: nobody could read it again."""

    @property
    def key(self) -> AttemptKey:
        """Which attempt it is."""
        return self.run_id, self.seq, self.attempt

    def log_fields(self) -> dict[str, Any]:
        """What log records say of it."""
        return {
            "activity_id": self.options.get("id") or str(self.seq),
            "activity_type": self.name,
            "attempt": self.attempt,
            "namespace": self.origin.namespace,
            "task_queue": self.origin.task_queue,
            "workflow_id": self.origin.workflow_id,
            "run_id": wire.run_id_text(self.run_id),
            "workflow_type": self.origin.workflow_type,
        }


@dataclass(slots=True, eq=False)
class Outcome:
    """What came of an attempt.

    ``completed``, ``failed`` and ``canceled`` are final: ``event`` goes to the workflow's lane.
    ``retry`` asks for another attempt after ``delay_ms`` with ``state``. ``async`` says that a
    client will complete the activity, within ``delay_ms``; ``state`` is what it has told itself,
    b"" for nothing.
    """

    kind: OutcomeKind
    event: Event | None = None
    delay_ms: int = 0
    state: bytes = b""
    failure: BaseException | None = field(default=None, repr=False)
    """What the attempt failed with, for logs and metrics."""
