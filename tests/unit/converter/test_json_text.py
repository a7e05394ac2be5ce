"""JSON text is read back exactly, whichever library wrote it."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.converter import json_text

WHEN = datetime(2020, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
ID = uuid.UUID("12345678123456781234567812345678")


class Level(enum.Enum):
    LOW = "low"
    ENDLESS = math.inf


@dataclasses.dataclass
class Item:
    name: str
    price: float = 1.5
    _hidden: int = 7


class Legacy:
    def dict(self) -> dict[str, Any]:
        return {"legacy": True}


class Ratio(float):
    """Like a numpy scalar: a float of another class."""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@given(json_values)
def test_json_values_come_back_equal(value: Any) -> None:
    assert json_text.load(json_text.dump(value)) == value


@given(json_values)
def test_what_orjson_is_trusted_with_reads_the_same_in_the_standard_library(value: Any) -> None:
    text = json_text.dump_exact(value)
    if text is not None:
        assert json.loads(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (WHEN, '"2020-01-02T03:04:05.000678+00:00"'),
        (ID, '"12345678-1234-5678-1234-567812345678"'),
        (Level.LOW, '"low"'),
        (Item("x"), '{"name":"x","price":1.5,"_hidden":7}'),
        ([Item("x", 2.0)], '[{"name":"x","price":2.0,"_hidden":7}]'),
        (Legacy(), '{"legacy":true}'),
        (frozenset({1}), "[1]"),
        ((1, 2), "[1,2]"),
        (b"ab", "[97,98]"),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (Ratio(0.5), "0.5"),
        ({"b": None, "a": "null"}, '{"b":null,"a":"null"}'),
    ],
)
def test_values_beyond_json(value: Any, text: str) -> None:
    assert json_text.dump(value).decode() == text
    assert json_text.dump_exact(value) is not None or value == b"ab"
    assert json_text.dump_stdlib(value).decode() == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([math.inf, None], "[Infinity,null]"),
        ({"a": {"b": [-math.inf]}}, '{"a":{"b":[-Infinity]}}'),
        (Item("x", math.inf), '{"name":"x","price":Infinity,"_hidden":7}'),
        ({1, math.inf}, None),
        (Level.ENDLESS, "Infinity"),
        (Ratio(math.inf), "Infinity"),
        (2**64, str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        ({1: "a"}, '{"1":"a"}'),
        ({1.5: 1, True: 2, None: 3}, '{"1.5":1,"true":2,"null":3}'),
    ],
)
def test_what_orjson_would_lose_is_left_to_the_standard_library(
    value: Any, text: str | None
) -> None:
    assert json_text.dump_exact(value) is None
    if text is not None:
        assert json_text.dump(value).decode() == text


def test_nan_comes_back() -> None:
    loaded = json_text.load(json_text.dump([math.nan, None]))
    assert math.isnan(loaded[0])
    assert loaded[1] is None


def test_iterator_is_read_once_and_whole() -> None:
    def numbers() -> Iterator[float]:
        yield 1.0
        yield math.inf

    assert json_text.dump([numbers()]) == b"[[1.0,Infinity]]"


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 2**64, -(2**63), -(2**70), 10**40])
def test_large_integers_stay_integers(number: int) -> None:
    loaded = json_text.load(json_text.dump({"n": number}))
    assert loaded == {"n": number}
    assert type(loaded["n"]) is int


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), TypeError), ({(1, 2): 3}, TypeError), ("\ud800", ValueError)],
)
def test_what_has_no_json_form_raises(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        json_text.dump(value)


def test_a_list_in_itself_raises() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueError, match="Circular"):
        json_text.dump(value)


def test_deep_nesting_that_orjson_refuses_comes_back() -> None:
    value: Any = 1
    for _ in range(300):
        value = [value]
    assert json_text.load(json_text.dump(value)) == value


def test_keys_can_be_sorted() -> None:
    assert json_text.dump({"b": 1, "a": 2}, sort_keys=True) == b'{"a":2,"b":1}'
