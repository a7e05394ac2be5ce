"""JSON text of Python values: orjson where it is exact, the standard library where it is not.

This module owns the promise that what is read back equals what was written. orjson turns NaN and
infinities into null, refuses integers beyond 64 bits and reads them back as floats; values with
any of these are written and read by the standard library instead.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from math import isfinite
from typing import Any, cast

import orjson

from hotmesh import json_bytes

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_FINITE_TYPES = frozenset({str, int, bool, type(None), datetime, uuid.UUID})
_DUMPS: tuple[tuple[str, dict[str, Any]], ...] = (("model_dump", {"mode": "json"}), ("dict", {}))
"""Methods by which models of pydantic 2 and 1 become plain values, and their arguments."""
_LONG_INTEGER = re.compile(rb"[0-9]{19}")


class AdvancedJSONEncoder(json.JSONEncoder):
    """Standard library encoder that also takes what workflows commonly pass.

    Datetimes become ISO 8601 text, dataclasses and mappings objects, enums their value, UUIDs
    text, objects with a ``model_dump`` or ``dict`` method (pydantic models) what it returns, and
    other iterables arrays.
    """

    def default(self, o: Any) -> Any:
        """Turn a value that JSON has no form for into one it has.

        Raises:
            TypeError: There is none.
        """
        replaced = _replacement(o)
        if replaced is o:
            raise _no_form(o)
        return replaced


def _replacement(o: Any) -> Any:
    """The JSON-ready form of a value, or the value itself if it has none."""
    if isinstance(o, datetime):
        return o.isoformat()
    names = _field_names(cast("type[Any]", type(o)))
    if names is not None:
        return {name: getattr(o, name) for name in names}
    if isinstance(o, type):
        return o
    for method, keywords in _DUMPS:
        dump_model = getattr(o, method, None)
        if callable(dump_model):
            return dump_model(**keywords)
    if isinstance(o, Enum):
        return o.value
    if isinstance(o, uuid.UUID):
        return str(o)
    if isinstance(o, Mapping):
        return dict(cast("Mapping[Any, Any]", o))
    if isinstance(o, Iterable):
        return list(cast("Iterable[Any]", o))
    return o


@functools.lru_cache(maxsize=1024)
def _field_names(value_type: type[Any]) -> tuple[str, ...] | None:
    """Names of a dataclass's fields; None for other types."""
    if not dataclasses.is_dataclass(value_type):
        return None
    return tuple(field.name for field in dataclasses.fields(value_type))


def _orjson_default(o: Any) -> Any:
    names = _field_names(cast("type[Any]", type(o)))
    if names is not None:  # Most of what comes here; the checks below are slower.
        return {name: getattr(o, name) for name in names}
    # An iterator can be read once, so it is left for the standard library, which may follow.
    if isinstance(o, Iterator):
        raise TypeError("iterators are written by the standard library")
    if isinstance(o, float):
        return float(o)  # A subclass, e.g. a numpy scalar, that orjson does not know.
    replaced = _replacement(o)
    if replaced is o:
        raise _no_form(o)
    return replaced


def _no_form(o: Any) -> TypeError:
    kind = cast("type[Any]", type(o)).__name__
    return TypeError(
        f"Object of type {kind} is not JSON serializable; a data converter that knows it is needed:"
        " hotmesh.contrib.pydantic.pydantic_data_converter for dates, times, decimals, paths and "
        "models, or one of your own"
    )


def dump_exact(value: Any, *, sort_keys: bool = False) -> bytes | None:
    """Write a value with orjson.

    Args:
        value: What to write.
        sort_keys: True to sort the keys of objects.

    Returns:
        JSON text that orjson reads back exactly; None if the value needs :func:`dump_stdlib`.
    """
    options = _OPTIONS | orjson.OPT_SORT_KEYS if sort_keys else _OPTIONS
    try:
        text = json_bytes.dumps(value, _orjson_default, options)
    except TypeError:  # Big integers, keys that are not text, iterators; or no JSON form at all.
        return None
    # A float that is not finite was written as null. (`in` would raise and catch an error first:
    # bytes ask whether they are given a number.)
    if text.find(b"null") >= 0 and not _only_finite(value):
        return None
    return text


def _only_finite(value: Any) -> bool:
    """Whether no float within is NaN or infinite; False as well where that can't be told."""
    pending: list[Any] = [value]
    while pending:
        each: Any = pending.pop()
        if type(each) in _FINITE_TYPES:  # Most values; the rest of the chain is slower.
            continue
        if isinstance(each, float):
            if not isfinite(each):
                return False
        elif isinstance(each, Enum):
            pending.append(each.value)
        elif isinstance(each, str | int):
            continue
        elif isinstance(each, dict):
            pending.extend(cast("dict[Any, Any]", each).values())
        elif isinstance(each, list | tuple | set | frozenset):
            pending.extend(cast("Iterable[Any]", each))
        else:
            names = _field_names(cast("type[Any]", type(each)))
            if names is None:
                return False
            pending.extend(getattr(each, name) for name in names)
    return True


def dump_stdlib(
    value: Any,
    *,
    encoder: type[json.JSONEncoder] | None = AdvancedJSONEncoder,
    sort_keys: bool = False,
) -> bytes:
    """Write a value with the standard library.

    Args:
        value: What to write.
        encoder: Class that writes it.
        sort_keys: True to sort the keys of objects.

    Returns:
        UTF-8 JSON text, in which NaN and Infinity may occur.

    Raises:
        TypeError: It holds something JSON has no form for.
        ValueError: It contains itself, or text that is not Unicode (a lone surrogate).
        RecursionError: It is nested too deeply.
    """
    return json.dumps(
        value, cls=encoder, separators=(",", ":"), sort_keys=sort_keys, ensure_ascii=False
    ).encode()


def dump(value: Any, *, sort_keys: bool = False) -> bytes:
    """Write a value exactly, with whichever library can.

    Raises:
        TypeError, ValueError, RecursionError: As :func:`dump_stdlib`.
    """
    text = dump_exact(value, sort_keys=sort_keys)
    return dump_stdlib(value, sort_keys=sort_keys) if text is None else text


def load(text: bytes) -> Any:
    """Read JSON text exactly, whoever wrote it.

    Raises:
        ValueError: It is not JSON.
    """
    if _LONG_INTEGER.search(text):  # orjson would read one beyond 64 bits as a float.
        return json.loads(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN and Infinity are the standard library's only.
        return json.loads(text)
