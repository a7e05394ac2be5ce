"""Workers of the face: functions linked to a task queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from hotmesh.common import RetryPolicy
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.meshflow._connection import Connection, source
from hotmesh.meshflow._definition import Function, named_activities, workflow_definition
from hotmesh.meshflow._hosts import Host, registry
from hotmesh.meshflow._keywords import checked
from hotmesh.meshflow._options import DEFAULT, retry_policy

Workflows = Function | type | Sequence[Any] | Mapping[str, Any]
"""One workflow, several, or several by name."""


class Worker:
    """A running worker; made by :meth:`create`.

    Those created for the same database, namespace and task queue share one router.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    @classmethod
    @checked
    async def create(
        cls,
        *,
        connection: Connection = None,
        namespace: str = DEFAULT,
        task_queue: str = DEFAULT,
        workflow: Workflows | None = None,
        activities: Sequence[Function] | Mapping[str, Function] = (),
        options: Mapping[str, Any] | None = None,
        events_url: str | None = None,
    ) -> Self:
        """Link functions to a task queue and begin to run them; returns once connected.

        The worker also hosts every activity that ``proxy_activities`` was called with in this
        process, before or after.

        Args:
            connection: A database URL; ``{"url": …}``; ``{"class": …, "options": {…}}`` with a
                driver's class and its options; or an open client, the SDK's or a driver's. Default
                is HOTMESH_URL.
            namespace: Separates the workflows of one database.
            task_queue: Where its work comes from.
            workflow: A function (``async def``, or a plain ``def`` that waits for nothing), a
                class decorated with ``workflow.defn``, or several: a list, or ``{name: function}``.
                A function's own name is the workflow's name by default. One that is defined again
                in the same place, such as a notebook's cell, replaces the former.
            activities: Activity functions to host here besides the proxied ones; a list, or
                ``{name: function}``.
            options: The default retry policy of the activities that these workflows call and that
                have none of their own: ``initial_interval``, ``maximum_interval`` (durations),
                ``backoff_coefficient``, ``maximum_attempts``, ``non_retryable_error_types``. A
                workflow function that raises is tried again by the same policy, from what its
                journal holds, and fails once it is spent (three attempts without options); the
                failure of an activity or a child fails it at once.
            events_url: Where its events go, e.g. ``nats://host``. Default is HOTMESH_EVENTS_URL,
                else the database. The first worker of a task queue decides.

        Raises:
            InvalidArgumentError: An option is not acceptable, or there is nothing to host.
            TypeError: A workflow is no function or decorated class, or a keyword is unknown.
            ValueError: The task queue's worker hosts something of that name that is defined
                elsewhere.
            BackendUnavailableError: The database can't be reached.
        """
        policy = retry_policy(options, "options")
        definitions = _definitions(workflow, policy)
        if not definitions and not activities:
            raise InvalidArgumentError("Worker.create needs a workflow or activities to host")
        place = (source(connection), namespace, task_queue)
        return cls(
            await registry().host(place, definitions, named_activities(activities), events_url)
        )

    async def run(self) -> None:
        """Wait until the worker is shut down; raises what ended it, if something did."""
        await self._host.wait()

    async def shutdown(self) -> None:
        """Stop the worker of this task queue in good order; its work goes to others at once.

        Those who share it are stopped with it. Idempotent.
        """
        await registry().release(self._host)


def _definitions(
    workflow: Workflows | None, policy: RetryPolicy | None
) -> list[WorkflowDefinition]:
    if workflow is None:
        return []
    if isinstance(workflow, Mapping):
        named = cast("Mapping[str, Any]", workflow)
        return [workflow_definition(each, policy, name) for name, each in named.items()]
    several: Sequence[Any] = (workflow,)
    if isinstance(workflow, Sequence) and not isinstance(workflow, str):
        several = cast("Sequence[Any]", workflow)
    return [workflow_definition(each, policy) for each in several]
