"""Stands in for a router whose event loop does not turn.

A thread that looks a few times a lease whether the loop has turned. While it has not, the thread
renews the router's lease and claims over a connection of its own: the process lives. After a whole
lease the router stands down, so that its lanes go to others; what it has begun it keeps, as claimed
tasks that the thread goes on renewing until their own timeouts.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from hotmesh.backends.protocol import Backend, Registration, Tasks
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.exceptions import BackendError
from hotmesh.router.tenure import Tenure

logger = logging.getLogger(__name__)

WARNING_SECONDS = 2.0
"""How long a loop may be held up before the log says by what."""

LOOKS_PER_BEAT = 2
ANSWER_BEATS = 2.0
"""Beats that a call to the store may take."""

NAMED_MAX = 10
"""Activities that one line of the log names."""

JOIN_SECONDS = 1.0
"""How long who stops the thread waits for it; it is left to itself then."""


class Absent(Protocol):
    """What is to be known of a router. All of it is called on the deputy's thread."""

    @property
    def tenure(self) -> Tenure: ...
    def registration(self) -> Registration:
        """Its row in the rollcall."""
        ...

    def end_tenure(self) -> None:
        """Its time is over, whatever it is doing."""
        ...

    def claims(self) -> Sequence[tuple[ActivityTask, int]]:
        """The attempts that are its tasks, and for how many milliseconds each may be renewed."""
        ...

    def running(self) -> Sequence[ActivityTask]:
        """The attempts that run in this process, or have ended just now; what holds it up first."""
        ...

    def held_up_by(self) -> tuple[ActivityTask | None, str]:
        """The attempt that the loop's thread is in, if it is in one, and where."""
        ...

    def wake(self) -> None:
        """Have it look what has become of it, once its loop turns."""
        ...


class Deputy:
    """Watches one router's event loop.

    Args:
        router: The router.
        backend: The router's; the deputy uses it over connections of its own.
        interval_seconds: Between two beats of the router.
        lease_ms: How long the router may be silent.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        router: Absent,
        backend: Backend,
        interval_seconds: float,
        lease_ms: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router = router
        self._backend = backend
        self._interval = interval_seconds
        self._look_seconds = interval_seconds / LOOKS_PER_BEAT
        self._lease_ms = lease_ms
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._clock = clock
        self._turned = self._resumed = self._looked = clock()
        self._beaten = self._turned - interval_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._own: tuple[asyncio.Runner, Backend] | None = None
        self._warned = False

    # On the router's loop

    def start(self) -> None:
        """Begin to watch the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._on_turn()
        self._thread = threading.Thread(target=self._serve, name="hotmesh-deputy", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread. Its beats are over when this returns, unless the store is silent."""
        self._stop.set()
        if self._timer is not None:
            self._timer.cancel()
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.join, JOIN_SECONDS)

    def turned(self) -> None:
        """The loop has turned."""
        self._turned = self._clock()

    def _on_turn(self) -> None:
        assert self._loop is not None
        self.turned()
        self._timer = self._loop.call_later(self._look_seconds, self._on_turn)

    # On the thread

    def _serve(self) -> None:
        try:
            while not self._stop.wait(self._look_seconds):
                self.look()
        finally:
            self.close()

    def look(self) -> None:
        """See whether the loop has turned, and do what it can't."""
        now = self._clock()
        if now - self._looked > self._look_seconds + self._interval:
            # Nothing of this process ran: the loop had no chance either.
            self._resumed = now
            self._tell_of_gap(now - self._looked)
        silent = now - max(self._turned, self._resumed)
        if silent < self._interval:
            self._warned = False
        else:
            self._act(now, silent)
        self._looked = self._clock()

    def _act(self, now: float, silent: float) -> None:
        if silent >= WARNING_SECONDS and not self._warned:
            self._warned = True
            self._warn(silent)
        if silent * 1000 >= self._lease_ms and not self._router.tenure.over:
            self._end_tenure(silent)
        if now - self._beaten >= self._interval:
            self._beaten = now
            self._run(self._stand_in)

    def _run(self, work: Any) -> None:
        """Do something with the store; the next look does it again if it fails."""
        if self._own is None:
            self._own = (asyncio.Runner(), self._backend.for_another_loop())
        runner, backend = self._own
        runner.run(self._carry_out(work, backend))

    async def _carry_out(self, work: Any, backend: Backend) -> None:
        try:
            await self._in_time(work(backend))
        except (BackendError, TimeoutError) as error:
            logger.warning(
                "router %s: nobody could stand in for its event loop: %s",
                self._router.registration().router_id.hex(),
                str(error) or "the database is silent",
            )

    async def _in_time(self, work: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(max(self._interval * ANSWER_BEATS, 0.5)):
            await work

    async def _stand_in(self, backend: Backend) -> None:
        router = self._router
        registration, tenure = router.registration(), router.tenure
        if not tenure.over:
            # Not as a host of workflows: it takes no free lanes while nobody can look after them.
            sent = self._clock()
            beat = await backend.beat(registration._replace(hosts_workflows=False))
            tenure.hold(sent * 1000, self._lease_ms)
            if not beat.alive or beat.went_back:
                router.end_tenure()
                router.wake()
        if tenure.over and not tenure.stored:
            await backend.stand_down(
                registration.namespace,
                registration.router_id,
                self._lease_ms,
                tenure.held.tasks,
            )
            tenure.stored = True
            queue_id = registration.queue_id
            await backend.notify([(f"routers:{queue_id}", ""), (f"tasks:{queue_id}", "")])
        batch = self._renewals(registration)
        if batch.beat_run:
            await backend.tasks(batch)  # who has lost one finds out once the loop turns

    def _renewals(self, registration: Registration) -> Tasks:
        batch = Tasks(
            registration.namespace,
            registration.router_id,
            registration.queue_id,
            self._lease_ms,
            types=(),
        )
        for task, milliseconds in self._router.claims():
            if milliseconds > 0:
                batch.beat_run.append(task.run_id)
                batch.beat_seq.append(task.seq)
                batch.beat_attempt.append(task.attempt)
                batch.beat_lease.append(milliseconds)
                batch.beat_state.append(None)
                batch.beat_outside.append(False)
        return batch

    def _end_tenure(self, silent: float) -> None:
        router_id = self._router.registration().router_id
        self._router.end_tenure()
        task, where = self._router.held_up_by()
        logger.warning(
            "router %s stands down: its event loop has not turned for %.1f s, a lease; its lanes "
            "go to others, the %d activities it has begun stay here. Held up by %s, at:\n%s",
            router_id.hex(),
            silent,
            len(self._router.tenure.held.begun),
            _named(task),
            where,
        )
        self._router.wake()

    def _warn(self, silent: float) -> None:
        task, where = self._router.held_up_by()
        logger.warning(
            "the event loop has been blocked for %.1f s by %s. Activities that block belong in a "
            "plain def, which runs in a thread. It is at:\n%s",
            silent,
            _named(task),
            where,
            extra={} if task is None else task.log_fields(),
        )

    def _tell_of_gap(self, seconds: float) -> None:
        if seconds < WARNING_SECONDS:
            return
        logger.warning(
            "no Python ran in this process for %.1f s: it was stopped, or a call of C kept the "
            "interpreter's lock. A lease of %.1f s that ended meanwhile is lost, and with it the "
            "attempts of activities. Running, or ended just now: %s",
            seconds,
            self._lease_ms / 1000,
            _all_named(self._router.running()),
        )

    def close(self) -> None:
        """Close what it has opened."""
        if self._own is None:
            return
        runner, backend = self._own
        try:
            runner.run(self._in_time(backend.close()))
        except (BackendError, TimeoutError) as error:
            logger.debug("a connection was not closed: %s", error)
        runner.close()


def _all_named(tasks: Sequence[ActivityTask]) -> str:
    named = ", ".join(map(_named, tasks[:NAMED_MAX])) or "no activity"
    more = len(tasks) - NAMED_MAX
    return f"{named} and {more} more" if more > 0 else named


def _named(task: ActivityTask | None) -> str:
    if task is None:
        return "code that is no activity of this worker"
    fields = task.log_fields()
    return (
        f"activity {fields['activity_type']!r} (workflow {fields['workflow_id']!r}, "
        f"activity id {fields['activity_id']!r}, attempt {task.attempt})"
    )
