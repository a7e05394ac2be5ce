"""The database, and the network between it and the processes.

The database is SQLite's in memory, by the very code that serves files: only the thread is missing.
Every call of a process is a request that arrives after a while, is applied, and is answered after
another while; the network may lose either, or hold the calls of one kind back.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hotmesh.backends.protocol import Beat, Registration, Step, StepReply, Tasks, TasksReply
from hotmesh.backends.sqlite.backend import SqliteBackend
from hotmesh.backends.sqlite.connection import open_writer
from hotmesh.backends.sqlite.hints import Hints
from hotmesh.backends.sqlite.pieces import RESULT
from hotmesh.backends.sqlite.queues import ensure_queue
from hotmesh.backends.sqlite.session import SqliteSession
from hotmesh.backends.sqlite.thread import DatabaseThread, _Job
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.exceptions import BackendUnavailableError
from simulation.clock import VirtualClock

T = TypeVar("T")

CLOCK_AHEAD_MS = 1_700_007_777_777
"""What the database's clock shows when the world begins: not what the machines' show."""

LOST_AFTER_S = 0.1
"""How long a process waits for an answer that was lost."""


@dataclass
class Faults:
    """How the network behaves at present; chances are those of one call."""

    lose_request: float = 0.0
    lose_answer: float = 0.0
    lose_hint: float = 0.0
    slow: float = 0.0
    """Chance that a call takes up to half a second each way."""
    lose_next: set[tuple[str, str]] = field(default_factory=set)
    """(process, kind of call) whose next request that writes is lost."""
    stalls: dict[tuple[str, str], float] = field(default_factory=dict)
    """(process, kind of call) → until when such calls get nowhere; kind "*" for all."""


class Server:
    """One database in memory. Every transaction is applied at one instant of virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.connection = open_writer(":memory:")
        self._thread = DatabaseThread(":memory:", open_writer, self.now_ms)
        self.jump_ms = 0
        """By how much its clock was set forward."""
        self.links: list[Link] = []
        self.times_gone_back = 0
        self._copy = self.connection
        self._old: list[sqlite3.Connection] = []
        self.damaged: dict[bytes, str] = {}
        """Runs that have lost a piece of what they are made of, with their workflow ids."""
        self.problems: list[str] = []
        """What must never be so, and was."""
        self.committed: Callable[[], None] | None = None
        """Called after each transaction that may have written."""

    def now_ms(self) -> int:
        """The database's clock."""
        return CLOCK_AHEAD_MS + self.jump_ms + int(self._clock.now_s * 1000)

    def apply(self, work: Callable[[Transaction], T], *, writes: bool) -> T:
        """Run a transaction now."""
        job = _Job(work, writes, None, None)  # type: ignore[arg-type]
        [outcome] = self._thread._run_group(self.connection, [job])
        if outcome.error is not None:
            raise outcome.error
        if self.committed is not None and (writes or outcome.job.writes):
            self.committed()
        return outcome.result

    def lose_piece(self, source: random.Random) -> str | None:
        """Lose one of a value that an open run is made of; its workflow id, if there was one."""
        found = self.connection.execute(
            "SELECT r.workflow_id, p.run_id, p.part, p.number FROM piece AS p "
            "JOIN run AS r USING (run_id) WHERE r.status = 1 AND p.part <> ?",
            (RESULT,),
        ).fetchall()
        if not found:
            return None
        workflow_id, *key = source.choice(found)
        self.connection.execute(
            "DELETE FROM piece WHERE run_id = ? AND part = ? AND number = ?", key
        )
        self.damaged[key[0]] = workflow_id
        return workflow_id

    def copy(self) -> None:
        """Keep what it holds just now, for :meth:`go_back`."""
        self._copy = open_writer(":memory:")
        self.connection.backup(self._copy)

    def go_back(self) -> None:
        """Hold what it held when it was copied, as another file put in the place of the first."""
        self._old.append(self.connection)
        self.connection = open_writer(":memory:")  # a cursor may still be open on the other
        self._copy.backup(self.connection)
        self.times_gone_back += 1
        self._thread._generation += 1

        def remember(tx: Transaction) -> None:
            for link in self.links:
                for key in link.queue_ids:
                    link.queue_ids[key] = ensure_queue(tx, key)

        self.apply(remember, writes=True)

    def close(self) -> None:
        """Forget everything."""
        self.connection.close()


class Network:
    """Carries the calls of processes to the server and the answers back.

    Args:
        server: Where they go.
        at: Has something done at a time: (time, what).
        source: Of delays and losses.
        clock: The world's time.
    """

    def __init__(
        self,
        server: Server,
        at: Callable[[float, Callable[[], None]], None],
        source: random.Random,
        clock: VirtualClock,
    ) -> None:
        self.server = server
        self.faults = Faults()
        self._at = at
        self._random = source
        self._clock = clock
        self.calls = 0
        self.digest = hashlib.sha256()
        """Of who called what, and when."""

    def delay_s(self) -> float:
        """How long one way takes."""
        if self._random.random() < self.faults.slow:
            return self._random.uniform(0.005, 0.5)
        return self._random.uniform(0.0001, 0.002)

    def happens(self, chance: float) -> bool:
        """Whether something of this chance happens now."""
        return chance > 0 and self._random.random() < chance

    async def call(
        self, process: str, kind: str, work: Callable[[Transaction], T], *, writes: bool
    ) -> T:
        """A process's call.

        Raises:
            BackendUnavailableError: The request or the answer was lost.
        """
        self.calls += 1
        self.digest.update(f"{process} {kind} {self._clock.now_s}\n".encode())
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        now_s, stalls = self._clock.now_s, self.faults.stalls
        held_s = max(now_s, stalls.get((process, kind), 0.0), stalls.get((process, "*"), 0.0))
        arrives_s = held_s + self.delay_s()
        lost = writes and (process, kind) in self.faults.lose_next
        if lost:
            self.faults.lose_next.discard((process, kind))
        if lost or self.happens(self.faults.lose_request):
            self._at(held_s + LOST_AFTER_S, lambda: _fail(answer, "the request was lost"))
        else:
            self._at(arrives_s, lambda: self._arrive(answer, work, writes))
        return await answer

    def _arrive(
        self, answer: asyncio.Future[T], work: Callable[[Transaction], T], writes: bool
    ) -> None:
        try:
            result = self.server.apply(work, writes=writes)
        except Exception as error:  # handed to the caller
            failure = error
            self._at(self._clock.now_s + self.delay_s(), lambda: _raise(answer, failure))
            return
        if self.happens(self.faults.lose_answer):
            self._at(self._clock.now_s + LOST_AFTER_S, lambda: _fail(answer, "its answer was lost"))
        else:
            self._at(self._clock.now_s + self.delay_s(), lambda: _give(answer, result))


def _soon(answer: asyncio.Future[Any], what: Callable[..., None], *args: Any) -> None:
    loop = answer.get_loop()
    if not loop.is_closed():
        loop.call_soon(lambda: None if answer.done() else what(*args))


def _give(answer: asyncio.Future[Any], result: Any) -> None:
    _soon(answer, answer.set_result, result)


def _raise(answer: asyncio.Future[Any], error: Exception) -> None:
    _soon(answer, answer.set_exception, error)


def _fail(answer: asyncio.Future[Any], why: str) -> None:
    _raise(answer, BackendUnavailableError(why))


class SimulatedHints(Hints):
    """Hints that take a while, and get lost."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def publish(self, hints: Sequence[tuple[str, str]]) -> None:
        """As the real one's."""
        network = self._network
        for channel, payload in hints:
            for listener in tuple(self._listeners.get(channel, ())):
                if network.happens(network.faults.lose_hint):
                    continue
                at_s = network._clock.now_s + network.delay_s()
                network._at(at_s, lambda to=listener, text=payload: _hint(to, text))


def _hint(listener: Any, payload: str) -> None:
    if not listener.loop.is_closed():
        listener.loop.call_soon(listener.callback, payload)


def judged(
    work: Callable[[Transaction], T], batch: Tasks, problems: list[str]
) -> Callable[[Transaction], T]:
    """A batch of which is noted if what it says of one attempt changes another."""
    said = {
        *zip(batch.finish_run, batch.finish_seq, batch.finish_attempt, strict=True),
        *zip(batch.retry_run, batch.retry_seq, batch.retry_attempt, strict=True),
        *zip(batch.beat_run, batch.beat_seq, batch.beat_attempt, strict=True),
    }
    row = "SELECT attempt, owner, due_ms FROM task WHERE run_id = ? AND seq = ?"

    def apply(tx: Transaction) -> T:
        before = {key: tx.one(row, key[:2]) for key in said}
        result = work(tx)
        for key, found in before.items():
            now = tx.one(row, key[:2])
            if found is None or found[0] <= key[2] or (*key[:2], found[0]) in said:
                continue
            if now != found and (now is None or now[0] == found[0]):  # else it was claimed again
                problems.append(f"attempt {key} was spoken of: {found} has become {now}")
        return result

    return apply


class Link:
    """What a process has in place of the threads of an open database."""

    def __init__(self, process: str, network: Network, hints: Hints) -> None:
        self._process = process
        self._network = network
        self.hints = hints
        self.queue_ids: dict[tuple[str, str, str], int] = {}
        network.server.links.append(self)
        self.kind = "client"
        """What kind of call the next one is."""
        self.judged: Tasks | None = None
        """What it says of attempts, if it does."""

    def _call(self, work: Callable[[Transaction], T], *, writes: bool) -> Any:
        kind, self.kind = self.kind, "client"
        if self.judged is not None:
            work = judged(work, self.judged, self._network.server.problems)
            self.judged = None
        return self._network.call(self._process, kind, work, writes=writes)

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """As a store's."""
        return await self._call(work, writes=True)

    async def look(self, work: Callable[[Transaction], T]) -> T:
        """As a store's."""
        return await self._call(work, writes=False)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """As a store's."""
        return await self._call(work, writes=False)


class Snapshot(SqliteBackend):
    """The database as it is at this instant: a call on it ends at once, no loop turns."""

    def __init__(self, server: Server) -> None:
        super().__init__("sqlite://")
        self._server = server

    async def _read(self, work: Callable[[Transaction], T]) -> T:
        return self._server.apply(work, writes=False)


class SimulatedSession(SqliteSession):
    """A session whose calls can be told from others."""

    async def step(self, step: Step) -> StepReply:
        """See the protocol."""
        self._store.kind = "step"
        return await super().step(step)

    async def load(self, run_ids: Sequence[bytes]) -> Any:
        """See the protocol."""
        self._store.kind = "step"
        return await super().load(run_ids)


class SimulatedBackend(SqliteBackend):
    """The SQLite backend of one process, at the other end of a network."""

    def __init__(self, process: str, network: Network, hints: Hints) -> None:
        super().__init__("sqlite://")
        self._store: Any = Link(process, network, hints)

    async def connect(self) -> None:
        """See the protocol; there is nothing to open."""

    async def close(self) -> None:
        """See the protocol; there is nothing to close."""

    def for_another_loop(self) -> SimulatedBackend:
        """See the protocol; each call is made on the loop that runs."""
        return self

    async def beat(self, registration: Registration) -> Beat:
        """See the protocol."""
        self._store.kind = "beat"
        return await super().beat(registration)

    async def tasks(self, batch: Tasks) -> TasksReply:
        """See the protocol; what is said of one attempt changes nothing of another."""
        self._store.kind = "tasks"
        self._store.judged = batch
        return await super().tasks(batch)

    async def session(self, *args: Any) -> SqliteSession:
        """See the protocol."""
        session = await super().session(*args)
        session.__class__ = SimulatedSession
        return session
