"""The activities that every worker of the face hosts: what workflow code can't do by itself.

Their names begin with ``hotmesh.``. They reach the database through the worker's client.
"""

from __future__ import annotations

from typing import Any

from hotmesh import activity
from hotmesh.client import Client
from hotmesh.exceptions import (
    ApplicationError,
    RPCError,
    RPCStatusCode,
    WorkflowAlreadyStartedError,
)
from hotmesh.meshflow import _calls


@activity.defn(name="hotmesh.record.get")
async def read_record(workflow_id: str, run_id: str) -> dict[str, Any]:
    """The record of a run as it is now."""
    return dict(await _calls.read_record(_client(), workflow_id, run_id))


@activity.defn(name="hotmesh.run.interrupt")
async def interrupt(workflow_id: str, reason: str) -> bool:
    """Terminate a workflow; whether it was open."""
    try:
        await _client().get_workflow_handle(workflow_id).terminate(reason=reason)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


@activity.defn(name="hotmesh.run.hook")
async def start_hook(
    target: str, hook_id: str, workflow_type: str, args: list[Any], task_queue: str | None
) -> None:
    """Start a function that shares the record of another open workflow."""
    try:
        await _calls.start_hook(
            _client(),
            target=target,
            hook_id=hook_id,
            workflow_type=workflow_type,
            args=args,
            task_queue=task_queue,
        )
    except WorkflowAlreadyStartedError:
        if activity.info().attempt == 1:
            raise  # Somebody else's: an attempt of ours can't have started it.
    except RPCError as error:
        raise ApplicationError(str(error), type="RPCError", non_retryable=True) from error


@activity.defn(name="hotmesh.effect.allow")
async def allow_effect() -> bool:
    """Whether the asking run may go ahead: for the first attempt only.

    An attempt's number is given out once. A second one means that the process died after the
    first, when the effect may have been under way already.
    """
    return activity.info().attempt == 1


SERVICES = (read_record, interrupt, start_hook, allow_effect)


def _client() -> Client:
    client: Any = activity.client()
    return client
