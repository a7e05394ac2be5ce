"""What a value in a query is compared with, by what is known of the attribute's type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hotmesh.common.search_attributes import SearchAttributeIndexedValueType, declared_types
from hotmesh.exceptions import InvalidArgumentError

_KIND = SearchAttributeIndexedValueType
_TEXTS = {_KIND.TEXT, _KIND.KEYWORD, _KIND.KEYWORD_LIST}
_NUMBERS = {_KIND.INT, _KIND.DOUBLE}


def values_of(name: str, value: Any) -> Sequence[Any]:
    """The stored values that a value in a query stands for; one of them is to be equal.

    A text may be a point in time: those are stored in one form, whatever form is asked for.

    Raises:
        InvalidArgumentError: The attribute is declared with a type that the value is not of.
    """
    types = declared_types(name)
    kind = next(iter(types)) if len(types) == 1 else None  # declared twice: either may be meant
    moment = stored_moment(value) if isinstance(value, str) else None
    if kind is None:
        return [value] if moment is None or moment == value else [value, moment]
    if kind is _KIND.DATETIME:
        if moment is None:
            raise _mismatch(name, kind, value, "a time such as '2026-01-31T12:00:00Z'")
        return [moment]
    if kind is _KIND.BOOL and not isinstance(value, bool):
        raise _mismatch(name, kind, value, "true or false")
    if kind in _NUMBERS and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise _mismatch(name, kind, value, "a number")
    if kind in _TEXTS and not isinstance(value, str):
        raise _mismatch(name, kind, value, "a text in quotes")
    return [value]


def stored_moment(text: str) -> str | None:
    """The form in which a point in time is stored; None for a text that is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment.astimezone(UTC).isoformat()


def _mismatch(
    name: str, kind: SearchAttributeIndexedValueType, value: Any, wanted: str
) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{name} = {value!r} in a filter: {name} is declared as {kind.name}, "
        f"to be compared with {wanted}"
    )
