"""The bus that needs nothing further: the database's own notifications.

Postgres and Redis carry events between all processes. SQLite has no notifications: events reach
the subscribers of the same process only.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson

from hotmesh import json_bytes
from hotmesh.events.bus import Callback, Subscription
from hotmesh.exceptions import InvalidArgumentError, PayloadTooLargeError
from hotmesh.topics import check_event, checked_pattern, matches

_log = logging.getLogger(__name__)

HintCallback = Callable[[str | None], None]


class Notifications(Protocol):
    """What this bus needs of a backend."""

    async def notify(self, hints: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, payload) pairs."""
        ...

    async def listen(self, channel: str, callback: HintCallback) -> None:
        """Call back with each payload of a channel."""
        ...

    async def unlisten(self, channel: str, callback: HintCallback) -> None:
        """Stop calling back."""
        ...


class BackendBus:
    """Events of a namespace over a backend's notifications.

    Args:
        backend: A connected backend; stays open when the bus is closed.
        namespace: Whose events.
    """

    def __init__(self, backend: Notifications, namespace: str) -> None:
        self._backend = backend
        self._channel = f"events:{namespace}"
        self._subscriptions: list[Subscription] = []
        self._listening = False
        self._lock = asyncio.Lock()
        # A database may take equal notifications of one transaction for the same one.
        self._publisher = os.urandom(6).hex()
        self._numbers = itertools.count()

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Publish events; see :meth:`EventBus.publish`."""
        hints: list[tuple[str, str]] = []
        refused: Exception | None = None
        for topic, text in events:
            try:
                hints.append((self._channel, self._payload(topic, text)))
            except (InvalidArgumentError, PayloadTooLargeError) as error:
                refused = refused or error
        if hints:
            await self._backend.notify(hints)
        if refused is not None:
            raise refused

    async def subscribe(self, pattern: str, callback: Callback | None = None) -> Subscription:
        """Receive events; see :meth:`EventBus.subscribe`."""
        subscription = Subscription(checked_pattern(pattern), callback, self._release)
        async with self._lock:
            if not self._listening:
                await self._backend.listen(self._channel, self._received)
                self._listening = True
            self._subscriptions.append(subscription)
        return subscription

    async def close(self) -> None:
        """End all subscriptions. Idempotent."""
        for subscription in list(self._subscriptions):
            await subscription.unsubscribe()

    def _payload(self, topic: str, text: bytes) -> str:
        check_event(topic, text)
        head = f'{{"i":"{self._publisher}-{next(self._numbers)}","t":'.encode()
        return (head + json_bytes.dumps(topic) + b',"d":' + text + b"}").decode()

    def _received(self, payload: str | None) -> None:
        if not payload:  # "Something may have changed": whatever was published is lost.
            return
        try:
            event: dict[str, Any] = orjson.loads(payload)
            topic, data = event["t"], event["d"]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            _log.warning("A foreign notification on %r was dropped: %r", self._channel, error)
            return
        for subscription in list(self._subscriptions):
            if matches(subscription.pattern, topic):
                subscription.deliver(topic, data)

    async def _release(self, subscription: Subscription) -> None:
        async with self._lock:
            self._subscriptions.remove(subscription)
            if not self._subscriptions and self._listening:
                self._listening = False
                await self._backend.unlisten(self._channel, self._received)
