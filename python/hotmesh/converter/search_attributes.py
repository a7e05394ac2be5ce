"""Search attributes to payloads and back. Codecs never apply: they must stay searchable."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, cast

from hotmesh.common import (
    Payload,
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeValue,
    SearchAttributeValues,
    TypedSearchAttributes,
)
from hotmesh.converter.data_converter import DataConverter
from hotmesh.exceptions import InvalidArgumentError


def encode_search_attributes(
    attributes: SearchAttributes | TypedSearchAttributes, api: MutableMapping[str, Payload]
) -> None:
    """Convert search attributes.

    Args:
        attributes: The attributes. The untyped form is deprecated.
        api: Where the payloads are put, by name.

    Raises:
        TypeError: A value is not of its key's type.
    """
    if isinstance(attributes, TypedSearchAttributes):
        for key, value in attributes:
            api[key.name] = encode_typed_search_attribute_value(key, value)
    else:
        for name, values in attributes.items():
            api[name] = encode_search_attribute_values(values)


def encode_typed_search_attribute_value(
    key: SearchAttributeKey[Any], value: SearchAttributeValue | None
) -> Payload:
    """Convert the value of a typed search attribute.

    Args:
        key: The attribute.
        value: Its value, or None to remove it.

    Returns:
        The payload; its metadata tells the type.

    Raises:
        TypeError: The value is not of the key's type.
    """
    converter = DataConverter.default.payload_converter
    if value is None:
        return converter.to_payload(None)
    if not isinstance(value, key.origin_value_type):
        raise TypeError(
            f"Value of type {type(value).__name__} not suitable for indexed value type "
            f"{key.indexed_value_type.name} of search attribute {key.name}"
        )
    if isinstance(value, datetime):
        value = value.isoformat()
    elif isinstance(value, Sequence) and not all(
        isinstance(each, str) for each in cast("Sequence[Any]", value)
    ):
        raise TypeError("All values of a keyword list must be strings")
    payload = converter.to_payload(value)
    return Payload({**payload.metadata, "type": key.metadata_type.encode()}, payload.data)


def encode_search_attribute_values(vals: SearchAttributeValues) -> Payload:
    """Convert the values of an untyped search attribute. Deprecated.

    Args:
        vals: Its values, all of one type.

    Raises:
        TypeError: They are not a list, not of one type, or not of an indexed type.
        InvalidArgumentError: A datetime has no time zone.
    """
    if not isinstance(vals, list):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("Search attribute values must be lists")
    if len({type(value) for value in vals}) > 1:
        raise TypeError("Search attribute values must have the same type for the same key")
    plain: list[Any] = []
    for value in cast("list[Any]", vals):
        if isinstance(value, datetime):
            if value.tzinfo is None:
                raise InvalidArgumentError("Timezone must be present on all search attribute dates")
            plain.append(value.isoformat())
        elif isinstance(value, str | int | float):
            plain.append(value)
        else:
            raise TypeError(
                f"Search attribute value of type {type(value).__name__} not one of str, int, "
                "float, bool, or datetime"
            )
    return DataConverter.default.payload_converter.to_payload(plain)


def decode_search_attributes(api: Mapping[str, Payload]) -> SearchAttributes:
    """Read search attributes as untyped ones. Deprecated.

    Args:
        api: The payloads by name.
    """
    return {name: _untyped_values(payload) for name, payload in api.items()}


def _untyped_values(payload: Payload) -> Any:
    values = _as_list(DataConverter.default.payload_converter.from_payload(payload))
    if payload.metadata.get("type") == b"Datetime":
        return [datetime.fromisoformat(each) for each in values]
    return values


def decode_typed_search_attributes(api: Mapping[str, Payload]) -> TypedSearchAttributes:
    """Read search attributes; those whose type is missing or does not fit are left out.

    Args:
        api: The payloads by name.

    Raises:
        ValueError: A datetime is malformed.
    """
    pairs = [_typed_pair(name, payload) for name, payload in api.items()]
    return TypedSearchAttributes([pair for pair in pairs if pair is not None])


def _typed_pair(name: str, payload: Payload) -> SearchAttributePair[Any] | None:
    metadata_type = payload.metadata.get("type", b"").decode()
    key = SearchAttributeKey.from_metadata_type(name, metadata_type)
    if key is None:
        return None
    is_list = key.indexed_value_type == SearchAttributeIndexedValueType.KEYWORD_LIST
    value: Any = DataConverter.default.payload_converter.from_payload(payload)
    if not is_list:
        values = _as_list(value)
        if len(values) != 1:
            return None
        value = values[0]
    if key.indexed_value_type == SearchAttributeIndexedValueType.DATETIME:
        value = datetime.fromisoformat(value)
    return SearchAttributePair(key, value) if isinstance(value, key.origin_value_type) else None


def _as_list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]
