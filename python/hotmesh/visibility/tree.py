"""The tree of a query: conditions on a run. Backends compile it; nobody else looks inside.

A new kind of condition is a class here, a rule in :mod:`.query`, and a case in each backend's
compiler, which ends with ``assert_never`` so that the type checker names those that lack it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


class Field(enum.Enum):
    """What every run has, by its name in a query."""

    WORKFLOW_ID = "WorkflowId"
    WORKFLOW_TYPE = "WorkflowType"
    TASK_QUEUE = "TaskQueue"
    STATUS = "ExecutionStatus"


@dataclass(frozen=True, slots=True)
class FieldIs:
    """A field has this very value: text, or the number of a status."""

    field: Field
    value: str | int


@dataclass(frozen=True, slots=True)
class AttributeIs:
    """A value of the run's record equals this JSON value.

    Values are compared, not texts: 1 equals 1.0. Types never mix: 1 does not equal "1" nor true. A
    text, number or truth value also equals a list that has it as an element.
    """

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of these hold."""

    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these holds."""

    terms: tuple[Condition, ...]


Condition = FieldIs | AttributeIs | AllOf | AnyOf


def all_of(terms: Iterable[Condition]) -> Condition | None:
    """The condition that all of these hold; None, which is always true, if there are none."""
    found = tuple(terms)
    if len(found) < 2:
        return found[0] if found else None
    return AllOf(found)
