"""A connection to a Redis node that can't be opened."""

import asyncio
from typing import Any, cast

import pytest
from redis import exceptions as redis_errors

from hotmesh.backends.redis.link import Connection, Link, Node
from hotmesh.exceptions import BackendError
from hotmesh.redaction import Redaction


class Refused:
    """A connection that is never made."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def connect(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (redis_errors.AuthenticationError("WRONGPASS invalid username-password pair"), 0),
        (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), 0),
        (redis_errors.ConnectionError("Connection closed by server"), 1),
    ],
)
async def test_only_a_server_that_has_not_answered_is_asked_for_tls(
    error: Exception, asked: int
) -> None:
    connections: list[object] = []

    def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        address = Node(*server.sockets[0].getsockname()[:2])
        link = Link(cast("Connection", cast("Any", Refused(error))), address, Redaction("redis:"))
        with pytest.raises(BackendError):
            await link.open()
    assert len(connections) == asked
