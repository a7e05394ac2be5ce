"""Clients of the face: start functions as workflows, and find them again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from hotmesh import json_bytes
from hotmesh.backends.protocol import RunFilter, RunStatus
from hotmesh.client import Client as SdkClient
from hotmesh.client import WorkflowHandle
from hotmesh.client._listing import check_attributes
from hotmesh.duration import Duration, seconds
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.meshflow._calls import run_state, send_mail, start_hook
from hotmesh.meshflow._connection import Connection, Source, source
from hotmesh.meshflow._definition import workflow_named
from hotmesh.meshflow._hosts import registry
from hotmesh.meshflow._keywords import checked
from hotmesh.meshflow._options import DEFAULT, searchable
from hotmesh.meshflow.handle import Handle
from hotmesh.visibility import AttributeIs, Condition, Field, FieldIs, all_of

SEARCH_LIMIT = 100
"""Workflows that a search returns at most, if its caller doesn't say."""


def guid() -> str:
    """An id that nobody else has."""
    return str(uuid.uuid4())


class Client:
    """A client of one database; connects when it is first used.

    Args:
        connection: As in :meth:`Worker.create`. Default is HOTMESH_URL.

    Raises:
        InvalidArgumentError: It is nothing that leads to a database.
    """

    @checked
    def __init__(self, connection: Connection = None) -> None:
        self.workflow = WorkflowClient(source(connection))
        """What it does with workflows."""


class WorkflowClient:
    """The calls of ``client.workflow``."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @checked
    async def start(
        self,
        *,
        workflow_name: str | Callable[..., Any],
        args: Sequence[Any] = (),
        namespace: str = DEFAULT,
        task_queue: str = DEFAULT,
        workflow_id: str | None = None,
        expire: Duration | None = None,
        search: Mapping[str, Any] | None = None,
    ) -> Handle:
        """Start a workflow; it is stored when this returns.

        Args:
            workflow_name: The function's name, or the function.
            args: Its arguments.
            namespace: The worker's namespace.
            task_queue: The worker's task queue.
            workflow_id: Its id; made up by default.
            expire: How long to keep it after it closed; until it is pruned by default.
            search: ``{"data": {…}}``: names and JSON values that its record starts with, and by
                which ``search`` finds it.

        Raises:
            WorkflowAlreadyStartedError: A running workflow has this id.
            InvalidArgumentError: An argument is not acceptable; names it.
            ConversionError: An argument of the workflow can't be serialised.
            PayloadTooLargeError: The arguments exceed the limit.
            BackendUnavailableError: The database can't be reached.
        """
        name, result_type = workflow_named(workflow_name)
        record = searchable(search)
        kept = None if expire is None else seconds(expire, "expire")
        client = await self._client(namespace)
        started: WorkflowHandle[Any, Any] = await client.start_workflow(
            name,
            args=args,
            result_type=result_type,
            id=guid() if workflow_id is None else workflow_id,
            task_queue=task_queue,
            expire=kept,
            record=record,
        )
        return Handle(client, started)

    @checked
    async def signal(
        self,
        id: str,  # noqa: A002 - the face's own name
        data: Any = None,
        *,
        namespace: str = DEFAULT,
    ) -> None:
        """Send a datum to the one who waits for an id of the namespace, now or later.

        Args:
            id: What a workflow waits for with ``wait_for``.
            data: What it gets.
            namespace: The workflow's namespace.

        Raises:
            InvalidArgumentError: The id is not acceptable.
            ConversionError: The datum can't be serialised.
            BackendUnavailableError: The database can't be reached; whether the datum was stored
                is not known.
        """
        await send_mail(await self._client(namespace), id, data)

    @checked
    async def hook(
        self,
        *,
        workflow_id: str,
        workflow_name: str | Callable[..., Any],
        args: Sequence[Any] = (),
        namespace: str = DEFAULT,
        task_queue: str | None = None,
        hook_id: str | None = None,
    ) -> Handle:
        """Start a further function inside a running workflow: it shares the workflow's record.

        Args:
            workflow_id: The running workflow.
            workflow_name: The function's name, or the function.
            args: Its arguments.
            namespace: The workflow's namespace.
            task_queue: Where the function runs; the workflow's task queue by default.
            hook_id: The id of the function's own run; made up by default.

        Returns:
            The function's handle.

        Raises:
            RPCError: NOT_FOUND, there is no such workflow or it is closed.
            WorkflowAlreadyStartedError: The hook's id is taken.
        """
        client = await self._client(namespace)
        started = await start_hook(
            client,
            target=workflow_id,
            hook_id=guid() if hook_id is None else hook_id,
            workflow_type=workflow_named(workflow_name)[0],
            args=args,
            task_queue=task_queue,
        )
        return Handle(client, started)

    @checked
    async def get_handle(
        self, workflow_id: str, *, namespace: str = DEFAULT, run_id: str | None = None
    ) -> Handle:
        """The handle of a workflow that was started before; nothing is read yet.

        Args:
            workflow_id: Its id.
            namespace: Its namespace.
            run_id: One run of it; the newest by default.
        """
        client = await self._client(namespace)
        return Handle(client, client.get_workflow_handle(workflow_id, run_id=run_id))

    @checked
    async def search(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the face's own name
        *,
        namespace: str = DEFAULT,
        workflow_name: str = "",
        status: str | None = None,
        limit: int = SEARCH_LIMIT,
    ) -> list[dict[str, Any]]:
        """Find workflows by what their records hold, newest first.

        Args:
            filter: Names and JSON values; a workflow matches if its record holds them all.
            namespace: Whose workflows.
            workflow_name: Only those of this function.
            status: Only those in this status, e.g. ``running``.
            limit: How many at most.

        Returns:
            For each its ``workflow_id``, ``run_id``, ``namespace``, ``task_queue``,
            ``workflow_name``, ``status``, ``started``, ``closed`` and ``record``.

        Raises:
            InvalidArgumentError: A value is no JSON, a name is in no record and not declared, the
                status is unknown, or the limit below 1.
        """
        terms: list[Condition] = [
            AttributeIs(name, orjson.loads(_json(name, value)))
            for name, value in (filter or {}).items()
        ]
        if workflow_name:
            terms.append(FieldIs(Field.WORKFLOW_TYPE, workflow_name))
        if status is not None:
            terms.append(FieldIs(Field.STATUS, _status(status)))
        wanted = RunFilter(namespace, all_of(terms), limit=limit)
        if limit < 1:
            raise InvalidArgumentError(f"limit must be at least 1, not {limit}")
        client = await self._client(namespace)
        runs = await client.listing()
        await check_attributes(namespace, filter or (), runs)
        page = await runs.runs(wanted)
        return [run_state(row) for row in page.rows]

    async def _client(self, namespace: str) -> SdkClient:
        return await registry().client(self._source, namespace)


def _status(name: str) -> int:
    try:
        return RunStatus[name.upper()]
    except KeyError as error:
        known = ", ".join(each.name.lower() for each in RunStatus)
        raise InvalidArgumentError(f"Unknown status {name!r}; known are {known}") from error


def _json(name: str, value: Any) -> bytes:
    try:
        return json_bytes.dumps(value)
    except TypeError as error:
        raise InvalidArgumentError(f"search: {name!r} must be JSON: {error}") from error
