"""What the runs in a pipe's memory are counted as: once they have gone, it is nothing."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.engine.loop import Stage
from hotmesh.exceptions import DeadlockError
from hotmesh.router.replaying import Engine
from hotmesh.router.state import LARGE_BYTES
from hotmesh.router.workflow_thread import StuckError
from unit.engine.driving import RUN_ID, query, signal, values
from unit.router.flows import asks
from unit.router.miniature import Make, Miniature, Place, Runner

TERMINATE = (kinds.TERMINATE, 0, 0, "", b"id-t", wire.join_document({"reason": "enough"}, b""))


@workflow.defn
class Notes:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @workflow.run
    async def run(self, text: str) -> int:
        await workflow.wait_condition(lambda: len(text) < len(self.notes))
        return len(text)

    @workflow.signal
    def note(self, text: str) -> None:
        self.notes.append(text)

    @workflow.query
    def count(self) -> int:
        return len(self.notes)


def leaves(mini: Miniature) -> int:
    """What is counted once all runs have left the memory."""
    memory = mini.pipe._memory
    memory.evict(0, 0)
    assert memory.states == {}
    return memory.cached_bytes


async def test_a_run_that_was_terminated_and_is_asked_something(make: Make, place: Place) -> None:
    mini = make(Notes)
    place.begin("Notes", "x" * 100)
    await mini.settle()
    place.tell(signal("note", "1"), TERMINATE)
    await mini.settle()
    place.tell(query("count", reply=b"q"))
    await mini.settle()
    assert place.replies == {b"q": b"R" + values(0)}  # its end was one with what it was told
    assert leaves(mini) == 0


@pytest.mark.parametrize("is_loaded", [False, True])
async def test_a_run_whose_code_is_left_behind(make: Make, place: Place, is_loaded: bool) -> None:
    mini = make(Notes)
    place.begin("Notes", "x" * 100)
    await mini.settle()
    place.tell(signal("note", "1"))
    await mini.settle()
    if is_loaded:
        assert leaves(mini) == 0
        place.tell(signal("note", "2"))
        await mini.settle()
    state = mini.pipe._memory.states[RUN_ID]
    assert state.instance is not None
    stuck = StuckError(DeadlockError("it is blocked"), threading.current_thread())
    mini.pipe._activator._leave_behind(state, [], stuck)
    assert leaves(mini) == 0


@pytest.mark.parametrize("size", [10, LARGE_BYTES + 1])
async def test_a_run_with_a_large_input_moves_like_one_with_a_large_journal(
    make: Make, place: Place, size: int
) -> None:
    """Else each thing that comes for it has its input read, and its code replayed, again."""
    mini = make(Notes, cache_bytes_max=LARGE_BYTES // 2)
    place.begin("Notes", "x" * size)
    place.begin("Notes", run_id=b"o" * 16, workflow_id="o")
    await mini.settle()
    for number in range(3):
        place.tell(signal("note", str(number)))
        await mini.settle()
    assert place.loaded == []


async def test_code_runs_on_the_stage_of_its_thread(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if that was left behind in a replay: the code of others runs on the next one's."""
    mini = make(asks, runner=Runner("act"))
    bring_up, others, theirs = Engine.bring_up, Stage(), object()
    others.loop = theirs  # type: ignore[assignment]

    def left_behind(engine: Engine, *args: Any) -> Any:
        mini.context.workflows.stage = others
        return bring_up(engine, *args)

    monkeypatch.setattr(Engine, "bring_up", left_behind)
    place.begin("asks")
    await mini.settle()
    assert others.loop is theirs
