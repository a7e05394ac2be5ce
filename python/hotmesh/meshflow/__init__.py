"""The function-first face: workflows are plain coroutine functions.

    from hotmesh import meshflow

    async def greet(name: str) -> str:
        return f"Hello, {name}!"

    activities = meshflow.workflow.proxy_activities(activities=[greet])

    async def example(name: str) -> list:
        return await meshflow.workflow.all(
            activities.greet(name), meshflow.workflow.sleep_for("5 seconds"))

It has no logic of its own: everything calls the SDK (``hotmesh.workflow``, ``hotmesh.client``,
``hotmesh.worker``), and workflows of both faces can call each other.
"""

from __future__ import annotations

from hotmesh.meshflow import workflow
from hotmesh.meshflow._hosts import registry
from hotmesh.meshflow.client import Client, WorkflowClient, guid
from hotmesh.meshflow.handle import Handle
from hotmesh.meshflow.worker import Worker

__all__ = ["Client", "Handle", "Worker", "WorkflowClient", "guid", "shutdown", "workflow"]


async def shutdown() -> None:
    """Stop all workers and close all clients that the face opened in this event loop.

    Work in hand goes over to other workers at once. Raises what ended a worker before, if
    something did.
    """
    await registry().close()
