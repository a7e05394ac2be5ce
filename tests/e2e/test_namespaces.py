"""Namespaces of one database: a client finds and changes nothing outside its own."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import Client, WorkflowExecutionStatus, WorkflowHandle
from hotmesh.exceptions import RPCError, RPCStatusCode
from support.running import start, working


@workflow.defn
class Secret:
    def __init__(self) -> None:
        self.who = ""

    @workflow.signal
    def release(self, who: str) -> None:
        self.who = who

    @workflow.query
    def secret(self) -> str:
        return "for its own namespace"

    @workflow.update
    def change(self) -> str:
        return "changed"

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self.who))
        return self.who


Handle = WorkflowHandle[Any, Any]

CALLS: dict[str, Callable[[Handle], Awaitable[Any]]] = {
    "describe": lambda handle: handle.describe(),
    "history": lambda handle: handle.fetch_history(),
    "query": lambda handle: handle.query("secret"),
    "signal": lambda handle: handle.signal("release", "somebody else"),
    "update": lambda handle: handle.execute_update("change"),
    "outcome": lambda handle: handle.get_update_handle("known").result(),
    "cancel": lambda handle: handle.cancel(),
    "terminate": lambda handle: handle.terminate(),
    "result": lambda handle: handle.result(),
}


async def test_a_run_id_of_another_namespace_names_nothing(
    any_client: Client, database_url: str
) -> None:
    async with (
        await Client.connect(database_url, namespace="elsewhere") as other,
        working(any_client, Secret),
        working(other, Secret),
    ):
        handle = await start(any_client, Secret.run, id="secret")
        assert await handle.execute_update("change", id="known") == "changed"
        foreign = other.get_workflow_handle("secret", run_id=handle.result_run_id)
        for name, call in CALLS.items():
            with pytest.raises(RPCError) as caught:
                await call(foreign)
            assert caught.value.status == RPCStatusCode.NOT_FOUND, name
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        await handle.signal("release", "us")
        assert await handle.result() == "us"
        with pytest.raises(RPCError) as caught:
            await foreign.result()
        assert caught.value.status == RPCStatusCode.NOT_FOUND
