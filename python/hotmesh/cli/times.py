"""Times and states as people read them, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from hotmesh.client import WorkflowExecutionStatus


def moment(milliseconds: int) -> datetime:
    """A point in time, from milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def shown(time: datetime | None) -> str:
    """A time for people, to the second; empty for none."""
    return "" if time is None else time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def exact(time: datetime | None) -> str | None:
    """A time for programs: ISO 8601 with milliseconds."""
    return None if time is None else time.astimezone(UTC).isoformat(timespec="milliseconds")


def status_name(status: WorkflowExecutionStatus | None) -> str:
    """A state as list filters name it, e.g. ``TimedOut``."""
    return "" if status is None else status.name.title().replace("_", "")
