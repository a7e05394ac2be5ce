"""What a run may know about itself, and the choices it may make."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hotmesh.common import Payload, Priority, RetryPolicy, TypedSearchAttributes
from hotmesh.exceptions import HotMeshError
from hotmesh.limits import CONTINUE_SUGGESTED_BYTES, CONTINUE_SUGGESTED_TRANSITIONS


class ActivityCancellationType(enum.IntEnum):
    """What cancelling an activity handle does."""

    TRY_CANCEL = 0
    """Ask the activity to stop and raise at once."""
    WAIT_CANCELLATION_COMPLETED = 1
    """Ask it to stop and wait for what it answers."""
    ABANDON = 2
    """Raise at once and let it run."""


class ChildWorkflowCancellationType(enum.IntEnum):
    """What cancelling a child workflow handle does."""

    ABANDON = 0
    TRY_CANCEL = 1
    WAIT_CANCELLATION_COMPLETED = 2
    WAIT_CANCELLATION_REQUESTED = 3


class ParentClosePolicy(enum.IntEnum):
    """What happens to a child when its parent closes."""

    UNSPECIFIED = 0
    TERMINATE = 1
    ABANDON = 2
    REQUEST_CANCEL = 3


class VersioningIntent(enum.Enum):
    """Means nothing: runs are not tied to builds."""

    COMPATIBLE = 1
    DEFAULT = 2


class ReadOnlyContextError(HotMeshError):
    """A query or validator tried to do something that would be recorded."""


class NotInWorkflowError(HotMeshError, RuntimeError):
    """A workflow function was called outside workflow code."""

    def __init__(self) -> None:
        super().__init__("Not in workflow event loop")


class UnfinishedUpdateHandlersWarning(RuntimeWarning):
    """A run closed while an update handler was still at work."""


class UnfinishedSignalHandlersWarning(RuntimeWarning):
    """A run closed while a signal handler was still at work."""


@dataclass(frozen=True)
class ParentInfo:
    """The workflow that started this one."""

    namespace: str
    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class RootInfo:
    """The first workflow in the chain of parents."""

    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class UpdateInfo:
    """The update being handled."""

    id: str
    name: str


@dataclass(frozen=True)
class Info:
    """A run as :func:`hotmesh.workflow.info` shows it."""

    attempt: int
    continued_run_id: str | None
    cron_schedule: str | None
    execution_timeout: timedelta | None
    first_execution_run_id: str
    headers: Mapping[str, Payload]
    namespace: str
    parent: ParentInfo | None
    root: RootInfo | None
    priority: Priority
    raw_memo: Mapping[str, Payload]
    retry_policy: RetryPolicy | None
    run_id: str
    run_timeout: timedelta | None
    search_attributes: Mapping[str, Any]
    start_time: datetime
    task_queue: str
    task_timeout: timedelta
    typed_search_attributes: TypedSearchAttributes
    workflow_id: str
    workflow_start_time: datetime
    workflow_type: str
    history: Callable[[], tuple[int, int]] = field(repr=False, compare=False)
    """Transitions and bytes so far."""
    build_id: str = ""

    def get_current_build_id(self) -> str:
        """Build id of the worker that runs the workflow now."""
        return self.build_id

    def get_current_history_length(self) -> int:
        """Transitions in the journal before the present one; the same in every replay."""
        return self.history()[0]

    def get_current_history_size(self) -> int:
        """Bytes of these transitions as they are stored: encoded by the payload codec, if there is
        one. The arguments that the run was started with are stored beside the journal, and not
        counted."""
        return self.history()[1]

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the journal has grown so long that a fresh run would be wise."""
        transitions, size = self.history()
        return transitions >= CONTINUE_SUGGESTED_TRANSITIONS or size >= CONTINUE_SUGGESTED_BYTES

    def _logger_details(self) -> Mapping[str, Any]:
        return {
            "attempt": self.attempt,
            "namespace": self.namespace,
            "run_id": self.run_id,
            "task_queue": self.task_queue,
            "workflow_id": self.workflow_id,
            "workflow_type": self.workflow_type,
        }
