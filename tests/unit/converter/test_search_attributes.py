"""Search attributes to payloads and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hotmesh.common import (
    Payload,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
)
from hotmesh.converter import (
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute_values,
    encode_search_attributes,
    encode_typed_search_attribute_value,
)
from hotmesh.exceptions import InvalidArgumentError

WHEN = datetime(2020, 1, 2, tzinfo=UTC)
COUNT = SearchAttributeKey.for_int("Count")
TAGS = SearchAttributeKey.for_keyword_list("Tags")

TYPED = TypedSearchAttributes(
    [
        SearchAttributePair(COUNT, 5),
        SearchAttributePair(TAGS, ["a", "b"]),
        SearchAttributePair(SearchAttributeKey.for_text("Text"), "x y"),
        SearchAttributePair(SearchAttributeKey.for_keyword("Word"), "x"),
        SearchAttributePair(SearchAttributeKey.for_float("Ratio"), 0.5),
        SearchAttributePair(SearchAttributeKey.for_bool("Done"), True),
        SearchAttributePair(SearchAttributeKey.for_datetime("When"), WHEN),
    ]
)


def test_typed_attributes_come_back() -> None:
    api: dict[str, Payload] = {}
    encode_search_attributes(TYPED, api)
    assert api["Count"] == Payload({"encoding": b"json/plain", "type": b"Int"}, b"5")
    assert decode_typed_search_attributes(api) == TYPED
    untyped = decode_search_attributes(api)
    assert untyped["Count"] == [5]
    assert untyped["Tags"] == ["a", "b"]
    assert untyped["When"] == [WHEN]


def test_untyped_attributes_come_back() -> None:
    api: dict[str, Payload] = {}
    encode_search_attributes({"Count": [1, 2], "Tags": ["a"]}, api)
    assert decode_search_attributes(api) == {"Count": [1, 2], "Tags": ["a"]}
    assert encode_search_attribute_values([WHEN]).data == b'["2020-01-02T00:00:00+00:00"]'


def test_removal_is_null_without_a_type() -> None:
    payload = encode_typed_search_attribute_value(COUNT, None)
    assert payload == Payload({"encoding": b"binary/null"})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (COUNT, "x", "not suitable for indexed value type INT of search attribute Count"),
        (TAGS, ["a", 1], "must be strings"),
    ],
)
def test_wrong_typed_values_are_refused(
    key: SearchAttributeKey[Any], value: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        encode_typed_search_attribute_value(key, value)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ("text", TypeError),
        ([1, "a"], TypeError),
        ([object()], TypeError),
        ([datetime(2020, 1, 2)], InvalidArgumentError),  # noqa: DTZ001 - the point of the case
    ],
)
def test_wrong_untyped_values_are_refused(values: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        encode_search_attribute_values(values)


@pytest.mark.parametrize(
    ("metadata_type", "data", "found"),
    [
        (b"Int", b"[5]", True),
        (b"Int", b"[5,6]", False),
        (b"Int", b'"x"', False),
        (b"Geo", b"5", False),
        (b"", b"5", False),
    ],
)
def test_what_does_not_fit_its_type_is_left_out(
    metadata_type: bytes, data: bytes, found: bool
) -> None:
    payload = Payload({"encoding": b"json/plain", "type": metadata_type}, data)
    assert len(decode_typed_search_attributes({"Count": payload})) == int(found)
