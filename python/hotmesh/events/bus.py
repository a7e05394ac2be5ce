"""What a bus is: events published by topic reach those who subscribed to a pattern that matches.

Events are news, not truth: nothing is kept for those who don't listen, and a crash between a
commit and its publication loses the event. What must not be lost belongs into the record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import orjson

from hotmesh.interrupts import is_from_outside

EVENTS_WAITING_MAX = 10_000
"""Events kept for a subscription that is iterated too slowly; then the oldest are dropped."""

_log = logging.getLogger(__name__)


class Event(NamedTuple):
    """Something that a workflow emitted."""

    topic: str
    data: Any


Callback = Callable[[str, Any], None]
"""Called on the subscriber's event loop with topic and data."""


class EventBus(Protocol):
    """Carries events between the processes of one namespace."""

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Publish events, each a topic and the JSON text of its data.

        Every event that can be published is, also when another one can't.

        Raises:
            InvalidArgumentError: A topic is not acceptable.
            PayloadTooLargeError: An event has more than ``EVENT_BYTES_MAX`` bytes.
            BackendUnavailableError: The bus can't be reached.
        """
        ...

    async def subscribe(self, pattern: str, callback: Callback | None = None) -> Subscription:
        """Receive the events published from now on whose topic matches.

        Args:
            pattern: Tokens joined by dots; ``*`` stands for one token, a final ``>`` for the rest.
            callback: Called with each topic and its data. Without one, iterate the subscription.

        Raises:
            InvalidArgumentError: The pattern is malformed.
            BackendUnavailableError: The bus can't be reached.
        """
        ...

    async def close(self) -> None:
        """End all subscriptions and give the connection back. Idempotent."""
        ...


class Subscription:
    """What a subscriber holds: ends the subscription, and yields its events if nothing else does.

    Args:
        pattern: Which topics.
        callback: Called with each event; None if the subscription is iterated.
        release: Ends the delivery; awaited once.
    """

    def __init__(
        self,
        pattern: str,
        callback: Callback | None,
        release: Callable[[Subscription], Awaitable[None]],
    ) -> None:
        self.pattern = pattern
        self._callback = callback
        self.on_release = release
        """Ends the delivery; awaited once, when the subscription ends."""
        self._waiting: asyncio.Queue[Event | None] = asyncio.Queue()
        self._closed = False
        self._dropped = False

    def deliver(self, topic: str, data: Any) -> None:
        """Hand an event over; a callback that fails is logged."""
        if self._closed:
            return
        if self._callback is None:
            self._keep(Event(topic, data))
            return
        try:
            self._callback(topic, data)
        except BaseException as error:  # one subscriber must not stop the others
            if is_from_outside(error):
                raise
            _log.exception("The subscriber of %r failed on topic %r", self.pattern, topic)

    def deliver_text(self, topic: str, text: bytes) -> None:
        """Hand an event over whose data is JSON text; what is no JSON is logged and dropped."""
        try:
            data = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            _log.warning("An event on topic %r is no JSON and was dropped: %s", topic, error)
        else:
            self.deliver(topic, data)

    async def unsubscribe(self) -> None:
        """End the subscription; an iteration ends after what has arrived. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._waiting.put_nowait(None)
        await self.on_release(self)

    async def close(self) -> None:
        """The same as :meth:`unsubscribe`."""
        await self.unsubscribe()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.unsubscribe()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._waiting.get()
        if event is None:
            self._waiting.put_nowait(None)  # For whoever else iterates.
            raise StopAsyncIteration
        return event

    def _keep(self, event: Event) -> None:
        if self._waiting.qsize() >= EVENTS_WAITING_MAX:
            self._waiting.get_nowait()
            if not self._dropped:
                self._dropped = True
                _log.warning(
                    "The subscriber of %r is slower than its events: the oldest of %d are dropped",
                    self.pattern,
                    EVENTS_WAITING_MAX,
                )
        self._waiting.put_nowait(event)
