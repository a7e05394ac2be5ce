"""What an open run waits for: the same words in `list`, `describe` and `history`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from hotmesh.cli.failures import failure_document, one_line, root_of
from hotmesh.cli.times import exact, shown
from hotmesh.client import PendingActivityInfo, PendingChildInfo

NOBODY = "nobody: no live worker of its task queue hosts its type"

_TROUBLES = {"hotmesh.task_failure": "task_failure", "hotmesh.lost": "lost"}
"""Names in a record that say that a run does not get on, and what they are shown as."""


def in_trouble(record: Mapping[str, Any]) -> bool:
    """Whether a run's record says that it does not get on."""
    return not _TROUBLES.keys().isdisjoint(record)


def waiting_document(
    record: Mapping[str, Any],
    hosted: bool,
    activities: Sequence[PendingActivityInfo],
    children: Sequence[PendingChildInfo] = (),
    *,
    more: int = 0,
) -> dict[str, Any]:
    """What an open run waits for, for programs; nothing of what is as it should be.

    Args:
        record: The run's record.
        hosted: Whether a live worker hosts its type.
        activities: Its activities that have not ended.
        children: Its child workflows that have not ended.
        more: Further activities that are not shown.
    """
    document: dict[str, Any] = {
        shown_as: record[name] for name, shown_as in _TROUBLES.items() if name in record
    }
    if not hosted:
        document["hosted_by"] = NOBODY
    if activities:
        document["pending_activities"] = [_activity(each) for each in activities]
    if more:
        document["pending_activities_not_shown"] = more
    if children:
        document["pending_children"] = [_child(each) for each in children]
    return document


def waiting_texts(
    record: Mapping[str, Any],
    hosted: bool,
    activities: Sequence[PendingActivityInfo],
    children: Sequence[PendingChildInfo] = (),
    *,
    more: int = 0,
) -> dict[str, str]:
    """The same for people, one line each, under a name."""
    texts = {
        shown_as.replace("_", " "): _trouble(record[name])
        for name, shown_as in _TROUBLES.items()
        if name in record
    }
    if not hosted:
        texts["hosted by"] = NOBODY
    for activity in activities:
        texts[f"activity {activity.activity_id}"] = _activity_text(activity)
    if more:
        texts["more activities"] = str(more)
    for child in children:
        texts[f"child {child.workflow_id}"] = _child_text(child)
    return texts


def waits_for(texts: Mapping[str, str]) -> str:
    """All of it in one cell of a table."""
    parts: list[str] = []
    for name, text in texts.items():
        if name == "hosted by":
            parts.append("hosted by nobody")
        else:
            parts.append(text if name.startswith("activity ") else f"{name}: {text}")
    return "; ".join(parts)


def _activity(activity: PendingActivityInfo) -> dict[str, Any]:
    """An activity that has not ended, without what is not known of it."""
    failure = activity.last_failure
    document = {
        "id": activity.activity_id,
        "type": activity.activity_type,
        "task_queue": activity.task_queue,
        "state": activity.state.name.lower(),
        "attempt": activity.attempt,
        "maximum_attempts": activity.maximum_attempts or "unlimited",
        "scheduled": exact(activity.scheduled_time),
        "next_attempt": exact(activity.next_attempt_schedule_time),
        "worker": activity.last_worker_identity,
        "hosted_by": "" if activity.hosted else "nobody",
        "heartbeat_details": list(activity.heartbeat_details),
        "last_failure": None if failure is None else failure_document(failure),
    }
    return {name: value for name, value in document.items() if value not in (None, "", [])}


def _activity_text(activity: PendingActivityInfo) -> str:
    state = activity.state.name.lower().replace("_", " ")
    maximum = f" of {activity.maximum_attempts}" if activity.maximum_attempts else ""
    parts = [f"{activity.activity_type} {state}, attempt {activity.attempt}{maximum}"]
    if not activity.hosted:
        parts.append(f"hosted by nobody in task queue {activity.task_queue}")
    if activity.last_failure is not None:
        root = root_of(activity.last_failure)
        frames = activity.last_failure_frames
        where = f" at {frames[-1]}" if frames else ""
        parts.append(f"last failure {type(root).__name__}: {one_line(root)}{where}")
    if activity.next_attempt_schedule_time is not None and activity.attempt > 1:
        parts.append(f"next {shown(activity.next_attempt_schedule_time)}")
    return ", ".join(parts)


def _child(child: PendingChildInfo) -> dict[str, Any]:
    """A child that has not ended, without what is not known of it."""
    document = {
        "id": child.workflow_id,
        "run_id": child.run_id,
        "type": child.workflow_type,
        "task_queue": child.task_queue,
        "parent_close_policy": child.parent_close_policy.name.lower(),
        "initiated": exact(child.initiated_time),
        "hosted_by": "" if child.hosted else "nobody",
    }
    return {name: value for name, value in document.items() if value not in (None, "")}


def _child_text(child: PendingChildInfo) -> str:
    state = "starting" if child.run_id is None else f"run {child.run_id}"
    policy = child.parent_close_policy.name.lower().replace("_", " ")
    parts = [f"{child.workflow_type} {state}, parent close policy {policy}"]
    if not child.hosted:
        parts.append(f"hosted by nobody in task queue {child.task_queue}")
    return ", ".join(parts)


def _trouble(stored: object) -> str:
    """What a record says of a failing workflow task, or of what could not be read."""
    if not isinstance(stored, dict):
        return str(stored)
    failure = cast("dict[str, Any]", stored)
    where = failure.get("where")
    place = f" at {where[-1]}" if where else ""
    attempt = f", attempt {failure['attempt']}" if failure.get("attempt") else ""
    return f"{failure.get('type')}: {failure.get('message')}{place}{attempt}"
