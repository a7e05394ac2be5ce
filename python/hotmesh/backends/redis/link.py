"""One connection to one Redis node, and the translation of its errors.

A link carries one call at a time and never repeats a call: only the caller knows what may be
repeated. A call that was cut short closes the connection, since its answer may still be under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import hiredis
from redis import exceptions as redis_errors
from redis.asyncio.connection import SSLConnection

from hotmesh.backends.redis import tls
from hotmesh.backends.redis.failures import call_failure, connect_failure
from hotmesh.backends.redis.packing import Word, is_large, pieces
from hotmesh.backends.redis.scripts import Script
from hotmesh.core.rope import Rope
from hotmesh.exceptions import BackendAccessError, BackendError
from hotmesh.redaction import Redaction

_ANSWERS = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.BusyLoadingError,
)
"""For redis-py these are errors of a connection; but the server has answered, and without TLS."""

_pack = cast("Callable[[tuple[Word, ...]], bytes]", cast("Any", hiredis).pack_command)

REDIRECTS = (
    redis_errors.AskError,  # and MovedError
    redis_errors.TryAgainError,
    redis_errors.ClusterDownError,
)
"""Answers of a cluster that mean: not done here or not now. They pass through untranslated."""


class Node(NamedTuple):
    """Where a node listens; the host is a path (and the port 0) for a Unix socket."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host


class Connection(Protocol):
    """What is used of redis-py's asynchronous connections."""

    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def send_packed_command(
        self, command: bytes | Iterable[bytes | memoryview], check_health: bool = True
    ) -> None: ...
    async def read_response(
        self, disable_decoding: bool = False, timeout: float | None = None
    ) -> Any: ...


class Link:
    """A connection in the hands of one caller at a time.

    Args:
        connection: Connected or not; it is connected by `open`.
        address: Of the node, for messages and to see whether a key has moved away.
        redaction: Hides secrets in what the server says.
    """

    def __init__(self, connection: Connection, address: Node, redaction: Redaction) -> None:
        self.connection = connection
        self.address = address
        self._redaction = redaction
        self._checks_health = bool(getattr(connection, "health_check_interval", 0))
        self._secure = isinstance(connection, SSLConnection)

    async def open(self) -> None:
        """Connect and authenticate.

        Raises:
            BackendUnavailableError: the node can't be reached.
            BackendAccessError: it refuses the user, the password or the database, its
                certificate can't be trusted, or only one of the two speaks TLS.
        """
        failure: BackendError | None = None
        try:
            await (self._shake_hands() if self._secure else self.connection.connect())
        except (redis_errors.RedisError, OSError) as error:
            text = self._redaction.hide(str(error) or type(error).__name__)
            if await self._wants_tls(error):
                failure = BackendAccessError(
                    f"Redis at {self.address} speaks TLS, and the URL does not: use rediss://"
                )
            else:
                failure = connect_failure(str(self.address), error, text)
            self._redaction.because(failure, error)
        if failure is not None:
            raise failure

    async def _shake_hands(self) -> None:
        """Connect with TLS; one that does not know TLS is found out before the time is over."""
        connecting = asyncio.ensure_future(self.connection.connect())
        try:
            await asyncio.wait([connecting], timeout=tls.USUALLY_S)
            if not connecting.done() and await tls.answers_plainly(*self.address):
                raise BackendAccessError(
                    f"Redis at {self.address} does not speak TLS, which the URL asks for: give it "
                    "a certificate, or use redis://"
                )
            await connecting
        finally:
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait([connecting])
            if not connecting.cancelled():
                connecting.exception()  # seen, even where something else is raised

    async def _wants_tls(self, error: Exception) -> bool:
        """Whether a connection without TLS has failed because the server wants it."""
        if self._secure or not self.address.port:
            return False
        if isinstance(error, _ANSWERS):
            return False
        if not isinstance(error, (redis_errors.ConnectionError, redis_errors.InvalidResponse)):
            return False
        return await tls.answers_encrypted(*self.address)

    async def close(self) -> None:
        """Drop the connection without waiting for the node."""
        await self.connection.disconnect(nowait=True)

    async def command(self, *words: Word) -> Any:
        """Send one command and return its raw answer.

        Raises:
            BackendUnavailableError: the connection was lost or the node refuses for now.
            BackendAccessError: the user may not do that.
            BackendError: the command failed.
        """
        try:
            return await self._exchange(words)
        except REDIRECTS:
            raise
        except redis_errors.RedisError as error:
            raise self._translate(error, str(words[0])) from error

    async def evaluate(
        self, script: Script, key: bytes, arguments: Sequence[bytes | str | Rope]
    ) -> Any:
        """Run a script on the namespace that `key` stands for.

        Raises:
            BackendUnavailableError: the connection was lost (whether the script ran is unknown)
                or the node refuses for now (it did not run).
            BackendAccessError: the user may not do that.
            BackendError: the script failed.
        """
        large = is_large(arguments)
        try:
            try:
                return await self._exchange((b"EVALSHA", script.digest, 1, key, *arguments), large)
            except redis_errors.NoScriptError:
                return await self._exchange((b"EVAL", script.text, 1, key, *arguments), large)
        except REDIRECTS:
            raise
        except redis_errors.RedisError as error:
            raise self._translate(error, script.name) from error

    async def say(self, *words: Word) -> None:
        """Send one command whose answer, if any, comes through `connection.read_response`."""
        await self.connection.send_packed_command(_pack(words), check_health=False)

    async def _exchange(self, words: tuple[Word, ...], large: bool = False) -> Any:
        connection = self.connection
        try:
            if large:
                await self._send_pieces(words)
            else:
                await connection.send_packed_command(_pack(words), check_health=self._checks_health)
            return await connection.read_response(disable_decoding=True)
        except redis_errors.ResponseError:
            raise  # a complete answer: the connection is fine
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _send_pieces(self, words: tuple[Word, ...]) -> None:
        connection, checks_health = self.connection, self._checks_health
        began = False
        for piece in pieces(words):
            if began and not connection.is_connected:
                raise redis_errors.ConnectionError("the connection was lost in the midst of a call")
            await connection.send_packed_command((piece,), check_health=checks_health)
            began, checks_health = True, False

    def _translate(self, error: redis_errors.RedisError, what: str) -> BackendError:
        """The error of ours that says what happened, where, and whether to try again."""
        return call_failure(str(self.address), what, error, self._redaction.hide(str(error)))
