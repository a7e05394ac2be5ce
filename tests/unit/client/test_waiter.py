"""The waiter finds everything that appears: by its hint, by a vague hint, or by its own poll."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from hotmesh.client import _waiter
from hotmesh.client._waiter import FETCH_MAX, REMEMBERED_MAX, Fetched, Waiter, remember
from hotmesh.exceptions import BackendError, BackendUnavailableError

KEY = bytes(16)
OTHER = b"o" * 16


class Store:
    """Data under keys, with hints sent by the test."""

    url = "test://"

    def __init__(self) -> None:
        self.data: dict[bytes, str] = {}
        self.fetches: list[list[bytes]] = []
        self.callbacks: list[Callable[[str | None], None]] = []
        self.listening = asyncio.Event()
        self.fetched = asyncio.Event()
        self.away = 0
        self.most = 10_000
        self.error: Exception | None = None

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        assert channel == "done:here"
        self.callbacks.append(callback)
        self.listening.set()

    async def unlisten(self, channel: str, callback: Callable[[str | None], None]) -> None:
        assert channel == "done:here"
        self.callbacks.remove(callback)

    async def fetch(self, keys: Sequence[bytes]) -> Fetched[str]:
        self.fetches.append(list(keys))
        self.fetched.set()
        if self.away:
            self.away -= 1
            raise BackendUnavailableError("away")
        if self.error is not None:
            raise self.error
        found = [(key, self.data[key]) for key in keys if key in self.data]
        return Fetched(found[: self.most], len(found) > self.most)

    def put(self, key: bytes, datum: str, hint: str | None = None) -> None:
        self.data[key] = datum
        for callback in self.callbacks:
            callback(key.hex() if hint is None else hint)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polls that a test won't live to see."""
    monkeypatch.setattr(_waiter, "POLL_MIN_S", 600.0)
    monkeypatch.setattr(_waiter, "FIRST_LOOK_S", 600.0)


@pytest.fixture
def waiter(store: Store) -> Waiter[str]:
    return Waiter(store, "done:here", store.fetch)


@pytest.mark.usefixtures("slow")
async def test_what_is_there_already_is_found_at_once(store: Store, waiter: Waiter[str]) -> None:
    store.data[KEY] = "a"
    assert await waiter.wait(KEY) == "a"


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("hint", [None, "", "no hex", f"{OTHER.hex()},{KEY.hex()}"])
async def test_a_hint_brings_it(store: Store, waiter: Waiter[str], hint: str | None) -> None:
    future = waiter.watch(KEY, fresh=True)
    await store.listening.wait()
    store.put(KEY, "a", hint)
    assert await future == "a"
    assert store.fetches == [[KEY]]


@pytest.mark.usefixtures("slow")
async def test_a_hint_that_came_a_moment_before_counts(store: Store, waiter: Waiter[str]) -> None:
    keeps_it_alive = waiter.watch(OTHER, fresh=True)
    await store.listening.wait()
    store.put(KEY, "a")
    assert await waiter.wait(KEY, fresh=True) == "a"
    assert not keeps_it_alive.done()
    await waiter.close()


@pytest.mark.usefixtures("slow")
async def test_hints_for_others_cost_no_fetch(store: Store, waiter: Waiter[str]) -> None:
    future = waiter.watch(KEY, fresh=True)
    await store.listening.wait()
    store.put(OTHER, "b")
    store.put(KEY, "a")
    assert await future == "a"
    assert store.fetches == [[KEY]]


async def test_without_any_hint_the_poll_finds_it(store: Store, waiter: Waiter[str]) -> None:
    future = waiter.watch(KEY, fresh=True)
    await store.fetched.wait()
    store.data[KEY] = "a"
    assert await future == "a"


async def test_it_waits_through_an_outage(store: Store, waiter: Waiter[str]) -> None:
    store.away = 3
    store.data[KEY] = "a"
    assert await waiter.wait(KEY) == "a"
    assert len(store.fetches) == 4


async def test_another_error_reaches_those_who_wait(store: Store, waiter: Waiter[str]) -> None:
    store.error = BackendError("no such table")
    with pytest.raises(BackendError, match="no such table"):
        await waiter.wait(KEY)


async def test_everyone_who_waits_gets_it(store: Store, waiter: Waiter[str]) -> None:
    waits = [asyncio.ensure_future(waiter.wait(KEY)) for _ in range(3)]
    await store.fetched.wait()
    store.put(KEY, "a")
    assert await asyncio.gather(*waits) == ["a"] * 3


async def test_who_leaves_is_forgotten_and_the_others_stay(
    store: Store, waiter: Waiter[str]
) -> None:
    gone, stays = (asyncio.ensure_future(waiter.wait(KEY)) for _ in range(2))
    await store.fetched.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    store.put(KEY, "a")
    assert await stays == "a"


@pytest.mark.usefixtures("slow")
async def test_what_a_fetch_had_no_room_for_is_asked_for_at_once(
    store: Store, waiter: Waiter[str]
) -> None:
    keys = [number.to_bytes(16, "big") for number in range(5)]
    store.data.update(dict.fromkeys(keys, "a"))
    store.most = 2
    assert await asyncio.gather(*map(waiter.wait, keys)) == ["a"] * 5
    assert list(map(len, store.fetches)) == [5, 3, 1]


@pytest.mark.usefixtures("slow")
async def test_fetches_are_bounded(store: Store, waiter: Waiter[str]) -> None:
    keys = [number.to_bytes(16, "big") for number in range(FETCH_MAX + 1)]
    store.data.update(dict.fromkeys(keys, "a"))
    await asyncio.gather(*map(waiter.wait, keys))
    assert sorted(map(len, store.fetches)) == [1, FETCH_MAX]


@pytest.mark.usefixtures("slow")
async def test_a_datum_counts_as_received_when_it_has_reached_somebody(store: Store) -> None:
    received: list[bytes] = []
    waiter = Waiter(store, "done:here", store.fetch, received=received.append)
    future = waiter.watch(KEY)
    store.data[KEY] = "a"
    future.cancel()  # Its fetch is on the way already, and finds the datum.
    await store.fetched.wait()
    waiter.unwatch(KEY, future)
    assert received == []
    assert await waiter.wait(KEY) == "a"
    assert received == [KEY]


@pytest.mark.usefixtures("slow")
async def test_closing_cancels_waits_and_stops_listening(store: Store, waiter: Waiter[str]) -> None:
    future = waiter.watch(KEY)
    await store.listening.wait()
    await waiter.close()
    assert future.cancelled()
    assert store.callbacks == []


def test_memories_are_bounded() -> None:
    memory: dict[bytes, None] = {}
    for number in range(REMEMBERED_MAX + 3):
        remember(memory, number.to_bytes(16, "big"), None)
    assert len(memory) == REMEMBERED_MAX
    assert (2).to_bytes(16, "big") not in memory
    assert (3).to_bytes(16, "big") in memory
