"""The bus over NATS: ``<prefix>.<namespace>.<topic>`` is the subject, the data's JSON the message.

Anything that speaks NATS can subscribe, in whatever language.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from hotmesh.events.bus import Callback, Subscription
from hotmesh.exceptions import (
    BackendUnavailableError,
    InvalidArgumentError,
    MissingExtraError,
    PayloadTooLargeError,
)
from hotmesh.forks import Guard
from hotmesh.redaction import Redaction
from hotmesh.retrying import complain
from hotmesh.topics import check_event, checked_pattern, checked_topic

SUBJECT_PREFIX = "hotmesh"
SCHEMES = ("nats", "tls", "ws", "wss")

CONNECT_TIMEOUT_S = 5.0
FLUSH_TIMEOUT_S = 5.0
"""How long the server may take to confirm that it has what was published."""

CLOSE_TIMEOUT_S = 1.0
"""How long a farewell may take, also to a server that is down."""

_log = logging.getLogger(__name__)


class NatsBus:
    """Events of a namespace over a NATS server; connects on first use, reconnects by itself.

    Args:
        url: ``nats://host:port``, with credentials if need be.
        namespace: Whose events.
        prefix: First token of every subject.

    Raises:
        InvalidArgumentError: It is no URL.
        MissingExtraError: nats-py is not installed.
    """

    def __init__(self, url: str, namespace: str, *, prefix: str = SUBJECT_PREFIX) -> None:
        try:
            self._library: Any = importlib.import_module("nats")
        except ModuleNotFoundError as error:
            raise MissingExtraError("nats", "The nats:// event bus") from error
        self._errors: tuple[type[Exception], ...] = (
            importlib.import_module("nats.errors").Error,
            OSError,
            TimeoutError,
        )
        self._url = url
        self._redaction = Redaction(url)
        if not _is_readable(url):
            raise InvalidArgumentError(
                "not a NATS URL: it reads nats://user:password@host:port. Percent-encode "
                "characters like @ : / ? # in user and password"
            )
        if names := [name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)]:
            raise InvalidArgumentError(
                f"NATS URLs have no parameters; leave out {', '.join(map(repr, names))}"
            )
        self._shown = self._redaction.shown
        self._root = f"{checked_topic(prefix)}.{_one_token(namespace)}."
        self._connection: Any = None
        self._connecting = asyncio.Lock()
        self._guard = Guard("connection to NATS")
        self._subscriptions: dict[Subscription, Any] = {}

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Publish events; see :meth:`EventBus.publish`."""
        messages: list[tuple[str, bytes]] = []
        refused: Exception | None = None
        for topic, text in events:
            try:
                check_event(topic, text)
                messages.append((self._root + topic, text))
            except (InvalidArgumentError, PayloadTooLargeError) as error:
                refused = refused or error
        if messages:
            connection = await self._connected()
            try:
                for subject, text in messages:
                    await connection.publish(subject, text)
                await connection.flush(FLUSH_TIMEOUT_S)
            except self._errors as error:
                raise self._unavailable(error) from error
        if refused is not None:
            raise refused

    async def subscribe(self, pattern: str, callback: Callback | None = None) -> Subscription:
        """Receive events; see :meth:`EventBus.subscribe`."""
        subscription = Subscription(checked_pattern(pattern), callback, self._release)
        connection = await self._connected()
        try:
            found = await connection.subscribe(
                self._root + pattern, cb=self._receiver(subscription)
            )
            await connection.flush(FLUSH_TIMEOUT_S)  # From here on the server knows of it.
        except self._errors as error:
            raise self._unavailable(error) from error
        self._subscriptions[subscription] = found
        return subscription

    async def close(self) -> None:
        """End all subscriptions and close the connection. Idempotent.

        A server that is down or silent is not waited for: there is nothing left to tell it.
        """
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                for subscription in list(self._subscriptions):
                    await subscription.unsubscribe()
                connection, self._connection = self._connection, None
                if connection is not None:
                    await connection.close()
        except self._errors as error:
            _log.warning(
                "The event bus at %s was left without a good-bye: %s",
                self._shown,
                self._said(error),
            )

    def _receiver(self, subscription: Subscription) -> Callable[[Any], Awaitable[None]]:
        async def receive(message: Any) -> None:
            topic = message.subject.removeprefix(self._root)
            subscription.deliver_text(topic, message.data)

        return receive

    async def _connected(self) -> Any:
        self._guard.check()
        async with self._connecting:
            if self._connection is None or self._connection.is_closed:
                self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> Any:
        connection = self._library.NATS()
        failure: BackendUnavailableError | None = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await connection.connect(
                    self._url,
                    name="hotmesh",
                    max_reconnect_attempts=-1,
                    error_cb=self._failed,
                )
        except BaseException as error:
            await self._abandon(connection)
            if not isinstance(error, self._errors):
                raise
            failure = self._unavailable(error)
            self._redaction.because(failure, error)
        if failure is not None:
            raise failure
        return connection

    async def _abandon(self, connection: Any) -> None:
        """Close what has not come up, or does not answer: its library would leave it open."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await connection.close()
        except self._errors as error:
            _log.debug("The event bus at %s: %s while leaving it", self._shown, self._said(error))

    async def _release(self, subscription: Subscription) -> None:
        found = self._subscriptions.pop(subscription)
        if self._connection is not None and not self._connection.is_closed:
            await found.unsubscribe()

    async def _failed(self, error: Exception) -> None:
        complain(_log, self._url, "The event bus at %s: %s", self._shown, self._said(error))

    def _said(self, error: BaseException) -> str:
        return self._redaction.hide(repr(error))

    def _unavailable(self, error: Exception) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"The event bus at {self._shown} can't be reached: {self._said(error)}. "
            "Is the server running, and the address right?"
        )


def _is_readable(url: str) -> bool:
    """Whether a URL has a host and a port, if any, that is a number.

    An ``@`` behind them is a piece of a password that was not encoded.
    """
    try:
        parts = urlsplit(url)
        behind = parts.path + parts.query + parts.fragment
        return parts.hostname is not None and parts.port != 0 and "@" not in behind
    except ValueError:
        return False


def _one_token(namespace: str) -> str:
    """A namespace as a single token of a subject: what a token can't hold is percent-encoded."""
    return re.sub(
        r"[^\w-]",
        lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()),
        namespace,
        flags=re.ASCII,
    )
