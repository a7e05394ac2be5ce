"""The worker: what a process runs, and for how long."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, TypedDict

from hotmesh.client import Client
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions
from hotmesh.engine.options import checked_name, milliseconds
from hotmesh.events import bus_for
from hotmesh.forks import Guard
from hotmesh.limits import LEASE_MS_DEFAULT
from hotmesh.printing import printable
from hotmesh.router.router import WorkerRouter
from hotmesh.router.router_options import RouterOptions
from hotmesh.worker import _collector
from hotmesh.worker._activity_processes import SharedStateManager
from hotmesh.worker._activity_runner import ActivityRunner
from hotmesh.worker._checks import (
    check_declared,
    checked_count,
    deadlock_seconds,
    lease_milliseconds,
    warn_of_few_threads,
)
from hotmesh.worker._interceptor import Interceptor
from hotmesh.worker._other_options import check_other_options
from hotmesh.worker._workflow_interception import intercepted_instances

logger = logging.getLogger(__name__)

DEADLOCK_SECONDS_DEFAULT = 2.0


class WorkerConfig(TypedDict, total=False):
    """The arguments a worker was made with."""

    client: Client
    task_queue: str
    activities: Sequence[Callable[..., Any]]
    workflows: Sequence[Any]
    activity_executor: Executor | None
    interceptors: Sequence[Interceptor]
    build_id: str | None
    identity: str | None
    max_cached_workflows: int
    max_concurrent_activities: int | None
    max_heartbeat_throttle_interval: timedelta
    default_heartbeat_throttle_interval: timedelta
    graceful_shutdown_timeout: timedelta
    workflow_failure_exception_types: Sequence[type[BaseException]]
    shared_state_manager: SharedStateManager | None
    debug_mode: bool
    disable_eager_activity_execution: bool
    no_remote_activities: bool
    max_concurrent_workflow_tasks: int | None
    strict_replay: bool
    on_fatal_error: Callable[[BaseException], Awaitable[None]] | None
    lease: timedelta | float
    deadlock_timeout: timedelta | float | None
    events_url: str | None


class Worker:
    """Runs the workflows and activities of a task queue until it is shut down.

    Workers of a task queue may host different workflows and activities: each takes what it hosts.
    Arguments
    of Temporal's worker that have no meaning without a server are accepted and ignored, with a
    debug log line; those that would mean something but are not supported are refused.

    Args:
        client: The connection and namespace.
        task_queue: The task queue.
        activities: Activities, declared with ``activity.defn``.
        workflows: Workflow classes; also plain coroutine functions and definitions.
        activity_executor: Runs activities that are not ``async def``.
        interceptors: Wrapped around activities and workflows, the first one outermost.
        build_id: Of the code, shown in the rollcall; a hash of the program's path by default.
        identity: Of this worker; the client's by default.
        max_cached_workflows: Runs kept in memory, give or take a sixteenth (of those with
            activities going on in this process, as many again); 0 replays for every workflow task.
        max_concurrent_activities: Activities running at a time; 100 by default.
        max_concurrent_workflow_tasks: At least 1. Any such limit is kept: a worker runs the code of
            one workflow at a time.
        max_heartbeat_throttle_interval: Longest interval between two sent heartbeats.
        default_heartbeat_throttle_interval: The interval of activities without heartbeat timeout.
        graceful_shutdown_timeout: How long activities may go on after :meth:`shutdown`.
        workflow_failure_exception_types: Exceptions that fail a run; others fail only its task.
        shared_state_manager: Needed with a process pool as executor.
        debug_mode: Switches the deadlock detector off, and runs workflow code on the thread of the
            event loop in place of one of its own, for debuggers.
        disable_eager_activity_execution: Send every activity through the task queue.
        no_remote_activities: Don't take activities from the task queue.
        on_fatal_error: Awaited with the error that ends the worker.
        lease: How long this process may be silent before others take over its work (timedelta or
            seconds, at least 1; 10 by default).
        deadlock_timeout: How long workflow code may run without yielding (timedelta or seconds; 2
            by default; None switches the detector off).
        strict_replay: Whether a replay that calls something with other arguments than its journal
            has fails the workflow task; by default that is one warning for a run, and the name
            ``hotmesh.arguments_changed`` in its record.
        events_url: Where ``workflow.emit`` publishes, such as ``nats://host``; by default the
            environment variable HOTMESH_EVENTS_URL, else the backend itself.

    Raises:
        ValueError: nothing to run, a type given twice, or an activity without its executor.
        TypeError: an activity was not declared with ``activity.defn``, or an unknown argument.
        InvalidArgumentError: the task queue's name or the lease is not acceptable.
        UnsupportedOptionError: an option was given that this version can't honour.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        activities: Sequence[Callable[..., Any]] = (),
        workflows: Sequence[Any] = (),
        activity_executor: Executor | None = None,
        interceptors: Sequence[Interceptor] = (),
        build_id: str | None = None,
        identity: str | None = None,
        max_cached_workflows: int = 1000,
        max_concurrent_activities: int | None = None,
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=60),
        default_heartbeat_throttle_interval: timedelta = timedelta(seconds=30),
        graceful_shutdown_timeout: timedelta = timedelta(),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        shared_state_manager: SharedStateManager | None = None,
        debug_mode: bool = False,
        disable_eager_activity_execution: bool = False,
        no_remote_activities: bool = False,
        on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
        lease: timedelta | float = LEASE_MS_DEFAULT / 1000,
        deadlock_timeout: timedelta | float | None = DEADLOCK_SECONDS_DEFAULT,
        events_url: str | None = None,
        max_concurrent_workflow_tasks: int | None = None,
        strict_replay: bool = False,
        **others: Any,
    ) -> None:
        given = locals()
        self._config = WorkerConfig(
            **{name: given[name] for name in _PARAMETERS},  # type: ignore[typeddict-item]
            **others,
        )
        if not activities and not workflows:
            raise ValueError("At least one activity or workflow must be specified")
        check_other_options(others, client.plugins)
        checked_name(task_queue, "task queue")
        lease_ms = lease_milliseconds(lease)
        seconds = deadlock_seconds(deadlock_timeout)
        checked_count(max_cached_workflows, 0, "max_cached_workflows")
        if max_concurrent_activities is not None:
            checked_count(max_concurrent_activities, 1, "max_concurrent_activities")
            warn_of_few_threads(activity_executor, max_concurrent_activities)
        if max_concurrent_workflow_tasks is not None:
            checked_count(max_concurrent_workflow_tasks, 1, "max_concurrent_workflow_tasks")
        milliseconds(graceful_shutdown_timeout, "graceful_shutdown_timeout")
        self._client = client
        self._task_queue = task_queue
        self._on_fatal_error = on_fatal_error
        identity = identity or client.identity
        build_id = build_id or _default_build_id()
        inherited = [each for each in client.interceptors if isinstance(each, Interceptor)]
        for activity in activities:
            check_declared(activity)
        self._runner: ActivityRunner | None = None
        if activities:
            self._runner = ActivityRunner(
                activities,
                namespace=client.namespace,
                task_queue=task_queue,
                data_converter=client.data_converter,
                on_heartbeat=self._on_heartbeat,
                now_ms=lambda: self._router.clock.now_ms(),
                identity=identity,
                activity_executor=activity_executor,
                shared_state_manager=shared_state_manager,
                max_concurrent_activities=100
                if max_concurrent_activities is None
                else max_concurrent_activities,
                interceptors=[*inherited, *interceptors],
                client=client,
                payload_limit=client.payloads.limit,
                graceful_shutdown_timeout=graceful_shutdown_timeout,
                max_heartbeat_throttle_interval=max_heartbeat_throttle_interval,
                default_heartbeat_throttle_interval=default_heartbeat_throttle_interval,
                on_fatal=self._on_fatal,
            )
        self._bus = bus_for(events_url, client.backend, client.namespace)
        self._router = WorkerRouter(
            client.backend,
            RouterOptions(
                open=client.connection.ready,
                namespace=client.namespace,
                task_queue=task_queue,
                engine=EngineOptions(
                    converter=client.data_converter,
                    failure_types=tuple(workflow_failure_exception_types),
                    identity=identity,
                    build_id=build_id,
                    payload_limit=client.payloads.limit,
                    strict_replay=strict_replay,
                    hosts_activity=self._hosts_activity,
                    activity_types=self._activity_types,
                    make_instance=intercepted_instances([*inherited, *interceptors]),
                ),
                definitions=_definitions(workflows),
                runner=self._runner,
                bus=self._bus,
                lease_ms=lease_ms,
                max_cached=max_cached_workflows,
                deadlock_seconds=0.0 if debug_mode else seconds,
                inline=debug_mode,
                eager=not disable_eager_activity_execution,
                identity=identity,
                build_id=build_id,
                activity_types=self._runner.shown_types if self._runner is not None else (),
                claims_tasks=not no_remote_activities,
            ),
        )
        self._running = False
        self._guard = Guard("worker")
        self._shutting_down = False
        self._ended = asyncio.Event()
        self._runs_in: asyncio.Task[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._joined: asyncio.Future[None] | None = None
        self._fatal: asyncio.Future[None] | None = None
        self._body: asyncio.Task[Any] | None = None
        """What runs the body of ``async with``."""
        self._body_cancelling = 0
        self._body_ended = False

    def config(self) -> WorkerConfig:
        """The arguments, to make a similar worker of."""
        return self._config.copy()

    @property
    def task_queue(self) -> str:
        """The task queue."""
        return self._task_queue

    @property
    def client(self) -> Client:
        """The client. One that is set is what activities and the configuration get from now on;
        the worker's own work goes on over the connection that it has."""
        return self._client

    @client.setter
    def client(self, client: Client) -> None:
        if (client.backend.url, client.namespace) != (
            self._client.backend.url,
            self._client.namespace,
        ):
            raise ValueError(
                f"The new client of task queue {self._task_queue!r}'s worker must be of the same "
                "database and namespace"
            )
        self._client = self._config["client"] = client
        if self._runner is not None:
            self._runner.client = client

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended."""
        return self._running

    @property
    def is_shutdown(self) -> bool:
        """Whether it has been shut down and has ended."""
        return self._shutting_down and not self._running

    def add_workflow(self, workflow: Any) -> None:
        """Host one more workflow type; a type of the same name is replaced.

        Args:
            workflow: As in the constructor's ``workflows``.
        """
        definition = _definition(workflow)
        self._router.add_definition(definition)

    def add_activity(self, activity: Callable[..., Any], *, replace: bool = False) -> None:
        """Host one more activity.

        Args:
            activity: As in the constructor's ``activities``.
            replace: Whether it takes the place of a hosted one of its name; attempts under way go
                on with the former.

        Raises:
            ValueError: the worker was made without activities, hosts one of that name that is not
                to be replaced, or the activity needs an executor.
        """
        if self._runner is None:
            raise ValueError(
                "This worker was made without activities and can't host one; "
                "pass at least one to Worker(activities=…)"
            )
        check_declared(activity)
        self._runner.add(activity, replace=replace)
        self._router.show_activities(self._runner.shown_types)

    async def run(self) -> None:
        """Work until :meth:`shutdown` is called or the calling task is cancelled.

        A database that can't be reached is waited for, also at the beginning: the log says so.

        Raises:
            BackendAccessError: the database turns this worker away when it begins.
            RuntimeError: it is running, or was shut down before.
            RuntimeError: the executor of its activities is broken.
            HotMeshError: it can't go on; ``on_fatal_error`` has been awaited.
        """
        self._guard.check()
        if self._running:
            raise RuntimeError("Already started")
        if self._shutting_down:
            raise RuntimeError("Worker was shut down; make a new one")
        self._running = True
        self._ended.clear()
        self._runs_in = asyncio.current_task()
        loop = asyncio.get_running_loop()
        self._fatal = loop.create_future()
        router = asyncio.create_task(self._router.run(self._on_joined), name="hotmesh-router")
        _collector.relax()
        try:
            await asyncio.wait({router, self._fatal}, return_when=asyncio.FIRST_COMPLETED)
            if self._fatal.done():
                self._router.stop()
                await router
                self._fatal.result()
            await router
        except asyncio.CancelledError:
            self._router.stop()
            await router
            raise
        except BaseException as error:
            logger.critical("worker failed, shutting down", exc_info=printable(error))
            if self._on_fatal_error is not None:
                await self._on_fatal_error(error)
            raise
        finally:
            _collector.restore()
            self._running = False
            self._ended.set()
            await self._bus.close()
            if not self._fatal.done():
                self._fatal.cancel()

    async def shutdown(self) -> None:
        """Stop taking work, give activities their graceful timeout, hand everything over, end.

        Besides that timeout it takes ``hotmesh.limits.SHUTDOWN_S`` at most, whatever the database
        and the event bus do: what could not be handed over goes to others once the lease is over.
        """
        if self._running:
            self._guard.check()
        self._shutting_down = True
        self._router.stop()
        if asyncio.current_task() is self._runs_in:
            return  # called by `on_fatal_error`, which the end waits for
        if self._running:
            await self._ended.wait()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def __aenter__(self) -> Worker:
        """Start; returns once the worker has joined the others of its task queue.

        A database that can't be reached is waited for. Should the worker fail later, the body is
        cancelled and ``async with`` raises the worker's error.

        Raises:
            HotMeshError: as :meth:`run`.
        """
        if self._task is not None:
            raise RuntimeError("Already started")
        self._joined = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self.run(), name="hotmesh-worker")
        try:
            await asyncio.wait({self._task, self._joined}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.shutdown()  # nobody else will: there is no body, so no end of it
            raise
        if self._task.done():
            self._task.result()
        self._body = asyncio.current_task()
        self._body_cancelling = self._body.cancelling() if self._body is not None else 0
        self._task.add_done_callback(self._end_body)
        return self

    def _end_body(self, task: asyncio.Task[None]) -> None:
        if self._body is None or task.cancelled() or task.exception() is None:
            return
        self._body_ended = True
        self._body.cancel("the worker has failed")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        task, body, self._body = self._task, self._body, None
        asked = not self._body_ended
        if body is not None and self._body_ended:
            # Somebody else may have cancelled it as well: then it stays cancelled.
            asked = body.uncancel() > self._body_cancelling
        await self.shutdown()
        if task is None or not task.done() or task.cancelled():
            return
        failure = task.exception()
        ended_by_us = kind is None or (issubclass(kind, asyncio.CancelledError) and not asked)
        if failure is not None and ended_by_us:
            raise failure from error

    # Callbacks

    def _on_joined(self) -> None:
        if self._joined is not None and not self._joined.done():
            self._joined.set_result(None)

    def _hosts_activity(self, name: str) -> bool:
        return self._runner is not None and self._runner.hosts(name)

    def _activity_types(self) -> Sequence[str]:
        return self._runner.names if self._runner is not None else ()

    def _on_heartbeat(self, task: ActivityTask, state: bytes) -> None:
        self._router.heartbeat(task, state)

    def _on_fatal(self, error: BaseException) -> None:
        if self._fatal is not None and not self._fatal.done():
            failed = RuntimeError("Activity worker failed")
            failed.__cause__ = error
            self._fatal.set_exception(failed)


def _definitions(workflows: Sequence[Any]) -> dict[str | None, WorkflowDefinition]:
    found: dict[str | None, WorkflowDefinition] = {}
    for workflow in workflows:
        definition = _definition(workflow)
        if definition.name in found:
            shown = definition.name or "<dynamic>"
            raise ValueError(f"More than one workflow named {shown}")
        found[definition.name] = definition
    return found


def _definition(workflow: Any) -> WorkflowDefinition:
    if isinstance(workflow, WorkflowDefinition):
        return workflow
    definition = WorkflowDefinition.of(workflow)
    if definition is not None:
        return definition
    if isinstance(workflow, type):
        raise ValueError(
            f"Workflow {workflow.__qualname__} missing attributes, was it decorated with "
            "@workflow.defn?"
        )
    return WorkflowDefinition.from_function(workflow)


def _default_build_id() -> str:
    program = " ".join((sys.argv[0] if sys.argv else "", sys.version))
    return hashlib.sha256(program.encode()).hexdigest()[:12]


_PARAMETERS = tuple(
    name
    for name, each in inspect.signature(Worker).parameters.items()
    if each.kind is not inspect.Parameter.VAR_KEYWORD
)
