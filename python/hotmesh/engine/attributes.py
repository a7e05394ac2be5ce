"""A run's memo and search attributes: as started, and as changed since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hotmesh import json_bytes
from hotmesh.common import (
    Payload,
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)
from hotmesh.converter import DataConverter, body_to_payloads, decode_values, encode_values
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.engine.options import checked_name
from hotmesh.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from hotmesh.engine.details import RunDetails
    from hotmesh.engine.failures import Event

SearchDocument = dict[str, Any]
"""Attribute name → [indexed value type, JSON value]."""

MEMO_PREFIX = "memo:"
"""Names of the run's record under which changed memo fields are kept."""


def search_document(
    attributes: SearchAttributes | TypedSearchAttributes | None,
) -> SearchDocument:
    """Search attributes as they travel in a run's header."""
    if not attributes:
        return {}
    if isinstance(attributes, TypedSearchAttributes):
        return {
            checked_name(pair.key.name, "search attribute name"): [
                int(pair.key.indexed_value_type),
                _plain(pair.value),
            ]
            for pair in attributes
        }
    return {
        checked_name(name, "search attribute name"): _untyped(list(values))
        for name, values in attributes.items()
    }


def record_of(document: SearchDocument) -> list[tuple[str, bytes]]:
    """The names and JSON texts that a run's record gets from its search attributes."""
    return [(name, json_bytes.dumps(value)) for name, (_, value) in document.items()]


def typed_attributes(document: SearchDocument) -> TypedSearchAttributes:
    """The attributes of a document, typed."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(_key(name, number), _value(number, value))
            for name, (number, value) in document.items()
        ]
    )


def untyped_attributes(document: SearchDocument) -> dict[str, list[Any]]:
    """The attributes of a document as lists of values (the older form)."""
    return {
        name: _value(number, value) if isinstance(value, list) else [_value(number, value)]
        for name, (number, value) in document.items()
    }


def memo_document(converter: DataConverter, memo: Mapping[str, Any] | None) -> dict[str, str]:
    """A memo as it travels in a run's header."""
    return {
        checked_name(name, "memo name"): wire.pack_bytes(
            encode_values(converter, [value], f"memo field {name!r}")
        )
        for name, value in (memo or {}).items()
    }


def _plain(value: Any) -> Any:
    """A value as JSON. Points in time have one form, so that they can be compared as texts."""
    if not isinstance(value, datetime):
        return value
    return (value if value.tzinfo is None else value.astimezone(UTC)).isoformat()


def _untyped(values: list[Any]) -> list[Any]:
    kind = SearchAttributeIndexedValueType
    first = values[0] if values else ""
    if len(values) > 1:
        return [int(kind.KEYWORD_LIST), [str(_plain(value)) for value in values]]
    if isinstance(first, bool):
        number = kind.BOOL
    elif isinstance(first, int):
        number = kind.INT
    elif isinstance(first, float):
        number = kind.DOUBLE
    else:
        number = kind.DATETIME if isinstance(first, datetime) else kind.KEYWORD
    return [int(number), _plain(first)]


def _key(name: str, number: int) -> SearchAttributeKey[Any]:
    try:
        kind = SearchAttributeIndexedValueType(number)
    except ValueError:
        message = f"search attribute {name!r} has the unknown type {number}"
        raise ValueError(message) from None
    key = SearchAttributeKey.from_metadata_type(name, kind.name)
    assert key is not None, kind
    return key


def _value(number: int, value: Any) -> Any:
    if number == SearchAttributeIndexedValueType.DATETIME:
        return datetime.fromisoformat(value)
    return value


class Attributes:
    """The part of a workflow instance that keeps memo and search attributes."""

    __slots__ = ()

    details: RunDetails
    converter: DataConverter
    _memo: dict[str, bytes] | None
    _search: SearchDocument | None

    if TYPE_CHECKING:

        def command(self, event: Event) -> None: ...
        def encode(self, values: Sequence[Any], what: str) -> bytes: ...
        def within_limit(self, data: bytes, what: str) -> bytes: ...
        def check_writable(self, action: str) -> None: ...
        def forget_info(self) -> None: ...

    def memo_bodies(self) -> dict[str, bytes]:
        """Memo fields and their values' bodies."""
        if self._memo is None:
            header = self.details.header.get("memo", {})
            self._memo = {name: wire.unpack_bytes(text) for name, text in header.items()}
        return self._memo

    def raw_memo(self) -> Mapping[str, Payload]:
        """The memo as payloads."""
        return {name: body_to_payloads(body)[0] for name, body in self.memo_bodies().items()}

    def memo_value(self, name: str, hint: Any) -> Any:
        """One memo field's value.

        Raises:
            KeyError: there is no such field.
        """
        hints = None if hint is None else [hint]
        return decode_values(self.converter, self.memo_bodies()[name], hints)[0]

    def upsert_memo(self, updates: Mapping[str, Any]) -> None:
        """Change memo fields; None removes one."""
        self.check_writable("upsert memo")
        bodies = dict(self.memo_bodies())
        document: dict[str, str | None] = {}
        for name, value in updates.items():
            if value is None:
                document[name] = None
                bodies.pop(name, None)
            else:
                checked_name(name, "memo name")
                bodies[name] = self.encode([value], f"memo field {name!r}")
                document[name] = wire.pack_bytes(bodies[name])
        body = self.within_limit(json_bytes.dumps(document), "memo")
        self._memo = bodies
        self.forget_info()
        self.command((kinds.UPSERT, 0, 0, "memo", b"", body))

    def search_attributes(self) -> SearchDocument:
        """The search attributes' document."""
        if self._search is None:
            self._search = dict(self.details.header.get("sa", {}))
        return self._search

    def typed_search_attributes(self) -> TypedSearchAttributes:
        """The search attributes, typed."""
        return typed_attributes(self.search_attributes())

    def untyped_search_attributes(self) -> Mapping[str, Any]:
        """The search attributes as lists of values."""
        return untyped_attributes(self.search_attributes())

    def upsert_search_attributes(
        self, updates: SearchAttributes | Sequence[SearchAttributeUpdate[Any]]
    ) -> None:
        """Change search attributes."""
        self.check_writable("upsert search attributes")
        document: dict[str, Any] = {}
        if isinstance(updates, Mapping):
            for name, values in updates.items():
                checked_name(name, "search attribute name")
                document[name] = _untyped(list(values)) if values else None
        else:
            for update in updates:
                checked_name(update.key.name, "search attribute name")
                document[update.key.name] = (
                    None
                    if update.value is None
                    else [int(update.key.indexed_value_type), _plain(update.value)]
                )
        try:
            body = self.within_limit(json_bytes.dumps(document), "search attributes")
        except TypeError as error:
            raise InvalidArgumentError(f"search attributes must be JSON: {error}") from error
        merged = {**self.search_attributes(), **document}
        self._search = {name: pair for name, pair in merged.items() if pair is not None}
        self.forget_info()
        self.command((kinds.UPSERT, 0, 0, "search", b"", body))
