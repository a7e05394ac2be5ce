"""Calling an activity's function: arguments, interceptors, and the executor it runs in."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from hotmesh.activity import ActivityDefinition, Info
from hotmesh.common import RawValue
from hotmesh.converter import DataConverter, apply_codec, body_to_payloads, decode_values
from hotmesh.engine import wire
from hotmesh.exceptions import ApplicationError
from hotmesh.printing import message_of
from hotmesh.worker._activity_latch import SharedLatch
from hotmesh.worker._activity_processes import SharedStateManager, run_in_process
from hotmesh.worker._activity_registry import RegisteredActivity
from hotmesh.worker._activity_running import RunningActivity, state_details
from hotmesh.worker._activity_threads import ThreadCancellation, run_in_thread
from hotmesh.worker._interceptor import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)


class ActivityCaller:
    """Calls the functions of a runner's activities.

    Args:
        executor: Runs those that are not ``async def``.
        shared_state_manager: Needed when the executor is not a pool of threads.
        interceptors: Wrapped around each call, the first outermost.
        worker_shutdown: Makes the event that tells other processes of the worker's shutdown.
    """

    def __init__(
        self,
        executor: Executor | None,
        shared_state_manager: SharedStateManager | None,
        interceptors: Sequence[Interceptor],
        worker_shutdown: Callable[[], SharedLatch],
    ) -> None:
        self._interceptors = tuple(interceptors)
        self._executor = executor
        self._shared_state_manager = shared_state_manager
        self._worker_shutdown = worker_shutdown

    async def call(self, running: RunningActivity, definition: ActivityDefinition) -> Any:
        """Call the function of an attempt, in the attempt's context.

        Raises:
            ApplicationError: The arguments can't be decoded.
            TypeError: The function does not take that many arguments.
            BaseException: Whatever the function raises.
        """
        body = running.task.body
        codec = running.converter.payload_codec
        if codec is not None:
            document, values = wire.split_document(body)
            body = wire.join_document(document, await apply_codec(codec, values, False))
            before = state_details(running.task.state)
            running.body_before = await apply_codec(codec, before, False) if before else b""
        assert running.registered is not None  # Else there is no definition to call.
        args = decode_arguments(running.converter, running.registered, running.task.name, body)
        if self._interceptors:
            return await self._intercepted(running, definition, args)
        if definition.is_async:
            return await definition.fn(*args)
        return await self.run_in_executor(running, definition.fn, args)

    async def _intercepted(
        self,
        running: RunningActivity,
        definition: ActivityDefinition,
        args: Sequence[Any],
    ) -> Any:
        document, _ = wire.split_document(running.task.body)
        headers = wire.unpack_headers(document.get("h") or {})
        inbound: ActivityInboundInterceptor = _InnermostInbound(self, running)
        for interceptor in reversed(self._interceptors):
            inbound = interceptor.intercept_activity(inbound)
        inbound.init(_InnermostOutbound(running))
        executor = None if definition.is_async else self._executor
        return await inbound.execute_activity(
            ExecuteActivityInput(fn=definition.fn, args=args, executor=executor, headers=headers)
        )

    async def run_in_executor(
        self,
        running: RunningActivity,
        fn: Callable[..., Any],
        args: Sequence[Any],
        executor: Executor | None = None,
    ) -> Any:
        """Run a plain function where it does not block the event loop."""
        executor = executor or self._executor
        assert executor is not None  # Checked when the activity was registered.
        if not isinstance(executor, ThreadPoolExecutor):
            return await self._run_in_process(running, executor, fn, args)
        registered = running.registered
        if registered is not None and not registered.definition.no_thread_cancel_exception:
            running.thread = ThreadCancellation()
            running.context.shield = running.thread.shielded
        context = contextvars.copy_context()
        running.future = executor.submit(context.run, run_in_thread, running.thread, fn, args)
        return await asyncio.wrap_future(running.future)

    async def _run_in_process(
        self,
        running: RunningActivity,
        executor: Executor,
        fn: Callable[..., Any],
        args: Sequence[Any],
    ) -> Any:
        manager, cancelled, info = self._shared_state_manager, running.cancelled, running.info()
        assert manager is not None  # Checked when the activity was registered.
        assert isinstance(cancelled, SharedLatch)
        sender = await manager.register_heartbeater(info.task_token, running.context.heartbeat)
        try:
            running.future = executor.submit(
                run_in_process,
                info,
                sender,
                cancelled.event,
                self._worker_shutdown().event,
                running.converter.payload_converter_class,
                fn,
                args,
            )
            return await asyncio.wrap_future(running.future)
        finally:
            await manager.unregister_heartbeater(info.task_token)


class _InnermostInbound(ActivityInboundInterceptor):
    """The end of the chain: calls the function."""

    def __init__(self, caller: ActivityCaller, running: RunningActivity) -> None:
        super().__init__(self)
        self._caller = caller
        self._running = running

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Let the activity's own calls go through the outbound chain."""
        self._running.context.info = outbound.info
        self._running.context.heartbeat = outbound.heartbeat

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        """Call the function, which an interceptor may have replaced."""
        fn: Any = input.fn
        if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(fn.__call__):
            return await fn(*input.args)
        return await self._caller.run_in_executor(self._running, fn, input.args, input.executor)


class _InnermostOutbound(ActivityOutboundInterceptor):
    """The end of the chain: answers from the attempt itself."""

    def __init__(self, running: RunningActivity) -> None:
        super().__init__(self)
        self._info = running.context.info
        self._heartbeat = running.context.heartbeat

    def info(self) -> Info:
        """The attempt's info."""
        return self._info()

    def heartbeat(self, *details: Any) -> None:
        """Take a heartbeat."""
        self._heartbeat(*details)


def decode_arguments(
    converter: DataConverter, registered: RegisteredActivity, name: str, body: bytes
) -> Sequence[Any]:
    """The arguments to call a function with.

    Args:
        converter: Reads them.
        registered: What is called.
        name: The activity type, as the task names it.
        body: The task's body, as a codec decoded it.

    Raises:
        ApplicationError: They can't be decoded.
        TypeError: The function does not take that many.
    """
    definition = registered.definition
    if body[:1] == wire.WITH_DOCUMENT:
        _, body = wire.split_document(body)
    try:
        if definition.name is None:
            return [[RawValue(payload) for payload in body_to_payloads(body)]]
        args = decode_values(converter, body, definition.arg_types, registered.arguments_text)
    except Exception as err:
        raise ApplicationError(
            f"Failed decoding arguments of activity {name!r}: {message_of(err)}",
            type=type(err).__name__,
        ) from err
    if definition.arguments_min <= len(args) <= registered.arguments_max:
        return args
    raise TypeError(
        f"Activity {name!r} is declared as {name}{definition.signature} "
        f"but was called with {len(args)} argument(s)"
    )
