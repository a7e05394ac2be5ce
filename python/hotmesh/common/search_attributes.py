"""Search attributes: typed values a workflow can be listed by."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from itertools import pairwise
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar, get_origin, overload

from hotmesh.exceptions import InvalidArgumentError

# Lists, not sequences: a lone string is a sequence too, and would be taken for its characters.
SearchAttributeValues: TypeAlias = list[str] | list[int] | list[float] | list[bool] | list[datetime]
"""Values of one untyped search attribute."""

SearchAttributes: TypeAlias = Mapping[str, SearchAttributeValues]
"""Untyped search attributes. Deprecated: use :class:`TypedSearchAttributes`."""

SearchAttributeValue: TypeAlias = str | int | float | bool | datetime | Sequence[str]
"""Value of one typed search attribute."""

SearchAttributeValueType = TypeVar(
    "SearchAttributeValueType", str, int, float, bool, datetime, Sequence[str]
)

_Default = TypeVar("_Default")


class SearchAttributeIndexedValueType(IntEnum):
    """How a search attribute is indexed."""

    TEXT = 1
    KEYWORD = 2
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7


_METADATA_TYPES: dict[SearchAttributeIndexedValueType, str] = {
    SearchAttributeIndexedValueType.TEXT: "Text",
    SearchAttributeIndexedValueType.KEYWORD: "Keyword",
    SearchAttributeIndexedValueType.INT: "Int",
    SearchAttributeIndexedValueType.DOUBLE: "Double",
    SearchAttributeIndexedValueType.BOOL: "Bool",
    SearchAttributeIndexedValueType.DATETIME: "Datetime",
    SearchAttributeIndexedValueType.KEYWORD_LIST: "KeywordList",
}


class SearchAttributeKey(ABC, Generic[SearchAttributeValueType]):
    """Name and type of a search attribute. Make one with a ``for_`` method."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the attribute."""

    @property
    @abstractmethod
    def indexed_value_type(self) -> SearchAttributeIndexedValueType:
        """How the attribute is indexed."""

    @property
    @abstractmethod
    def value_type(self) -> type[SearchAttributeValueType]:
        """Python type of its value; may be a generic that ``isinstance`` refuses."""

    @property
    def origin_value_type(self) -> type:
        """Python type of its value, fit for ``isinstance``."""
        return get_origin(self.value_type) or self.value_type

    @property
    def metadata_type(self) -> str:
        """The type's name in payload metadata, e.g. ``KeywordList``."""
        return _METADATA_TYPES[self.indexed_value_type]

    def value_set(
        self, value: SearchAttributeValueType
    ) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """Make an update that sets the attribute."""
        return _SearchAttributeUpdate(self, value)

    def value_unset(self) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """Make an update that removes the attribute."""
        return _SearchAttributeUpdate(self, None)

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """A text, searchable by word."""
        return _declare(name, SearchAttributeIndexedValueType.TEXT, str)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """A text, searchable as a whole."""
        return _declare(name, SearchAttributeIndexedValueType.KEYWORD, str)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        """An integer."""
        return _declare(name, SearchAttributeIndexedValueType.INT, int)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        """A floating point number."""
        return _declare(name, SearchAttributeIndexedValueType.DOUBLE, float)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        """A truth value."""
        return _declare(name, SearchAttributeIndexedValueType.BOOL, bool)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """A point in time."""
        return _declare(name, SearchAttributeIndexedValueType.DATETIME, datetime)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """Several texts, each searchable as a whole."""
        return _declare(name, SearchAttributeIndexedValueType.KEYWORD_LIST, Sequence[str])

    @staticmethod
    def from_metadata_type(name: str, metadata_type: str) -> SearchAttributeKey[Any] | None:
        """Make the key that payload metadata describes.

        Args:
            name: Name of the attribute.
            metadata_type: Either form in use, ``KeywordList`` or
                ``INDEXED_VALUE_TYPE_KEYWORD_LIST``.

        Returns:
            The key, or None if the type is unknown.
        """
        wanted = metadata_type.removeprefix("INDEXED_VALUE_TYPE_").replace("_", "").lower()
        for indexed_type, known in _METADATA_TYPES.items():
            if known.lower() == wanted:
                # What is read declares nothing: only who makes a key says what it is.
                return _SearchAttributeKey(name, indexed_type, _VALUE_TYPES[indexed_type])
        return None


_declared: dict[str, set[SearchAttributeIndexedValueType]] = {}


def declared_types(name: str) -> Collection[SearchAttributeIndexedValueType]:
    """The types with which keys of this name were made in this process."""
    return _declared.get(name, ())


@dataclass(frozen=True)
class _SearchAttributeKey(SearchAttributeKey[SearchAttributeValueType]):
    _name: str
    _indexed_value_type: SearchAttributeIndexedValueType
    _value_type: type[SearchAttributeValueType]

    @property
    def name(self) -> str:
        return self._name

    @property
    def indexed_value_type(self) -> SearchAttributeIndexedValueType:
        return self._indexed_value_type

    @property
    def value_type(self) -> type[SearchAttributeValueType]:
        return self._value_type


_VALUE_TYPES: dict[SearchAttributeIndexedValueType, Any] = {
    SearchAttributeIndexedValueType.TEXT: str,
    SearchAttributeIndexedValueType.KEYWORD: str,
    SearchAttributeIndexedValueType.INT: int,
    SearchAttributeIndexedValueType.DOUBLE: float,
    SearchAttributeIndexedValueType.BOOL: bool,
    SearchAttributeIndexedValueType.DATETIME: datetime,
    SearchAttributeIndexedValueType.KEYWORD_LIST: Sequence[str],
}


def _declare(
    name: str,
    indexed_value_type: SearchAttributeIndexedValueType,
    value_type: type[SearchAttributeValueType],
) -> SearchAttributeKey[SearchAttributeValueType]:
    _declared.setdefault(name, set()).add(indexed_value_type)
    return _SearchAttributeKey(name, indexed_value_type, value_type)


class SearchAttributePair(NamedTuple, Generic[SearchAttributeValueType]):
    """A search attribute with its value."""

    key: SearchAttributeKey[SearchAttributeValueType]
    value: SearchAttributeValueType


class SearchAttributeUpdate(ABC, Generic[SearchAttributeValueType]):
    """A change of one search attribute; made by ``value_set`` and ``value_unset`` of its key."""

    @property
    @abstractmethod
    def key(self) -> SearchAttributeKey[SearchAttributeValueType]:
        """The attribute that changes."""

    @property
    @abstractmethod
    def value(self) -> SearchAttributeValueType | None:
        """Its new value, or None to remove it."""


@dataclass(frozen=True)
class _SearchAttributeUpdate(SearchAttributeUpdate[SearchAttributeValueType]):
    _key: SearchAttributeKey[SearchAttributeValueType]
    _value: SearchAttributeValueType | None

    @property
    def key(self) -> SearchAttributeKey[SearchAttributeValueType]:
        return self._key

    @property
    def value(self) -> SearchAttributeValueType | None:
        return self._value


@dataclass(frozen=True)
class TypedSearchAttributes(Collection[SearchAttributePair[Any]]):
    """An immutable collection of search attributes, sorted by name."""

    search_attributes: Sequence[SearchAttributePair[Any]]
    """The pairs, sorted by name when constructed. Do not change them in place."""

    empty: ClassVar[TypedSearchAttributes]
    """No attributes."""

    def __post_init__(self) -> None:
        """Sort the pairs.

        Raises:
            InvalidArgumentError: A name occurs twice.
        """
        pairs = sorted(self.search_attributes, key=lambda pair: pair.key.name)
        object.__setattr__(self, "search_attributes", pairs)
        for before, after in pairwise(pairs):
            if before.key.name == after.key.name:
                raise InvalidArgumentError(
                    f"Duplicate search attribute entries found for key {after.key.name}"
                )

    def __len__(self) -> int:
        """Number of attributes."""
        return len(self.search_attributes)

    def __getitem__(
        self, key: SearchAttributeKey[SearchAttributeValueType]
    ) -> SearchAttributeValueType:
        """Value of an attribute.

        Raises:
            KeyError: There is no attribute of this name and type.
        """
        for pair in self.search_attributes:
            if pair.key == key:
                return pair.value
        raise KeyError(key.name)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        """Iterate over the pairs, sorted by name."""
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        """Whether there is an attribute of this key's name and type."""
        return any(pair.key == key for pair in self.search_attributes)

    @overload
    def get(
        self, key: SearchAttributeKey[SearchAttributeValueType]
    ) -> SearchAttributeValueType | None: ...

    @overload
    def get(
        self, key: SearchAttributeKey[SearchAttributeValueType], default: _Default
    ) -> SearchAttributeValueType | _Default: ...

    def get(self, key: SearchAttributeKey[Any], default: Any = None) -> Any:
        """Value of an attribute, or the default if it is not there."""
        try:
            return self[key]
        except KeyError:
            return default

    def updated(self, *search_attributes: SearchAttributePair[Any]) -> TypedSearchAttributes:
        """Copy this collection with pairs added; a pair of the same name is replaced."""
        pairs = {pair.key.name: pair for pair in self.search_attributes}
        pairs.update({pair.key.name: pair for pair in search_attributes})
        return TypedSearchAttributes(list(pairs.values()))


TypedSearchAttributes.empty = TypedSearchAttributes(search_attributes=[])
