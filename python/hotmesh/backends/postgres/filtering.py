"""A condition on runs as SQL: the pieces of ``queries.sql``, put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import count
from typing import assert_never

from hotmesh.visibility.tree import AllOf, AnyOf, AttributeIs, Condition, Field, FieldIs

_FIELDS = {
    Field.WORKFLOW_ID: "where_workflow_id",
    Field.WORKFLOW_TYPE: "where_workflow_type",
    Field.TASK_QUEUE: "where_task_queue",
    Field.STATUS: "where_status",
}
_NUL = "\\u0000"
"""As JSON writes it; Postgres can't store it, so nothing equals a value that has one."""


class Compiler:
    """Makes the text of a condition.

    Args:
        pieces: The statements of ``queries.sql`` by name.
        first: The number of its first parameter.
    """

    def __init__(self, pieces: Mapping[str, str], first: int) -> None:
        self._pieces = pieces
        self._numbers = count(first)
        self.parameters: list[object] = []
        """The values of the parameters, in order."""

    def text(self, condition: Condition | None) -> str:
        """The text."""
        match condition:
            case None:
                return self._piece("where_true")
            case AllOf(terms) | AnyOf(terms):
                word = " and " if isinstance(condition, AllOf) else " or "
                return "(" + word.join(map(self.text, terms)) + ")"
            case FieldIs(field, value):
                return self._piece(_FIELDS[field], value)
            case AttributeIs(name, value):
                wanted = json.dumps(value)
                if _NUL in wanted or "\0" in name:
                    return self._piece("where_false")
                return self._piece("where_attribute", name, wanted)
            case _:
                assert_never(condition)

    def _piece(self, name: str, *values: object) -> str:
        text = self._pieces[name].removesuffix(";")
        for value in values:
            self.parameters.append(value)
            text = text.replace("?", f"${next(self._numbers)}", 1)
        return f"({text})"
