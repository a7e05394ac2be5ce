"""Payload codecs: bytes to bytes, e.g. compression or encryption."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from hotmesh.common import Payload
from hotmesh.converter.body import body_to_payloads, payloads_to_body
from hotmesh.converter.failure import Failure
from hotmesh.exceptions import ConversionError


class PayloadCodec(ABC):
    """Encodes payloads before they are stored, and decodes them after.

    It runs outside workflow code and may do I/O.
    """

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encode payloads.

        Args:
            payloads: What converters made. Not to be changed in place.

        Returns:
            The encoded payloads: at least one, and no more than were given.
        """

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Undo :meth:`encode`.

        Args:
            payloads: What was stored. Not to be changed in place.

        Returns:
            The payloads that had been encoded.
        """

    async def encode_failure(self, failure: Failure) -> None:
        """Encode the payloads of a failure and its causes, in place."""
        await transform_failure(failure, self.encode)

    async def decode_failure(self, failure: Failure) -> None:
        """Decode the payloads of a failure and its causes, in place."""
        await transform_failure(failure, self.decode)


Transform = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]
"""Either direction of a codec."""


async def apply_codec(codec: PayloadCodec, body: bytes, encode: bool) -> bytes:
    """Apply a codec to stored values.

    Args:
        codec: The codec.
        body: What :func:`hotmesh.converter.encode_values` or this function returned.
        encode: True to encode, False to decode.

    Returns:
        The new body; the same one if it holds no values.

    Raises:
        ConversionError: The body is malformed, or the codec returned a wrong number of payloads.
    """
    payloads = body_to_payloads(body)
    if not payloads:
        return body
    return payloads_to_body(await _apply(codec.encode if encode else codec.decode, payloads))


async def apply_codec_to_failure(codec: PayloadCodec, data: bytes, encode: bool) -> bytes:
    """Apply a codec to the payloads of a stored failure, its causes and members.

    Args:
        codec: The codec.
        data: What :func:`hotmesh.converter.encode_failure` or this function returned.
        encode: True to encode, False to decode.

    Returns:
        The new document.

    Raises:
        ConversionError: As :func:`apply_codec`.
    """
    failure = Failure.from_json(data)
    await transform_failure(failure, codec.encode if encode else codec.decode)
    return failure.to_json()


async def transform_failure(failure: Failure, transform: Transform) -> None:
    """Replace the payloads of a failure, its causes and members by what a function makes of it."""
    for current in failure.all():
        if current.encoded_attributes is not None:
            current.encoded_attributes = (await _apply(transform, [current.encoded_attributes]))[0]
        details = current.details()
        if details:
            details[:] = await _apply(transform, details)


async def _apply(transform: Transform, payloads: Sequence[Payload]) -> list[Payload]:
    transformed = await transform(payloads)
    if not 1 <= len(transformed) <= len(payloads):
        raise ConversionError(
            "payloads of a codec",
            f"it returned {len(transformed)} for {len(payloads)}; "
            "at least one and no more than given are allowed",
        )
    return transformed
