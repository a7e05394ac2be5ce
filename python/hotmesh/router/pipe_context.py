"""What the pipes of a router share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotmesh.converter import DataConverter
from hotmesh.limits import CACHE_BYTES_MAX, TRANSITION_BYTES_MAX
from hotmesh.router.clock import BackendClock
from hotmesh.router.coding import Coder
from hotmesh.router.large_turn import LargeTurn
from hotmesh.router.notifier import Notifier
from hotmesh.router.pace import AverageCost
from hotmesh.router.publishing import Publisher
from hotmesh.router.replaying import Engine
from hotmesh.router.tenure import Tenure
from hotmesh.router.workflow_thread import WorkflowThread


@dataclass(slots=True)
class PipeContext:
    """What the pipes of a router share."""

    database: str
    """Its URL: what complaints are about. Not to be logged."""
    namespace: str
    queue_ids: dict[str, int]
    task_queue: str
    queue_id: int
    clock: BackendClock
    notifier: Notifier
    engine: Engine
    converter: DataConverter
    workflows: WorkflowThread
    runner: Any
    """The activity runner, or None."""
    publisher: Publisher
    resolve_queue: Callable[[str], Any]
    resolve_side: Callable[[str], Awaitable[int]]
    """The id of the task queue's side queue for a workflow type."""
    tenure: Tenure
    on_fenced: Callable[[], None]
    on_lanes_quiet: Callable[[Sequence[int]], None]
    wake_all: Callable[[], None]
    coder: Coder | None
    """Applies the payload codec, if there is one."""
    cost: AverageCost
    owns_all: Callable[[], bool]
    """Whether this router owns every lane of its queue."""
    serves_sides: Callable[[], bool]
    """Whether it owns lanes of side queues."""
    on_moved: Callable[[], None]
    """Told that runs were moved to side queues."""
    max_cached: int = 1000
    cache_bytes_max: int = CACHE_BYTES_MAX
    transition_bytes_max: int = min(TRANSITION_BYTES_MAX.values())
    eager: bool = True
    large_turn: LargeTurn = field(default_factory=LargeTurn)
    """Whose turn it is to have something large in hand."""
