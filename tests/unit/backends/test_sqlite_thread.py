"""The thread of a SQLite database: between two pieces of work it keeps nothing of the first."""

import asyncio
import time
import weakref
from pathlib import Path

import pytest

from hotmesh.backends.sqlite.store import Store, wall_clock_ms
from hotmesh.backends.sqlite.transaction import Transaction


class Large:
    """Stands for what a step writes or a read returns."""


@pytest.mark.parametrize("way", ["write", "look", "read"])
async def test_what_was_written_or_read_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr("hotmesh.backends.sqlite.store.POLL_S", 60.0)  # it looks for nothing else
    store = Store(str(tmp_path / "store.db"), wall_clock_ms)

    async def done() -> list[weakref.ref[Large]]:
        given = Large()

        def work(tx: Transaction) -> list[Large]:
            del tx
            return [given, Large()]

        return list(map(weakref.ref, await getattr(store, way)(work)))

    try:
        references = await done()
        until = time.monotonic() + 2.0  # the thread has its turn after its answer is here
        while any(each() for each in references) and time.monotonic() < until:
            await asyncio.sleep(0.001)
        assert [each() for each in references] == [None, None]
    finally:
        await asyncio.to_thread(store.close)
