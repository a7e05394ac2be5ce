"""A condition on runs as list.lua takes it: nested arrays, each begins with what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from hotmesh.visibility.tree import AllOf, AnyOf, AttributeIs, Condition, Field, FieldIs

_COLUMNS = {Field.WORKFLOW_ID: "w", Field.WORKFLOW_TYPE: "t", Field.STATUS: "s"}


def compiled(
    condition: Condition | None, queue_ids: Mapping[str, Sequence[int]]
) -> list[Any] | None:
    """The script's form.

    Args:
        condition: The condition.
        queue_ids: The ids of the task queues that it names.
    """
    match condition:
        case None:
            return None
        case AllOf(terms):
            return ["all", [compiled(term, queue_ids) for term in terms]]
        case AnyOf(terms):
            return ["any", [compiled(term, queue_ids) for term in terms]]
        case FieldIs(Field.TASK_QUEUE, value):
            return ["queue", list(queue_ids[str(value)])]
        case FieldIs(field, value):
            return ["field", _COLUMNS[field], str(value)]
        case AttributeIs(name, value):
            return ["attribute", name, json.dumps(value)]
        case _:
            assert_never(condition)


def task_queues(condition: Condition | None) -> Iterator[str]:
    """The task queues that a condition names."""
    match condition:
        case AllOf(terms) | AnyOf(terms):
            for term in terms:
                yield from task_queues(term)
        case FieldIs(Field.TASK_QUEUE, value):
            yield str(value)
        case _:
            return
