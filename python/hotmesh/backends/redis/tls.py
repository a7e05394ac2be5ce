"""Whether a server speaks TLS: asked once there is no connection, to say why.

A Redis without TLS waits for the end of what it takes for a command, and one with TLS hangs up:
neither says what is wrong. The questions carry no secret.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

USUALLY_S = 0.5
"""A handshake that takes longer may be one that nobody answers."""

_PROBE_S = 1.0


async def answers_plainly(host: str, port: int) -> bool:
    """Whether a server answers a command that is not encrypted."""
    return (await _ask(host, port, {}))[:1] in (b"+", b"-")


async def answers_encrypted(host: str, port: int) -> bool:
    """Whether a server takes a TLS handshake, whoever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return (await _ask(host, port, {"ssl": context})) != b""


async def _ask(host: str, port: int, options: Mapping[str, Any]) -> bytes:
    """The start of what a server answers to PING, nothing if it does not."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(_PROBE_S):
            reader, writer = await asyncio.open_connection(host, port, **options)
            writer.write(b"PING\r\n")
            return await reader.read(64)
    except (OSError, TimeoutError):
        return b""
    finally:
        if writer is not None:
            writer.transport.abort()
