"""Awaitables that stand for work outside the run: activities, children, other workflows.

Each is a future on the run's loop whose ``cancel`` turns into a recorded request. A task that
awaits one and is cancelled cancels it through asyncio's own rules, so scopes are plain asyncio.
Like everything on that loop they are hashed by number (see ``numbered``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hotmesh.common import ARG_UNSET
from hotmesh.core import kinds
from hotmesh.engine import failures
from hotmesh.engine.info import ActivityCancellationType, ChildWorkflowCancellationType

if TYPE_CHECKING:
    from hotmesh.engine.activity_options import ActivityOptions
    from hotmesh.engine.outbound import Outbound

_FutureCancel = asyncio.Future[Any].cancel


class ActivityHandle(asyncio.Future[Any]):
    """A scheduled activity; await it for its result."""

    __slots__ = ("activity", "cancel_sent", "given_id", "instance", "seq")

    # Set by `Outbound.schedule`, which makes the handle: an initializer would take as long as all
    # of the rest.
    instance: Outbound
    seq: int
    activity: ActivityOptions
    given_id: str | None
    cancel_sent: bool

    def __hash__(self) -> int:
        return self.seq

    @property
    def activity_type(self) -> str:
        """The activity's type."""
        return self.activity.name

    @property
    def activity_id(self) -> str:
        """Its id within the run."""
        return self.given_id or str(self.seq)

    def cancel(self, msg: Any | None = None) -> bool:
        """Request cancellation, as the handle's cancellation type says.

        An activity that was not sent yet is never scheduled.
        """
        if self.done():
            return False
        if self.cancel_sent:
            return True  # first of all: the request must not be taken back for the activity
        instance = self.instance
        if instance.take_back(self.seq):
            instance.pending.pop(self.seq, None)
            return _FutureCancel(self, msg)
        self.cancel_sent = True
        kind = self.activity.cancellation_type
        if kind != ActivityCancellationType.ABANDON:
            instance.command((kinds.CANCEL_ACTIVITY, self.seq, kind, "", b"", b""))
        if kind != ActivityCancellationType.WAIT_CANCELLATION_COMPLETED:
            instance.pending.pop(self.seq, None)
            self.set_exception(failures.activity_cancelled(self))
        return True


class ChildWorkflowHandle(asyncio.Future[Any]):
    """A started child workflow; await it for its result."""

    def __init__(
        self,
        instance: Outbound,
        seq: int,
        workflow_id: str,
        workflow_type: str,
        result_type: Any,
        cancellation_type: ChildWorkflowCancellationType,
    ) -> None:
        super().__init__(loop=instance.loop)
        self._instance = instance
        self.seq = seq
        self._id = workflow_id
        self.namespace = instance.details.namespace
        self.workflow_type = workflow_type
        self.result_type = result_type
        self.cancellation_type = cancellation_type
        self.run_id: str | None = None
        self.started: asyncio.Future[None] = instance.loop.create_future()
        self.cancel_sent = False

    def __hash__(self) -> int:
        return self.seq

    @property
    def id(self) -> str:
        """The child's workflow id."""
        return self._id

    @property
    def first_execution_run_id(self) -> str | None:
        """The child's first run id, once it has started."""
        return self.run_id

    async def signal(self, signal: Any, arg: Any = ARG_UNSET, *, args: Any = ()) -> None:
        """Send the child a signal.

        Args:
            signal: A signal method or its name.
            arg: The single argument.
            args: Several arguments; not together with ``arg``.

        Raises:
            ApplicationError: there is no such open child any more.
        """
        await self._instance.signal_external(
            self._instance.details.namespace, self._id, self.run_id, signal, arg, args, child=True
        )

    def cancel_quietly(self) -> None:
        """End the result's wait: the child never started, its start says why."""
        _FutureCancel(self)

    def cancel(self, msg: Any | None = None) -> bool:
        """Request the child's cancellation, as the handle's cancellation type says."""
        if self.done():
            return False
        if self.cancel_sent:
            return True  # first of all: the request must not be taken back for the child
        instance = self._instance
        if instance.take_back(self.seq):
            instance.pending.pop(self.seq, None)
            if not self.started.done():
                self.started.cancel()
            return _FutureCancel(self, msg)
        self.cancel_sent = True
        kind = self.cancellation_type
        if kind != ChildWorkflowCancellationType.ABANDON:
            instance.command((kinds.CANCEL_CHILD, self.seq, int(kind), self._id, b"", b""))
        if kind != ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED:
            instance.pending.pop(self.seq, None)
            error = failures.child_cancelled(self)
            if not self.started.done():
                self.started.set_exception(error)
            self.set_exception(error)
        return True


class ExternalWorkflowHandle:
    """Another workflow, to signal or to cancel."""

    def __init__(self, instance: Outbound, workflow_id: str, run_id: str | None) -> None:
        self._instance = instance
        self._id = workflow_id
        self._run_id = run_id
        self._number = instance.loop.next_number()

    def __hash__(self) -> int:
        return self._number

    @property
    def id(self) -> str:
        """The workflow's id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run meant, or None for whichever is open."""
        return self._run_id

    async def signal(self, signal: Any, arg: Any = ARG_UNSET, *, args: Any = ()) -> None:
        """Send the workflow a signal.

        Raises:
            ApplicationError: there is no such open workflow.
        """
        await self._instance.signal_external(
            self._instance.details.namespace, self._id, self._run_id, signal, arg, args
        )

    async def cancel(self, *, reason: str = "") -> None:
        """Request the workflow's cancellation.

        Args:
            reason: What the workflow finds as its cancellation reason.

        Raises:
            ApplicationError: there is no such open workflow.
        """
        await self._instance.cancel_external(
            self._instance.details.namespace, self._id, self._run_id, reason
        )
