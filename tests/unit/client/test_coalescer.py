"""Calls made while a batch is in flight share the next one; failures stay with their item."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count

import pytest

from hotmesh import retrying
from hotmesh.client._coalescer import Coalescer
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.limits import BATCH_BYTES_MAX, CLIENT_BATCH_MAX


class Store:
    """Takes batches; each waits for the gate."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.written: list[int] = []
        self.bad: set[int] = set()
        self.away = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()

    async def write(self, items: Sequence[int]) -> Sequence[str]:
        self.batches.append(list(items))
        self.entered.set()
        await self.gate.wait()
        if self.away:
            self.away -= 1
            raise BackendUnavailableError("away")
        if self.bad.intersection(items):
            raise BackendError("bad item")
        return [f"<{item}>" for item in items]

    def on_written(self, items: Sequence[int], outcomes: Sequence[str]) -> None:
        assert len(items) == len(outcomes)
        self.written += items


def again(items: Sequence[int]) -> Callable[[], Sequence[int]]:
    """A later try has other items; these are the same."""
    return lambda: items


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def coalescer(store: Store) -> Coalescer[int, str]:
    return Coalescer(store.write, again, store.on_written, lambda _: 1)


async def test_a_lone_call_leaves_at_once(store: Store, coalescer: Coalescer[int, str]) -> None:
    assert await coalescer.submit(1) == "<1>"
    assert store.batches == [[1]]


async def test_calls_of_one_moment_share_a_batch(
    store: Store, coalescer: Coalescer[int, str]
) -> None:
    assert await asyncio.gather(*map(coalescer.submit, range(3))) == ["<0>", "<1>", "<2>"]
    assert store.batches == [[0, 1, 2]]
    assert store.written == [0, 1, 2]


async def test_a_batch_has_no_item_after_the_one_that_fills_it(store: Store) -> None:
    sizes = Coalescer(
        store.write, again, store.on_written, lambda item: item * BATCH_BYTES_MAX // 10
    )
    items = [3, 3, 3, 3, 40, 1, 1]
    assert await asyncio.gather(*map(sizes.submit, items)) == [f"<{item}>" for item in items]
    assert store.batches == [[3, 3, 3, 3], [40], [1, 1]]


async def test_calls_made_in_flight_share_the_next_batch(
    store: Store, coalescer: Coalescer[int, str]
) -> None:
    store.gate.clear()
    first = coalescer.submit(0)
    await store.entered.wait()
    later = [coalescer.submit(item) for item in (1, 2)]
    store.gate.set()
    assert await asyncio.gather(first, *later) == ["<0>", "<1>", "<2>"]
    assert store.batches == [[0], [1, 2]]


async def test_a_batch_is_bounded(store: Store, coalescer: Coalescer[int, str]) -> None:
    await asyncio.gather(*map(coalescer.submit, range(CLIENT_BATCH_MAX + 1)))
    assert [len(batch) for batch in store.batches] == [CLIENT_BATCH_MAX, 1]


async def test_a_bad_item_fails_alone(store: Store, coalescer: Coalescer[int, str]) -> None:
    store.bad = {3}
    outcomes = await asyncio.gather(*map(coalescer.submit, range(8)), return_exceptions=True)
    assert isinstance(outcomes[3], BackendError)
    assert [each for each in outcomes if each is not outcomes[3]] == [
        f"<{item}>" for item in range(8) if item != 3
    ]
    assert sorted(store.written) == [0, 1, 2, 4, 5, 6, 7]


async def test_a_write_is_repeated_while_the_database_is_away(
    store: Store, coalescer: Coalescer[int, str]
) -> None:
    store.away = 3
    assert await coalescer.submit(1) == "<1>"
    assert store.batches == [[1]] * 4


async def test_each_try_says_that_there_were_others(store: Store) -> None:
    """A try adds one to what is written: of a batch, and of its halves when an item is bad."""

    def counted(items: Sequence[int]) -> Callable[[], Sequence[int]]:
        tries = count()

        def following() -> Sequence[int]:
            number = next(tries)
            return [item + number for item in items]

        return following

    coalescer: Coalescer[int, str] = Coalescer(store.write, counted, store.on_written, lambda _: 1)
    store.away, store.bad = 2, {12}
    assert await asyncio.gather(coalescer.submit(10), coalescer.submit(20)) == ["<13>", "<23>"]
    assert store.batches == [[10, 20], [11, 21], [12, 22], [13], [23]]


async def test_it_gives_up_in_the_end(
    store: Store, coalescer: Coalescer[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_S", 0.01)
    store.away = 1
    with pytest.raises(BackendUnavailableError):
        await coalescer.submit(1)
    assert await coalescer.submit(2) == "<2>"


async def test_a_caller_that_left_before_the_write_is_not_written(
    store: Store, coalescer: Coalescer[int, str]
) -> None:
    store.gate.clear()
    first = coalescer.submit(0)
    await store.entered.wait()
    gone, stays = coalescer.submit(1), coalescer.submit(2)
    gone.cancel()
    store.gate.set()
    assert await asyncio.gather(first, stays) == ["<0>", "<2>"]
    assert store.batches == [[0], [2]]


async def test_drain_waits_for_what_is_under_way(
    store: Store, coalescer: Coalescer[int, str]
) -> None:
    futures = [coalescer.submit(item) for item in range(3)]
    await coalescer.drain()
    assert all(future.done() for future in futures)
    await coalescer.drain()
