"""What one run does wrong stays with it: its neighbours finish, and no worker stops."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.backends.protocol import Session, Step, StepReply
from hotmesh.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from hotmesh.engine import wire
from hotmesh.exceptions import ActivityError, ApplicationError, BackendError, TerminatedError
from hotmesh.router.pipe import Pipe
from hotmesh.router.tasks import TaskPump
from support.neighbours import Neighbour, neighbours_finish
from support.running import SOON, attempts, eventually, failure_of, start, task_failure, working

NEIGHBOURS = 10
NAMES = ["poison", "a\0", "", "a\ud800", "a" * 2000]
"""Of search attributes; only the first can be stored anywhere."""


class MuteError(Exception):
    """Can't be printed in any way."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__

    @property
    def __notes__(self) -> list[str]:
        raise ValueError("no notes")


@activity.defn
async def mute_activity() -> None:
    raise MuteError


@activity.defn
def mute_thread() -> None:
    raise MuteError


@workflow.defn
class Bad:
    def __init__(self) -> None:
        self.done = False

    @workflow.signal
    def bad_signal(self) -> None:
        raise MuteError

    @workflow.signal
    def finish(self) -> None:
        self.done = True

    @workflow.query
    def bad_query(self) -> str:
        raise MuteError

    @workflow.update
    def refused(self) -> None: ...

    @refused.validator
    def refuse(self) -> None:
        raise MuteError

    @workflow.run
    async def run(self, where: str) -> str:
        options: dict[str, Any] = {
            "start_to_close_timeout": SOON,
            "retry_policy": attempts(2),
        }
        if where == "workflow":
            raise MuteError
        if where == "activity":
            await workflow.execute_activity(mute_activity, **options)
        if where == "thread":
            await workflow.execute_activity(mute_thread, **options)
        if where == "local":
            await workflow.execute_local_activity(mute_activity, **options)
        if where == "task":
            self.task = asyncio.ensure_future(self.fail())
        await workflow.wait_condition(lambda: self.done)
        return "done"

    async def fail(self) -> None:
        raise MuteError


@workflow.defn
class Rich:
    """Does a bit of everything that a step can hold."""

    @workflow.signal
    def noted(self) -> None:
        self.told = True

    @workflow.run
    async def run(self, deep: bool) -> str:
        self.told = not deep
        workflow.upsert_search_attributes({"kind": ["rich"]})
        if deep:
            child = await workflow.start_child_workflow(
                Rich.run, False, id=f"{workflow.info().workflow_id}-child"
            )
            assert await child == "fine"
            await workflow.get_external_workflow_handle(workflow.info().workflow_id).signal("noted")
        await workflow.sleep(0.01)
        await workflow.wait_condition(lambda: self.told)
        return await workflow.execute_activity(echo, "fine", start_to_close_timeout=SOON)


@workflow.defn
class Upserts:
    @workflow.run
    async def run(self, which: int) -> None:
        workflow.upsert_search_attributes({NAMES[which]: ["x"]})


@activity.defn
async def echo(text: str) -> str:
    return text


HELD: list[asyncio.Event] = []
"""One for each attempt of `held`, which ends once it is set."""


@activity.defn
async def held() -> int:
    HELD.append(asyncio.Event())
    await HELD[-1].wait()
    return activity.info().attempt


async def _are_held(count: int) -> bool:
    return len(HELD) == count


@workflow.defn
class Watched:
    """Its activity has a heartbeat timeout, so it is a task of the queue."""

    @workflow.run
    async def run(self) -> int:
        minute = timedelta(minutes=1)
        return await workflow.execute_activity(
            held, start_to_close_timeout=minute, heartbeat_timeout=minute
        )


class Picky:
    """A session of a database that takes no attribute of one name."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def step(self, step: Step) -> StepReply:
        if "poison" in step.attribute_name:
            raise BackendError("no such attribute here")
        return await self.session.step(step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


class NeverEnding:
    """A session of a database that holds unread events for some runs, where nobody reads them."""

    def __init__(self, session: Session, run_ids: set[bytes]) -> None:
        self.session = session
        self.run_ids = run_ids

    async def step(self, step: Step) -> StepReply:
        refused = [run_id for run_id in step.close_run if run_id in self.run_ids]
        if refused:
            reply = await self.session.step(Step(step.router_id))
            return StepReply(reply.now_ms, refused=refused)
        return await self.session.step(step)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


class Refusing:
    """A session of a database that refuses everything for a while, and not because it is away."""

    def __init__(self, session: Session, is_on: asyncio.Event) -> None:
        self.session = session
        self.is_on = is_on

    async def step(self, step: Step) -> StepReply:
        _refuse_if(self.is_on)
        return await self.session.step(step)

    async def load(self, run_ids: Any) -> Any:
        _refuse_if(self.is_on)
        return await self.session.load(run_ids)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


def _refuse_if(is_on: asyncio.Event) -> None:
    if is_on.is_set():
        raise BackendError("no counters here")


def breaks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of workers and pipes that broke."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.CRITICAL]


Handle = WorkflowHandle[Any, Any]


async def test_an_exception_that_cannot_be_printed_hurts_nobody_else(
    any_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    activities: list[Callable[..., Any]] = [mute_activity, mute_thread]
    with ThreadPoolExecutor(2) as executor:
        async with working(
            any_client, Bad, Neighbour, activities=activities, activity_executor=executor
        ):
            for where in ("activity", "thread", "local"):
                failure = await failure_of((await start(any_client, Bad.run, where)).result())
                assert isinstance(failure, ApplicationError if where == "local" else ActivityError)
                told = failure if where == "local" else failure.__cause__
                assert "<str of MuteError failed: ValueError>" in str(told)
            waits = await start(any_client, Bad.run, "task")
            with pytest.raises(WorkflowQueryFailedError, match="str of MuteError failed"):
                await waits.query("bad_query")
            with pytest.raises(WorkflowUpdateFailedError) as caught:
                await waits.execute_update("refused")
            assert "str of MuteError failed" in str(caught.value.cause)
            await waits.signal("bad_signal")
            fails = await start(any_client, Bad.run, "workflow")
            for handle in (waits, fails):
                failure_noted = await task_failure(handle)
                assert failure_noted["type"] == "MuteError"
                assert failure_noted["message"] == "<str of MuteError failed: ValueError>"
            await neighbours_finish(any_client, NEIGHBOURS)
            await fails.terminate()
    assert breaks(caplog) == []


async def test_what_a_database_refuses_holds_up_one_run_only(
    any_client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make = any_client.backend.session

    async def session(*arguments: Any) -> Any:
        return Picky(await make(*arguments))

    monkeypatch.setattr(any_client.backend, "session", session)
    async with working(any_client, Upserts, Rich, activities=[echo]):
        handles = [await start(any_client, Rich.run, True) for _ in range(NEIGHBOURS)]
        bad = [await start(any_client, Upserts.run, 0) for _ in range(3)]
        async with asyncio.timeout(SOON.total_seconds()):
            assert [await handle.result() for handle in handles] == ["fine"] * NEIGHBOURS
        for handle in bad:
            noted = await task_failure(handle)
            assert noted["type"] == "RefusedRowError"
            assert "no such attribute here" in noted["message"]
            await handle.terminate()
            assert isinstance(await failure_of(handle.result()), TerminatedError)
    assert breaks(caplog) == []


async def test_a_database_that_refuses_everything_blames_no_run(
    any_client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make, tasks, refuses = any_client.backend.session, any_client.backend.tasks, asyncio.Event()

    async def session(*arguments: Any) -> Any:
        return Refusing(await make(*arguments), refuses)

    async def tasks_if_taken(batch: Any) -> Any:
        _refuse_if(refuses)
        return await tasks(batch)

    monkeypatch.setattr(any_client.backend, "session", session)
    monkeypatch.setattr(any_client.backend, "tasks", tasks_if_taken)
    async with working(any_client, Watched, activities=[held], max_cached_workflows=0):
        HELD.clear()
        handles = [await start(any_client, Watched.run) for _ in range(3)]
        await eventually(lambda: _are_held(len(handles)), "the activities are there")
        refuses.set()
        for each in HELD:
            each.set()
        handles += [await start(any_client, Watched.run) for _ in range(3)]
        await asyncio.sleep(1.0)
        refuses.clear()
        await eventually(lambda: _are_held(2 * 3), "the others are there")
        for each in HELD:
            each.set()
        async with asyncio.timeout(SOON.total_seconds()):
            assert [await handle.result() for handle in handles] == [1] * len(handles)
        for handle in handles:
            assert "hotmesh.lost" not in (await handle.describe()).record
    told = [each.getMessage() for each in caplog.records if "no counters" in each.getMessage()]
    assert 0 < len(told) < 10
    assert not any("corrupt" in each for each in told)
    assert breaks(caplog) == []


async def test_a_run_that_may_never_end_holds_up_itself_only(
    any_client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make, run_ids = any_client.backend.session, set[bytes]()

    async def session(*arguments: Any) -> Any:
        return NeverEnding(await make(*arguments), run_ids)

    monkeypatch.setattr(any_client.backend, "session", session)
    bad = await start(any_client, Neighbour.run)
    run_ids.add(wire.run_id_bytes(bad.result_run_id))
    async with working(any_client, Neighbour):
        noted = await task_failure(bad)
        assert noted["type"] == "RefusedRowError"
        assert "an event is stored for it" in noted["message"]
        await neighbours_finish(any_client)
        run_ids.clear()
        async with asyncio.timeout(SOON.total_seconds()):
            assert await bad.result() == "fine"
    assert breaks(caplog) == []


async def test_a_name_that_no_database_can_hold_is_refused_by_name(
    any_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(any_client, Upserts, Neighbour):
        for which in range(1, len(NAMES)):
            noted = await task_failure(await start(any_client, Upserts.run, which))
            assert noted["type"] == "InvalidArgumentError"
            assert "search attribute name" in noted["message"]
        await neighbours_finish(any_client, NEIGHBOURS)
    assert breaks(caplog) == []


async def test_a_pipe_that_breaks_goes_on_at_once(
    any_client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turn: Callable[..., Awaitable[bool]] = Pipe._turn  # pyright: ignore[reportPrivateUsage]
    left = [3]

    async def break_now_and_then(self: Pipe, *args: Any) -> bool:
        idle = await turn(self, *args)
        if left[0] and not idle:
            left[0] -= 1
            raise LookupError("no such thing")
        return idle

    lease = timedelta(seconds=30)
    # From the first turn on: one that is under way already may do all there is to do.
    monkeypatch.setattr(Pipe, "_turn", break_now_and_then)
    async with working(any_client, Neighbour, lease=lease):
        await neighbours_finish(any_client, NEIGHBOURS)  # within less than a lease
        assert not left[0]
        rollcall = await any_client.backend.routers("default")
        assert [each.lanes for each in rollcall if each.alive] == [64]
    assert "a router pipe broke, opening it again" in breaks(caplog)


async def test_a_worker_that_fails_ends_the_body_that_it_works_for(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(self: TaskPump) -> None:
        raise LookupError("it can't go on")

    async def body() -> None:
        async with working(client, Neighbour, activities=[mute_activity]):
            await asyncio.sleep(SOON.total_seconds())
            raise AssertionError("the body went on")

    monkeypatch.setattr(TaskPump, "run", fail)
    with pytest.raises(LookupError, match="it can't go on"):
        await body()


async def test_a_body_that_is_cancelled_by_others_too_stays_cancelled(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = asyncio.Event()

    async def fail(self: TaskPump) -> None:
        await entered.wait()
        raise LookupError("it can't go on")

    async def body() -> None:
        async with working(client, Neighbour, activities=[mute_activity]):
            entered.set()
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(SOON.total_seconds())

    monkeypatch.setattr(TaskPump, "run", fail)
    task = asyncio.ensure_future(body())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_body_itself_is_not_replaced(client: Client) -> None:
    with pytest.raises(BackendError, match="mine"):
        async with working(client, Neighbour):
            raise BackendError("mine")
