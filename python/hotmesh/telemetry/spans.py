"""Spans of ``workflow.trace``."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

SPAN_NAME = "hotmesh.workflow.trace"
"""Name of the spans that ``workflow.trace`` makes, unless their attributes hold a name."""

PREFIX = "hotmesh."
"""Put before the names of the fields that say which run a span belongs to."""

_TRACER = "hotmesh"
_INT_LIMIT = 1 << 63

_log = logging.getLogger(__name__)


def record_span(
    name: str, attributes: Mapping[str, Any], start_ms: int, fields: Mapping[str, Any]
) -> None:
    """Record one finished span; nothing happens unless a tracer provider is set.

    It never raises: a provider that fails is logged, and the workflow goes on.

    Args:
        name: The span's name; a text in ``attributes["name"]`` goes before it.
        attributes: The span's attributes. Values that no span can hold become JSON text.
        start_ms: When it began, milliseconds since the epoch. It ends now.
        fields: What identifies the run (``workflow_id``, ``run_id``, …); each becomes an
            attribute ``hotmesh.<name>``.
    """
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        return
    given = attributes.get("name")
    try:
        span = api.get_tracer(_TRACER).start_span(
            given if isinstance(given, str) and given else name,
            start_time=start_ms * 1_000_000,
            attributes={
                **{key: _attribute(value) for key, value in attributes.items()},
                **{f"{PREFIX}{key}": _attribute(value) for key, value in fields.items()},
            },
        )
        # The run's clock is the database's; it may be ahead of ours.
        span.end(end_time=max(time.time_ns(), start_ms * 1_000_000))
    except Exception:  # noqa: BLE001 - a span is never worth a workflow
        _log.exception("The tracer provider failed to record span %r", name)


def _attribute(value: Any) -> Any:
    """A value as a span can hold it: a scalar, a list of scalars of one type, or JSON text."""
    if isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return value if -_INT_LIMIT <= value < _INT_LIMIT else str(value)
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        kinds: set[type[Any]] = {type(item) for item in items}
        if len(kinds) <= 1 and kinds <= {bool, str, float}:
            return list(items)
        if kinds == {int} and all(-_INT_LIMIT <= item < _INT_LIMIT for item in items):
            return list(items)
    return json.dumps(value, default=str, separators=(",", ":"))
