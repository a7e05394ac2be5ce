"""A condition on runs as SQL: the pieces of ``visibility.sql``, put together."""

from __future__ import annotations

import json
from typing import Any, assert_never

from hotmesh.backends.sqlite import statements
from hotmesh.visibility.tree import AllOf, AnyOf, AttributeIs, Condition, Field, FieldIs

_SQL = statements.load("visibility")
_FIELDS = {
    Field.WORKFLOW_ID: _SQL["where_workflow_id"],
    Field.WORKFLOW_TYPE: _SQL["where_workflow_type"],
    Field.TASK_QUEUE: _SQL["where_task_queue"],
    Field.STATUS: _SQL["where_status"],
}
_RUNNING = 1
_INTEGER_MAX = 2**63 - 1


def compiled(condition: Condition | None) -> tuple[str, list[object]]:
    """The text of a condition, and its parameters in order."""
    parameters: list[object] = []
    return _text(condition, parameters), parameters


def _text(condition: Condition | None, parameters: list[object]) -> str:
    match condition:
        case None:
            return _SQL["where_true"]
        case AllOf(terms) | AnyOf(terms):
            word = " AND " if isinstance(condition, AllOf) else " OR "
            return "(" + word.join(_text(term, parameters) for term in terms) + ")"
        case FieldIs(Field.STATUS, value) if value == _RUNNING:
            return _SQL["where_running"]  # a constant, for only that finds the index of open runs
        case FieldIs(field, value):
            parameters.append(value)
            return _FIELDS[field]
        case AttributeIs(name, value):
            parameters.append(name)
            return _attribute(value, parameters)
        case _:
            assert_never(condition)


def _attribute(value: Any, parameters: list[object]) -> str:
    if isinstance(value, bool):
        parameters.append(json.dumps(value))
        return _SQL["where_constant"]
    if value is None:
        parameters.append("null")
        return _SQL["where_constant"]
    if isinstance(value, (int, float)):
        parameters.append(value if abs(value) <= _INTEGER_MAX else float(value))
        return _SQL["where_number"]
    if isinstance(value, str):
        parameters.append(value)
        return _SQL["where_text"]
    parameters.append(json.dumps(value))
    return _SQL["where_document"]
