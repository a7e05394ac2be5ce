"""What a run is told of itself and of its worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hotmesh.converter import DataConverter
from hotmesh.limits import COUNTED_BYTES


@dataclass(slots=True)
class RunDetails:
    """What identifies a run and came with its start."""

    namespace: str
    workflow_id: str
    run_id: bytes
    workflow_type: str
    task_queue: str
    lane: int
    header: dict[str, Any]
    input: bytes
    attributes: bytes = b""


@dataclass(slots=True)
class EngineOptions:
    """What all runs of a worker share."""

    converter: DataConverter
    failure_types: tuple[type[BaseException], ...] = ()
    identity: str = ""
    build_id: str = ""
    payload_limit: int = 2 * 1024 * 1024
    strict_replay: bool = False
    """Whether replayed code that calls something with other arguments than recorded is refused."""
    make_instance: Callable[..., Any] | None = None
    """Makes the instances instead of WorkflowInstance: how interceptors get between."""
    hosts_activity: Callable[[str], bool] = lambda _: False
    """Whether the worker hosts an activity type."""
    activity_types: Callable[[], Sequence[str]] = tuple
    """The types it hosts."""
    small_bytes: int = field(init=False)
    """Up to so many bytes nothing is counted, nor compared with the limit."""

    def __post_init__(self) -> None:
        self.small_bytes = min(self.payload_limit, COUNTED_BYTES)
