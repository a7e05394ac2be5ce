"""One attempt while it runs: its deadlines, its context, and how it is asked to stop."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from hotmesh import json_bytes
from hotmesh.activity import ActivityCancellationDetails, ActivityContext, Info
from hotmesh.common import Priority, RetryPolicy
from hotmesh.converter import DataConverter, decode_values
from hotmesh.engine import stacks, wire
from hotmesh.engine.activity_task import ActivityTask, CancelReason, Outcome
from hotmesh.engine.options import retry_policy
from hotmesh.exceptions import ApplicationError, TimeoutType
from hotmesh.printing import message_of, stack_text, users
from hotmesh.worker._activity_latch import Latch, SharedLatch
from hotmesh.worker._activity_registry import RegisteredActivity
from hotmesh.worker._activity_threads import ThreadCancellation

Done: TypeAlias = Callable[[ActivityTask, Outcome], None]
"""Told the outcome of an attempt, once."""


class RunningActivity:
    """The state of one attempt. The runner moves it; only heartbeats come from other threads."""

    __slots__ = (
        "_info",
        "begun",
        "body_before",
        "broken",
        "cancellation",
        "cancelled",
        "context",
        "converter",
        "done",
        "ending",
        "future",
        "handle",
        "heard_ms",
        "heartbeat_body",
        "heartbeat_error",
        "heartbeat_flush_ms",
        "heartbeat_posted",
        "heartbeat_unsent",
        "interrupted",
        "registered",
        "settled",
        "task",
        "thread",
        "token",
    )

    context: ActivityContext

    def __init__(
        self,
        token: int,
        task: ActivityTask,
        done: Done,
        registered: RegisteredActivity | None,
        converter: DataConverter,
        cancelled: Latch | SharedLatch,
        now_ms: int,
    ) -> None:
        self.token = token
        self.task = task
        self.done = done
        self.registered = registered
        self.converter = converter
        self.cancelled = cancelled
        self.cancellation: ActivityCancellationDetails | None = None
        self.begun = False
        self.broken: BaseException | None = None
        """Why it can't be attempted at all."""
        self.ending = False
        """The function is over, its outcome is being written: nothing left to cancel."""
        self.interrupted = False
        self.settled = False
        """The outcome is decided; whatever comes later is ignored."""
        self.handle: asyncio.Task[None] | None = None
        self.future: Future[Any] | None = None
        """The call in another thread or process."""
        self.thread: ThreadCancellation | None = None
        self.body_before: bytes | None = None
        """Heartbeat details of earlier attempts, once a codec has decoded them."""
        self.heartbeat_body: bytes | None = None
        self.heartbeat_error: BaseException | None = None
        self.heartbeat_flush_ms = 0
        self.heartbeat_posted = False
        self.heartbeat_unsent = False
        self.heard_ms = now_ms
        """When the activity was last heard of; the heartbeat timeout counts from it."""
        self._info: Info | None = None

    def release(self) -> None:
        """Let go of what refers back, so that an ended attempt needs no garbage collection."""
        if self.settled:
            del self.context
            self.handle = None

    def where(self) -> str:
        """Where its function is, as a stack of the user's frames; empty if that can't be known."""
        frames: Iterable[traceback.FrameSummary] = ()
        if self.thread is not None:
            frame = self.thread.frame()
            if frame is not None:
                stack = traceback.StackSummary.extract(traceback.walk_stack(frame))
                frames = reversed(stack)
        elif self.handle is not None:
            frames = stacks.frames_of(self.handle)
        found = users(frames)
        return stack_text(found) if found else ""

    # -- Deadlines --

    def deadlines(self) -> list[tuple[int, TimeoutType]]:
        """When each of the attempt's timeouts ends it, soonest first."""
        return deadlines(self.task, self.heard_ms)

    def next_alarm_ms(self) -> int | None:
        """When the attempt next needs attention: a timeout, or a heartbeat that was held back."""
        times = [due_ms for due_ms, _ in self.deadlines()]
        if self.heartbeat_unsent:
            times.append(self.heartbeat_flush_ms)
        return min(times, default=None)

    # -- Cancellation --

    def cancel(self, reason: CancelReason) -> None:
        """Ask the activity to stop. The first reason stays."""
        if self.cancellation is None:
            self.cancellation = ActivityCancellationDetails(**{reason: True})
            self.context.cancellation_details = self.cancellation
        self.interrupt()

    def interrupt(self) -> None:
        """Raise the cancellation inside the activity, wherever it runs; once.

        Requests are repeated, with every beat for one: a second exception would break into what
        the activity does to clean up.
        """
        if self.interrupted:
            return
        self.cancelled.set()
        if self.ending or not self.begun:
            return  # A coroutine cancelled before its first step would never run: see `begun`.
        self.interrupted = True
        if self.future is not None:
            if not self.future.cancel() and self.thread is not None:
                self.thread.cancel()
        elif self.handle is not None:
            self.handle.cancel("Activity cancelled")

    # -- What the activity may know --

    def task_token(self) -> bytes:
        """What a client needs to complete the activity from elsewhere."""
        task = self.task
        return json_bytes.dumps([task.origin.namespace, task.run_id.hex(), task.seq, task.attempt])

    def details_before(self) -> list[Any]:
        """Heartbeat details of earlier attempts, decoded.

        Raises:
            ApplicationError: They can't be decoded.
        """
        if self.body_before is None:
            self.body_before = state_details(self.task.state)
        if not self.body_before:
            return []
        try:
            return decode_values(self.converter, self.body_before)
        except Exception as err:
            raise ApplicationError(
                f"Failed decoding heartbeat details of activity {self.task.name!r}: "
                f"{message_of(err)}",
                non_retryable=True,
            ) from err

    def info(self) -> Info:
        """The activity's info; made when first asked for."""
        if self._info is None:
            self._info = self._make_info()
        return self._info

    def log_fields(self) -> Mapping[str, Any]:
        """What log records say of the activity. Can't fail, as :meth:`info` can."""
        return self.task.log_fields()

    def _make_info(self) -> Info:
        task, options = self.task, self.task.options
        return Info(
            activity_id=options.get("id") or str(task.seq),
            activity_type=task.name,
            attempt=task.attempt,
            current_attempt_scheduled_time=_moment(task.started_ms),
            heartbeat_details=self.details_before(),
            heartbeat_timeout=_duration(options.get("hb")),
            is_local=bool(options.get("local")),
            namespace=task.origin.namespace,
            schedule_to_close_timeout=_duration(options.get("sc")),
            scheduled_time=_moment(task.scheduled_ms),
            start_to_close_timeout=_duration(options.get("st") or options.get("sc")),
            started_time=_moment(task.started_ms),
            task_queue=task.origin.task_queue,
            task_token=self.task_token(),
            workflow_id=task.origin.workflow_id,
            workflow_namespace=task.origin.namespace,
            workflow_run_id=wire.run_id_text(task.run_id),
            workflow_type=task.origin.workflow_type,
            priority=Priority.default,
            retry_policy=retry_policy(options.get("retry")) or RetryPolicy(),
        )


def deadlines(task: ActivityTask, heard_ms: int) -> list[tuple[int, TimeoutType]]:
    """When each timeout of an attempt ends it that was last heard of then, soonest first."""
    options = task.options
    found: list[tuple[int, TimeoutType]] = []
    if close_ms := options.get("st"):
        found.append((task.started_ms + close_ms, TimeoutType.START_TO_CLOSE))
    if total_ms := options.get("sc"):
        found.append((task.scheduled_ms + total_ms, TimeoutType.SCHEDULE_TO_CLOSE))
    if heartbeat_ms := options.get("hb"):
        found.append((heard_ms + heartbeat_ms, TimeoutType.HEARTBEAT))
    return sorted(found)


def state_details(state: bytes) -> bytes:
    """The body of heartbeat details in a task's state, b"" when there are none."""
    text = wire.load(state).get("d")
    return wire.unpack_bytes(text) if text else b""


def state_failure(state: bytes) -> bytes:
    """The last failure in a task's state, b"" when there is none."""
    text = wire.load(state).get("f")
    return wire.unpack_bytes(text) if text else b""


def pack_state(details: bytes, failure: bytes) -> bytes:
    """A task's state: what its next attempt finds. Both parts as a codec left them."""
    document = {
        name: wire.pack_bytes(part) for name, part in (("d", details), ("f", failure)) if part
    }
    return wire.dump(document)


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _duration(milliseconds: int | None) -> timedelta | None:
    return timedelta(milliseconds=milliseconds) if milliseconds else None
