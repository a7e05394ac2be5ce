"""A router: joins the rollcall, shares a task queue's lanes, runs pipes and the task pump."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from hotmesh import json_bytes
from hotmesh.backends.protocol import Backend, Beat, Registration
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.limits import (
    CACHE_BYTES_MAX,
    LANES_PER_QUEUE,
    TIMER_HORIZON_MS,
    TRANSITION_BYTES_MAX,
)
from hotmesh.printing import printable
from hotmesh.retrying import PASSING, Backoff, complain
from hotmesh.router.absence import AbsentRouter, in_hand
from hotmesh.router.clock import BackendClock
from hotmesh.router.coding import Coder
from hotmesh.router.deputy import Deputy
from hotmesh.router.large_turn import LargeTurn
from hotmesh.router.notifier import Notifier
from hotmesh.router.pace import AverageCost
from hotmesh.router.pipe import Pipe
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.publishing import Publisher
from hotmesh.router.replaying import Engine
from hotmesh.router.router_options import RouterOptions
from hotmesh.router.tasks import TaskPump
from hotmesh.router.tenure import Tenure
from hotmesh.router.workflow_thread import WorkflowThread

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

PIPES = 2
"""Batches in flight: while one is at the store, the other's workflows run."""

BEATS_PER_LEASE = 4
BEAT_SECONDS_MAX = 1.0
"""Lanes even out within a few beats."""

ANSWER_LEASES = 0.5
"""Leases after which a beat's connection is given up, early enough for a beat on another."""

REOPEN_SECONDS = (0.25, 10.0)
"""First and longest pause between openings of pipes that break again and again."""

SOUND_SECONDS = 60.0
"""Pipes that have worked for so long are opened at once when they break."""

BEAT_PAUSE_SECONDS = 0.25
"""Pause after a beat that failed."""

CANCEL_AGAIN_SECONDS = 0.5
"""How long a cancelled task may take to end before it is cancelled again."""

FAREWELL_SECONDS = 5.0
"""How long the last batches may take: with what follows, within ``SHUTDOWN_S``."""

GOODBYE_SECONDS = 1.0
"""How long each step of the farewell after them may take."""


class WorkerRouter:
    """Everything of a worker that talks to the store."""

    def __init__(self, backend: Backend, options: RouterOptions) -> None:
        self._backend = backend
        self._options = options
        if options.runner is not None:
            options.runner.on_free = self._on_slot_free
        self.clock = BackendClock()
        self.clock.on_jump = self._on_jump
        self._router_id = os.urandom(16)
        self._notifier = Notifier(backend, options.namespace)
        self._publisher = Publisher(options.bus)
        self._workflows = WorkflowThread(options.deadlock_seconds, inline=options.inline)
        self._engine = Engine(options.definitions, options.engine)
        self._queue_id = 0
        self._queue_ids: dict[str, int] = {}
        self._side_ids: dict[str, int] = {}
        """Ids of side queues that runs were moved to, by workflow type."""
        self._owns_all = False
        self._serves_sides = False
        self._moved_hint_at = 0.0
        self._cost = AverageCost()
        self._large_turn = LargeTurn()
        self.pipes: list[Pipe] = []
        self._pipe_tasks: set[asyncio.Task[None]] = set()
        self.pump: TaskPump | None = None
        self._lanes: list[int] = []
        self._quiet: list[int] = []
        self._beat_now = asyncio.Event()
        self._stopping = False
        self._stop_asked = asyncio.Event()
        self._joined = False
        self.tenure = Tenure()
        self._deputy: Deputy | None = None
        self._fenced = False
        self._reopening = Backoff(*REOPEN_SECONDS)
        self._reopen_at = 0.0
        """When pipes that have broken may be opened again."""
        self._routers = 1
        self._beats = 0
        """How many were answered since this router joined."""
        self._registered_mask = 0
        self._listening: list[tuple[str, Callable[[str | None], None]]] = []

    # Life

    async def run(self, started: Callable[[], None]) -> None:
        """Join, work until :meth:`stop`, and leave.

        A database that can't be reached is waited for, with a warning now and then; one that turns
        this worker away ends it.

        Args:
            started: Called once the router has joined.

        Raises:
            BackendError: it can't begin, or can't go on.
        """
        self._workflows.start()
        pump: asyncio.Task[None] | None = None
        try:
            await self._until_stopped(asyncio.create_task(self._begin(), name="hotmesh-joining"))
            if not self._stopping:
                started()
                pump = self._start_pump()
                rollcall = asyncio.create_task(self._rollcall(), name="hotmesh-rollcall")
                await self._until_stopped(rollcall, pump)
        finally:
            await self._finish(pump)

    async def _until_stopped(
        self, task: asyncio.Task[None], beside: asyncio.Task[None] | None = None
    ) -> None:
        """Wait for a task, for one beside it that ends by itself only if it broke, or for a stop.

        When this returns the first task has ended: it must not beat once this router has left.
        """
        asked = asyncio.create_task(self._stop_asked.wait(), name="hotmesh-stop")
        working = {task} if beside is None else {task, beside}
        try:
            await asyncio.wait({*working, asked}, return_when=asyncio.FIRST_COMPLETED)
            for each in working:
                if each.done():
                    each.result()
            await asyncio.wait({task}, timeout=GOODBYE_SECONDS)
        finally:
            asked.cancel()
            await _end({task}, 0)
            if task.done() and not task.cancelled() and task.exception() is not None:
                logger.debug("on the way down: %s", task.exception())

    def stop(self) -> None:
        """Finish what is in hand, give everything back, and end :meth:`run`."""
        self._stopping = True
        self._stop_asked.set()
        self._beat_now.set()

    def heartbeat(self, task: ActivityTask, state: bytes) -> None:
        """An activity's heartbeat."""
        if self.pump is not None:
            self.pump.heartbeat(task, state)

    async def queue_id(self, task_queue: str) -> int:
        """The id of a task queue of this namespace."""
        found = self._queue_ids.get(task_queue)
        if found is None:
            found = await self._backend.queue_id(self._options.namespace, task_queue)
            self._queue_ids[task_queue] = found
        return found

    async def _side_queue_id(self, workflow_type: str) -> int:
        """The id of the task queue's side queue for a type that is not hosted here."""
        found = self._side_ids.get(workflow_type)
        if found is None:
            options = self._options
            found = await self._backend.queue_id(
                options.namespace, options.task_queue, workflow_type
            )
            self._side_ids[workflow_type] = found
            logger.warning(
                "workflow type %r is not hosted by this worker, which hosts %s: its runs go to the "
                "workers of task queue %r that host it",
                workflow_type,
                ", ".join(sorted(self._workflow_types() or ())),
                options.task_queue,
            )
        return found

    def _on_moved(self) -> None:
        """Runs went to side queues: whoever hosts them looks whether their lanes are free."""
        now = time.monotonic()
        if now >= self._moved_hint_at:
            self._moved_hint_at = now + BEAT_SECONDS_MAX
            self._notifier.routers(self._queue_id)

    def _workflow_types(self) -> list[str] | None:
        """The types hosted; None for any."""
        names = [name for name in self._engine.definitions if name is not None]
        return None if len(names) < len(self._engine.definitions) else sorted(names)

    def add_definition(self, definition: WorkflowDefinition) -> None:
        """Host one more workflow type."""
        self._engine.definitions[definition.name] = definition
        self._beat_now.set()

    def show_activities(self, activity_types: Sequence[str]) -> None:
        """Say in the rollcall which activities are hosted now."""
        self._options.activity_types = activity_types
        self._beat_now.set()

    # Joining

    async def _begin(self) -> None:
        """Open the backend, join and listen: again and again while the database is away."""
        self._router_id = os.urandom(16)
        backoff = Backoff()
        while not self._stopping:
            try:
                await self._options.open()
                if not self._joined:
                    await self._join()
                self._start_deputy()  # before anything else: lanes may have work already
                await self._listen()
                return
            except BackendUnavailableError as error:
                complain(logger, self._backend.url, "a worker waits for its database: %s", error)
            await backoff.pause()

    async def _join(self) -> None:
        await self._find_queue()
        self._router_id = os.urandom(16)
        self._beats = 0
        sent = self.clock.mark()
        beat = await self._backend.beat(self.registration())
        if beat.alive:
            self.clock.learn_beat(sent, beat.now_ms, beat.shift_ms)
        self._joined = True
        self._beats += 1
        await self._begin_with(beat, sent)

    async def _begin_with(self, beat: Beat, sent: float) -> None:
        """Open pipes that know nothing yet."""
        self._fenced = False
        self.tenure = Tenure()
        self.tenure.hold(sent, self._options.lease_ms)
        self._lanes, self._quiet = [], []
        self.pipes = []
        if self._engine.definitions:
            await self._open_pipes()
        self._take(beat)

    async def _find_queue(self) -> None:
        """Learn the task queue's id anew: the database may have gone back behind its making.

        Raises:
            BackendError: It has another id than before.
        """
        self._queue_ids.clear()
        found = await self.queue_id(self._options.task_queue)
        if self._queue_id and found != self._queue_id:
            raise BackendError(
                f"task queue {self._options.task_queue!r} was {self._queue_id} in the database and "
                f"is {found} now: the database went back. Start this worker again."
            )
        self._queue_id = found

    async def _open_pipes(self) -> None:
        for _ in range(len(self.pipes), PIPES):
            session = await self._backend.session(
                self._options.namespace, self._router_id, TIMER_HORIZON_MS
            )
            pipe = Pipe(self._pipe_context(), self._router_id)
            self.pipes.append(pipe)
            task = asyncio.create_task(pipe.run(session), name="hotmesh-pipe")
            task.add_done_callback(self._on_pipe_end)
            self._pipe_tasks.add(task)

    def _on_pipe_end(self, task: asyncio.Task[None]) -> None:
        self._pipe_tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.critical(
                "a router pipe broke, opening it again", exc_info=printable(task.exception())
            )
            self.on_fenced()

    def _pipe_context(self) -> PipeContext:
        options = self._options
        codec = options.engine.converter.payload_codec
        return PipeContext(
            database=self._backend.url,
            namespace=options.namespace,
            queue_ids=self._queue_ids,
            task_queue=options.task_queue,
            queue_id=self._queue_id,
            clock=self.clock,
            notifier=self._notifier,
            engine=self._engine,
            converter=options.engine.converter,
            workflows=self._workflows,
            runner=options.runner,
            publisher=self._publisher,
            resolve_queue=self.queue_id,
            tenure=self.tenure,
            on_fenced=self.on_fenced,
            on_lanes_quiet=self._on_quiet,
            wake_all=self._wake_pipes,
            coder=None if codec is None else Coder(codec),
            cost=self._cost,
            resolve_side=self._side_queue_id,
            owns_all=lambda: self._owns_all,
            serves_sides=lambda: self._serves_sides,
            on_moved=self._on_moved,
            max_cached=-(-options.max_cached // PIPES),
            cache_bytes_max=CACHE_BYTES_MAX // PIPES,
            transition_bytes_max=TRANSITION_BYTES_MAX.get(
                self._backend.name, min(TRANSITION_BYTES_MAX.values())
            ),
            eager=options.eager,
            large_turn=self._large_turn,
        )

    def registration(self) -> Registration:
        """This router's row in the rollcall."""
        options = self._options
        info = {
            "task_queue": options.task_queue,
            "workflow_types": sorted(n or "*" for n in self._engine.definitions),
            "activity_types": list(options.activity_types),
            "identity": options.identity,
            "build_id": options.build_id,
            "pid": os.getpid(),
            "idle": not any(pipe.busy for pipe in self.pipes),
            **options.extra,
        }
        return Registration(
            self._router_id,
            options.namespace,
            self._queue_id,
            bool(self._engine.definitions),
            options.lease_ms,
            json_bytes.dumps(info),
            self._beats,
            self._workflow_types(),
            self.clock.now_ms() if self.clock.is_read else None,
            self.clock.jump_ms,
            self.clock.shift_ms,
        )

    # Rollcall

    @property
    def _beat_seconds(self) -> float:
        return min(self._options.lease_ms / 1000 / BEATS_PER_LEASE, BEAT_SECONDS_MAX)

    async def _rollcall(self) -> None:
        interval = self._beat_seconds
        while not self._stopping:
            with contextlib.suppress(TimeoutError):  # as usual: nothing has asked for an early beat
                async with asyncio.timeout(interval):
                    await self._beat_now.wait()
            self._beat_now.clear()
            try:
                await self._beat()
            except PASSING as error:
                complain(logger, self._backend.url, "no beat: %s", error)
                await asyncio.sleep(min(interval, BEAT_PAUSE_SECONDS))
                self._beat_now.set()

    async def _renew(self) -> Beat:
        sent = self.clock.mark()
        beat = await self._in_time(self._backend.beat(self.registration()))
        self._beats += 1
        if beat.alive:
            self.clock.learn_beat(sent, beat.now_ms, beat.shift_ms)
            if self.tenure.hold(sent, self._options.lease_ms):
                self._wake_pipes()  # activities wait that were not begun
        return beat

    async def _in_time(self, call: Awaitable[_T]) -> _T:
        """The answer to a call that the lease depends upon.

        Raises:
            BackendUnavailableError: There was none in time; its connection is given up.
        """
        patience_s = self._options.lease_ms / 1000 * ANSWER_LEASES
        try:
            async with asyncio.timeout(patience_s):
                return await call
        except TimeoutError as error:
            raise BackendUnavailableError(f"no answer within {patience_s:.1f} s") from error

    async def _beat(self) -> None:
        if not self._joined:
            await self._join()
            return
        if self._fenced:
            await self._begin_anew()
            return
        if self._quiet:
            lanes, self._quiet = self._quiet, []
            namespace = self._options.namespace
            await self._in_time(self._backend.release(namespace, self._router_id, lanes))
            self._notifier.routers(self._queue_id)
        beat = await self._renew()
        if not beat.alive:
            self._tell_of_death()
            await self._rejoin()
            return
        if beat.went_back:
            logger.warning("the database went back a moment: everything is read again")
            for pipe in self.pipes:
                pipe.read_again()
        if self._engine.definitions:  # the first may have been added later
            await self._open_pipes()
        if beat.routers != self._routers:
            self._routers = beat.routers
            self._notifier.routers(self._queue_id)
        self._take(beat)
        if self._serves_sides:
            await self._listen()

    def _take(self, beat: Beat) -> None:
        quiet = set(self._quiet)
        self._lanes = [lane for lane in beat.lanes if lane not in quiet]
        for index, pipe in enumerate(self.pipes):
            pipe.assign([lane for lane in self._lanes if lane % PIPES == index])
        self._note_owned()
        leaving = [lane for lane in beat.surplus if lane not in quiet]
        if leaving:
            for index, pipe in enumerate(self.pipes):
                pipe.give_up([lane for lane in leaving if lane % PIPES == index])

    def _on_quiet(self, lanes: Sequence[int]) -> None:
        self._quiet.extend(lanes)
        gone = set(lanes)
        self._lanes = [lane for lane in self._lanes if lane not in gone]
        self._note_owned()
        self._beat_now.set()

    def _note_owned(self) -> None:
        home = sum(lane // LANES_PER_QUEUE == self._queue_id for lane in self._lanes)
        self._owns_all = home == LANES_PER_QUEUE
        self._serves_sides = len(self._lanes) > home

    def _on_jump(self) -> None:
        logger.warning(
            "the clock of the database has jumped by about %d s: what is due does not follow it",
            self.clock.jump_ms / 1000,
        )
        self._beat_now.set()

    def on_fenced(self) -> None:
        """A step, or a thread, has found that this router's tenure is over."""
        self._fenced = True
        self._beat_now.set()

    async def _begin_anew(self) -> None:
        """The tenure is over, or a pipe has ended: join under a new id.

        Lanes that this router still had are free at once, so nothing waits for the end of a lease.
        """
        if not self.tenure.over:
            if (await self._renew()).alive:
                now = time.monotonic()
                if now < self._reopen_at:
                    return  # the next beat will see
                if now > self._reopen_at + SOUND_SECONDS:
                    self._reopening.reset()
                self._reopen_at = now + self._reopening.next_s()
            else:
                self._tell_of_death()
        await self._rejoin()

    def _tell_of_death(self) -> None:
        if not self.tenure.over:
            logger.warning(
                "router %s is not in the rollcall any more (it was silent for longer than its "
                "lease of %.1f s, or the database went back); its work goes to others, joining "
                "again",
                self._router_id.hex(),
                self._options.lease_ms / 1000,
            )

    async def _rejoin(self) -> None:
        tenure = self.tenure
        self.end_tenure()
        for pipe in self.pipes:
            pipe.kill()
        await self._in_time(self._stand_down(tenure))
        if self.pump is not None:
            self.pump.adopt(tenure)  # before anything that may take as long as a claim lasts
        if self._pipe_tasks:
            await asyncio.wait(set(self._pipe_tasks))
        self._joined = False  # until it has: a join that fails is tried again with the next beat
        await self._join()

    async def _stand_down(self, tenure: Tenure) -> None:
        """Have the store know what a tenure that is over had in hand, unless the deputy has."""
        if not tenure.stored:
            await self._backend.stand_down(
                self._options.namespace,
                self._router_id,
                self._options.lease_ms,
                tenure.held.tasks,
            )
            tenure.stored = True

    # When the event loop is held up; a thread asks

    def _start_deputy(self) -> None:
        options = self._options
        if options.inline or self._deputy is not None:
            return  # whoever halts the program to look at it is not to lose its work meanwhile
        absent = AbsentRouter(self, options.runner, options.lease_ms)
        self._deputy = Deputy(absent, self._backend, self._beat_seconds, options.lease_ms)
        self._deputy.start()

    def end_tenure(self) -> None:
        """This router can't go on: whatever it is doing, nothing of it is begun or committed."""
        self.tenure.end(lambda: in_hand(self))

    def queue_of(self, task_queue: str | None) -> int:
        """The id of a task queue that is known here; None is the router's own."""
        return self._queue_ids.get(task_queue or self._options.task_queue, self._queue_id)

    # Wake-ups

    async def _listen(self) -> None:
        sides = {lane // LANES_PER_QUEUE for lane in self._lanes} - {self._queue_id}
        for channel, callback in (
            (f"lanes:{self._queue_id}", self._on_lanes_hint),
            (f"tasks:{self._queue_id}", self._on_tasks_hint),
            (f"routers:{self._queue_id}", self._on_routers_hint),
            *((f"lanes:{side}", self._on_lanes_hint) for side in sorted(sides)),
        ):
            if (channel, callback) not in self._listening:  # joining may take several tries
                await self._backend.listen(channel, callback)
                self._listening.append((channel, callback))

    def _on_lanes_hint(self, payload: str | None) -> None:
        mask = int(payload, 16) if payload else -1
        for pipe in self.pipes:
            pipe.wake_lanes(mask)

    def _on_tasks_hint(self, payload: str | None) -> None:
        if self.pump is not None:
            self.pump.wake(payload)

    def _on_slot_free(self) -> None:
        if self.pump is not None:
            self.pump.slot_free()
        for pipe in self.pipes:
            pipe.slot_free()

    def _on_routers_hint(self, payload: str | None) -> None:
        if payload is not None:
            self._beat_now.set()

    def _wake_pipes(self) -> None:
        for pipe in self.pipes:
            pipe.wake()

    # Activities

    def _start_pump(self) -> asyncio.Task[None] | None:
        options = self._options
        if options.runner is None:
            return None
        self.pump = TaskPump(
            self._backend,
            namespace=options.namespace,
            task_queue=options.task_queue,
            queue_id=self._queue_id,
            lease_ms=options.lease_ms,
            runner=options.runner,
            clock=self.clock,
            notifier=self._notifier,
            router_id=lambda: self._router_id,
            on_lanes=lambda _: self._wake_pipes(),
            claims=options.claims_tasks,
        )
        return asyncio.create_task(self.pump.run(), name="hotmesh-tasks")

    # Leaving

    async def _finish(self, pump: asyncio.Task[None] | None) -> None:
        finished = asyncio.Event()
        beats = asyncio.create_task(self._keep_lease(finished), name="hotmesh-last-beats")
        try:
            pump = await self._bring_in(pump)
            if self.pump is not None:
                self.pump.stop()
            for pipe in self.pipes:
                pipe.start_nothing()
            if self._options.runner is not None:
                await self._options.runner.shutdown()
            pump = await self._bring_in(pump)  # the tenure may have ended just now
            for pipe in self.pipes:
                pipe.stop()
            await _end({*self._pipe_tasks, *({pump} if pump is not None else ())}, FAREWELL_SECONDS)
        finally:
            finished.set()
            # A beat that arrived after the leaving would join anew.
            await _end({beats}, GOODBYE_SECONDS)
            if self._deputy is not None:
                await self._deputy.stop()
            await self._leave()

    async def _bring_in(self, pump: asyncio.Task[None] | None) -> asyncio.Task[None] | None:
        """What was begun under a tenure that is over is stored on the way down as well.

        The next beat would have seen to it; but there is none.
        """
        tenure = self.tenure
        if self.pump is None or pump is None or not tenure.over or tenure.is_handed_over:
            return pump
        try:
            async with asyncio.timeout(GOODBYE_SECONDS / 2):
                await self._stand_down(tenure)
        except (*PASSING, TimeoutError) as error:
            about = str(error) or "the database is silent"
            complain(logger, self._backend.url, "what was begun goes to others: %s", about)
            return pump
        self.pump.adopt(tenure)
        if not pump.done() or pump.cancelled() or pump.exception() is not None:
            return pump
        return asyncio.create_task(self.pump.run(), name="hotmesh-tasks")

    async def _keep_lease(self, finished: asyncio.Event) -> None:
        interval = self._options.lease_ms / 1000 / BEATS_PER_LEASE
        while self._joined and not finished.is_set():
            with contextlib.suppress(TimeoutError):  # as usual
                async with asyncio.timeout(interval):
                    await finished.wait()
                    return
            try:
                await self._renew()
            except PASSING as error:
                complain(logger, self._backend.url, "no beat: %s", error)

    async def _leave(self) -> None:
        began = time.monotonic()
        try:
            if self._joined:
                await self._say_goodbye()
            async with asyncio.timeout(GOODBYE_SECONDS):
                for channel, callback in self._listening:
                    await self._backend.unlisten(channel, callback)
        except (BackendError, TimeoutError) as error:
            logger.debug("no need to stop listening: %s", error)
        finally:
            await self._publisher.close()
            await self._notifier.close()
            self._workflows.stop()
            logger.debug("left after %.3f s", time.monotonic() - began)

    async def _say_goodbye(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._backend.leave(self._options.namespace, self._router_id)
                await self._backend.notify(
                    [(f"routers:{self._queue_id}", ""), (f"tasks:{self._queue_id}", "")]
                )
        except (BackendError, TimeoutError) as error:
            logger.warning(
                "router %s could not say good-bye, its lease of %.1f s will end by itself: %s",
                self._router_id.hex(),
                self._options.lease_ms / 1000,
                str(error) or "the database is silent",
            )


async def _end(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    """Wait for tasks to end by themselves; those that don't within some seconds are cancelled."""
    late = {task for task in tasks if not task.done()}
    if late and seconds:
        _, late = await asyncio.wait(late, timeout=seconds)
    while late:
        for task in late:
            task.cancel()
        # Up to Python 3.11 a `wait_for` within a library may swallow a cancellation.
        _, late = await asyncio.wait(late, timeout=CANCEL_AGAIN_SECONDS)
