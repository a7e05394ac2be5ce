"""How long a caller waits for an answer: ``rpc_timeout``, whatever the call is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import timedelta

from hotmesh.exceptions import RPCError, RPCStatusCode


@contextlib.asynccontextmanager
async def deadline(timeout: timedelta | None, what: str) -> AsyncGenerator[None]:
    """Bound what happens inside. What was sent by then may still take effect.

    Args:
        timeout: Longest wait; None doesn't bound it.
        what: The call, for the error.

    Raises:
        RPCError: DEADLINE_EXCEEDED.
    """
    if timeout is None:
        yield
        return
    bound = asyncio.timeout(timeout.total_seconds())
    try:
        async with bound:
            yield
    except TimeoutError as error:
        if not bound.expired():
            raise
        raise RPCError(
            f"{what} did not end within {timeout}; it may have taken effect",
            RPCStatusCode.DEADLINE_EXCEEDED,
        ) from error
