"""Workers of the face: functions linked to a task queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, cast

from hotmesh.exceptions import InvalidArgumentError
from hotmesh.meshflow._definition import workflow_definition
from hotmesh.meshflow._hosts import Host, registry
from hotmesh.meshflow._options import DEFAULT, Connection, connection_url, retry_policy


class Worker:
    """A running worker; made by :meth:`create`.

    Those created for the same database, namespace and task queue share one router.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    @classmethod
    async def create(
        cls,
        *,
        connection: Connection = None,
        namespace: str = DEFAULT,
        task_queue: str = DEFAULT,
        workflow: Callable[..., Any] | type | Sequence[Any] | None = None,
        activities: Sequence[Callable[..., Any]] = (),
        options: Mapping[str, Any] | None = None,
        events_url: str | None = None,
    ) -> Self:
        """Link functions to a task queue and begin to run them; returns once connected.

        The worker also hosts every activity that ``proxy_activities`` was called with in this
        process, before or after.

        Args:
            connection: A database URL or ``{"url": …}``. Default is HOTMESH_URL.
            namespace: Separates the workflows of one database.
            task_queue: Where its work comes from.
            workflow: A coroutine function, a class decorated with ``workflow.defn``, or a list of
                them. The function's name is the workflow's name.
            activities: Activity functions to host here besides the proxied ones.
            options: The default retry policy of the activities that these workflows call and that
                have none of their own: ``initial_interval``, ``maximum_interval`` (durations),
                ``backoff_coefficient``, ``maximum_attempts``, ``non_retryable_error_types``. The
                workflow itself is not run again when it fails.
            events_url: Where its events go, e.g. ``nats://host``. Default is HOTMESH_EVENTS_URL,
                else the database. The first worker of a task queue decides.

        Raises:
            InvalidArgumentError: An option is not acceptable, or there is nothing to host.
            TypeError: A workflow is no coroutine function or decorated class.
            ValueError: The task queue's worker hosts something else of that name already.
            BackendUnavailableError: The database can't be reached.
        """
        policy = retry_policy(options, "options")
        if workflow is None:
            given: Sequence[Any] = ()
        elif isinstance(workflow, Sequence):
            given = cast("Sequence[Any]", workflow)
        else:
            given = (workflow,)
        if not given and not activities:
            raise InvalidArgumentError("Worker.create needs a workflow or activities to host")
        definitions = [workflow_definition(each, policy) for each in given]
        place = (connection_url(connection), namespace, task_queue)
        return cls(await registry().host(place, definitions, activities, events_url))

    async def run(self) -> None:
        """Wait until the worker is shut down; raises what ended it, if something did."""
        await self._host.wait()

    async def shutdown(self) -> None:
        """Stop the worker of this task queue in good order; its work goes to others at once.

        Those who share it are stopped with it. Idempotent.
        """
        await registry().release(self._host)
