"""Structured logging: what a log record says of workflow, run and task queue, as text or JSON.

HotMesh logs under the logger ``hotmesh`` and puts ids into the records' extra fields, so any
logging set-up works. This module owns the two formatters it ships, and `configure`, which programs
without a set-up of their own (the ``hotmesh`` command among them) call once.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, cast

__all__ = ["JsonFormatter", "PlainFormatter", "configure"]

Style = Literal["plain", "json"]

_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
"""What every record has; the rest was put there by whoever logged."""

_WHOLE_DOCUMENTS = frozenset(
    {"temporal_workflow", "temporal_activity", "workflow_info", "activity_info"}
)
"""Extras that repeat, as one object, what the other fields say one by one."""


class JsonFormatter(logging.Formatter):
    """One JSON object a line.

    ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, then the record's own fields
    (``namespace``, ``task_queue``, ``workflow_type``, ``workflow_id``, ``run_id``,
    ``activity_type``, ``attempt``, and those of your own), and ``error`` with the traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line of JSON; values that are no JSON appear as their ``repr``."""
        document: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **dict(_fields(record)),
        }
        error = _error_text(self, record)
        if error:
            document["error"] = error
        return json.dumps(document, default=repr, ensure_ascii=False)


class PlainFormatter(logging.Formatter):
    """A line for people: time, level, logger, message, then the fields as ``name=value``.

    The loggers of `hotmesh.workflow` and `hotmesh.activity` append the ids to the message, unless
    told not to; what is there already is not repeated.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, followed by its traceback if it has one."""
        message = record.getMessage()
        told = _told(record, message)
        fields = "".join(f" {name}={value}" for name, value in _fields(record) if name not in told)
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {message}{fields}"
        error = _error_text(self, record)
        return f"{line}\n{error}" if error else line


def configure(
    level: str | int = "INFO", style: Style = "plain", stream: TextIO | None = None
) -> None:
    """Send all log records of this process to a stream, in place of earlier handlers.

    Args:
        level: The lowest level to show.
        style: ``plain`` for people, ``json`` for programs.
        stream: Where to. Default is standard error.

    Raises:
        ValueError: The level is unknown.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else PlainFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for name, value in record.__dict__.items():
        if name not in _STANDARD_FIELDS and name not in _WHOLE_DOCUMENTS:
            yield name, value


def _told(record: logging.LogRecord, message: str) -> Mapping[str, Any]:
    """The fields that the message itself ends with."""
    for name in ("temporal_workflow", "temporal_activity"):
        appended = getattr(record, name, None)
        if isinstance(appended, Mapping) and message.endswith(f" ({appended})"):
            return cast("Mapping[str, Any]", appended)
    return {}


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _error_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts: list[str] = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
