"""The bus over a backend's notifications, and what subscriptions promise on every bus."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import orjson
import pytest

from hotmesh.events import BackendBus, Event, NatsBus, bus, bus_for
from hotmesh.exceptions import InvalidArgumentError, PayloadTooLargeError
from hotmesh.limits import EVENT_BYTES_MAX

NOTIFICATION_BYTES_MAX = 7_900
"""What fits into a notification of Postgres, with room to spare."""


class FakeNotifications:
    """Channels of one process; delivers at once."""

    def __init__(self) -> None:
        self.callbacks: list[tuple[str, Callable[[str | None], None]]] = []
        self.sent: list[tuple[str, str]] = []

    async def notify(self, hints: Sequence[tuple[str, str]]) -> None:
        self.sent += hints
        for channel, payload in hints:
            self.deliver(channel, payload)

    def deliver(self, channel: str, payload: str | None) -> None:
        for listened, callback in list(self.callbacks):
            if listened == channel:
                callback(payload)

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        self.callbacks.append((channel, callback))

    async def unlisten(self, channel: str, callback: Callable[[str | None], None]) -> None:
        self.callbacks.remove((channel, callback))


@pytest.fixture
def backend() -> FakeNotifications:
    return FakeNotifications()


async def test_subscribers_get_what_matches(backend: FakeNotifications) -> None:
    sender, receiver = BackendBus(backend, "ns"), BackendBus(backend, "ns")
    stranger = BackendBus(backend, "other")
    heard: list[tuple[str, Any]] = []
    all_heard: list[str] = []
    await receiver.subscribe("my.*", lambda topic, data: heard.append((topic, data)))
    await receiver.subscribe(">", lambda topic, _: all_heard.append(topic))
    await stranger.subscribe(">", lambda topic, _: all_heard.append(f"strange {topic}"))
    await sender.publish([("my.dog", b'{"a":[1,null]}'), ("my.dog.cat", b"1"), ("your", b'"/s"')])
    assert heard == [("my.dog", {"a": [1, None]})]
    assert all_heard == ["my.dog", "my.dog.cat", "your"]


async def test_equal_events_are_different_notifications(backend: FakeNotifications) -> None:
    """Postgres folds equal notifications of one transaction into one."""
    await BackendBus(backend, "ns").publish([("t", b"1"), ("t", b"1")])
    assert len({payload for _, payload in backend.sent}) == 2


async def test_iterating_and_ending(backend: FakeNotifications) -> None:
    events = BackendBus(backend, "ns")
    async with await events.subscribe("a.>") as subscription:
        await events.publish([("a.b", b"1"), ("b", b"2"), ("a.c.d", b"3")])
        assert await anext(subscription) == Event("a.b", 1)
    assert [event async for event in subscription] == [Event("a.c.d", 3)]
    assert [event async for event in subscription] == []
    assert backend.callbacks == []
    await subscription.unsubscribe()
    await events.publish([("a.b", b"4")])
    assert [event async for event in subscription] == []


async def test_one_listener_serves_all_until_the_last_has_gone(backend: FakeNotifications) -> None:
    events = BackendBus(backend, "ns")
    first = await events.subscribe("a")
    second = await events.subscribe("b")
    assert len(backend.callbacks) == 1
    await first.close()
    assert len(backend.callbacks) == 1
    await second.close()
    assert backend.callbacks == []
    third = await events.subscribe("c")
    assert len(backend.callbacks) == 1
    await events.close()
    await events.close()
    assert backend.callbacks == []
    assert [event async for event in third] == []


async def test_a_failing_subscriber_stops_nobody(
    backend: FakeNotifications, caplog: pytest.LogCaptureFixture
) -> None:
    events = BackendBus(backend, "ns")
    heard: list[Any] = []

    def fail(topic: str, data: Any) -> None:
        raise RuntimeError(f"can't stand {topic}")

    await events.subscribe(">", fail)
    await events.subscribe(">", lambda _, data: heard.append(data))
    await events.publish([("a", b"1"), ("b", b"2")])
    assert heard == [1, 2]
    assert "can't stand a" in caplog.text


async def test_a_slow_reader_loses_the_oldest(
    backend: FakeNotifications, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bus, "EVENTS_WAITING_MAX", 3)
    events = BackendBus(backend, "ns")
    subscription = await events.subscribe(">")
    await events.publish([("t", b"%d" % number) for number in range(6)])
    await subscription.close()
    assert [event.data async for event in subscription] == [3, 4, 5]
    assert caplog.text.count("slower than its events") == 1


async def test_what_is_refused_does_not_stop_the_rest(backend: FakeNotifications) -> None:
    events = BackendBus(backend, "ns")
    heard: list[str] = []
    await events.subscribe(">", lambda topic, _: heard.append(topic))
    big = orjson.dumps("x" * EVENT_BYTES_MAX)
    with pytest.raises(PayloadTooLargeError, match="event on topic 'big'"):
        await events.publish([("big", big), ("small", b"1")])
    with pytest.raises(InvalidArgumentError, match="no space"):
        await events.publish([("no space", b"1"), ("fine", b"1")])
    assert heard == ["small", "fine"]


async def test_the_largest_event_fits(backend: FakeNotifications) -> None:
    events = BackendBus(backend, "ns")
    room = EVENT_BYTES_MAX - len('"t"') - len('""')
    await events.publish([("t", orjson.dumps("x" * room))])
    assert len(backend.sent[0][1]) <= NOTIFICATION_BYTES_MAX
    with pytest.raises(PayloadTooLargeError):
        await events.publish([("t", orjson.dumps("x" * (room + 1)))])


@pytest.mark.parametrize("payload", [None, "", "no json", "[]", '{"t":"a"}', "1"])
async def test_foreign_notifications_are_let_by(
    backend: FakeNotifications, payload: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    heard: list[str] = []
    await BackendBus(backend, "ns").subscribe(">", lambda topic, _: heard.append(topic))
    backend.deliver("events:ns", payload)
    assert heard == []
    assert ("foreign" in caplog.text) is bool(payload)


async def test_the_url_picks_the_bus(
    backend: FakeNotifications, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOTMESH_EVENTS_URL", raising=False)
    assert isinstance(bus_for(None, backend, "ns"), BackendBus)
    assert isinstance(bus_for("nats://h:4222", backend, "ns"), NatsBus)
    monkeypatch.setenv("HOTMESH_EVENTS_URL", "tls://h")
    assert isinstance(bus_for(None, backend, "ns"), NatsBus)
    for bad in ("kafka://h", "h:4222"):
        with pytest.raises(InvalidArgumentError, match="Unknown event bus"):
            bus_for(bad, backend, "ns")


@pytest.mark.parametrize("query", ["timeout=0", "tls=true&timeout=0"])
def test_parameters_of_a_nats_url_are_refused_by_name(
    backend: FakeNotifications, query: str
) -> None:
    with pytest.raises(InvalidArgumentError, match="'timeout'"):
        bus_for(f"nats://me:secret@h:4222?{query}", backend, "ns")


@pytest.mark.parametrize("url", ["nats://u:1?cret@h", "nats://u:1/cret@h", "nats://h:0"])
def test_what_is_no_nats_url_is_not_repeated(backend: FakeNotifications, url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="not a NATS URL") as caught:
        bus_for(url, backend, "ns")
    assert "cret" not in str(caught.value)
