"""A pipe's turn on a store that goes away in its midst."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import MessageRow, Session, Step, StepReply
from hotmesh.converter import DataConverter, encode_values
from hotmesh.core import Event, encode_event, kinds
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.router.clock import BackendClock
from hotmesh.router.large_turn import LargeTurn
from hotmesh.router.pace import AverageCost
from hotmesh.router.pipe import Pipe
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.replaying import Engine
from hotmesh.router.tenure import Tenure
from hotmesh.router.workflow_thread import WorkflowThread

LANE = 64
FIRST, SECOND, UNKNOWN = b"1" * 16, b"2" * 16, b"3" * 16
BODY = encode_values(DataConverter.default, [], "arguments")


@workflow.defn
class Asks:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity("act", start_to_close_timeout=timedelta(seconds=1))
        await workflow.sleep(60)


class Runner:
    """Completes each activity at once."""

    free = 10

    def hosts(self, name: str) -> bool:
        return name == "act"

    def start(self, task: ActivityTask, done: object) -> Event:
        del done
        return (kinds.ACTIVITY_COMPLETED, task.seq, 1, "", b"", BODY)


class LeavingStore:
    """Gives a start with each step; with the second there is a run to be loaded, in vain."""

    def __init__(self) -> None:
        self.pipe: Pipe | None = None
        self._starts = [FIRST, SECOND]

    async def step(self, step: Step) -> StepReply:
        run_id = self._starts.pop(0)
        if not self._starts:
            assert self.pipe is not None
            self.pipe._memory.loads.append(UNKNOWN)
        frame = encode_event((kinds.START, 0, 0, "", b"", b""))
        number = run_id[0]
        row = MessageRow(number, step.lanes[0], run_id, frame, "w", "Asks", b"", BODY, False)
        return StepReply(1, messages=[row])

    async def load(self, run_ids: object) -> Any:
        raise BackendUnavailableError(f"gone before {run_ids!r}")


class ForgettingStore:
    """Gives a start, refuses the step that it leads to, and gives it again once it is asked to."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.forgotten = True

    async def step(self, step: Step) -> StepReply:
        self.steps.append(step)
        if step.journal_run and len(self.steps) == 2:
            return StepReply(1, stale=[FIRST])
        if not self.forgotten:
            return StepReply(1)
        self.forgotten = False
        frame = encode_event((kinds.START, 0, 0, "", b"", b""))
        row = MessageRow(5, step.lanes[0], FIRST, frame, "w", "Asks", b"", BODY, False)
        return StepReply(1, messages=[row])

    def forget(self, lanes: object = None) -> None:
        assert lanes is None
        self.forgotten = True


def pipe_of(store: object, workflow_class: type = Asks) -> Pipe:
    """A pipe with one lane, to be driven turn by turn."""
    definition = WorkflowDefinition.of(workflow_class)
    assert definition is not None
    context = SimpleNamespace(
        namespace="n",
        queue_ids={"q": 1},
        task_queue="q",
        queue_id=1,
        clock=BackendClock(),
        engine=Engine({definition.name: definition}, EngineOptions(DataConverter.default)),
        converter=DataConverter.default,
        workflows=WorkflowThread(0, inline=True),
        tenure=Tenure(),
        runner=Runner(),
        coder=None,
        cost=AverageCost(),
        max_cached=10,
        cache_bytes_max=1_000_000,
        transition_bytes_max=1_000_000,
        eager=True,
        large_turn=LargeTurn(),
    )
    pipe = Pipe(cast("PipeContext", cast("Any", context)), b"r" * 16)
    pipe.assign([LANE])
    pipe._session = cast("Session", store)
    return pipe


async def test_what_a_step_has_read_outlives_a_load_that_fails() -> None:
    store = LeavingStore()
    pipe = store.pipe = pipe_of(store)
    session = cast("Session", cast("Any", store))
    await pipe._turn(session)
    with pytest.raises(BackendUnavailableError):
        await pipe._turn(session)
    assert pipe._core.known(SECOND)
    assert SECOND in pipe._memory.states


async def test_a_pipe_whose_run_is_stored_otherwise_reads_everything_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = ForgettingStore()
    pipe = pipe_of(store)
    session = cast("Session", cast("Any", store))
    for _ in range(4):
        await pipe._turn(session)
    first, refused, again, applied = store.steps
    assert first.journal_run == again.journal_run == []
    assert (refused.journal_run, refused.journal_seq) == ([FIRST], [0])
    assert (applied.journal_run, applied.journal_seq) == ([FIRST], [0])
    (warning,) = caplog.messages
    assert "31313131-3131-3131-3131-313131313131" in warning
