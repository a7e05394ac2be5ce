"""Shorthands of the conformance suite: start runs, join routers, read and write steps."""

import asyncio
import itertools
import os
import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hotmesh.backends.protocol import (
    Backend,
    Beat,
    ConflictPolicy,
    MessageKind,
    MessageRow,
    Registration,
    ReusePolicy,
    SendItem,
    SendOutcome,
    Session,
    StartItem,
    StartOutcome,
    Step,
    StepReply,
    TaskRow,
    Tasks,
    TasksReply,
    TimerRow,
)
from hotmesh.limits import LANES_PER_QUEUE

T = TypeVar("T")

INFO = b'{"build":"1","workflow_types":["*"]}'
"""What routers say of themselves."""

NAMESPACE = "default"
TASK_QUEUE = "work"
LONG_LEASE_MS = 60_000
SHORT_LEASE_MS = 150
HORIZON_MS = 1_000
PATIENCE_S = 20.0
POLL_S = 0.01

_counter = itertools.count(1)


def new_run_id() -> bytes:
    """A run id that is larger than all before: time, counter, random bits."""
    millis = time.time_ns() // 1_000_000
    return millis.to_bytes(6) + next(_counter).to_bytes(4) + os.urandom(6)


async def until(look: Callable[[], Awaitable[T]]) -> T:
    """Ask again and again until the answer is true, then return it."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        answer = await look()
        if answer:
            return answer
        assert time.monotonic() < deadline, "the expected state was never reached"
        await asyncio.sleep(POLL_S)


@dataclass
class Router:
    """A live router with one session over all its lanes."""

    backend: Backend
    registration: Registration
    session: Session
    last_beat: Beat
    seen_timers: set[TimerRow] = field(default_factory=set)
    """Every timer that any step brought."""

    @property
    def router_id(self) -> bytes:
        return self.registration.router_id

    @property
    def lanes(self) -> list[int]:
        return list(self.last_beat.lanes)

    async def beat(self) -> Beat:
        """Renew the lease and take over what is free."""
        self.last_beat = await self.backend.beat(self.registration)
        return self.last_beat

    async def give_surplus_back(self) -> None:
        """Do what a beat asks for."""
        surplus = self.last_beat.surplus
        if surplus:
            await self.backend.release(self.registration.namespace, self.router_id, surplus)
        await self.beat()

    async def step(self, *, room: int = 0, **columns: Any) -> StepReply:
        """One step over all lanes, whatever comes of it."""
        step = Step(self.router_id, lanes=self.lanes, room=room, **columns)
        reply = await self.session.step(step)
        self.seen_timers.update(TimerRow(*row) for row in reply.timers)
        return reply

    async def commit(self, **columns: Any) -> StepReply:
        """A step that has to be applied."""
        reply = await self.step(**columns)
        assert not reply.fenced
        assert not reply.refused
        return reply

    async def read(self, room: int = 500) -> list[MessageRow]:
        """The messages that one step brings."""
        reply = await self.commit(room=room)
        return [MessageRow(*row) for row in reply.messages]

    async def read_all(self, count: int) -> list[MessageRow]:
        """Read until so many messages have come; there must not be more."""
        rows: list[MessageRow] = []

        async def enough() -> bool:
            rows.extend(await self.read())
            return len(rows) >= count

        if count:
            await until(enough)
        rows.extend(await self.read())
        assert len(rows) == count
        return rows

    async def frames(self, count: int) -> list[bytes]:
        """The frames of so many messages."""
        return [row.frame for row in await self.read_all(count)]

    async def acknowledge(self, rows: Sequence[MessageRow]) -> None:
        await self.commit(ack_lane=[r.lane for r in rows], ack_id=[r.id for r in rows])

    async def timers(self, count: int) -> set[TimerRow]:
        """Read until so many different timers have been seen; there must not be more."""

        async def enough() -> bool:
            await self.commit(room=500)
            return len(self.seen_timers) >= count

        await until(enough)
        assert len(self.seen_timers) == count
        return self.seen_timers

    async def close_run(
        self, run_id: bytes, lane: int, *, status: int = 2, result: bytes = b"r", **columns: Any
    ) -> StepReply:
        """Close a run, whatever comes of it."""
        return await self.step(
            close_run=[run_id],
            close_lane=[lane],
            close_status=[status],
            close_result=[result],
            close_waits=[True],
            **columns,
        )

    def batch(self, **columns: Any) -> Tasks:
        """A task batch of this router."""
        columns.setdefault("lease_ms", LONG_LEASE_MS)
        registration = self.registration
        return Tasks(registration.namespace, self.router_id, registration.queue_id, **columns)

    async def work(self, **columns: Any) -> TasksReply:
        """Send a task batch."""
        return await self.backend.tasks(self.batch(**columns))

    async def claim(self, count: int = 1, **columns: Any) -> list[TaskRow]:
        """Claim until so many tasks have come."""
        rows: list[TaskRow] = []

        async def enough() -> bool:
            reply = await self.work(room=count - len(rows), **columns)
            rows.extend(TaskRow(*row) for row in reply.tasks)
            return len(rows) >= count

        await until(enough)
        return rows


@dataclass
class Mesh:
    """A backend with a task queue, and the routers that joined it."""

    backend: Backend
    queue_id: int
    sessions: list[Session] = field(default_factory=list)

    @classmethod
    async def over(cls, backend: Backend) -> "Mesh":
        return cls(backend, await backend.queue_id(NAMESPACE, TASK_QUEUE))

    async def close(self) -> None:
        for session in self.sessions:
            await session.close()

    def lane_of(self, workflow_id: str) -> int:
        """The lane of a workflow id in this queue."""
        return self.queue_id * LANES_PER_QUEUE + zlib.crc32(workflow_id.encode()) % LANES_PER_QUEUE

    def start_item(self, workflow_id: str, **changes: Any) -> StartItem:
        """A start with a run id of its own."""
        item = StartItem(
            namespace=NAMESPACE,
            workflow_id=workflow_id,
            run_id=new_run_id(),
            workflow_type="Order",
            lane=self.lane_of(workflow_id),
            reuse=ReusePolicy.ALLOW_DUPLICATE,
            conflict=ConflictPolicy.FAIL,
            delay_ms=0,
            expire_s=-1,
            header=b"header",
            input=b"input",
            frame=b"start",
            attributes=(),
            events=(),
        )
        return item._replace(**changes)

    async def start_one(self, item: StartItem) -> StartOutcome:
        (outcome,) = await self.backend.start([item])
        return outcome

    async def start(self, workflow_id: str, **changes: Any) -> bytes:
        """Start a run that has to be started; its run id."""
        item = self.start_item(workflow_id, **changes)
        outcome = await self.start_one(item)
        assert outcome == (True, item.run_id, 1)
        return item.run_id

    async def send(
        self,
        workflow_id: str,
        frame: bytes,
        *,
        run_id: bytes = b"",
        kind: int = MessageKind.EVENT,
        allow_closed: bool = False,
    ) -> SendOutcome:
        """Send one message."""
        item = SendItem(NAMESPACE, workflow_id, run_id, kind, frame, allow_closed)
        (outcome,) = await self.backend.send([item])
        return outcome

    async def join(
        self,
        *,
        lease_ms: int = LONG_LEASE_MS,
        hosts_workflows: bool = True,
        workflow_types: Sequence[str] | None = None,
        horizon_ms: int = HORIZON_MS,
        backend: Backend | None = None,
        queue_id: int | None = None,
        namespace: str = NAMESPACE,
    ) -> Router:
        """A new router, after its first beat."""
        home = backend or self.backend
        registration = Registration(
            router_id=os.urandom(16),
            namespace=namespace,
            queue_id=queue_id or self.queue_id,
            hosts_workflows=hosts_workflows,
            workflow_types=workflow_types,
            lease_ms=lease_ms,
            info=INFO,
        )
        beat = await home.beat(registration)
        session = await home.session(namespace, registration.router_id, horizon_ms)
        self.sessions.append(session)
        return Router(home, registration, session, beat)

    async def add_task(
        self, router: Router, seq: int = 0, *, workflow_id: str = "order", **changes: Any
    ) -> bytes:
        """Start a run with one activity task; its run id."""
        run_id = await self.start(workflow_id)
        await router.commit(**task_columns(self, run_id, workflow_id, seq, **changes))
        return run_id


def task_columns(
    mesh: Mesh,
    run_id: bytes,
    workflow_id: str,
    seq: int,
    *,
    activity_type: str = "charge",
    attempt: int = 0,
    delay_ms: int = 0,
    frame: bytes = b"task",
    state: bytes = b"",
) -> dict[str, Any]:
    """The columns of a step that inserts one task."""
    return {
        "task_queue": [mesh.queue_id],
        "task_type": [activity_type],
        "task_lane": [mesh.lane_of(workflow_id)],
        "task_run": [run_id],
        "task_seq": [seq],
        "task_attempt": [attempt],
        "task_delay": [delay_ms],
        "task_frame": [frame],
        "task_state": [state],
    }
