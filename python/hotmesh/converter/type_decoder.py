"""Rebuilding typed values from what JSON can express, by type hint.

Each hint is compiled once into a decoder, a function from the JSON value to the typed one;
decoding a value then costs no inspection of types.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import inspect
import typing
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, IntEnum
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, NewType, TypeVar, cast, get_type_hints

from hotmesh.printing import message_of

Decoder = Callable[[Any], Any]
"""Turns a JSON value into a typed one, or raises TypeError."""

DECODER_CACHE_ENTRIES_MAX = 4096
"""Compiled hints that are kept; far above what a program declares."""

JSONTypeConverterUnhandled = NewType("JSONTypeConverterUnhandled", object)
"""Type of :attr:`JSONTypeConverter.Unhandled`."""


class JSONTypeConverter(ABC):
    """Converts JSON values to types the default rules do not know."""

    Unhandled: ClassVar[JSONTypeConverterUnhandled] = JSONTypeConverterUnhandled(object())
    """What :meth:`to_typed_value` returns for a hint that is not its concern."""

    @abstractmethod
    def to_typed_value(self, hint: type, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        """Convert a value to the type of a hint.

        Args:
            hint: The type that is expected.
            value: What ``json.loads`` returned: a scalar, a list or a dict.

        Returns:
            The typed value, or :attr:`Unhandled`.
        """


def value_to_type(
    hint: Any, value: Any, custom_converters: Sequence[JSONTypeConverter] = ()
) -> Any:
    """Convert a JSON value to the type of a hint.

    Args:
        hint: The type that is expected.
        value: A scalar, a list or a dict.
        custom_converters: Asked first, in order, for this hint and all within it.

    Returns:
        The typed value.

    Raises:
        TypeError: The value does not fit the hint.
    """
    return decoder_for(hint, tuple(custom_converters))(value)


# Keyed by identity: Union[A, B] and Union[B, A] are equal, yet try their arms in another order.
# The hint is kept with its decoder, or its id might be given to another object.
_decoders: dict[tuple[int, tuple[JSONTypeConverter, ...]], tuple[Any, Decoder]] = {}


def decoder_for(hint: Any, custom_converters: tuple[JSONTypeConverter, ...] = ()) -> Decoder:
    """Return the decoder of a hint, compiled at the first call.

    Args:
        hint: The type that is expected.
        custom_converters: Asked first, in order, for this hint and all within it.

    Returns:
        The decoder. For a hint that no rule covers, it always raises TypeError.
    """
    key = (id(hint), custom_converters)
    known = _decoders.get(key)
    if known is not None:
        return known[1]
    decoder = _compile(hint, custom_converters)
    if custom_converters:
        decoder = _ask_first(hint, custom_converters, decoder)
    if len(_decoders) >= DECODER_CACHE_ENTRIES_MAX:
        _decoders.clear()
    _decoders[key] = (hint, decoder)
    return decoder


def _ask_first(hint: Any, converters: tuple[JSONTypeConverter, ...], otherwise: Decoder) -> Decoder:
    def decode(value: Any) -> Any:
        for converter in converters:
            typed = converter.to_typed_value(hint, value)
            if typed is not JSONTypeConverter.Unhandled:
                return typed
        return otherwise(value)

    return decode


def _compile(hint: Any, custom: tuple[JSONTypeConverter, ...]) -> Decoder:
    if hint is Any or hint is object or isinstance(hint, TypeVar):
        return _identity
    if hint is None:  # As in dict[str, None].
        return _none
    scalar = _SCALARS.get(hint) if isinstance(hint, type) else None
    if scalar is not None:
        return scalar
    if isinstance(hint, NewType):
        return decoder_for(hint.__supertype__, custom)
    if type(hint).__name__ == "TypeAliasType":  # `type X = ...`, from Python 3.12.
        return _alias(hint, custom)
    origin: Any = typing.get_origin(hint) or hint
    arguments: tuple[Any, ...] = typing.get_args(hint)
    if origin is Annotated:
        return decoder_for(arguments[0], custom)
    if origin is Literal:
        return _literal(arguments)
    if origin is typing.Union or origin is UnionType:
        return _union(hint, arguments, custom)
    if isinstance(origin, type):
        return _compile_class(hint, origin, arguments, custom)
    return _unserializable(hint)


def _compile_class(
    hint: Any, origin: type[Any], arguments: tuple[Any, ...], custom: tuple[JSONTypeConverter, ...]
) -> Decoder:
    if typing.is_typeddict(origin):
        return _typed_dict(origin, custom)
    if issubclass(origin, collections.abc.Mapping):
        return _mapping(hint, cast("Any", origin), arguments, custom)
    if dataclasses.is_dataclass(origin):
        return _dataclass(hint, origin, arguments, custom)
    for method in _PARSES:
        if isinstance(inspect.getattr_static(origin, method, None), classmethod | staticmethod):
            return _parsed_by_class(origin, method)
    if issubclass(origin, Enum):
        return _enum(origin)
    if issubclass(origin, uuid.UUID):
        return _uuid(origin)
    if _is_named_tuple(origin):
        return _named_tuple(origin, custom)
    if issubclass(origin, collections.abc.Iterable):
        return _iterable(hint, cast("type[Iterable[Any]]", origin), arguments, custom)
    return _unserializable(hint)


def _alias(hint: Any, custom: tuple[JSONTypeConverter, ...]) -> Decoder:
    def decode(value: Any) -> Any:  # Not compiled before the first use: it may contain itself.
        return decoder_for(hint.__value__, custom)(value)

    return decode


# -- Scalars --


def _identity(value: Any) -> Any:
    return value


def _exact_type(hint: Any, custom: tuple[JSONTypeConverter, ...]) -> type | None:
    """The type whose values need no decoder, so that callers save the call; None if there is none.

    A custom converter has to see every value.
    """
    return hint if not custom and hint in (str, int, float, bool) else None


def _refuse(expected: str, value: Any) -> TypeError:
    return TypeError(f"Expected value to be {expected}, was {type(value)}")


def _int(value: Any) -> int:
    if isinstance(value, int | float):
        return int(value)
    raise _refuse("int|float", value)


def _float(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise _refuse("int|float", value)


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _refuse("bool", value)


def _str(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _refuse("str", value)


def _bytes(value: Any) -> bytes:
    # Within JSON, bytes are an array of numbers.
    if isinstance(value, bytes | bytearray | list):
        return bytes(cast("Iterable[int]", value))
    raise _refuse("bytes", value)


def _none(value: Any) -> None:
    if value is not None:
        raise _refuse("None", value)


def _datetime(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise _refuse("a datetime or ISO 8601 text", value)
    try:
        return datetime.fromisoformat(value)
    except ValueError as err:
        raise TypeError(f"Failed parsing datetime string: {value}") from err


_SCALARS: dict[type, Decoder] = {
    int: _int,
    float: _float,
    bool: _bool,
    str: _str,
    bytes: _bytes,
    type(None): _none,
    datetime: _datetime,
}


def _unserializable(hint: Any) -> Decoder:
    def decode(value: Any) -> Any:
        raise TypeError(
            f"Unserializable type during conversion: {hint}; use a data converter that knows it, "
            "such as hotmesh.contrib.pydantic.pydantic_data_converter"
        )

    return decode


# -- Choices --


def _literal(allowed: tuple[Any, ...]) -> Decoder:
    def decode(value: Any) -> Any:
        for each in allowed:
            plain = each.value if isinstance(each, Enum) else each
            if value is each or (type(value) is type(plain) and value == plain):
                return each
        raise TypeError(f"Value {value} not in literal values {allowed}")

    return decode


_EXACT_JSON_TYPES = (type(None), bool, int, float, str)


def _union(hint: Any, arms: tuple[Any, ...], custom: tuple[JSONTypeConverter, ...]) -> Decoder:
    # A value that is one of the arms already stays as it is: int|float must not truncate 1.5.
    exact = () if custom else tuple(arm for arm in arms if arm in _EXACT_JSON_TYPES)
    decoders = [decoder_for(arm, custom) for arm in arms]

    def decode(value: Any) -> Any:
        if type(value) in exact:
            return value
        reasons: list[str] = []
        for decoder in decoders:
            try:
                return decoder(value)
            except Exception as err:  # noqa: BLE001 - a constructor may raise anything
                reasons.append(message_of(err))
        raise TypeError(f"Failed converting to {hint} from {value}: {'; '.join(reasons)}")

    return decode


def _enum(enum: type[Enum]) -> Decoder:
    def decode(value: Any) -> Any:
        if issubclass(enum, IntEnum) and not isinstance(value, int):
            raise TypeError(f"Cannot convert to enum {enum}, value is {type(value)}, not an int")
        try:
            return enum(value)
        except ValueError as err:
            for member in enum:
                if _as_written(member.value) == value:
                    return member
            raise TypeError(f"Cannot convert to enum {enum}: {err}") from err

    return decode


def _as_written(value: Any) -> Any:
    """What JSON makes of a member's value: a list of a tuple."""
    return [*map(_as_written, cast("tuple[Any]", value))] if isinstance(value, tuple) else value


def _uuid(uuid_type: type[uuid.UUID]) -> Decoder:
    def decode(value: Any) -> Any:
        if isinstance(value, uuid_type):
            return value
        if not isinstance(value, str):
            raise _refuse("UUID text", value)
        try:
            return uuid_type(value)
        except ValueError as err:
            raise TypeError(f"Cannot convert {value!r} to {uuid_type}: {err}") from err

    return decode


# -- Objects --


def _mapping(
    hint: Any, origin: type[Any], arguments: tuple[Any, ...], custom: tuple[JSONTypeConverter, ...]
) -> Decoder:
    if origin is collections.Counter and len(arguments) == 1:
        arguments = (*arguments, int)
    given = arguments if len(arguments) == 2 else (Any, Any)
    decode_key = _key_decoder(given[0], custom)
    decode_item = decoder_for(given[1], custom)
    kept = (collections.OrderedDict, collections.Counter)
    rebuild = cast("Callable[[Any], Any] | None", origin if origin in kept else None)

    def decode(value: Any) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            raise TypeError(f"Expected {hint}, value was {type(value)}")
        items: dict[Any, Any] = {}
        for key, item in cast("Mapping[Any, Any]", value).items():
            try:
                typed_key = decode_key(key)
            except Exception as err:
                raise TypeError(f"Failed converting key {key!r} in mapping {hint}: {err}") from err
            try:
                items[typed_key] = decode_item(item)
            except Exception as err:
                raise TypeError(
                    f"Failed converting value for key {key!r} in mapping {hint}: {err}"
                ) from err
        return rebuild(items) if rebuild is not None else items

    return decode


# JSON keys are text; these are the texts that json.dumps writes for keys of other types.
_KEY_PARSERS: dict[Any, Decoder] = {
    int: int,
    float: float,
    bool: {"true": True, "false": False}.__getitem__,
    type(None): {"null": None}.__getitem__,
    None: {"null": None}.__getitem__,
}


def _key_decoder(hint: Any, custom: tuple[JSONTypeConverter, ...]) -> Decoder:
    decode_key = decoder_for(hint, custom)
    is_int_enum = isinstance(hint, type) and issubclass(hint, IntEnum)
    parse_text = _KEY_PARSERS.get(int if is_int_enum else hint)
    if parse_text is None:
        return decode_key

    def decode(key: Any) -> Any:
        return decode_key(parse_text(key) if isinstance(key, str) else key)

    return decode


def _typed_dict(origin: type[Any], custom: tuple[JSONTypeConverter, ...]) -> Decoder:
    decoders: dict[str, Decoder] = {}

    def decode(value: Any) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            raise TypeError(f"Expected {origin}, value was {type(value)}")
        if not decoders:  # Not before the first use: the type may contain itself.
            hints = get_type_hints(origin)
            decoders.update({name: decoder_for(hint, custom) for name, hint in hints.items()})
        items: dict[Any, Any] = {}
        for key, item in cast("Mapping[Any, Any]", value).items():
            try:
                items[key] = decoders.get(key, _identity)(item)
            except Exception as err:
                raise TypeError(f"Failed converting key {key!r} of {origin}: {err}") from err
        return items

    return decode


def _dataclass(
    hint: Any, origin: type[Any], arguments: tuple[Any, ...], custom: tuple[JSONTypeConverter, ...]
) -> Decoder:
    decoders: list[tuple[str, type | None, Decoder]] = []

    def compile_fields() -> None:
        hints = get_type_hints(origin)
        parameters: tuple[Any, ...] = getattr(origin, "__parameters__", ())
        bound = dict(zip(parameters, arguments, strict=False))
        types = {
            field.name: _substitute(hints[field.name], bound)
            for field in dataclasses.fields(origin)
        }
        decoders[:] = [  # In one step: another thread may be decoding.
            (name, _exact_type(each, custom), decoder_for(each, custom))
            for name, each in types.items()
        ]

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"Cannot convert to dataclass {hint}, value is {type(value)} not dict")
        if not decoders:  # Not before the first use: the type may contain itself.
            compile_fields()
        document = cast("dict[str, Any]", value)
        fields: dict[str, Any] = {}
        for name, exact, decoder in decoders:  # Keys that are no field are left out.
            if name not in document:
                continue
            item = document[name]
            if type(item) is exact:
                fields[name] = item
                continue
            try:
                fields[name] = decoder(item)
            except Exception as err:
                raise TypeError(
                    f"Failed converting field {name} on dataclass {hint}: {err}"
                ) from err
        return origin(**fields)

    return decode


def _substitute(hint: Any, bound: dict[Any, Any]) -> Any:
    """Put the arguments of a generic class in place of its type variables."""
    if not bound:
        return hint
    if isinstance(hint, TypeVar):
        return bound.get(hint, Any)
    free: tuple[Any, ...] = getattr(hint, "__parameters__", ())
    if not free or isinstance(hint, type):
        return hint
    return hint[tuple(bound.get(each, Any) for each in free)]


_PARSES = ("model_validate", "parse_obj")
"""Methods by which models of pydantic 2 and 1 are made of plain values."""


def _parsed_by_class(origin: type[Any], method: str) -> Decoder:
    def decode(value: Any) -> Any:
        if method == "parse_obj" and not isinstance(value, dict):
            raise TypeError(f"Cannot convert to {origin}, value is {type(value)} not dict")
        return getattr(origin, method)(value)

    return decode


# -- Sequences and sets --


def _is_named_tuple(origin: type[Any]) -> bool:
    return issubclass(origin, tuple) and hasattr(cast("Any", origin), "_fields")


def _items(hint: Any, value: Any) -> Iterable[Any]:
    if type(value) is list:  # Always, from JSON; the checks below are slow.
        return cast("list[Any]", value)
    # Text and mappings can be iterated over as well, but never for a list of something.
    if not isinstance(value, collections.abc.Iterable) or isinstance(
        value, str | bytes | collections.abc.Mapping
    ):
        raise TypeError(f"Expected {hint}, value was {type(cast('Any', value))}")
    return cast("Iterable[Any]", value)


def _named_tuple(origin: type[Any], custom: tuple[JSONTypeConverter, ...]) -> Decoder:
    names = cast("tuple[str, ...]", origin._fields)
    decoders: list[Decoder] = []

    def decode(value: Any) -> Any:
        if not decoders and names:  # Not before the first use: the type may contain itself.
            hints = get_type_hints(origin)
            decoders[:] = [decoder_for(hints.get(name, Any), custom) for name in names]
        items = list(_items(origin, value))
        if len(items) > len(names):
            raise TypeError(f"Type {origin} only expecting {len(names)} values, got {len(items)}")
        typed = [decoder(item) for decoder, item in zip(decoders, items, strict=False)]
        return origin(*typed)

    return decode


def _iterable(
    hint: Any,
    origin: type[Iterable[Any]],
    arguments: tuple[Any, ...],
    custom: tuple[JSONTypeConverter, ...],
) -> Decoder:
    if issubclass(origin, str | bytes):
        return _unserializable(hint)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return _fixed_tuple(hint, arguments, custom)
    decode_item = decoder_for(arguments[0], custom) if arguments else _identity
    rebuild = _container(origin)

    exact = _exact_type(arguments[0] if arguments else Any, custom)

    def decode(value: Any) -> Any:
        typed: list[Any] = []
        for item in _items(hint, value):
            if type(item) is exact:
                typed.append(item)
                continue
            try:
                typed.append(decode_item(item))
            except Exception as err:
                raise TypeError(f"Failed converting {hint} index {len(typed)}: {err}") from err
        return rebuild(typed) if rebuild is not None else typed

    return decode


def _container(origin: type[Iterable[Any]]) -> Callable[[list[Any]], Any] | None:
    """What to build from the items of an iterable; None for a list."""
    for container in (tuple, frozenset, set, collections.deque):
        if origin is container:
            return container
    return set if issubclass(origin, collections.abc.Set) else None


def _fixed_tuple(
    hint: Any, arguments: tuple[Any, ...], custom: tuple[JSONTypeConverter, ...]
) -> Decoder:
    decoders = [decoder_for(argument, custom) for argument in arguments]

    def decode(value: Any) -> Any:
        items = list(_items(hint, value))
        if len(items) != len(decoders):
            raise TypeError(f"Type {hint} only expecting {len(decoders)} values, got {len(items)}")
        typed: list[Any] = []
        for index, (decoder, item) in enumerate(zip(decoders, items, strict=True)):
            try:
                typed.append(decoder(item))
            except Exception as err:
                raise TypeError(f"Failed converting {hint} index {index}: {err}") from err
        return tuple(typed)

    return decode
