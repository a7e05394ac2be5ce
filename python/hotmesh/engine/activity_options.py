"""An activity's options as they travel: written once for each combination that a program uses."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import orjson

from hotmesh.engine.options import Duration, checked_name, milliseconds

OPTIONS_REMEMBERED_MAX = 1024


class ActivityTimes(NamedTuple):
    """The part of the options that most calls have alike."""

    document: dict[str, Any]
    """To be copied, not changed."""
    text: bytes
    """The document as JSON."""
    schedule_to_close_ms: int | None
    schedule_to_start_ms: int | None
    arguments_text: str
    """What errors call the arguments."""
    result_text: str
    """What errors call the result."""


def activity_times(
    name: str,
    task_queue: str | None,
    schedule_to_close: Duration | None,
    schedule_to_start: Duration | None,
    start_to_close: Duration | None,
    heartbeat: Duration | None,
    cancellation_type: int,
    local: bool,
) -> ActivityTimes:
    """Check and write an activity's type, queue, timeouts and cancellation type.

    Raises:
        ValueError: neither start-to-close nor schedule-to-close timeout is given.
        InvalidArgumentError: a name or a timeout is not acceptable.
    """
    given = (
        name,
        task_queue,
        schedule_to_close,
        schedule_to_start,
        start_to_close,
        heartbeat,
        cancellation_type,
        local,
    )
    try:
        return _activity_times(*given)
    except TypeError:  # not hashable, so no duration and no text either: say which
        return _activity_times.__wrapped__(*given)


@functools.lru_cache(maxsize=OPTIONS_REMEMBERED_MAX)
def _activity_times(
    name: str,
    task_queue: str | None,
    schedule_to_close: Duration | None,
    schedule_to_start: Duration | None,
    start_to_close: Duration | None,
    heartbeat: Duration | None,
    cancellation_type: int,
    local: bool,
) -> ActivityTimes:
    checked_name(name, "activity type")
    if start_to_close is None and schedule_to_close is None:
        raise ValueError("Activity must have start_to_close_timeout or schedule_to_close_timeout")
    what = f"activity {name!r}"
    close_ms = milliseconds(schedule_to_close, f"{what}: schedule_to_close_timeout")
    start_ms = milliseconds(schedule_to_start, f"{what}: schedule_to_start_timeout")
    run_ms = milliseconds(start_to_close, f"{what}: start_to_close_timeout")
    beat_ms = milliseconds(heartbeat, f"{what}: heartbeat_timeout")
    timeouts = (("sc", close_ms), ("ss", start_ms), ("st", run_ms), ("hb", beat_ms))
    document: dict[str, Any] = {key: value for key, value in timeouts if value}
    if task_queue is not None:
        document["q"] = checked_name(task_queue, f"{what}: task queue")
    if cancellation_type:
        document["ct"] = int(cancellation_type)
    if local:
        document["local"] = True
    return ActivityTimes(
        document,
        orjson.dumps(document),
        close_ms,
        start_ms,
        f"arguments of {what}",
        f"result of {what}",
    )


@functools.lru_cache(maxsize=OPTIONS_REMEMBERED_MAX)
def read_options(text: bytes) -> dict[str, Any]:
    """The options of an activity command; shared, so not to be changed."""
    return orjson.loads(text)
