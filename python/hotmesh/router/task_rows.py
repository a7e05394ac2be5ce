"""Claimed tasks as they are stored become attempts: the one place where they are read."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, cast

import orjson

from hotmesh.core import CodecError, decode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask, TaskOrigin
from hotmesh.exceptions import CorruptRowError
from hotmesh.limits import LANES_PER_QUEUE

_RUN_ID_BYTES = 16
_NUMBERS = ("st", "sc", "hb", "ss")
"""Options that are milliseconds."""


def read_task(row: Sequence[object], namespace: str, task_queue: str, now_ms: int) -> ActivityTask:
    """The attempt that a claimed row asks for.

    Args:
        row: The columns of a :class:`hotmesh.backends.protocol.TaskRow`.
        namespace: Where it was claimed.
        task_queue: The same.
        now_ms: When it begins.

    Raises:
        CorruptRowError: the row can't be read; names its run and activity.
    """
    run_id, seq, lane, attempt, _, frame, state, scheduled_ms = row
    if not isinstance(run_id, bytes) or len(run_id) != _RUN_ID_BYTES:
        raise CorruptRowError("(unknown)", f"activity task {seq}", "its run id is no run id")
    what = f"activity task {seq}"
    try:
        name, options, body = _read_frame(seq, frame)
        workflow_id, workflow_type = _read_origin(options, lane)
        return ActivityTask(
            run_id=run_id,
            seq=_whole(seq, "seq"),
            lane=_whole(lane, "lane"),
            name=name,
            options=options,
            body=body,
            scheduled_ms=_whole(scheduled_ms, "scheduled time"),
            origin=TaskOrigin(namespace, workflow_id, workflow_type, task_queue),
            attempt=_whole(attempt, "attempt"),
            state=_read_state(state),
            started_ms=now_ms,
        )
    except (CodecError, ValueError, TypeError) as error:
        raise CorruptRowError(wire.run_id_text(run_id), what, str(error)) from error


def _read_frame(seq: object, frame: object) -> tuple[str, dict[str, Any], bytes]:
    if not isinstance(frame, bytes):
        raise TypeError("its frame is no bytes")
    kind, own_seq, _, name, meta, body = decode_event(frame)
    if kind != kinds.ACTIVITY or own_seq != seq:
        raise ValueError(f"its frame is that of {kinds.NAMES.get(kind, kind)} {own_seq}")
    options: Any = orjson.loads(meta)
    if not isinstance(options, dict):
        raise TypeError("its options are no document")
    options = cast("dict[str, Any]", options)
    for option in _NUMBERS:
        if option in options:
            _whole(options[option], f"option {option!r}")
    if not isinstance(options.get("retry") or {}, dict):
        raise TypeError("its retry policy is no document")
    return name, options, body


def _read_origin(options: dict[str, Any], lane: object) -> tuple[str, str]:
    """Workflow id and type; the id says which lane it must be."""
    workflow_id, workflow_type = options.pop("w", ["", ""])
    if workflow_id:
        number = zlib.crc32(str(workflow_id).encode()) % LANES_PER_QUEUE
        if _whole(lane, "lane") % LANES_PER_QUEUE != number:
            raise ValueError(f"lane {lane} is not that of workflow {workflow_id!r}")
    return str(workflow_id), str(workflow_type)


def _read_state(state: object) -> bytes:
    if not isinstance(state, bytes):
        raise TypeError("its state is no bytes")
    for part in wire.load(state).values():
        wire.unpack_bytes(part)
    return state


def _whole(value: object, what: str) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"its {what} is {value!r}")
    return int(value)
