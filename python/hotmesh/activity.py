"""What activity code may call: its info, heartbeats, cancellation, and the ``defn`` decorator.

This module owns the face that activity authors see and the context behind it. The worker makes
one context per attempt; nothing here runs an activity.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
from collections.abc import Callable, Generator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn, Protocol, TypeVar, cast, overload

from hotmesh.common import MetricAttributes, MetricMeter, Priority, RetryPolicy
from hotmesh.converter import PayloadConverter
from hotmesh.engine.definition import is_raw_sequence, type_hints_of

__all__ = [
    "ActivityCancellationDetails",
    "CallableType",
    "Info",
    "LoggerAdapter",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "metric_meter",
    "payload_converter",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]

CallableType = TypeVar("CallableType", bound=Callable[..., Any])
"""A function, method or object that can be called."""

_DEFINITION_ATTRIBUTE = "__hotmesh_activity__"


# -- Declaring activities --


@overload
def defn(fn: CallableType) -> CallableType: ...


@overload
def defn(
    *, name: str | None = None, no_thread_cancel_exception: bool = False
) -> Callable[[CallableType], CallableType]: ...


@overload
def defn(
    *, no_thread_cancel_exception: bool = False, dynamic: bool = False
) -> Callable[[CallableType], CallableType]: ...


def defn(
    fn: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    no_thread_cancel_exception: bool = False,
    dynamic: bool = False,
) -> Any:
    """Declare an activity: an ``async def`` or plain function, or a class with ``__call__``.

    Args:
        fn: The function, when used without parentheses.
        name: Activity type. Default is the function's ``__name__``.
        no_thread_cancel_exception: True to not raise in the thread of a plain function when it
            is cancelled; it must then ask :func:`is_cancelled` itself.
        dynamic: True to run whatever type has no activity of its own. The function then takes
            one ``Sequence[RawValue]``.

    Raises:
        TypeError: It has keyword-only arguments, or is dynamic and takes something else.
        ValueError: It is declared already, or both dynamic and named.
    """
    if dynamic and name is not None:
        raise ValueError("A dynamic activity cannot have a name")

    def declare(target: Callable[..., Any]) -> Callable[..., Any]:
        if _DEFINITION_ATTRIBUTE in getattr(target, "__dict__", {}):
            raise ValueError("Function already contains activity definition")
        chosen = None if dynamic else name or target.__name__
        definition = ActivityDefinition.read(target, chosen, no_thread_cancel_exception)
        setattr(target, _DEFINITION_ATTRIBUTE, definition)
        return target

    return declare if fn is None else declare(fn)


@dataclass(frozen=True, slots=True)
class ActivityDefinition:
    """What is known of an activity function."""

    name: str | None
    """Activity type; None for the dynamic activity."""
    fn: Callable[..., Any]
    is_async: bool
    no_thread_cancel_exception: bool
    arg_types: list[Any] | None
    """Types of its parameters, None when it declares none."""
    ret_type: Any | None
    arguments_min: int
    arguments_max: int | None
    """None when it takes any number of arguments."""

    @staticmethod
    def is_declared(fn: Callable[..., Any]) -> bool:
        """Whether the callable was declared with :func:`defn`."""
        return isinstance(getattr(fn, _DEFINITION_ATTRIBUTE, None), ActivityDefinition)

    @staticmethod
    def of(fn: Callable[..., Any]) -> ActivityDefinition:
        """The definition of a decorated callable, or of a plain function as it stands.

        Raises:
            TypeError: It cannot be an activity: not callable, nameless, or keyword-only arguments.
        """
        found = getattr(fn, _DEFINITION_ATTRIBUTE, None)
        if not isinstance(found, ActivityDefinition):
            return _plain_definition(fn)
        if found.fn is fn:
            return found
        return _with_function(found, fn)  # A method bound to its object, or an instance.

    @staticmethod
    def read(
        fn: Callable[..., Any], name: str | None, no_thread_cancel_exception: bool = False
    ) -> ActivityDefinition:
        """Make the definition of a callable from its signature.

        Args:
            fn: The callable; a function in a class body is taken as a method.
            name: Activity type, None for dynamic.
            no_thread_cancel_exception: As for :func:`defn`.

        Raises:
            TypeError: It has keyword-only arguments, or is dynamic and takes something else.
        """
        if not callable(fn):
            raise TypeError(f"Activity {name or fn!r} is not callable")
        called = _called(fn)
        parameters = list(inspect.signature(called).parameters.values())
        is_method = bool(parameters) and parameters[0].name == "self"
        parameters = parameters[1:] if is_method else parameters
        if any(each.kind is each.KEYWORD_ONLY for each in parameters):
            raise TypeError(f"Activity {name or fn!r} cannot have keyword-only arguments")
        arg_types, ret_type = type_hints_of(called, skip_self=is_method)
        takes_raw = arg_types is not None and len(arg_types) == 1 and is_raw_sequence(arg_types[0])
        if name is None and not takes_raw:
            raise TypeError("Dynamic activity must accept a single Sequence[RawValue]")
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        positional = [each for each in parameters if each.kind in by_position]
        takes_any = any(each.kind is each.VAR_POSITIONAL for each in parameters)
        return ActivityDefinition(
            name=name,
            fn=fn,
            is_async=inspect.iscoroutinefunction(called),
            no_thread_cancel_exception=no_thread_cancel_exception,
            arg_types=arg_types,
            ret_type=ret_type,
            arguments_min=sum(each.default is each.empty for each in positional),
            arguments_max=None if takes_any else len(positional),
        )

    @property
    def signature(self) -> str:
        """The parameters as source text, for messages."""
        return str(inspect.signature(self.fn))


def _called(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The function that runs when a callable is called."""
    if inspect.isfunction(fn) or inspect.ismethod(fn) or isinstance(fn, functools.partial):
        return cast("Callable[..., Any]", fn)
    return fn.__call__  # A class's own function, or an instance's bound method.


def _with_function(definition: ActivityDefinition, fn: Callable[..., Any]) -> ActivityDefinition:
    return ActivityDefinition(
        definition.name,
        fn,
        definition.is_async,
        definition.no_thread_cancel_exception,
        definition.arg_types,
        definition.ret_type,
        definition.arguments_min,
        definition.arguments_max,
    )


@functools.lru_cache(maxsize=1024)
def _plain_definition(fn: Callable[..., Any]) -> ActivityDefinition:
    name = getattr(fn, "__name__", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise TypeError(f"Activity {fn!r} has no name: decorate it with @activity.defn(name=...)")
    return ActivityDefinition.read(fn, name)


# -- The context of a running attempt --


@dataclass(frozen=True)
class Info:
    """What an activity may know of itself. Made by the worker; get it with :func:`info`."""

    activity_id: str
    activity_type: str
    attempt: int
    """1 for the first attempt."""
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    """Values of the last heartbeat of earlier attempts, else empty."""
    heartbeat_timeout: timedelta | None
    is_local: bool
    namespace: str
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    """What a client needs to complete the activity from elsewhere."""
    workflow_id: str | None
    workflow_namespace: str | None
    workflow_run_id: str | None
    workflow_type: str | None
    priority: Priority
    retry_policy: RetryPolicy | None
    activity_run_id: str | None = None
    """None for activities of workflows."""

    @property
    def in_workflow(self) -> bool:
        """Whether a workflow started this activity."""
        return self.workflow_id is not None


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why an activity was cancelled. Set once."""

    not_found: bool = False
    """The workflow or the attempt is gone."""
    cancel_requested: bool = False
    """The workflow asked."""
    paused: bool = False
    reset: bool = False
    timed_out: bool = False
    worker_shutdown: bool = False


class ActivitySignal(Protocol):
    """Something that happens once, that coroutines and threads can wait for."""

    def is_set(self) -> bool:
        """Whether it has happened."""
        ...

    async def wait(self) -> None:
        """Wait in a coroutine."""
        ...

    def wait_sync(self, timeout: float | None = None) -> None:
        """Wait in a thread, at most ``timeout`` seconds."""
        ...


@dataclass(slots=True)
class ActivityContext:
    """What the functions of this module work on. Workers and test environments make it."""

    info: Callable[[], Info]
    heartbeat: Callable[..., None]
    cancelled: ActivitySignal
    worker_shutdown: ActivitySignal
    payload_converter: PayloadConverter
    metric_meter: Callable[[MetricAttributes], MetricMeter] | None
    """Makes a meter; None where metrics cannot be recorded: in another process."""
    client: Any = None
    """None in activities that are not ``async def``."""
    shield: Callable[[], AbstractContextManager[None]] | None = None
    """Holds back the exception that cancels a thread."""
    cancellation_details: ActivityCancellationDetails | None = None
    log_fields: Callable[[], Mapping[str, Any]] | None = None
    """What log records say of the activity; None takes it from the info."""


current_context: contextvars.ContextVar[ActivityContext | Callable[[], ActivityContext]] = (
    contextvars.ContextVar("activity")
)
"""The running activity's context, or what makes it when it is first asked for."""


class CompleteAsyncError(BaseException):
    """Raised by :func:`raise_complete_async`: somebody else will complete the activity."""


def _context_if_any() -> ActivityContext | None:
    context = current_context.get(None)
    return context if context is None or isinstance(context, ActivityContext) else context()


def _context() -> ActivityContext:
    context = _context_if_any()
    if context is None:
        raise RuntimeError("Not in activity context")
    return context


def in_activity() -> bool:
    """Whether the current code runs inside an activity."""
    return current_context.get(None) is not None


def info() -> Info:
    """What the running activity may know of itself.

    Raises:
        RuntimeError: Not in an activity.
    """
    return _context().info()


def client() -> Any:
    """The client of the worker, to call workflows from an activity.

    Returns:
        A :class:`hotmesh.client.Client`.

    Raises:
        RuntimeError: Not in an activity, or in one that is not ``async def``.
    """
    found = _context().client
    if found is None:
        raise RuntimeError(
            "No client available. The client is only available in `async def` activities; not in "
            "`def` activities. In tests you can pass a client when creating ActivityEnvironment."
        )
    return found


def heartbeat(*details: Any) -> None:
    """Say that the activity is alive, and how far it got.

    May be called often and from any thread of the activity: only the last details are sent, at
    most once per throttle interval. The next attempt finds them in ``info().heartbeat_details``.

    Args:
        details: Values to remember; anything the data converter takes. Values it can't take
            cancel the activity, which then fails with the conversion error.

    Raises:
        RuntimeError: Not in an activity.
    """
    _context().heartbeat(*details)


def cancellation_details() -> ActivityCancellationDetails | None:
    """Why the activity was cancelled, None as long as it was not. Does not change once set.

    Raises:
        RuntimeError: Not in an activity.
    """
    return _context().cancellation_details


def is_cancelled() -> bool:
    """Whether the activity was asked to stop.

    Raises:
        RuntimeError: Not in an activity.
    """
    return _context().cancelled.is_set()


async def wait_for_cancelled() -> None:
    """Wait until the activity is asked to stop.

    Raises:
        RuntimeError: Not in an activity.
    """
    await _context().cancelled.wait()


def wait_for_cancelled_sync(timeout: timedelta | float | None = None) -> None:
    """Block the thread until the activity is asked to stop.

    Args:
        timeout: Longest wait, a timedelta or seconds. Ask :func:`is_cancelled` after it.

    Raises:
        RuntimeError: Not in an activity.
    """
    _context().cancelled.wait_sync(_seconds(timeout))


def is_worker_shutdown() -> bool:
    """Whether the worker began to shut down.

    Raises:
        RuntimeError: Not in an activity.
    """
    return _context().worker_shutdown.is_set()


async def wait_for_worker_shutdown() -> None:
    """Wait until the worker begins to shut down.

    Raises:
        RuntimeError: Not in an activity.
    """
    await _context().worker_shutdown.wait()


def wait_for_worker_shutdown_sync(timeout: timedelta | float | None = None) -> None:
    """Block the thread until the worker begins to shut down.

    Args:
        timeout: Longest wait, a timedelta or seconds. Ask :func:`is_worker_shutdown` after it.

    Raises:
        RuntimeError: Not in an activity.
    """
    _context().worker_shutdown.wait_sync(_seconds(timeout))


@contextmanager
def shield_thread_cancel_exception() -> Generator[None]:
    """Hold back the exception that cancels a thread until the end of the ``with`` block.

    May be nested. Does nothing in ``async def`` activities and in other processes.

    Raises:
        hotmesh.exceptions.CancelledError: At the end of the outermost block, if the activity was
            cancelled meanwhile; whatever the block itself returned or raised.
        RuntimeError: Not in an activity.
    """
    shield = _context().shield
    if shield is None:
        yield
    else:
        with shield():
            yield


def raise_complete_async() -> NoReturn:
    """Leave the activity running in name: a client completes it later by its task token.

    Raises:
        CompleteAsyncError: Always; let it pass.
    """
    raise CompleteAsyncError


def payload_converter() -> PayloadConverter:
    """The converter of the worker, e.g. for the raw values of a dynamic activity.

    Raises:
        RuntimeError: Not in an activity.
    """
    return _context().payload_converter


def metric_meter() -> MetricMeter:
    """A meter that marks measurements with namespace, task queue and activity type.

    They go to the OpenTelemetry meter provider that the program has set; without one they are
    dropped.

    Raises:
        RuntimeError: Not in an activity, or in one that runs in another process.
    """
    context = _context()
    if context.metric_meter is None:
        raise RuntimeError(
            "Metrics meter not available in non-threaded sync activities like multiprocess"
        )
    about = context.info()
    return context.metric_meter(
        {
            "namespace": about.namespace,
            "task_queue": about.task_queue,
            "activity_type": about.activity_type,
        }
    )


def _seconds(timeout: timedelta | float | None) -> float | None:
    return timeout.total_seconds() if isinstance(timeout, timedelta) else timeout


# -- Logging --


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Adds what is known of the running activity to each log record.

    Attributes:
        activity_info_on_message: Append the fields to the message. Default is True.
        activity_info_on_extra: Put the fields on the record: each under its own name
            (``workflow_id``, ``run_id``, ``activity_type``, ``attempt``, ``task_queue``, …) and all
            together as ``temporal_activity``. Default is True.
        full_activity_info_on_extra: Put the :class:`Info` on the record as ``activity_info``.
            Default is False.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        """Wrap a logger."""
        super().__init__(logger, extra or {})
        self.activity_info_on_message = True
        self.activity_info_on_extra = True
        self.full_activity_info_on_extra = False

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the fields; called for each record that is logged."""
        context = _context_if_any()
        if context is None:
            return msg, kwargs
        fields = context.log_fields() if context.log_fields else _log_fields(context.info())
        if self.activity_info_on_message:
            msg = f"{msg} ({fields})"
        extra = dict(kwargs.get("extra") or {})
        if self.activity_info_on_extra:
            extra = {**fields, **extra, "temporal_activity": fields}
        if self.full_activity_info_on_extra:
            extra["activity_info"] = context.info()
        kwargs["extra"] = extra
        return msg, kwargs

    @property
    def base_logger(self) -> logging.Logger:
        """The wrapped logger, to add handlers and formatters to."""
        return self.logger


def _log_fields(about: Info) -> Mapping[str, Any]:
    return {
        "activity_id": about.activity_id,
        "activity_type": about.activity_type,
        "attempt": about.attempt,
        "namespace": about.namespace,
        "task_queue": about.task_queue,
        "workflow_id": about.workflow_id,
        "run_id": about.workflow_run_id,
        "workflow_type": about.workflow_type,
    }


logger = LoggerAdapter(logging.getLogger(__name__), None)
"""Logger whose records say which activity they come from."""
