"""``rpc_timeout``: every call of a client is bounded by it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from hotmesh.client import Client, RPCError, RPCStatusCode
from hotmesh.client._deadline import deadline

BRIEF = timedelta(milliseconds=5)


async def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(RPCError, match="counting did not end within") as ended:
        async with deadline(BRIEF, "counting"):
            await asyncio.Event().wait()
    assert ended.value.status == RPCStatusCode.DEADLINE_EXCEEDED


async def test_a_timeout_from_inside_is_its_own() -> None:
    with pytest.raises(TimeoutError, match="of the disk"):
        async with deadline(timedelta(seconds=9), "counting"):
            raise TimeoutError("of the disk")


async def test_no_timeout_bounds_nothing() -> None:
    async with deadline(None, "counting"):
        await asyncio.sleep(0)


_CALLS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "start": lambda client: client.start_workflow("w", id="w", task_queue="q", rpc_timeout=BRIEF),
    "signal": lambda client: client.get_workflow_handle("w").signal("s", rpc_timeout=BRIEF),
    "cancel": lambda client: client.get_workflow_handle("w").cancel(rpc_timeout=BRIEF),
    "terminate": lambda client: client.get_workflow_handle("w").terminate(rpc_timeout=BRIEF),
    "describe": lambda client: client.get_workflow_handle("w").describe(rpc_timeout=BRIEF),
    "history": lambda client: client.get_workflow_handle("w").fetch_history(rpc_timeout=BRIEF),
    "count": lambda client: client.count_workflows(rpc_timeout=BRIEF),
    "list": lambda client: client.list_workflows(rpc_timeout=BRIEF).fetch_next_page(),
    "complete": lambda client: client.get_async_activity_handle(task_token=b"t").complete(
        rpc_timeout=BRIEF
    ),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS)
async def test_each_call_is_bounded(
    call: Callable[[Client], Awaitable[Any]], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Client.connect(sqlite_url) as client:

        async def hangs(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        # Whatever the call needs first, it waits for the connection.
        monkeypatch.setattr(client.connection, "ready", hangs)
        for name in ("find", "runs", "journal"):
            monkeypatch.setattr(client.backend, name, hangs)
        with pytest.raises(RPCError) as ended:
            await asyncio.wait_for(call(client), 5)
        assert ended.value.status == RPCStatusCode.DEADLINE_EXCEEDED
