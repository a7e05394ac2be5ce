"""Payload converters: Python values to payloads and back."""

from __future__ import annotations

import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, overload

from hotmesh.common import Payload, RawValue
from hotmesh.converter import json_text
from hotmesh.converter.context import SerializationContext, WithSerializationContext
from hotmesh.converter.type_decoder import JSONTypeConverter, decoder_for

_T = TypeVar("_T")


class PayloadConverter(ABC):
    """Converts lists of values to lists of payloads and back."""

    default: ClassVar[PayloadConverter]
    """The default converter."""

    @abstractmethod
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Convert values to payloads.

        Args:
            values: The values. A :class:`~hotmesh.common.RawValue` stands for its payload.

        Returns:
            The payloads: at least one, and no more than there are values.

        Raises:
            Exception: A value can't be converted.
        """

    @abstractmethod
    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Convert payloads to values.

        Args:
            payloads: The payloads.
            type_hints: What each value should be, if known; as many as payloads. For
                :class:`~hotmesh.common.RawValue` the payload is wrapped, not converted.

        Returns:
            The values.

        Raises:
            Exception: A payload can't be converted.
        """

    def to_payload(self, value: Any) -> Payload:
        """Convert one value; see :meth:`to_payloads`."""
        return self.to_payloads([value])[0]

    @overload
    def from_payload(self, payload: Payload) -> Any: ...

    @overload
    def from_payload(self, payload: Payload, type_hint: type[_T]) -> _T: ...

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """Convert one payload; see :meth:`from_payloads`."""
        return self.from_payloads([payload], [type_hint] if type_hint else None)[0]


class EncodingPayloadConverter(ABC):
    """Converts single values to payloads of one encoding and back."""

    @property
    @abstractmethod
    def encoding(self) -> str:
        """Name of the encoding; the ``encoding`` of the payloads' metadata."""

    @abstractmethod
    def to_payload(self, value: Any) -> Payload | None:
        """Convert a value.

        Returns:
            The payload, or None to leave the value to the next converter.

        Raises:
            TypeError, ValueError, RuntimeError: It is this converter's to convert, but can't be.
        """

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """Convert a payload of this encoding.

        Args:
            payload: The payload.
            type_hint: What the value should be, if known.

        Raises:
            RuntimeError: It can't be converted.
        """


class CompositePayloadConverter(PayloadConverter, WithSerializationContext):
    """Tries one converter after the other for values, and looks up the one for a payload.

    Args:
        converters: The converters, in the order they are tried.
    """

    converters: Mapping[bytes, EncodingPayloadConverter]
    """The converters by encoding, in the order they are tried."""

    def __init__(self, *converters: EncodingPayloadConverter) -> None:
        self._set_converters(*converters)

    def _set_converters(self, *converters: EncodingPayloadConverter) -> None:
        self.converters = {each.encoding.encode(): each for each in converters}

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """See base class. Returns as many payloads as values.

        Raises:
            RuntimeError: No converter takes a value.
        """
        return [self._to_payload(index, value) for index, value in enumerate(values)]

    def _to_payload(self, index: int, value: Any) -> Payload:
        if isinstance(value, RawValue):
            return value.payload
        for converter in self.converters.values():
            payload = converter.to_payload(value)
            if payload is not None:
                return payload
        raise RuntimeError(f"Value at index {index} of type {type(value)} has no known converter")

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """See base class. Returns as many values as payloads.

        Raises:
            KeyError: A payload's encoding is unknown.
            RuntimeError: A payload can't be converted.
        """
        hints: list[Any] = list(type_hints or ())
        hints += [None] * (len(payloads) - len(hints))
        return [
            RawValue(payload) if hint is RawValue else self._from_payload(index, payload, hint)
            for index, (payload, hint) in enumerate(zip(payloads, hints, strict=False))
        ]

    def _from_payload(self, index: int, payload: Payload, type_hint: type | None) -> Any:
        encoding = payload.metadata.get("encoding", b"<unknown>")
        converter = self.converters.get(encoding)
        if converter is None:
            raise KeyError(f"Unknown payload encoding {encoding.decode(errors='replace')}")
        try:
            return converter.from_payload(payload, type_hint)
        except RuntimeError as err:
            raise RuntimeError(
                f"Payload at index {index} with encoding {encoding.decode()} could not be converted"
            ) from err

    def with_context(self, context: SerializationContext) -> Self:
        """Return a converter whose parts work for one context; itself if none cares.

        A subclass must be constructible without arguments.
        """
        converters = self.get_converters_with_context(context)
        if converters is None:
            return self
        bound = type(self)()
        bound._set_converters(*converters)
        return bound

    def get_converters_with_context(
        self, context: SerializationContext
    ) -> list[EncodingPayloadConverter] | None:
        """Return the parts for one context, or None if none cares."""
        if not self.takes_context:
            return None
        before = list(self.converters.values())
        after = [
            each.with_context(context) if isinstance(each, WithSerializationContext) else each
            for each in before
        ]
        changed = any(new is not old for new, old in zip(after, before, strict=True))
        return after if changed else None

    @functools.cached_property
    def takes_context(self) -> bool:
        """Whether it, or any part, wants to know whose data it works on."""
        own, base = type(self), CompositePayloadConverter
        return (
            own.with_context is not base.with_context
            or own.get_converters_with_context is not base.get_converters_with_context
            or any(isinstance(each, WithSerializationContext) for each in self.converters.values())
        )


class DefaultPayloadConverter(CompositePayloadConverter):
    """Takes None, bytes, protobuf messages, and what JSON and type hints can express."""

    default_encoding_payload_converters: tuple[EncodingPayloadConverter, ...]
    """The converters it is made of, for composites that add to them."""

    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)


class BinaryNullPayloadConverter(EncodingPayloadConverter):
    """``binary/null``: None."""

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/null"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        return Payload({"encoding": b"binary/null"}) if value is None else None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class."""
        if payload.data:
            raise RuntimeError("Expected empty data set for binary/null")
        return None


class BinaryPlainPayloadConverter(EncodingPayloadConverter):
    """``binary/plain``: bytes."""

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/plain"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        if isinstance(value, bytes):
            return Payload({"encoding": b"binary/plain"}, value)
        return None

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class."""
        return payload.data


class JSONPlainPayloadConverter(EncodingPayloadConverter):
    """``json/plain``: what JSON can express, rebuilt by type hint.

    Args:
        encoder: Class that writes values. Replaces the faster default.
        decoder: Class that reads values. Replaces the faster default.
        encoding: Name of the encoding.
        custom_type_converters: Asked first when a value is rebuilt by its hint.
    """

    def __init__(
        self,
        *,
        encoder: type[json.JSONEncoder] | None = json_text.AdvancedJSONEncoder,
        decoder: type[json.JSONDecoder] | None = None,
        encoding: str = "json/plain",
        custom_type_converters: Sequence[JSONTypeConverter] = (),
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._encoding = encoding
        self._encoding_bytes = encoding.encode()
        self._custom_type_converters = tuple(custom_type_converters)

    @property
    def encoding(self) -> str:
        """See base class."""
        return self._encoding

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        if self._encoder is json_text.AdvancedJSONEncoder:
            data = json_text.dump(value, sort_keys=True)
        else:
            data = json_text.dump_stdlib(value, encoder=self._encoder, sort_keys=True)
        return Payload({"encoding": self._encoding_bytes}, data)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        """See base class.

        Raises:
            RuntimeError: The data is not JSON.
            TypeError: The value does not fit the hint.
        """
        try:
            if self._decoder is None:
                value = json_text.load(payload.data)
            else:
                value = json.loads(payload.data, cls=self._decoder)
        except ValueError as err:
            raise RuntimeError("Failed parsing") from err
        if type_hint is None:
            return value
        return decoder_for(type_hint, self._custom_type_converters)(value)
