"""A run's record: the search attributes and plain values it starts with, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import orjson

from hotmesh import json_bytes
from hotmesh.common import (
    SearchAttributeIndexedValueType,
    SearchAttributes,
    TypedSearchAttributes,
)
from hotmesh.converter import encode_search_attribute_values, encode_typed_search_attribute_value
from hotmesh.engine.attributes import (
    MEMO_PREFIX,
    SearchDocument,
    record_of,
    search_document,
    typed_attributes,
    untyped_attributes,
)
from hotmesh.engine.options import checked_name
from hotmesh.exceptions import ConversionError, HotMeshError, InvalidArgumentError


def checked_search(attributes: TypedSearchAttributes | SearchAttributes | None) -> SearchDocument:
    """Search attributes as a run's header keeps them.

    Raises:
        InvalidArgumentError: A name or a value is not acceptable.
    """
    if not attributes:
        return {}
    try:
        if isinstance(attributes, TypedSearchAttributes):
            for pair in attributes:
                checked_name(pair.key.name, "search attribute name")
                encode_typed_search_attribute_value(pair.key, pair.value)  # Checks the type.
        else:
            for name, values in attributes.items():
                checked_name(name, "search attribute name")
                encode_search_attribute_values(values)
        document = search_document(attributes)
        record_of(document)
    except HotMeshError:
        raise
    except (TypeError, ValueError) as error:  # also what JSON can't express
        raise InvalidArgumentError(f"Search attributes: {error}") from error
    return document


def record_items(
    search: SearchDocument, record: Mapping[str, Any] | None
) -> list[tuple[str, bytes]]:
    """Names and JSON texts of a new run's record.

    Raises:
        ConversionError: A value is not JSON; names it.
        InvalidArgumentError: A name is not acceptable.
    """
    items = record_of(search)
    for name, value in (record or {}).items():
        checked_name(name, "record name")
        try:
            items.append((name, json_bytes.dumps(value)))
        except TypeError as error:
            raise ConversionError(f"record value {name!r}", str(error)) from error
    return items


class Record:
    """A stored record, taken apart.

    Args:
        attributes: The stored JSON object.
        header: The run's header, which knows the search attributes' types and the first memo.
    """

    def __init__(self, attributes: bytes, header: Mapping[str, Any]) -> None:
        stored: dict[str, Any] = orjson.loads(attributes) if attributes else {}
        self.values = {
            name: value for name, value in stored.items() if not name.startswith(MEMO_PREFIX)
        }
        """Everything but the memo."""
        self.memo: dict[str, str] = dict(header.get("memo", {}))
        """Name → base64 of the value's body, as it is now."""
        for name, value in stored.items():
            if name.startswith(MEMO_PREFIX):
                self._change_memo(name.removeprefix(MEMO_PREFIX), value)
        types = cast("SearchDocument", header.get("sa", {}))
        self._search = {
            name: [types[name][0] if name in types else _type_of(value), value]
            for name, value in self.values.items()
            if value is not None and not isinstance(value, dict)
        }

    def _change_memo(self, name: str, value: str | None) -> None:
        if value is None:
            self.memo.pop(name, None)
        else:
            self.memo[name] = value

    def typed(self) -> TypedSearchAttributes:
        """The values as typed search attributes; those set by workflow code get a likely type."""
        return typed_attributes(self._search)

    def untyped(self) -> SearchAttributes:
        """The values as untyped search attributes, each a list."""
        return untyped_attributes(self._search)


def _type_of(value: Any) -> int:
    kind = SearchAttributeIndexedValueType
    if isinstance(value, bool):
        return kind.BOOL
    if isinstance(value, int):
        return kind.INT
    if isinstance(value, float):
        return kind.DOUBLE
    return kind.KEYWORD_LIST if isinstance(value, list) else kind.KEYWORD
