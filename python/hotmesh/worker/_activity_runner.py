"""Runs activities: starts attempts, keeps their deadlines, and reports what came of each.

The runner knows nothing of storage. It is given tasks and gives back outcomes, all on one event
loop; only the functions of activities that are not ``async def`` run elsewhere.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import BrokenExecutor, Executor, ThreadPoolExecutor
from datetime import timedelta
from types import FrameType
from typing import Any

from hotmesh.activity import ActivityContext, current_context, logger
from hotmesh.converter import (
    DataConverter,
    apply_codec,
)
from hotmesh.engine.activity_task import (
    FIRST_ATTEMPT,
    ActivityTask,
    AttemptKey,
    CancelReason,
    Event,
    Outcome,
)
from hotmesh.engine.contexts import activity_context
from hotmesh.engine.outside import outside_tasks
from hotmesh.exceptions import TimeoutError as AttemptTimeoutError
from hotmesh.exceptions import TimeoutType
from hotmesh.interrupts import is_from_outside
from hotmesh.limits import PAYLOAD_BYTES_MAX
from hotmesh.telemetry import program_meter
from hotmesh.worker._activity_alarm import ActivityAlarm
from hotmesh.worker._activity_at_once import AttemptAtOnce
from hotmesh.worker._activity_call import ActivityCaller, decode_arguments
from hotmesh.worker._activity_heartbeat import Heartbeats
from hotmesh.worker._activity_latch import Latch, SharedLatch
from hotmesh.worker._activity_outcome import OutcomeWriter
from hotmesh.worker._activity_processes import SharedStateManager
from hotmesh.worker._activity_registry import ActivityRegistry, RegisteredActivity
from hotmesh.worker._activity_running import Done, RunningActivity, deadlines
from hotmesh.worker._interceptor import Interceptor

__all__ = ["ActivityRunner", "ActivityTask", "CancelReason", "Outcome"]

_set_context = current_context.set

CONCURRENT_ACTIVITIES_MAX = 100
"""Default number of attempts that run at a time."""


LEAVING_SECONDS = 2.0
"""How long a shutdown waits for an activity that it has cancelled."""


class ActivityRunner:
    """Runs the attempts of one worker's activities.

    Args:
        activities: Decorated or plain functions, bound methods, or objects with ``__call__``.
        namespace: The worker's namespace.
        task_queue: The worker's task queue.
        data_converter: For arguments, results, heartbeat details and failures.
        on_heartbeat: Called on the event loop with a task and its whole new state (heartbeat
            details and the last failure), to be stored as it is.
        now_ms: The clock: milliseconds since the epoch.
        identity: The worker, as failures name it.
        activity_executor: Runs activities that are not ``async def``.
        shared_state_manager: Needed when the executor is not a pool of threads.
        max_concurrent_activities: What :attr:`free` counts down from.
        interceptors: Wrapped around each call, the first outermost.
        client: What :func:`hotmesh.activity.client` returns.
        payload_limit: Largest result or failure in bytes.
        graceful_shutdown_timeout: How long a shutdown waits before it cancels.
        max_heartbeat_throttle_interval: Longest interval between two sent heartbeats.
        default_heartbeat_throttle_interval: The interval of activities without heartbeat timeout.
        on_fatal: Told of an error after which no activity can run: a broken executor.

    Raises:
        ValueError: Two activities of one name, or one that lacks its executor or manager.
        TypeError: An activity is a class, or can't be one.
    """

    def __init__(
        self,
        activities: Sequence[Callable[..., Any]],
        *,
        namespace: str,
        task_queue: str,
        data_converter: DataConverter,
        on_heartbeat: Callable[[ActivityTask, bytes], None],
        now_ms: Callable[[], int],
        identity: str = "",
        activity_executor: Executor | None = None,
        shared_state_manager: SharedStateManager | None = None,
        max_concurrent_activities: int = CONCURRENT_ACTIVITIES_MAX,
        interceptors: Sequence[Interceptor] = (),
        client: Any = None,
        payload_limit: int = PAYLOAD_BYTES_MAX,
        graceful_shutdown_timeout: timedelta = timedelta(),
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=60),
        default_heartbeat_throttle_interval: timedelta = timedelta(seconds=30),
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.namespace = namespace
        self.task_queue = task_queue
        self.max_concurrent_activities = max_concurrent_activities
        self._registry = ActivityRegistry(activities, activity_executor, shared_state_manager)
        self._activities = self._registry.by_name
        self.hosts = self._registry.hosts
        self._runs_processes = not isinstance(activity_executor, ThreadPoolExecutor)
        self._converter = data_converter
        self._converter_needs_context = data_converter.takes_context
        self.client = client
        self._shared_state_manager = shared_state_manager
        self._graceful_shutdown_timeout = graceful_shutdown_timeout
        self._on_fatal = on_fatal
        self.on_free: Callable[[], None] | None = None
        """Told whenever an attempt has given its slot back."""
        self._now_ms = now_ms
        self._caller = ActivityCaller(
            activity_executor, shared_state_manager, interceptors, self._shared_shutdown
        )
        self._calls_directly = not interceptors and data_converter.payload_codec is None
        self._alarm = ActivityAlarm(now_ms, self._ring)
        self._heartbeats = Heartbeats(
            payload_limit,
            now_ms,
            self._alarm,
            on_heartbeat,
            self._spawn_detached,
            max_heartbeat_throttle_interval,
            default_heartbeat_throttle_interval,
        )
        self._writer = OutcomeWriter(self._heartbeats, identity, payload_limit, now_ms)
        self._running: dict[AttemptKey, RunningActivity] = {}
        self._occupied: set[RunningActivity] = set()
        self._detached: set[asyncio.Task[None]] = set()
        self._shutdown = Latch()
        self._shutdown_of_processes: SharedLatch | None = None
        self._idle: asyncio.Future[None] | None = None
        self._last_token = 0

    # -- What the worker calls --

    @property
    def types(self) -> list[str] | None:
        """The activity types that may be claimed for this worker, sorted; None for any."""
        return self._registry.types

    @property
    def shown_types(self) -> list[str]:
        """The activity types as the rollcall shows them; "*" is the dynamic activity."""
        return [*self._registry.names, *(() if self.types is not None else ("*",))]

    def add(self, activity: Callable[..., Any], *, replace: bool = False) -> None:
        """Host one more activity; errors are those of :class:`ActivityRegistry`."""
        self._registry.add(activity, replace=replace)

    @property
    def names(self) -> Sequence[str]:
        """The types hosted, without the dynamic activity."""
        return self._registry.names

    def ends_at_once(self, name: str) -> bool:
        """Whether an attempt of this activity is over when :meth:`start` returns."""
        registered = self._registry.find(name)
        return self._calls_directly and registered is not None and registered.never_waits

    @property
    def free(self) -> int:
        """How many more attempts may be started now.

        An attempt that timed out holds its place until its function has really ended.
        """
        return self.max_concurrent_activities - len(self._occupied)

    def running(self) -> list[ActivityTask]:
        """The tasks whose outcome is still open."""
        return [running.task for running in self._running.values()]

    def expires_ms(self, task: ActivityTask) -> int:
        """When an attempt's own timeouts end it. May be asked from any thread."""
        running = self._running.get(task.key)
        return deadlines(task, task.started_ms if running is None else running.heard_ms)[0][0]

    def attempt_in(self, frame: FrameType | None) -> ActivityTask | None:
        """The attempt that a thread is in, going by its stack; None if it is in none."""
        while frame is not None:
            if frame.f_code is ActivityRunner._attempt.__code__:
                return frame.f_locals["running"].task
            if frame.f_code is ActivityRunner._run_at_once.__code__:
                return frame.f_locals["task"]
            frame = frame.f_back
        return None

    def start(self, task: ActivityTask, done: Done) -> Event | None:
        """Begin an attempt. Call it on the event loop, outside of tasks (``outside_tasks``).

        Args:
            task: What to run.
            done: Told the outcome once, on the event loop, unless it is returned.

        Returns:
            The event of an attempt that has completed already, because the activity is an
            ``async def`` that has nothing to wait for; None if ``done`` is told.
        """
        registered = self._activities.get(task.name) or self._registry.dynamic
        if self._calls_directly and registered is not None and registered.never_waits:
            return self._run_at_once(task, done, registered)
        running = self._begin(task, done, registered)
        handle = _begin_task(self._run(running))
        if running in self._occupied:  # Else it ended in its first step.
            running.handle = handle
        if not running.settled:
            self._alarm.watch(running)
        return None

    def _begin(
        self, task: ActivityTask, done: Done, registered: RegisteredActivity | None
    ) -> RunningActivity:
        running = self.prepare(task, done, registered)
        if task.attempt > FIRST_ATTEMPT:
            self._supersede(task)
        self._running[task.key] = running
        self._occupied.add(running)
        return running

    def _supersede(self, task: ActivityTask) -> None:
        """An activity whose claim ran out may have come back to this very worker."""
        for (run_id, seq, attempt), before in list(self._running.items()):
            if seq == task.seq and run_id == task.run_id and attempt < task.attempt:
                before.cancel("not_found")

    def _run_at_once(
        self, task: ActivityTask, done: Done, registered: RegisteredActivity
    ) -> Event | None:
        """Make an attempt whose coroutine ends when it is first advanced.

        Nothing can happen meanwhile, so that most of what watches over an attempt is not needed.
        """
        if task.attempt > FIRST_ATTEMPT:
            self._supersede(task)
        attempt = AttemptAtOnce(self, task, done, registered)
        context = contextvars.copy_context()
        context.run(_set_context, attempt.context)
        try:
            converter = self._converter
            if self._converter_needs_context:
                converter = self._converter_for(task)
            args = decode_arguments(converter, registered, task.name, task.body)
            work = registered.definition.fn(*args)
            try:
                context.run(work.send, None)
            except StopIteration as end:
                event = self._writer.returned(converter, registered, task, end.value)
            else:
                work.close()
                raise RuntimeError("A coroutine without an await waited; this can't happen")
        except BaseException as error:  # whatever it is, the attempt failed
            if is_from_outside(error):
                raise
            context.run(_drive, self._fail_at_once(attempt, error))
            return None
        attempt.is_over = True
        if attempt.prepared is not None:
            attempt.end()
        return event

    async def _fail_at_once(self, attempt: AttemptAtOnce, error: BaseException) -> None:
        running = attempt.running()
        outcome = await self._raised(running, error)
        attempt.end()
        running.done(running.task, outcome)

    def cancel(self, attempt: AttemptKey, reason: CancelReason) -> None:
        """Ask a running attempt to stop; nothing happens if it does not run here.

        Its outcome still comes, as soon as its function has ended.

        Args:
            attempt: Which; another attempt of the same activity goes on.
            reason: What :func:`hotmesh.activity.cancellation_details` will say.
        """
        running = self._running.get(attempt)
        if running is not None:
            running.cancel(reason)

    def lost_outcome(self, task: ActivityTask) -> Outcome | None:
        """Decide whether a task may run again after its last worker vanished.

        Args:
            task: The claimed task; ``attempt`` is that of the new claim.

        Returns:
            The final failure when it used up its attempts; None when the attempt may be made.
        """
        return self._writer.lost(task)

    def tick(self) -> None:
        """Act on every deadline that has passed. The runner's own timer calls it as well."""
        self._alarm.tick()

    async def shutdown(self) -> None:
        """Tell all activities, wait the graceful timeout, cancel the rest, and wait for them.

        An activity that ignores its cancellation is left behind after a moment: its attempt has
        failed with the worker, and whatever its function still does counts no more.
        """
        self._shutdown.set()
        if self._shutdown_of_processes is not None:
            self._shutdown_of_processes.set()
        await self._wait_until_idle(self._graceful_shutdown_timeout.total_seconds())
        for running in list(self._running.values()):
            running.cancel("worker_shutdown")
        await self._wait_until_idle(LEAVING_SECONDS)
        for running in list(self._running.values()):
            await self._leave_behind(running)
        self._alarm.close()

    async def _leave_behind(self, running: RunningActivity) -> None:
        fields = running.log_fields()
        logger.warning(
            "Activity %r (workflow %r, activity id %r, attempt %d) goes on although its worker "
            "shut down and cancelled it %g s ago; it is left behind, and its attempt has failed",
            fields["activity_type"],
            fields["workflow_id"],
            fields["activity_id"],
            fields["attempt"],
            LEAVING_SECONDS,
            extra=dict(fields),
        )
        self._settle(running, await self._writer.of_error(running, asyncio.CancelledError()))

    # -- One attempt --

    def prepare(
        self, task: ActivityTask, done: Done, registered: RegisteredActivity | None
    ) -> RunningActivity:
        is_async = registered is None or registered.definition.is_async
        in_process = not is_async and self._runs_processes
        converter, broken = self._converter, None
        if self._converter_needs_context:
            try:
                converter = self._converter_for(task)
            except BaseException as error:  # it is the program's own; the attempt fails
                if is_from_outside(error):
                    raise
                broken = error
        self._last_token += 1
        running = RunningActivity(
            self._last_token,
            task,
            done,
            registered,
            converter,
            self._new_shared_latch() if in_process else Latch(),
            self._now_ms(),
        )
        running.broken = broken
        loop = asyncio.get_running_loop()
        running.context = ActivityContext(
            running.info,
            lambda *details: self._heartbeats.report(running, loop, details),
            running.cancelled,
            self._shutdown,
            running.converter.payload_converter,
            program_meter,
            self.client if is_async else None,
            log_fields=running.log_fields,
        )
        return running

    async def _run(self, running: RunningActivity) -> None:
        current_context.set(running.context)
        running.begun = True
        try:
            try:
                outcome = await self._attempt(running)
            except BaseException as error:  # whatever it is, the attempt failed
                if not isinstance(error, asyncio.CancelledError) and is_from_outside(error):
                    raise
                outcome = await self._raised(running, error)
            self._settle(running, outcome)
        finally:
            self._occupied.discard(running)
            running.release()
            if self.on_free is not None:
                self.on_free()

    async def _attempt(self, running: RunningActivity) -> Outcome:
        task, registered = running.task, running.registered
        if running.broken is not None:
            raise running.broken
        if running.cancelled.is_set():  # Before it could begin.
            raise asyncio.CancelledError
        if registered is None:
            raise self._registry.not_found(task.name, task.origin.workflow_id)
        if registered.definition.is_async and self._calls_directly:
            args = decode_arguments(running.converter, registered, task.name, task.body)
            result = await registered.definition.fn(*args)
        else:
            result = await self._caller.call(running, registered.definition)
        running.ending = True
        body, codec = (
            self._writer.result_body(running.converter, registered, task, result),
            running.converter.payload_codec,
        )
        if codec is not None:
            body = await apply_codec(codec, body, True)
        return Outcome("completed", self._writer.completed(task, body))

    async def _raised(self, running: RunningActivity, error: BaseException) -> Outcome:
        running.ending = True
        if running.settled:  # Timed out before: this is only its function that ends.
            return Outcome("canceled")
        if isinstance(error, BrokenExecutor) and self._on_fatal is not None:
            self._on_fatal(error)
        try:
            return await self._writer.of_error(running, error)
        except BaseException as unwritten:  # converters and codecs may raise anything
            if is_from_outside(unwritten):
                raise
            return self._writer.of_unwritable(running.task, error, unwritten)

    def _settle(self, running: RunningActivity, outcome: Outcome) -> None:
        if running.settled:
            return
        self._close(running)
        running.done(running.task, outcome)

    def _close(self, running: RunningActivity) -> None:
        """Take the attempt out of the open ones: from here on nothing changes its outcome."""
        running.settled = True
        self._alarm.forget(running)
        if self._running.get(running.task.key) is running:
            del self._running[running.task.key]
        if self._idle is not None and not self._running and not self._idle.done():
            self._idle.set_result(None)

    # -- Deadlines --

    def _ring(self, running: RunningActivity) -> None:
        if running.settled:
            return
        deadlines = running.deadlines()
        if deadlines and deadlines[0][0] <= self._now_ms():
            self._time_out(running, deadlines[0][1])
            return
        self._heartbeats.flush(running)
        alarm_ms = running.next_alarm_ms()
        if alarm_ms is not None:
            self._alarm.set(running, alarm_ms)

    def _time_out(self, running: RunningActivity, timeout: TimeoutType) -> None:
        self._close(running)
        where = "" if running.converter.payload_codec is not None else running.where()
        report = self._report_timeout(running, running.context, timeout, where)
        self._spawn(report, running.converter)
        running.cancel("timed_out")

    async def _report_timeout(
        self, running: RunningActivity, context: ActivityContext, timeout: TimeoutType, where: str
    ) -> None:
        current_context.set(context)
        logger.warning("Activity timed out: %s", timeout.name)
        try:
            outcome = await self._writer.timed_out(running, timeout, where)
        except BaseException as unwritten:  # as in `_raised`
            if is_from_outside(unwritten):
                raise
            error = AttemptTimeoutError(timeout.name, type=timeout, last_heartbeat_details=())
            outcome = self._writer.of_unwritable(running.task, error, unwritten)
        running.done(running.task, outcome)

    # -- Helpers --

    def _spawn_detached(self, work: Coroutine[Any, Any, None]) -> None:
        self._spawn(work, self._converter)

    def _spawn(self, work: Coroutine[Any, Any, None], converter: DataConverter) -> None:
        if converter.payload_codec is None:
            _drive(work)  # Only codecs wait.
            return
        task = _begin_task(work)
        self._detached.add(task)
        task.add_done_callback(self._detached.discard)

    def _converter_for(self, task: ActivityTask) -> DataConverter:
        origin = task.origin
        return self._converter.with_context(
            activity_context(
                origin.namespace,
                origin.workflow_id,
                origin.workflow_type,
                self.task_queue,
                task.seq,
                task.name,
                task.options,
            )
        )

    def _new_shared_latch(self) -> SharedLatch:
        assert self._shared_state_manager is not None  # Checked by the registry.
        return SharedLatch(self._shared_state_manager.new_event())

    def _shared_shutdown(self) -> SharedLatch:
        """The shutdown latch of other processes; made when the first activity runs in one."""
        if self._shutdown_of_processes is None:
            self._shutdown_of_processes = self._new_shared_latch()
            if self._shutdown.is_set():
                self._shutdown_of_processes.set()
        return self._shutdown_of_processes

    async def _wait_until_idle(self, timeout: float | None) -> None:
        if not self._running or timeout == 0:
            return
        self._idle = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._idle], timeout=timeout)
        self._idle = None


def _drive(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that has nothing to wait for, without the cost of a task.

    Inside it there is no current task.
    """
    try:
        with outside_tasks():
            contextvars.copy_context().run(work.send, None)
    except StopIteration:
        return
    work.close()
    raise RuntimeError("A coroutine without an await waited; this can't happen")


def _begin_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin a coroutine as a task; its first step is made at once where Python can do that."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)
