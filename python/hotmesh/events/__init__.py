"""The event bus: what workflows ``emit`` reaches those who subscribed, in any process.

Events travel over the database (Postgres, Redis), or over NATS when ``HOTMESH_EVENTS_URL`` or the
worker's ``events_url`` says so. On SQLite without NATS they reach the same process only.
"""

from __future__ import annotations

import os
from typing import Protocol

from hotmesh.events.backend_bus import BackendBus, Notifications
from hotmesh.events.bus import Callback, Event, EventBus, Subscription
from hotmesh.events.nats_bus import SCHEMES, NatsBus
from hotmesh.exceptions import InvalidArgumentError

__all__ = [
    "BackendBus",
    "Callback",
    "Event",
    "EventBus",
    "NatsBus",
    "Subscription",
    "bus_for",
    "subscribe",
]

EVENTS_URL_VARIABLE = "HOTMESH_EVENTS_URL"
"""Environment variable that names the bus where no argument does."""


class Connected(Protocol):
    """A client, as far as a subscriber needs one."""

    @property
    def backend(self) -> Notifications:
        """The backend it is connected to."""
        ...

    @property
    def namespace(self) -> str:
        """Its namespace."""
        ...


def bus_for(url: str | None, backend: Notifications, namespace: str) -> EventBus:
    """The bus of a namespace.

    Args:
        url: ``nats://…``; None takes ``HOTMESH_EVENTS_URL``, and without that the backend.
        backend: Carries the events where no URL is given.
        namespace: Whose events.

    Raises:
        InvalidArgumentError: The URL names no bus.
        MissingExtraError: The bus's library is not installed.
    """
    chosen = url or os.environ.get(EVENTS_URL_VARIABLE)
    if not chosen:
        return BackendBus(backend, namespace)
    scheme, separator, _ = chosen.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        raise InvalidArgumentError(
            f"Unknown event bus {scheme if separator else '(no scheme)'!r}. Use nats://host:port, "
            "or no URL for the database's own notifications"
        )
    return NatsBus(chosen, namespace)


async def subscribe(
    client: Connected,
    pattern: str,
    callback: Callback | None = None,
    *,
    events_url: str | None = None,
) -> Subscription:
    """Receive what the workflows of a client's namespace emit, from now on.

        async with await events.subscribe(client, "my.>") as subscription:
            async for event in subscription:
                ...

    Args:
        client: A connected client; it must stay open meanwhile.
        pattern: Topics: tokens joined by dots; ``*`` stands for one token, a final ``>`` for the
            rest.
        callback: Called with each topic and its data. Without one, iterate the subscription.
        events_url: The bus, if it is not the client's database; see :func:`bus_for`.

    Returns:
        The subscription; ``unsubscribe`` ends it.

    Raises:
        InvalidArgumentError: The pattern is malformed, or the URL names no bus.
        MissingExtraError: The bus's library is not installed.
        BackendUnavailableError: The bus can't be reached.
    """
    bus = bus_for(events_url, client.backend, client.namespace)
    inner = await bus.subscribe(pattern, callback)

    # The bus was made for this subscription alone, so it ends with it.
    release = inner.on_release

    async def close_bus(subscription: Subscription) -> None:
        await release(subscription)
        await bus.close()

    inner.on_release = close_bus
    return inner
