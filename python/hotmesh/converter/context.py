"""Whose data a converter or codec is working on, for those that want to know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self


class SerializationContext(ABC):  # noqa: B024 - a closed pair of subclasses, nothing to override
    """Whose data is being converted.

    For anything that goes to or comes from a workflow, also a child, it is that workflow; for
    activities, it is the activity with the workflow that called it.
    """


@dataclass(frozen=True)
class WorkflowSerializationContext(SerializationContext):
    """The data belongs to a workflow."""

    namespace: str
    """Namespace of the workflow."""

    workflow_id: str
    """Its id; for schedules, the prefix of the ids to come."""


@dataclass(frozen=True)
class ActivitySerializationContext(SerializationContext):
    """The data belongs to an activity."""

    namespace: str
    """Namespace of the activity."""

    activity_id: str | None
    """Its id, if known."""

    activity_type: str | None
    """Its type, if known."""

    activity_task_queue: str | None
    """Its task queue, if known."""

    workflow_id: str | None
    """Workflow that called it, if one did."""

    workflow_type: str | None
    """Type of that workflow."""

    is_local: bool
    """Whether it is a local activity."""


class WithSerializationContext(ABC):
    """Implemented by converters and codecs whose work depends on whose data it is."""

    @abstractmethod
    def with_context(self, context: SerializationContext) -> Self:
        """Return a copy that works for one context.

        Args:
            context: Whose data it will convert.

        Returns:
            The copy, or the same object if nothing changes.
        """
