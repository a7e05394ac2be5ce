"""Type hints rebuild values from JSON, or say why they can't."""

from __future__ import annotations

import collections
import enum
import sys
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import pytest

from hotmesh.converter import JSONTypeConverter, JSONTypeConverterUnhandled, value_to_type
from hotmesh.converter.type_decoder import decoder_for

T = TypeVar("T")
ID = uuid.UUID("12345678123456781234567812345678")
WHEN = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
OrderId = NewType("OrderId", int)


class Color(enum.IntEnum):
    RED = 1


class Size(enum.StrEnum):
    BIG = "big"


class Kind(enum.Enum):
    TEXT = "text"
    NUMBER = 2
    PAIR = (1, ("deep", 2.5))


class Point(NamedTuple):
    x: int
    when: datetime | None = None


class Order(TypedDict):
    id: uuid.UUID
    note: NotRequired[str]


@dataclass
class Item:
    name: str
    when: datetime | None = None
    tags: set[str] = field(default_factory=set)


@dataclass
class Tree:
    value: int
    children: list[Tree] = field(default_factory=list)


@dataclass
class Box(Generic[T]):
    content: T
    spare: list[T]


class Legacy:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Legacy) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def parse_obj(cls, document: dict[str, int]) -> Legacy:
        return cls(document["value"])


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (Any, {"a": 1}, {"a": 1}),
        (object, 1, 1),
        (T, 1, 1),
        (int, 1, 1),
        (int, 1.5, 1),
        (float, 1, 1.0),
        (bool, True, True),
        (str, "", ""),
        (bytes, [97, 98], b"ab"),
        (type(None), None, None),
        (datetime, "2020-01-02T03:04:05+00:00", WHEN),
        (datetime, "2020-01-02T03:04:05Z", WHEN),
        (datetime, WHEN, WHEN),
        (uuid.UUID, str(ID), ID),
        (Color, 1, Color.RED),
        (Size, "big", Size.BIG),
        (Kind, "text", Kind.TEXT),
        (Kind, 2, Kind.NUMBER),
        (Kind, [1, ["deep", 2.5]], Kind.PAIR),
        (OrderId, 5, 5),
        (Annotated[int, "units"], 5, 5),
        (Literal["a", 2], 2, 2),
        (Literal[Size.BIG], "big", Size.BIG),
        (list, [1, "a"], [1, "a"]),
        (list[datetime], ["2020-01-02T03:04:05+00:00"], [WHEN]),
        (Sequence[int], [1, 2], [1, 2]),
        (Iterable[int], [1, 2], [1, 2]),
        (list[T], [1, "a"], [1, "a"]),  # type: ignore[valid-type]
        (set[int], [1, 2, 1], {1, 2}),
        (frozenset[int], [1], frozenset({1})),
        (collections.abc.Set[int], [1], {1}),
        (collections.deque[int], [1, 2], collections.deque([1, 2])),
        (tuple, [1, "a"], (1, "a")),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[float, ...], [1, 2], (1.0, 2.0)),
        (Point, [1, "2020-01-02T03:04:05+00:00"], Point(1, WHEN)),
        (Point, [1], Point(1)),
        (dict, {"a": 1}, {"a": 1}),
        (dict[str, Any], {"a": [1]}, {"a": [1]}),
        (Mapping[int, str], {"1": "a"}, {1: "a"}),
        (dict[float, int], {"1.5": 1}, {1.5: 1}),
        (dict[bool, int], {"true": 1, "false": 0}, {True: 1, False: 0}),
        (dict[None, int], {"null": 1}, {None: 1}),
        (dict[str, None], {"a": None}, {"a": None}),
        (dict[uuid.UUID, int], {str(ID): 1}, {ID: 1}),
        (dict[Color, int], {"1": 1}, {Color.RED: 1}),
        (dict[Size, int], {"big": 1}, {Size.BIG: 1}),
        (collections.OrderedDict[str, int], {"a": 1}, collections.OrderedDict(a=1)),
        (collections.Counter[str], {"a": 1}, collections.Counter(a=1)),
        (Order, {"id": str(ID), "extra": 1}, {"id": ID, "extra": 1}),
        (Item, {"name": "x", "unknown": 1, "tags": ["a"]}, Item("x", None, {"a"})),
        (Item, {"name": "x", "when": "2020-01-02T03:04:05+00:00"}, Item("x", WHEN)),
        (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
        (Box[int], {"content": 1, "spare": [2]}, Box(1, [2])),
        (Box[Item], {"content": {"name": "x"}, "spare": []}, Box(Item("x"), [])),
        (Legacy, {"value": 3}, Legacy(3)),
        (Optional[Item], None, None),  # noqa: UP045 - the older form
        (Item | None, {"name": "x"}, Item("x")),
        (int | float, 1.5, 1.5),
        (Union[list[str], str], "abc", "abc"),  # noqa: UP007 - the older form
        (Item | Tree, {"value": 1}, Tree(1)),
    ],
)
def test_conversion(hint: Any, value: Any, expected: Any) -> None:
    for _ in range(2):  # The second time by the cached decoder.
        converted = value_to_type(hint, value)
        assert converted == expected
        assert type(converted) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (int, "1", r"Expected value to be int\|float, was <class 'str'>"),
        (float, "1", "int|float"),
        (bool, 1, "Expected value to be bool"),
        (str, 1, "Expected value to be str"),
        (bytes, "ab", "Expected value to be bytes"),
        (type(None), 0, "Expected value to be None"),
        (datetime, "yesterday", "Failed parsing datetime string: yesterday"),
        (datetime, 5, "ISO 8601"),
        (uuid.UUID, "zz", "Cannot convert 'zz'"),
        (uuid.UUID, 5, "UUID text"),
        (Color, "1", "not an int"),
        (Color, 9, "9 is not a valid Color"),
        (Size, "small", "small"),
        (Literal["a"], "b", "not in literal values"),
        (Literal[1], True, "not in literal values"),
        (list[int], "12", "value was <class 'str'>"),
        (list[int], {"a": 1}, "value was <class 'dict'>"),
        (list[int], [1, "x"], "index 1"),
        (tuple[int, str], [1], "only expecting 2 values, got 1"),
        (tuple[int], ["x"], "index 0"),
        (Point, [1, None, 3], "only expecting 2 values"),
        (dict[str, int], [1], "Expected"),
        (dict[int, int], {"x": 1}, "Failed converting key 'x'"),
        (dict[str, int], {"a": "x"}, "value for key 'a'"),
        (Order, [1], "Expected"),
        (Order, {"id": 5}, "key 'id'"),
        (Item, "x", "not dict"),
        (Item, {"name": 1}, "field name on dataclass"),
        (Item, {}, "name"),
        (Legacy, 1, "not dict"),
        (Item | Tree, {"other": 1}, "Failed converting to"),
        (timedelta, 5, "Unserializable type"),
        (date, "2020-01-01", "Unserializable type"),
        ("Item", {}, "Unserializable type"),
    ],
)
def test_refusal(hint: Any, value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        value_to_type(hint, value)


def test_arms_of_equal_unions_keep_their_order() -> None:
    @dataclass
    class A:
        x: int = 0

    @dataclass
    class B:
        x: int = 0

    assert value_to_type(Union[A, B], {"x": 1}) == A(1)  # noqa: UP007 - equal but ordered
    assert value_to_type(Union[B, A], {"x": 1}) == B(1)  # noqa: UP007 - equal but ordered


def test_decoders_are_compiled_once() -> None:
    hint = list[Item]
    assert decoder_for(hint) is decoder_for(hint)


class Swapper(JSONTypeConverter):
    def to_typed_value(self, hint: type, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        return timedelta(seconds=value) if hint is timedelta else JSONTypeConverter.Unhandled


@dataclass
class Timed:
    delay: timedelta
    others: dict[str, timedelta | None]


def test_custom_converters_are_asked_at_every_level() -> None:
    document = {"delay": 1, "others": {"a": 2, "b": None}}
    expected = Timed(timedelta(seconds=1), {"a": timedelta(seconds=2), "b": None})
    assert value_to_type(Timed, document, [Swapper()]) == expected
    with pytest.raises(TypeError, match="Unserializable"):
        value_to_type(Timed, document)


def test_alias_may_contain_itself() -> None:
    # The statement is a syntax error before Python 3.12, where no such alias exists.
    scope: dict[str, Any] = {}
    if sys.version_info >= (3, 12):
        exec("type Json = dict[str, Json] | int", scope)
    hint = scope.get("Json", dict | int)
    assert value_to_type(hint, {"a": {"b": 1}}) == {"a": {"b": 1}}
