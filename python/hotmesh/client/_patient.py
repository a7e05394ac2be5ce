"""Calls of a client that may be repeated, made again while the database can't be reached.

What is read is repeated as long as what is written: while a database fails over, nobody who waits
a little longer is told that it is away.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hotmesh.backends.pending_task import PendingTask, RunTasks
from hotmesh.backends.protocol import Backend, RouterRow, RunFilter, RunPage, RunRow
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.retrying import persistently


class PatientCalls:
    """A backend's calls of the same names. They raise BackendUnavailableError after a while.

    Args:
        backend: The backend.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def queue_id(self, namespace: str, task_queue: str) -> int:
        """The id of a task queue."""
        try:
            return await self._backend.queue_id(namespace, task_queue)  # it is known, mostly
        except BackendUnavailableError:
            return await persistently(lambda: self._backend.queue_id(namespace, task_queue))

    async def find(self, keys: Sequence[tuple[str, str, bytes]]) -> Sequence[RunRow | None]:
        """The runs of (namespace, workflow id, run id or b"" for the newest)."""
        return await persistently(lambda: self._backend.find(keys))

    async def runs(self, filter: RunFilter) -> RunPage:  # noqa: A002 - the protocol's
        """Runs, newest first."""
        return await persistently(lambda: self._backend.runs(filter))

    async def attribute_names(
        self, namespace: str, wanted: Sequence[str], others: int
    ) -> Collection[str]:
        """Those of the wanted names that records of a namespace have, and some others."""
        return await persistently(lambda: self._backend.attribute_names(namespace, wanted, others))

    async def journal(self, namespace: str, run_id: bytes) -> Sequence[bytes]:
        """The frames of a run's journal, in order."""
        return await persistently(lambda: self._backend.journal(namespace, run_id))

    async def tasks_of(
        self, namespace: str, run_id: bytes, seqs: Sequence[int]
    ) -> Sequence[PendingTask]:
        """Those of a run's activities that are tasks, by their seqs."""
        return await persistently(lambda: self._backend.tasks_of(namespace, run_id, seqs))

    async def tasks_of_runs(
        self, namespace: str, run_ids: Sequence[bytes], limit: int
    ) -> Sequence[RunTasks]:
        """The most tried activity tasks of each run."""
        return await persistently(lambda: self._backend.tasks_of_runs(namespace, run_ids, limit))

    async def routers(self, namespace: str) -> Sequence[RouterRow]:
        """The rollcall of a namespace."""
        return await persistently(lambda: self._backend.routers(namespace))

    async def prune(self, namespace: str, older_than_ms: int) -> int:
        """Delete runs that closed so long ago or longer; how many the last call deleted."""
        return await persistently(lambda: self._backend.prune(namespace, older_than_ms))

    async def complete_task(
        self, namespace: str, run_id: bytes, seq: int, attempt: int, frame: bytes
    ) -> int | None:
        """Finish an activity from outside its worker: its run takes a result only once."""
        return await persistently(
            lambda: self._backend.complete_task(namespace, run_id, seq, attempt, frame)
        )
