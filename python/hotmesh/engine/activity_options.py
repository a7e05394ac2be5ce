"""An activity's options as they travel: written once for each combination that a program uses."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import orjson

from hotmesh import json_bytes
from hotmesh.engine.options import Duration, checked_name, milliseconds

OPTIONS_REMEMBERED_MAX = 1024


@dataclass(slots=True, frozen=True)
class ActivityOptions:
    """The part of a call that most calls of an activity have alike."""

    name: str
    """Activity type."""
    document: dict[str, Any]
    """To be copied, not changed."""
    text: bytes
    """The document as JSON."""
    schedule_to_close_ms: int | None
    schedule_to_start_ms: int | None
    has_deadlines: bool
    """Whether one of these two is set."""
    cancellation_type: int
    result_hints: list[Any] | None
    """What the result is to be read as."""
    arguments_text: str
    """What errors call the arguments."""
    result_text: str
    """What errors call the result."""


@functools.lru_cache(maxsize=OPTIONS_REMEMBERED_MAX)
def activity_options(
    name: str,
    result_type: Any,
    task_queue: str | None,
    schedule_to_close: Duration | None,
    schedule_to_start: Duration | None,
    start_to_close: Duration | None,
    heartbeat: Duration | None,
    cancellation_type: int,
    local: bool,
) -> ActivityOptions:
    """Check and write an activity's type, queue, timeouts and cancellation type.

    Raises:
        ValueError: neither start-to-close nor schedule-to-close timeout is given.
        InvalidArgumentError: a name or a timeout is not acceptable.
        TypeError: an argument is not hashable; ``activity_options.__wrapped__`` takes it.
    """
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
    return ActivityOptions(
        name,
        document,
        json_bytes.dumps(document),
        close_ms,
        None if local else start_ms,
        bool(close_ms or (start_ms and not local)),
        cancellation_type,
        None if result_type is None else [result_type],
        f"arguments of {what}",
        f"result of {what}",
    )


@functools.lru_cache(maxsize=OPTIONS_REMEMBERED_MAX)
def read_options(text: bytes) -> dict[str, Any]:
    """The options of an activity command; shared, so not to be changed."""
    return orjson.loads(text)
