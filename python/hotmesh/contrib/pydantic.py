"""Payloads by pydantic: models, and dates, times, decimals, paths and all else that it validates.

    client = await Client.connect(url, data_converter=pydantic_data_converter)

Values are read back by their type hints. Needs ``hotmesh[pydantic]``.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from hotmesh.common import Payload
from hotmesh.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)
from hotmesh.exceptions import MissingExtraError

try:
    from pydantic import TypeAdapter
    from pydantic_core import SchemaSerializer, to_json
    from pydantic_core.core_schema import any_schema
except ImportError as error:
    raise MissingExtraError("pydantic", "hotmesh.contrib.pydantic") from error

__all__ = [
    "PydanticJSONPlainPayloadConverter",
    "PydanticPayloadConverter",
    "ToJsonOptions",
    "pydantic_data_converter",
]

_ANY = SchemaSerializer(any_schema())


@dataclasses.dataclass
class ToJsonOptions:
    """How values are written."""

    exclude_unset: bool = False
    """Whether fields of models that were not set are left out."""


class PydanticJSONPlainPayloadConverter(EncodingPayloadConverter):
    """``json/plain``, written and read by pydantic.

    Args:
        to_json_options: How values are written.
        max_cached_type_adapters: Type hints whose reader is kept; None keeps all, 0 none.
    """

    def __init__(
        self,
        to_json_options: ToJsonOptions | None = None,
        *,
        max_cached_type_adapters: int | None = 1024,
    ) -> None:
        self._options = to_json_options
        self._adapter = functools.lru_cache(maxsize=max_cached_type_adapters)(_type_adapter)

    @property
    def encoding(self) -> str:
        """See base class."""
        return "json/plain"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class.

        Raises:
            pydantic_core.PydanticSerializationError: It can't be written.
        """
        if self._options is not None and self._options.exclude_unset:
            data = _ANY.to_json(value, exclude_unset=True)
        else:
            data = to_json(value)
        return Payload({"encoding": b"json/plain"}, data)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class.

        Raises:
            pydantic.ValidationError: The value does not fit the hint.
        """
        hint: Any = Any if type_hint is None else type_hint
        try:
            adapter = self._adapter(hint)
        except TypeError:  # a hint that can't be hashed
            adapter = _type_adapter(hint)
        return adapter.validate_json(payload.data)


def _type_adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


class PydanticPayloadConverter(CompositePayloadConverter):
    """The default converters, but for JSON, which pydantic writes and reads.

    Args:
        to_json_options: How values are written.
        max_cached_type_adapters: Type hints whose reader is kept; None keeps all, 0 none.
    """

    def __init__(
        self,
        to_json_options: ToJsonOptions | None = None,
        *,
        max_cached_type_adapters: int | None = 1024,
    ) -> None:
        json_converter = PydanticJSONPlainPayloadConverter(
            to_json_options, max_cached_type_adapters=max_cached_type_adapters
        )
        super().__init__(
            *(
                json_converter if isinstance(each, JSONPlainPayloadConverter) else each
                for each in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


pydantic_data_converter = DataConverter(payload_converter_class=PydanticPayloadConverter)
"""A data converter for clients whose workflows pass what pydantic knows."""
