"""What a worker tells its router."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions
from hotmesh.router.publishing import Bus


@dataclass(slots=True)
class RouterOptions:
    """How a router works, and for whom."""

    open: Callable[[], Awaitable[None]]
    """Opens the backend unless it is open."""
    namespace: str
    task_queue: str
    engine: EngineOptions
    definitions: Mapping[str | None, WorkflowDefinition]
    runner: Any = None
    """The activity runner; its ``on_heartbeat`` is to be :meth:`WorkerRouter.heartbeat`. The router
    sets its ``on_free``."""
    bus: Bus | None = None
    lease_ms: int = 10_000
    max_cached: int = 1000
    deadlock_seconds: float = 2.0
    inline: bool = False
    """Whether workflow code runs on the event loop's own thread."""
    eager: bool = True
    identity: str = ""
    build_id: str = ""
    activity_types: Sequence[str] = ()
    claims_tasks: bool = True
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
