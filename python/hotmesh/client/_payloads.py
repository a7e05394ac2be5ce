"""Values, errors and headers as a client stores and reads them: converter, codec, size limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hotmesh.common import HeaderCodecBehavior, Payload
from hotmesh.converter import (
    DataConverter,
    WorkflowSerializationContext,
    apply_codec,
    apply_codec_to_failure,
    decode_failure,
    decode_values,
    encode_failure,
    encode_values,
)
from hotmesh.engine import wire
from hotmesh.exceptions import ConversionError, PayloadTooLargeError
from hotmesh.printing import message_of


@dataclass(frozen=True, slots=True)
class Payloads:
    """What a client needs to store and read values."""

    converter: DataConverter
    limit: int
    """Largest list of values in bytes."""
    header_codec: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC

    def using(self, converter: DataConverter) -> Payloads:
        """The same with another converter."""
        return dataclasses.replace(self, converter=converter)

    def of_workflow(self, namespace: str, workflow_id: str) -> Payloads:
        """The same for what goes to and comes from a workflow."""
        if not self.converter.takes_context:
            return self
        context = WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id)
        return self.using(self.converter.with_context(context))

    async def encode(self, values: Sequence[Any], what: str) -> bytes:
        """Values to bytes.

        Raises:
            ConversionError: One can't be serialised; names which.
            PayloadTooLargeError: Together they exceed the limit.
        """
        body = encode_values(self.converter, values, what)
        if self.converter.payload_codec is not None:
            body = await apply_codec(self.converter.payload_codec, body, True)
        return self.within_limit(body, what)

    def within_limit(self, data: bytes, what: str) -> bytes:
        """Data that may be stored.

        Raises:
            PayloadTooLargeError: It exceeds the limit.
        """
        if len(data) > self.limit:
            raise PayloadTooLargeError(len(data), self.limit, what)
        return data

    async def decode(self, body: bytes, type_hints: Sequence[Any] | None, what: str) -> list[Any]:
        """Bytes to values.

        Raises:
            ConversionError: They are not what the hints say, or damaged.
        """
        if self.converter.payload_codec is not None:
            body = await apply_codec(self.converter.payload_codec, body, False)
        return decode_values(self.converter, body, type_hints, what)

    async def decode_one(self, body: bytes, type_hint: Any | None, what: str) -> Any:
        """The single value of a result; None if there is none."""
        values = await self.decode(body, None if type_hint is None else [type_hint], what)
        return values[0] if values else None

    async def encode_error(self, error: BaseException, what: str) -> bytes:
        """An error to bytes.

        Raises:
            ConversionError: One of its details can't be serialised.
            PayloadTooLargeError: It exceeds the limit.
        """
        try:
            data = encode_failure(self.converter, error)
        except TypeError as err:
            raise ConversionError(what, message_of(err)) from err
        if self.converter.payload_codec is not None:
            data = await apply_codec_to_failure(self.converter.payload_codec, data, True)
        return self.within_limit(data, what)

    async def decode_error(self, data: bytes) -> BaseException:
        """Bytes to an error with its chain of causes."""
        if self.converter.payload_codec is not None:
            data = await apply_codec_to_failure(self.converter.payload_codec, data, False)
        return decode_failure(self.converter, data)

    async def encode_headers(self, headers: Mapping[str, Payload]) -> dict[str, Any]:
        """Interceptors' headers as a document to put under ``h``."""
        codec = self.converter.payload_codec
        if codec is not None and self.header_codec == HeaderCodecBehavior.CODEC:
            headers = {name: (await codec.encode([each]))[0] for name, each in headers.items()}
        return wire.pack_headers(headers)
