"""From what a step has read to what the next one writes: each kind of event through a pipe."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import RunStatus
from hotmesh.converter import DataConverter, decode_failure
from hotmesh.core import kinds, lane_of
from hotmesh.engine import wire
from hotmesh.engine.activity_task import Outcome
from hotmesh.exceptions import (
    ApplicationError,
    BackendUnavailableError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
)
from hotmesh.router.closing import EXECUTION_TIMEOUT_KEY, RUN_TIMEOUT_KEY
from unit.engine.driving import (
    OTHER_RUN,
    RUN_ID,
    START_MS,
    answer,
    cancel,
    completed,
    query,
    signal,
    update,
    value_of,
    values,
)
from unit.router.flows import asks, listens, sleeps
from unit.router.miniature import LANE, QUEUE, Make, Place, Runner, Time


async def test_a_start_is_journaled_and_acknowledged_by_the_step_that_follows(
    make: Make, place: Place
) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    await mini.settle()
    assert mini.kinds() == [(["START"], ["TIMER"])]
    assert place.messages == {}
    assert place.timers == {(RUN_ID, 4): (LANE, START_MS + 60_000)}
    read, written = place.steps
    assert (read.journal_run, read.room > 0) == ([], True)
    assert (written.ack_lane, written.ack_id) == ([LANE], [1])


async def test_a_timer_of_the_store_moves_the_run_when_it_is_due(make: Make, place: Place) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    await mini.settle()
    await mini.pass_seconds(59.9)
    assert len(mini.journal()) == 1
    await mini.pass_seconds(0.1)
    assert mini.kinds()[1] == (["TIMER_FIRED"], ["COMPLETE"])
    assert mini.journal()[1][0] == START_MS + 60_000
    assert (mini.run().status, value_of(mini.run().result)) == (RunStatus.COMPLETED, "slept")
    assert place.timers == {}
    assert ("done", [RUN_ID]) in mini.notifier.hints


async def test_an_activity_that_is_hosted_here_starts_after_the_commit(
    make: Make, place: Place
) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.turns(1)
    assert runner.started == {}
    await mini.settle()
    assert list(runner.started) == ["act"]
    assert place.tasks == {}
    assert list(place.messages) == [1]  # the anchor: nobody else knows of this work
    runner.completes("act", "done")
    await mini.settle()
    assert value_of(mini.run().result) == "done"
    assert place.messages == {}


async def test_an_activity_of_another_worker_becomes_a_task(make: Make, place: Place) -> None:
    mini = make(asks)
    place.begin("asks")
    await mini.settle()
    (task,) = place.tasks.values()
    assert (task.queue_id, task.activity_type, task.lane, task.seq) == (QUEUE, "act", LANE, 1)
    assert place.messages == {}
    assert ("tasks", (QUEUE, "")) in mini.notifier.hints
    place.tasks.clear()
    place.tell(completed(1, "done"))
    await mini.settle()
    assert value_of(mini.run().result) == "done"


async def test_activities_without_a_free_slot_go_to_the_queue(make: Make, place: Place) -> None:
    mini = make(asks, runner=Runner("act", free=0))
    place.begin("asks")
    await mini.settle()
    assert len(place.tasks) == 1


async def test_a_failed_first_attempt_becomes_a_task_after_its_pause(
    make: Make, place: Place
) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.settle()
    runner.ends("act", Outcome("retry", delay_ms=700, state=b"why"))
    await mini.settle()
    assert mini.kinds()[1] == ([], ["REDISPATCH"])
    (step,) = [each for each in place.steps if each.task_run]
    assert (step.task_attempt, step.task_delay, step.task_state) == ([1], [700], [b"why"])
    assert place.messages == {}


async def test_signals_updates_and_queries_are_answered_by_the_step(
    make: Make, place: Place
) -> None:
    mini = make(listens)
    place.begin("listens")
    await mini.settle()
    place.tell(query("heard"), signal("say", "a"), update("add", "b"))
    await mini.settle()
    assert mini.kinds()[1] == (["SIGNAL", "UPDATE"], ["UPDATE_ACCEPTED", "UPDATE_COMPLETED"])
    assert answer(place.replies[b"asked"]) == ["a", "b"]
    assert place.replies[b"accepted"] == b"A"
    assert answer(place.replies[b"completed"]) == 2
    assert place.messages == {}
    hinted = [each for kind, ids in mini.notifier.hints if kind == "done" for each in ids]
    assert set(hinted) == {b"asked", b"accepted", b"completed"}


async def test_a_query_is_journaled_nowhere(make: Make, place: Place) -> None:
    mini = make(listens)
    place.begin("listens")
    await mini.settle()
    place.tell(query("heard"))
    await mini.settle()
    assert len(mini.journal()) == 1
    assert answer(place.replies[b"asked"]) == []


async def test_a_closed_run_answers_queries_and_refuses_updates(make: Make, place: Place) -> None:
    mini = make(listens)
    place.begin("listens")
    place.tell(signal("say", "end"))
    await mini.settle()
    assert mini.run().status == RunStatus.COMPLETED
    place.tell(query("heard"), update("add", "late"))
    await mini.settle()
    assert answer(place.replies[b"asked"]) == ["end"]
    assert place.replies[b"completed"] == b"Nworkflow execution already completed"
    assert len(mini.journal()) == 1


async def test_a_signal_that_comes_too_late_is_said(
    make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    mini = make(listens)
    place.begin("listens")
    place.tell(signal("say", "end"))
    await mini.settle()
    place.tell(signal("say", "late"))
    await mini.settle()
    assert "signal 'say' came after run" in caplog.text
    assert place.messages == {}


async def test_a_run_that_another_worker_began_is_replayed_first(make: Make, place: Place) -> None:
    first = make(listens)
    place.begin("listens")
    place.tell(signal("say", "a"))
    await first.settle()
    second = make(listens)
    place.tell(signal("say", "end"))
    await second.settle()
    assert place.loaded == [[RUN_ID]]
    assert value_of(second.run().result) == ["a", "end"]


# Time


async def test_a_runs_time_never_goes_back(make: Make, place: Place, time: Time) -> None:
    mini = make(listens)
    place.begin("listens")
    await mini.settle()
    time.seconds -= 10
    place.tell(signal("say", "end"))
    await mini.settle()
    assert [now_ms for now_ms, _, _ in mini.journal()] == [START_MS, START_MS]


async def test_due_times_go_by_the_stores_time_and_the_journal_by_the_wall_clock(
    make: Make, place: Place
) -> None:
    mini = make(sleeps)
    mini.context.clock.shift_ms = 5000
    place.begin("sleeps", run=90_000)
    await mini.settle()
    now_ms, _, commands = mini.journal()[0]
    assert now_ms == START_MS - 5000
    assert commands[0][2] == START_MS + 60_000
    assert place.timers[RUN_ID, RUN_TIMEOUT_KEY] == (LANE, START_MS + 90_000)


# Ends from outside


async def test_a_terminated_run_ends_without_its_code(make: Make, place: Place) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    await mini.settle()
    body = wire.join_document({"reason": "enough", "reply": b"told".hex()}, values(1))
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", body))
    await mini.settle()
    assert mini.kinds()[1] == (["TERMINATE"], ["TERMINATED"])
    error = decode_failure(DataConverter.default, mini.run().result)
    assert isinstance(error, TerminatedError)
    assert (error.message, list(error.details)) == ("enough", [1])
    assert place.replies == {b"told": b"T"}
    assert place.timers == {}


async def test_terminating_what_has_ended_is_answered_too(make: Make, place: Place) -> None:
    mini = make(listens)
    place.begin("listens")
    place.tell(signal("say", "end"))
    await mini.settle()
    body = wire.join_document({"reply": b"told".hex()}, b"")
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", body))
    await mini.settle()
    assert place.replies == {b"told": b"T"}
    assert mini.run().status == RunStatus.COMPLETED


async def test_a_run_whose_time_is_up_is_timed_out(make: Make, place: Place) -> None:
    mini = make(sleeps)
    place.begin("sleeps", run=3000, exec=50_000)
    await mini.settle()
    assert sorted(key for _, key in place.timers) == [EXECUTION_TIMEOUT_KEY, RUN_TIMEOUT_KEY, 4]
    await mini.pass_seconds(3)
    assert mini.kinds()[1] == (["RUN_TIMED_OUT"], ["TIMED_OUT"])
    assert mini.run().status == RunStatus.TIMED_OUT
    assert isinstance(decode_failure(DataConverter.default, mini.run().result), TimeoutError)
    assert place.timers == {}


async def test_a_failed_run_with_a_policy_goes_on_as_the_next_of_its_chain(
    make: Make, place: Place
) -> None:
    async def fails() -> None:
        raise ApplicationError(f"attempt {workflow.info().attempt}")

    mini = make(fails)
    place.begin("fails", retry={"i": 2000, "c": 1.0, "a": 2})
    await mini.settle()
    following, _ = wire.split_following(mini.run().result)
    assert following
    assert mini.run(following).journal == []
    assert place.timers == {(following, 0): (LANE, START_MS + 2000)}
    await mini.pass_seconds(2)
    error = decode_failure(DataConverter.default, mini.run(following).result)
    assert isinstance(error, ApplicationError)
    assert error.message == "attempt 2"


async def test_a_run_that_continues_as_new_begins_again_at_once(make: Make, place: Place) -> None:
    async def counts(number: int) -> int:
        if number < 3:
            workflow.continue_as_new(number + 1)
        return number

    mini = make(counts)
    place.begin("counts", 1)
    await mini.settle()
    assert [run.status for run in place.runs.values()] == [
        RunStatus.CONTINUED_AS_NEW,
        RunStatus.CONTINUED_AS_NEW,
        RunStatus.COMPLETED,
    ]
    assert value_of(list(place.runs.values())[2].result) == 3


async def test_a_next_run_whose_id_is_taken_is_said(
    make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    async def again() -> None:
        workflow.continue_as_new()

    mini = make(again)
    place.begin("again")
    place.taken.add("w")
    await mini.settle()
    assert "the next run of workflow 'w' could not start" in caplog.text


# Children and others


async def test_a_child_and_its_parent_tell_each_other(make: Make, place: Place) -> None:
    async def parent() -> Any:
        return await workflow.execute_child_workflow("child", 4, id="w")

    async def child(number: int) -> int:
        info = workflow.info().parent
        assert info is not None
        assert info.workflow_id == "p"
        return number + 1

    mini = make(parent, child)
    place.begin("parent", workflow_id="p")
    await mini.settle()
    assert mini.kinds() == [
        (["START"], ["CHILD"]),
        (["CHILD_STARTED"], []),
        (["CHILD_COMPLETED"], ["COMPLETE"]),
    ]
    assert value_of(mini.run().result) == 5


async def test_a_child_whose_id_is_taken_is_told_to_its_parent(make: Make, place: Place) -> None:
    async def parent() -> str:
        try:
            await workflow.start_child_workflow("child", id="c")
        except Exception as error:
            return type(error).__name__
        return "started"

    place.taken.add("c")
    mini = make(parent)
    place.begin("parent")
    await mini.settle()
    assert mini.kinds()[1] == (["CHILD_START_FAILED"], ["COMPLETE"])
    assert value_of(mini.run().result) == "WorkflowAlreadyStartedError"


async def test_a_signal_to_another_run_is_confirmed_or_refused(make: Make, place: Place) -> None:
    async def sends() -> list[str]:
        outcomes: list[str] = []
        for workflow_id in ("other", "nobody"):
            try:
                await workflow.get_external_workflow_handle(workflow_id).signal("say", "end")
                outcomes.append("sent")
            except ApplicationError as error:
                outcomes.append(error.type or "")
        return outcomes

    mini = make(sends, listens)
    place.begin("sends")
    place.begin("listens", run_id=OTHER_RUN, workflow_id="other")
    await mini.settle()
    assert value_of(mini.run().result) == ["sent", "ExternalWorkflowExecutionNotFound"]
    assert mini.run(OTHER_RUN).status == RunStatus.COMPLETED


# Task queues


async def test_a_queue_that_is_not_known_is_looked_up_before_the_run_is_recorded(
    make: Make, place: Place
) -> None:
    async def elsewhere() -> None:
        await workflow.execute_activity("act", start_to_close_timeout=5, task_queue="others")

    mini = make(elsewhere, runner=Runner("act"))
    place.begin("elsewhere")
    await mini.settle()
    assert mini.resolved == ["others"]
    (task,) = place.tasks.values()
    assert task.queue_id == 9


async def test_a_queue_that_can_not_be_looked_up_now_makes_its_run_wait(
    make: Make, place: Place
) -> None:
    async def elsewhere() -> None:
        await workflow.execute_activity("act", start_to_close_timeout=5, task_queue="others")

    away = [True]

    async def resolve(_: str) -> int:
        if away:
            raise BackendUnavailableError("away")
        return 9

    mini = make(elsewhere, sleeps, resolve_queue=resolve)
    place.begin("elsewhere")
    place.begin("sleeps", run_id=OTHER_RUN, workflow_id="other")
    await mini.settle()
    assert (mini.journal(), len(mini.journal(OTHER_RUN))) == ([], 1)
    away.clear()
    await mini.pass_seconds(1)
    assert mini.kinds() == [(["START"], ["ACTIVITY"])]


async def test_an_activity_that_nobody_claims_in_time_is_recalled(make: Make, place: Place) -> None:
    async def waits() -> str:
        try:
            await workflow.execute_activity(
                "act", schedule_to_start_timeout=2, start_to_close_timeout=5
            )
        except Exception as error:
            return str(error.__cause__)
        return "done"

    mini = make(waits)
    place.begin("waits")
    await mini.settle()
    assert place.timers == {(RUN_ID, 5): (LANE, START_MS + 2000)}
    await mini.pass_seconds(2)
    assert value_of(mini.run().result) == "activity ScheduleToStart timeout"
    assert place.tasks == {}


async def test_a_cancelled_activity_in_this_process_is_told(make: Make, place: Place) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.settle()
    place.tell(cancel("enough"))
    await mini.settle()
    assert runner.cancelled == [((RUN_ID, 1, 1), "not_found")]  # nobody wants what comes of it
    assert mini.run().status == RunStatus.CANCELED


async def test_the_loop_of_a_pipe_runs_until_it_is_stopped(make: Make, place: Place) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    running = asyncio.create_task(mini.pipe.run(mini.session))
    for _ in range(20):
        await asyncio.sleep(0)
    mini.pipe.stop()
    await asyncio.wait_for(running, 5)
    assert len(mini.journal()) == 1


async def test_a_killed_pipe_commits_nothing_more(make: Make, place: Place) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    await mini.turns(1)
    mini.pipe.kill()
    await asyncio.wait_for(mini.pipe.run(mini.session), 5)
    assert mini.journal() == []
    assert mini.pipe._memory.states == {}


@pytest.mark.parametrize("policy", list(workflow.ParentClosePolicy))
async def test_a_stranger_under_a_childs_id_is_not_ended_with_the_parent(
    policy: workflow.ParentClosePolicy, make: Make, place: Place
) -> None:
    """The parent ends before it hears that the id was taken."""

    async def parent() -> None:
        starting = workflow.start_child_workflow("sleeps", id="taken", parent_close_policy=policy)
        task = asyncio.create_task(starting)
        await asyncio.sleep(0)
        assert not task.done()

    place.taken.add("taken")
    place.begin("sleeps", run_id=OTHER_RUN, workflow_id="taken")
    mini = make(parent, sleeps)
    await mini.settle()
    place.begin("parent")
    await mini.settle()
    assert mini.run().status == RunStatus.COMPLETED
    assert mini.run(OTHER_RUN).status == RunStatus.RUNNING
    assert mini.kinds(OTHER_RUN) == [(["START"], ["TIMER"])]


async def test_a_stranger_under_a_childs_id_is_not_cancelled_in_its_place(
    make: Make, place: Place
) -> None:
    async def parent() -> None:
        task = asyncio.create_task(workflow.start_child_workflow("sleeps", id="taken"))
        workflow.set_signal_handler("stop", lambda: task.cancel())
        await workflow.wait_condition(lambda: False)

    place.taken.add("taken")
    place.begin("sleeps", run_id=OTHER_RUN, workflow_id="taken")
    mini = make(parent, sleeps)
    place.begin("parent")
    await mini.turns(1)
    place.tell(signal("stop"))  # heard in the activation that hears of the taken id
    await mini.settle()
    assert mini.kinds()[1][1] == ["CANCEL_CHILD"]
    assert mini.kinds(OTHER_RUN) == [(["START"], ["TIMER"])]


@pytest.mark.parametrize("is_heard", [False, True])
async def test_a_child_of_ones_own_is_ended_with_the_parent(
    is_heard: bool, make: Make, place: Place
) -> None:
    async def parent() -> None:
        task = asyncio.create_task(workflow.start_child_workflow("sleeps", id="c"))
        await (task if is_heard else asyncio.sleep(0))

    mini = make(parent, sleeps)
    place.begin("parent")
    await mini.settle()
    mini.pipe.assign([LANE, lane_of(QUEUE, "c")])
    await mini.settle()
    (child,) = [each for each in place.runs if each != RUN_ID]
    assert mini.run(child).status == RunStatus.TERMINATED
