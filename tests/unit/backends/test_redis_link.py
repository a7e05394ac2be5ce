"""A connection to a Redis node that can't be opened."""

import asyncio
import gc
from typing import Any, cast

import pytest
from redis import exceptions as redis_errors

from hotmesh.backends.redis import tls
from hotmesh.backends.redis.link import Connection, Link, Node
from hotmesh.exceptions import BackendAccessError, BackendError
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


async def test_a_connection_that_fails_while_another_reason_is_found_is_not_left_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = asyncio.Event()

    class Secure:
        async def connect(self) -> None:
            await asyncio.sleep(0.02)
            failed.set()
            raise redis_errors.ConnectionError("no handshake")

    async def answers_plainly(host: str, port: int) -> bool:
        await failed.wait()
        await asyncio.sleep(0)
        return True

    monkeypatch.setattr(tls, "USUALLY_S", 0.001)
    monkeypatch.setattr(tls, "answers_plainly", answers_plainly)
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    link = Link(cast("Connection", cast("Any", Secure())), Node("host", 1), Redaction("redis:"))
    link._secure = True
    with pytest.raises(BackendAccessError, match="does not speak TLS"):
        await link.open()
    gc.collect()
    assert unseen == []
