"""What a pipe holds in memory: a run that leaves it is gone at once."""

import asyncio
import gc
import weakref
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.converter import DataConverter, encode_values
from hotmesh.core import kinds
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions, RunDetails
from hotmesh.exceptions import ApplicationError
from hotmesh.router.memory import PipeMemory
from hotmesh.router.replaying import Engine
from hotmesh.router.state import RunState
from hotmesh.router.watchdog import Watchdog

RUN = b"r" * 16


@workflow.defn
class Ends:
    @workflow.run
    async def run(self) -> int:
        return 1


@workflow.defn
class Fails:
    def __init__(self) -> None:
        self.told = 0

    @workflow.run
    async def run(self) -> None:
        slow = workflow.start_activity("slow", start_to_close_timeout=timedelta(seconds=1))
        slow.cancel()
        try:
            await asyncio.gather(slow, return_exceptions=True)
        finally:
            raise ApplicationError("at once")

    @workflow.signal
    def tell(self) -> None:
        self.told += 1


@pytest.mark.parametrize("flow", [Ends, Fails])
def test_an_ended_run_leaves_nothing_to_the_collector(flow: Any) -> None:
    definition = WorkflowDefinition.of(flow)
    assert definition is not None
    engine = Engine({definition.name: definition}, EngineOptions(DataConverter.default))
    body = encode_values(DataConverter.default, [], "arguments")
    details = RunDetails("n", "w", RUN, flow.__name__, "q", 64, {}, body)
    memory, state = PipeMemory(), RunState(details)
    memory.states[RUN] = state
    engine.bring_up(state, Watchdog(0)).activate(1, [(kinds.START, 0, 0, "", b"", b"")])
    assert state.instance is not None
    assert state.instance.closed
    instance = weakref.ref(state.instance)
    loop = weakref.ref(state.instance.loop)
    gc.disable()
    try:
        del state
        assert memory.drop(RUN)
        assert instance() is None
        assert loop() is None
    finally:
        gc.enable()
