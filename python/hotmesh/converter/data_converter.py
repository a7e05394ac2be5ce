"""DataConverter, and how values and errors are stored with one.

The functions at the end of this module are what the engine calls for every argument, result and
error. For the default converter they write JSON arrays directly, without making payloads.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import orjson

from hotmesh import json_bytes
from hotmesh.common import Payload, RawValue
from hotmesh.converter import body as bodies
from hotmesh.converter import json_text
from hotmesh.converter.codec import PayloadCodec, transform_failure
from hotmesh.converter.context import SerializationContext, WithSerializationContext
from hotmesh.converter.failure import ApplicationFailureInfo, Failure
from hotmesh.converter.failure_converter import DefaultFailureConverter, FailureConverter
from hotmesh.converter.payload_converter import DefaultPayloadConverter, PayloadConverter
from hotmesh.converter.protobuf import is_message
from hotmesh.converter.type_decoder import decoder_for
from hotmesh.exceptions import ConversionError, HotMeshError
from hotmesh.interrupts import is_from_outside
from hotmesh.json_bytes import MAPPED_BYTES
from hotmesh.printing import message_of, printable

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataConverter(WithSerializationContext):
    """How values and errors become bytes: converters, and an optional codec on top."""

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    """Class of the payload converter; constructed without arguments."""

    payload_codec: PayloadCodec | None = None
    """Encodes the converted bytes, e.g. encrypts them."""

    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    """Class of the failure converter; constructed without arguments."""

    payload_converter: PayloadConverter = dataclasses.field(init=False)
    """Made from its class."""

    failure_converter: FailureConverter = dataclasses.field(init=False)
    """Made from its class."""

    writes_json: bool = dataclasses.field(init=False, repr=False, compare=False)
    """Whether values are stored as JSON arrays, because the payload converter is the default."""

    default: ClassVar[DataConverter]
    """The default converters, no codec."""

    def __post_init__(self) -> None:
        """Make the converters from their classes."""
        object.__setattr__(self, "payload_converter", self.payload_converter_class())
        object.__setattr__(self, "failure_converter", self.failure_converter_class())
        is_default = self.payload_converter_class is DefaultPayloadConverter
        object.__setattr__(self, "writes_json", is_default)

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """Convert and encode values.

        Args:
            values: The values.

        Returns:
            The payloads: at least one, and no more than there are values.
        """
        payloads = self.payload_converter.to_payloads(values)
        if self.payload_codec is not None:
            payloads = await self.payload_codec.encode(payloads)
        return payloads

    async def decode(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Decode and convert payloads.

        Args:
            payloads: What :meth:`encode` returned.
            type_hints: What each value should be, if known.

        Returns:
            The values.
        """
        if self.payload_codec is not None:
            payloads = await self.payload_codec.decode(payloads)
        return self.payload_converter.from_payloads(payloads, type_hints)

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """Convert and encode an exception into an empty failure."""
        self.failure_converter.to_failure(exception, self.payload_converter, failure)
        if self.payload_codec is not None:
            await transform_failure(failure, self.payload_codec.encode)

    async def decode_failure(self, failure: Failure) -> BaseException:
        """Decode a failure, in place, and convert it to an exception."""
        if self.payload_codec is not None:
            await transform_failure(failure, self.payload_codec.decode)
        return self.failure_converter.from_failure(failure, self.payload_converter)

    @functools.cached_property
    def takes_context(self) -> bool:
        """Whether any part wants to know whose data it works on."""
        return any(
            isinstance(part, WithSerializationContext)
            and getattr(part, "takes_context", True)  # a composite answers for its parts
            for part in (self.payload_converter, self.payload_codec, self.failure_converter)
        )

    def with_context(self, context: SerializationContext) -> Self:
        """Return a data converter whose parts work for one context; itself if none cares."""
        parts = {
            "payload_converter": self.payload_converter,
            "payload_codec": self.payload_codec,
            "failure_converter": self.failure_converter,
        }
        changed = {
            name: part.with_context(context)
            for name, part in parts.items()
            if isinstance(part, WithSerializationContext)
        }
        if all(parts[name] is part for name, part in changed.items()):
            return self
        bound = dataclasses.replace(self)
        for name, part in (parts | changed).items():
            object.__setattr__(bound, name, part)
        return bound


def default() -> DataConverter:
    """Return :attr:`DataConverter.default`. Deprecated: use the attribute."""
    return DataConverter.default


# -- Values --

_JSON_TYPES = frozenset({str, int, float, bool, type(None), dict, list, tuple})
_EXACT_JSON = bodies.EXACT_JSON
_LARGE_BYTES = 1024 * 1024
_NO_VALUES = b"[]"
_ONE_NULL = b"[null]"


def encode_values(converter: DataConverter, values: Sequence[Any], what: str) -> bytes:
    """Store values; the converter's codec is not applied.

    Args:
        converter: Whose payload converter to use.
        values: The values.
        what: What they are, for the error, e.g. ``arguments of activity 'charge'``.

    Returns:
        The body; see :mod:`hotmesh.converter.body`.

    Raises:
        ConversionError: A value can't be converted.
        Exception: A payload converter raised it, with a type of its own.
    """
    if len(values) == 1 and converter.writes_json:
        value: object = values[0]
        kind = type(value)
        if kind is int or kind is str or kind is bool:
            try:  # Not a call more for the most frequent: orjson writes them exactly or not at all.
                if kind is str and len(values[0]) >= MAPPED_BYTES:
                    return json_bytes.dumps(values)
                return b"%b" % orjson.dumps(values)  # As `json_bytes.dumps`, without its call.
            except TypeError:  # A big integer, or a lone surrogate.
                return _encode_json(values, what)
    if not values:
        return _NO_VALUES
    if not converter.writes_json:
        return _encode_payloads(converter, values, what)
    for value in values:  # A comprehension or any() would cost as much as the writing.
        if type(value) not in _JSON_TYPES and _needs_payload(value):
            return _encode_payloads(converter, values, what)
    return _encode_json(values, what)


def _encode_json(values: Sequence[Any], what: str) -> bytes:
    if len(values) == 1 and values[0] is None:
        return _ONE_NULL
    text = json_text.dump_exact(values if isinstance(values, list | tuple) else list(values))
    if text is not None:
        return text
    try:
        return bodies.STDLIB_JSON + json_text.dump_stdlib(list(values))
    except Exception as err:
        raise _unserialisable(values, what, err) from err


def _needs_payload(value: Any) -> bool:
    try:
        return isinstance(value, bytes | RawValue) or is_message(value)
    except Exception:  # noqa: BLE001 - it won't say its class: converting it says so to the caller
        return True


def _encode_payloads(converter: DataConverter, values: Sequence[Any], what: str) -> bytes:
    try:
        return bodies.payloads_to_body(converter.payload_converter.to_payloads(values))
    except HotMeshError:
        raise
    except Exception as err:
        check_own(err, what)
        raise ConversionError(what, message_of(err)) from err


def check_own(error: Exception, what: str) -> None:
    """Let pass what a converter or a model raises of its own: callers know it by its type.

    What has a type of the language's says nothing of what was converted; it is wrapped.

    Args:
        error: What converting raised.
        what: What was converted; noted on the error.

    Raises:
        Exception: The error itself, unless its type is a built-in one.
    """
    if type(error).__module__ != "builtins":
        error.add_note(f"While converting {what}")
        raise error


def _unserialisable(values: Sequence[Any], what: str, err: Exception) -> ConversionError:
    """The error that names the value at fault, found by converting each on its own."""
    for index, value in enumerate(values):
        try:
            json_text.dump(value)
        except Exception as own:  # noqa: BLE001 - the same error as before, raised by the caller
            return ConversionError(what, message_of(own), index=index)
    return ConversionError(what, message_of(err))


def decode_values(
    converter: DataConverter,
    body: bytes,
    type_hints: Sequence[Any] | None = None,
    what: str = "stored values",
) -> list[Any]:
    """Read values that are not, or no longer, encoded by a codec.

    Args:
        converter: Whose payload converter to use.
        body: What :func:`encode_values` returned.
        type_hints: What each value should be; None for one that is not known. There may be fewer
            hints than values, or more, as for parameters with defaults.
        what: What the values are, for the error.

    Returns:
        The values.

    Raises:
        ConversionError: The body is malformed, or a value does not fit its hint.
        Exception: A payload converter, or a value's own class, raised it, with a type of its own.
    """
    if body[:1] != _EXACT_JSON or not converter.writes_json:
        return _decode_uncommon(converter, body, type_hints, what)
    values: list[Any]
    try:
        values = orjson.loads(body) if len(body) < _LARGE_BYTES else bodies.read_large(body)
    except ValueError:
        values = bodies.read_json_values(body)  # It says what is wrong.
    if not type_hints or (len(values) == 1 and type(values[0]) is type_hints[0]):
        return values
    return _fitted(values, type_hints, what)


def _decode_uncommon(
    converter: DataConverter, body: bytes, type_hints: Sequence[Any] | None, what: str
) -> list[Any]:
    if body[:1] == bodies.PAYLOADS or not converter.writes_json:
        return _decode_payloads(converter, bodies.body_to_payloads(body), type_hints, what)
    values = bodies.read_json_values(body)
    return _fitted(values, type_hints, what) if type_hints else values


def _fitted(values: list[Any], type_hints: Sequence[Any], what: str) -> list[Any]:
    for index, hint in enumerate(type_hints[: len(values)]):
        value = values[index]
        # Null fits any hint, as `binary/null` does. The rest of the line saves the look-up.
        if (value is None and hint is not RawValue) or hint is None or type(value) is hint:
            continue
        values[index] = _typed(value, hint, index, what)
    return values


def _typed(value: Any, hint: Any, index: int, what: str) -> Any:
    if hint is RawValue:
        return RawValue(bodies.json_payload(value))
    try:
        return decoder_for(hint)(value)
    except Exception as err:
        check_own(err, what)
        raise ConversionError(what, message_of(err), index=index) from err


def _decode_payloads(
    converter: DataConverter, payloads: list[Payload], type_hints: Sequence[Any] | None, what: str
) -> list[Any]:
    if not payloads:
        return []
    hints: list[Any] | None = None
    if type_hints:
        # Payload converters expect as many hints as payloads, and know None only as "no hints".
        missing = max(0, len(payloads) - len(type_hints))
        hints = [Any if hint is None else hint for hint in type_hints[: len(payloads)]]
        hints += [Any] * missing
    try:
        return converter.payload_converter.from_payloads(payloads, hints)
    except HotMeshError:
        raise
    except Exception as err:
        check_own(err, what)
        raise ConversionError(what, _with_cause(err)) from err


def _with_cause(err: Exception) -> str:
    cause = err.__cause__
    return f"{message_of(err)}: {'no further cause' if cause is None else message_of(cause)}"


# -- Errors --


def encode_failure(converter: DataConverter, exception: BaseException) -> bytes:
    """Store an error; the converter's codec is not applied.

    An error must get through even if its details can't be converted; then the failure that is
    stored says so, and names the original error.

    Args:
        converter: Whose failure and payload converters to use.
        exception: The error, with its causes.

    Returns:
        The failure as JSON text.
    """
    failure = Failure()
    try:
        converter.failure_converter.to_failure(exception, converter.payload_converter, failure)
        return failure.to_json()
    except BaseException as err:
        if is_from_outside(err):
            raise
        _logger.error("Failed converting an error to a failure", exc_info=printable(err))
        failure = Failure(
            message=f"Failed building exception result: {message_of(err)} "
            f"(of {type(exception).__name__})",
            application_failure_info=ApplicationFailureInfo(type=type(err).__name__),
        )
    return failure.to_json()


def decode_failure(converter: DataConverter, data: bytes) -> BaseException:
    """Read an error that is not, or no longer, encoded by a codec.

    Args:
        converter: Whose failure and payload converters to use.
        data: What :func:`encode_failure` returned.

    Returns:
        The error, with its causes.

    Raises:
        ConversionError: The document is malformed, or a detail can't be converted.
    """
    failure = Failure.from_json(data)
    try:
        return converter.failure_converter.from_failure(failure, converter.payload_converter)
    except HotMeshError:
        raise
    except Exception as err:
        check_own(err, "stored failure")
        raise ConversionError("stored failure", message_of(err)) from err
