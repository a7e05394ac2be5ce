"""The write coalescer: calls made while a batch is in flight go out together in the next one.

No timer waits to fill a batch: a lone call leaves at once as a batch of one, and under load the
batches grow by themselves, up to ``CLIENT_BATCH_MAX`` items or ``BATCH_BYTES_MAX`` bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from hotmesh.exceptions import BackendUnavailableError
from hotmesh.limits import BATCH_BYTES_MAX, CLIENT_BATCH_MAX
from hotmesh.retrying import PATIENCE_S, persistently

CANCEL_AGAIN_S = 0.05
"""How long a cancelled task may take to end before it is cancelled again."""

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Coalescer(Generic[Item, Outcome]):
    """Gathers single writes of one event loop into batches, one batch in flight.

    Args:
        write: Writes a batch in one transaction; an outcome for each item, in order. It must be
            safe to repeat, since a lost connection doesn't say whether it was applied.
        tries: Makes of a batch's items what gives them for each try, see :class:`Tries`.
        written: Called after each batch with what was written.
        size: Bytes that an item counts for.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[Sequence[Outcome]]],
        tries: Callable[[Sequence[Item]], Callable[[], Sequence[Item]]],
        written: Callable[[Sequence[Item], Sequence[Outcome]], None],
        size: Callable[[Item], int],
    ) -> None:
        self._size = size
        self._write = write
        self._tries = tries
        self._written = written
        self._pending: list[tuple[Item, asyncio.Future[Outcome]]] = []
        self._task: asyncio.Task[None] | None = None

    def submit(self, item: Item) -> asyncio.Future[Outcome]:
        """Put an item into the next batch.

        Returns:
            Its outcome to come. It raises what the write raised, and BackendUnavailableError
            when the database could not be reached for ``PATIENCE_S``.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        self._pending.append((item, future))
        if self._task is None:
            self._task = loop.create_task(self._run(), name="hotmesh client writes")
        return future

    async def drain(self) -> None:
        """Wait until everything submitted so far has been written or has failed.

        What a silent database has kept for ``PATIENCE_S`` is cancelled.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + PATIENCE_S
        while self._task is not None:
            if loop.time() >= give_up:
                self._task.cancel()
            await asyncio.wait([self._task], timeout=max(CANCEL_AGAIN_S, give_up - loop.time()))

    async def _run(self) -> None:
        try:
            while self._pending:
                batch = self._next_batch()
                if batch:
                    await self._settle(batch)
        finally:
            self._task = None
            for _, future in self._pending:
                future.cancel()
            self._pending.clear()

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Outcome]]]:
        """What goes out together, up to the item with which there are enough bytes."""
        batch: list[tuple[Item, asyncio.Future[Outcome]]] = []
        taken, room = 0, BATCH_BYTES_MAX
        for item, future in self._pending[:CLIENT_BATCH_MAX]:
            taken += 1
            if future.done():
                continue  # a caller that went away before its item left doesn't want it written
            batch.append((item, future))
            room -= self._size(item)
            if room <= 0:
                break
        del self._pending[:taken]
        return batch

    async def _settle(self, batch: Sequence[tuple[Item, asyncio.Future[Outcome]]]) -> None:
        items = [item for item, _ in batch]
        tries = self._tries(items)
        try:
            outcomes = await persistently(lambda: self._write(tries()))
        except BackendUnavailableError as error:
            _fail(batch, error)
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed to the callers
            if len(batch) == 1:
                _fail(batch, error)
                return
            # One bad item must not fail its neighbours: find it by halves.
            batch = [(item, future) for item, (_, future) in zip(tries(), batch, strict=True)]
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)
            self._written(items, outcomes)


def _fail(batch: Sequence[tuple[Item, asyncio.Future[Outcome]]], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
