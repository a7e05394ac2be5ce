"""Runs are taken in from their journal, and what nobody does any more is done again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from hotmesh import workflow
from hotmesh.backends.outgoing import REPEAT_SLACK_MS
from hotmesh.backends.protocol import LOST, LoadedRun, Loads, RunStatus
from hotmesh.core import kinds
from hotmesh.engine.activity_task import Outcome
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.router import recovering
from unit.engine.driving import (
    OTHER_RUN,
    RUN_ID,
    answer,
    cancel,
    completed,
    fired,
    query,
    signal,
    value_of,
)
from unit.router.flows import asks, listens, sleeps
from unit.router.miniature import LANE, QUEUE, SIDE_QUEUE, Make, Miniature, Place, Runner

# Steps that are not applied


async def test_a_step_that_is_lost_is_done_again_by_what_is_stored(
    make: Make, place: Place
) -> None:
    mini = make(listens)
    place.begin("listens")
    place.fates = ["applied", "lost", "applied", "not answered"]
    await mini.settle()
    place.tell(signal("say", "end"))
    await mini.settle()
    assert mini.kinds() == [(["START"], []), (["SIGNAL"], ["COMPLETE"])]
    assert place.messages == {}


async def test_the_end_of_a_run_that_has_an_unread_event_is_refused_and_sees_it(
    make: Make, place: Place
) -> None:
    mini = make(listens)
    place.begin("listens")
    place.tell(signal("say", "end"))
    await mini.turns(1)
    place.tell(signal("say", "late"))
    await mini.settle()
    assert mini.run().status == RunStatus.COMPLETED
    assert value_of(mini.run().result) == ["end", "late"]


async def test_a_router_that_was_declared_dead_does_nothing_more(make: Make, place: Place) -> None:
    mini = make(sleeps)
    place.begin("sleeps")
    place.fates = ["applied", "fenced"]
    await mini.settle()
    assert mini.fenced == 1
    assert mini.journal() == []
    await mini.turns(3)
    assert mini.journal() == []


# What a router that is gone had in hand


async def test_an_activity_that_was_going_on_elsewhere_becomes_a_task(
    make: Make, place: Place
) -> None:
    gone = make(asks, runner=Runner("act"))
    place.begin("asks")
    await gone.settle()
    assert place.tasks == {}
    mini = make(asks, runner=Runner("act"))
    await mini.settle()
    assert mini.kinds() == [(["START"], ["ACTIVITY"]), ([], ["REDISPATCH"])]
    ((key, task),) = place.tasks.items()
    assert (key, task.queue_id, task.activity_type) == ((RUN_ID, 1), QUEUE, "act")
    (step,) = [each for each in place.steps if each.task_run]
    assert step.task_attempt == [LOST]
    assert place.messages == {}


async def test_a_cancelled_activity_that_was_going_on_elsewhere_is_recalled(
    make: Make, place: Place
) -> None:
    async def waits() -> Any:
        kind = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        try:
            return await workflow.execute_activity(
                "act", start_to_close_timeout=5, cancellation_type=kind
            )
        except workflow.ContinueAsNewError:
            raise
        except Exception as error:
            return str(error)

    runner = Runner("act")
    gone = make(waits, runner=runner)
    place.begin("waits")
    await gone.settle()
    place.tell(cancel("enough"))
    await gone.settle()
    assert runner.cancelled == [((RUN_ID, 1, 1), "cancel_requested")]
    mini = make(waits, runner=Runner("act"))
    await mini.settle()
    assert value_of(mini.run().result) == "Activity cancelled"
    assert place.tasks == {}


async def parent() -> Any:
    return await workflow.execute_child_workflow("child", id="c")


async def start_in_doubt(make: Make, place: Place) -> None:
    """The step that starts a parent's child is stored; its router never learns of that."""
    gone = make(parent)
    place.begin("parent")
    place.fates = ["applied", "not answered"]
    await gone.turns(2)


async def test_a_child_whose_start_is_not_known_to_be_stored_is_started_again(
    make: Make, place: Place
) -> None:
    await start_in_doubt(make, place)
    (child,) = [each for each in place.runs if each != RUN_ID]
    mini = make(parent)
    await mini.settle()
    assert [each.run_id for step in place.steps for each in step.starts] == [child, child]
    assert mini.kinds()[1] == (["CHILD_STARTED"], [])


@pytest.mark.parametrize(
    "end", [cancel("enough"), (kinds.TERMINATE, 0, 0, "", b"1", b"")], ids=["cancel", "end"]
)
async def test_a_run_knows_that_a_child_was_started_before_it_cancels_or_ends_it(
    make: Make, place: Place, end: Any
) -> None:
    """The child may have continued as new: it is not to be looked for as what it was at first."""

    await start_in_doubt(make, place)
    place.tell(end)
    mini = make(parent)
    await mini.settle()
    sent = {(each.workflow_id, each.run_id) for step in place.steps for each in step.sends}
    assert sent == {("c", b"")}


async def test_a_signal_whose_answer_is_not_known_says_how_long_ago_it_was_sent(
    make: Make, place: Place
) -> None:
    async def sends() -> None:
        await workflow.get_external_workflow_handle("other").signal("say", 1)

    gone = make(sends)
    place.begin("sends")
    place.fates = ["applied", "not answered"]
    await gone.turns(2)
    mini = make(sends)
    mini.time.seconds += 3
    await mini.settle()
    first, second = [each for step in place.steps for each in step.sends]
    assert first.frame == second.frame
    assert (first.again_ms, second.again_ms) == (0, 3000 + REPEAT_SLACK_MS)
    assert mini.kinds()[1] == (["EXTERNAL_FAILED"], ["FAIL"])


async def test_a_queue_that_is_not_known_is_looked_up_before_work_is_done_again(
    make: Make, place: Place
) -> None:
    async def parent() -> Any:
        return await workflow.execute_child_workflow("child", id="c", task_queue="others")

    gone = make(parent)
    place.begin("parent")
    place.fates = ["applied", "not answered"]
    await gone.turns(2)
    away = [True]

    async def resolve(_: str) -> int:
        if away:
            raise BackendUnavailableError("away")
        return 9

    mini = make(parent, resolve_queue=resolve)
    await mini.settle()
    assert len([each for step in place.steps for each in step.starts]) == 1
    away.clear()
    await mini.pass_seconds(1)
    assert len([each for step in place.steps for each in step.starts]) == 2


async def test_what_this_process_still_does_is_not_done_again(make: Make, place: Place) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.settle()
    place.fates = ["stale"]
    place.tell(signal("anything"))
    await mini.settle()
    assert place.tasks == {}
    runner.completes("act", "done")
    await mini.settle()
    assert value_of(mini.run().result) == "done"


# Runs that are not as they should be


async def test_a_run_that_is_gone_is_dropped_and_so_is_what_came_for_it(
    make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    mini = make(sleeps)
    place.tell(completed(1), run_id=OTHER_RUN, lane=LANE)
    await mini.settle()
    assert "is not in the database" in caplog.text
    assert place.messages == {}


@pytest.mark.parametrize("event", [signal("say"), cancel(), (kinds.START, 0, 0, "", b"", b"")])
async def test_what_was_accepted_for_a_run_that_there_is_not_is_left_unread(
    event: Any, make: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    place.begin("sleeps", run_id=OTHER_RUN)
    place.messages.clear()
    place.tell(event, run_id=OTHER_RUN)
    row = place._row

    def of_nobody(*args: Any) -> Any:
        return row(*args)._replace(journaled=True)

    place._row = of_nobody  # type: ignore[method-assign]
    mini = make(sleeps)

    async def load(_: object) -> Loads:
        return Loads([], ())

    place.load = load  # type: ignore[method-assign]
    await mini.settle()
    assert "is left unread" in caplog.text
    assert len(place.messages) == 1


def damaged(place: Place, **changes: Any) -> None:
    """What is stored of the run is not what it was."""
    loaded = place._loaded

    def changed(run: Any) -> LoadedRun:
        return loaded(run)._replace(**changes)

    place._loaded = changed  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"next_seq": 3}, "it has 1 entries, and the last is 2"),
        ({"frames": [b"\xff damaged"]}, "magic byte"),
        ({"status": 77}, "status"),
        ({"workflow_id": ""}, "no workflow id"),
        ({"workflow_type": ""}, "no type"),
        ({"input": None}, "input"),
        ({"header": b"[]"}, "it is no document"),
        ({"attributes": b'{"hotmesh.damaged":1}'}, "a value is no JSON"),
        ({"lane": 3}, "lane"),
    ],
)
async def test_a_damaged_run_is_set_aside_with_the_reason(
    changes: dict[str, Any], text: str, make: Make, place: Place
) -> None:
    await begun(make(sleeps), place)
    damaged(place, **changes)
    mini = make(sleeps)
    place.tell(fired(1))
    await mini.settle()
    failure = mini.task_failure()
    assert failure is not None
    assert failure["type"] in ("CorruptJournalError", "CorruptRowError")
    assert text in failure["message"]
    assert len(mini.journal()) == 1


async def begun(mini: Miniature, place: Place) -> None:
    place.begin("sleeps")
    await mini.settle()


@pytest.mark.parametrize("changes", [{"frames": [b"\xff damaged"]}, {"next_seq": 3}])
async def test_a_run_with_a_damaged_journal_can_be_ended(
    changes: dict[str, Any], make: Make, place: Place
) -> None:
    await begun(make(sleeps), place)
    damaged(place, **changes)
    if "next_seq" in changes:
        place.runs[RUN_ID].journal += place.runs[RUN_ID].journal * 2
        damaged(place, frames=[bytes(place.runs[RUN_ID].journal[0])], next_seq=3)
    mini = make(sleeps)
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", b""))
    await mini.settle()
    assert mini.run().status == RunStatus.TERMINATED


async def test_of_rows_that_the_store_can_not_give_the_others_are_taken_in(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [bytes([number]) * 16 for number in range(1, 6)]
    gone = make(listens)
    for number, run_id in enumerate(ids):
        place.begin("listens", run_id=run_id, workflow_id=f"w{number}", lane=LANE)
    await gone.settle()
    load, guilty = place.load, ids[2]

    async def refusing(run_ids: Any) -> Loads:
        if guilty in run_ids:
            raise BackendError("a row is damaged")
        return await load(run_ids)

    monkeypatch.setattr(place, "load", refusing)
    mini = make(listens)
    for run_id in ids:
        place.tell(signal("say", "end"), run_id=run_id)
    await mini.settle()
    statuses = [mini.run(run_id).status for run_id in ids]
    assert statuses == [2, 2, 1, 2, 2]
    failure = mini.task_failure(guilty)
    assert failure is not None
    assert "a row is damaged" in failure["message"]


async def test_a_store_that_refuses_every_run_is_waited_for_and_no_run_is_blamed(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begun(make(sleeps), place)
    load = place.load

    async def refusing(_: object) -> Loads:
        raise BackendError("nobody may read")

    monkeypatch.setattr(place, "load", refusing)
    mini = make(sleeps)
    place.tell(fired(1))
    await mini.turns(5)
    assert mini.task_failure() is None
    monkeypatch.setattr(place, "load", load)
    await mini.settle()
    assert mini.run().status == RunStatus.COMPLETED


async def test_runs_that_a_load_leaves_out_are_asked_for_again(make: Make, place: Place) -> None:
    first = make(listens)
    for number, run_id in enumerate((RUN_ID, OTHER_RUN)):
        place.begin("listens", run_id=run_id, workflow_id=f"w{number}", lane=LANE)
    await first.settle()
    load = place.load

    async def one_at_a_time(run_ids: Any) -> Loads:
        runs, _ = await load(run_ids[:1])
        return Loads(runs, run_ids[1:])

    place.load = one_at_a_time  # type: ignore[method-assign]
    mini = make(listens)
    for run_id in (RUN_ID, OTHER_RUN):
        place.tell(signal("say", "end"), run_id=run_id)
    await mini.settle()
    assert [mini.run(each).status for each in (RUN_ID, OTHER_RUN)] == [2, 2]


async def test_a_run_that_was_evicted_is_loaded_again(make: Make, place: Place) -> None:
    mini = make(listens, max_cached=1)
    for number, run_id in enumerate((RUN_ID, OTHER_RUN)):
        place.begin("listens", run_id=run_id, workflow_id=f"w{number}", lane=LANE)
    await mini.settle()
    assert len(mini.pipe._memory.states) == 1
    for run_id in (RUN_ID, OTHER_RUN):
        place.tell(signal("say", "end"), run_id=run_id)
    await mini.settle()
    assert [mini.run(each).status for each in (RUN_ID, OTHER_RUN)] == [2, 2]
    assert len(place.loaded) == 1


async def test_a_large_journal_is_taken_in_row_by_row(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovering, "JOURNAL_BYTES_MAX", 10)
    await begun(make(listens, sleeps), place)
    mini = make(sleeps)
    place.tell(fired(1))
    await mini.settle()
    assert value_of(mini.run().result) == "slept"


async def test_a_closed_run_is_taken_in_for_a_query(make: Make, place: Place) -> None:
    first = make(listens)
    place.begin("listens")
    place.tell(signal("say", "end"))
    await first.settle()
    mini = make(listens)
    place.tell(query("heard"))
    await mini.settle()
    assert answer(place.replies[b"asked"]) == ["end"]


# Runs of others


async def test_a_run_of_a_type_that_is_not_hosted_goes_to_those_who_host_it(
    make: Make, place: Place
) -> None:
    mini = make(sleeps)
    place.begin("listens", run=9000)
    place.tell(signal("say", "end"))
    await mini.settle()
    side = SIDE_QUEUE * 64 + LANE % 64
    assert mini.run().lane == side
    assert mini.resolved == ["side listens"]
    assert mini.moved == 1
    assert {lane for lane, _, _ in place.messages.values()} == {side}
    kinds_ = sorted(frame[0] for _, _, frame in place.messages.values())
    assert kinds_ == [kinds.START, kinds.SIGNAL]
    assert [key for _, key in place.timers] == [-1]
    there = make(listens)
    there.pipe.assign([side])
    await there.settle()
    assert value_of(there.run().result) == ["end"]


async def test_what_comes_late_for_a_run_that_has_moved_is_sent_after_it(
    make: Make, place: Place
) -> None:
    mini = make(sleeps)
    place.begin("listens")
    await mini.settle()
    side = mini.run().lane
    place.tell(signal("say", "late"), lane=LANE)
    await mini.settle()
    assert {lane for lane, _, _ in place.messages.values()} == {side}


async def test_a_side_queue_that_can_not_be_looked_up_now_makes_the_run_wait(
    make: Make, place: Place
) -> None:
    away = [True]

    async def resolve(_: str) -> int:
        if away:
            raise BackendUnavailableError("away")
        return SIDE_QUEUE

    mini = make(sleeps, resolve_side=resolve)
    place.begin("listens")
    await mini.settle()
    assert mini.run().lane == LANE
    away.clear()
    await mini.pass_seconds(1)
    assert mini.run().lane == SIDE_QUEUE * 64 + LANE % 64


async def test_a_run_elsewhere_whose_end_has_come_is_called_home_once(
    make: Make, place: Place
) -> None:
    mini = make(sleeps)
    place.begin("listens")
    await mini.settle()
    side = mini.run().lane
    place.tell((kinds.TERMINATE, 0, 0, "", b"1", b""), lane=LANE)
    await mini.settle()
    await mini.pass_seconds(0.1)
    assert mini.run().lane == LANE
    assert mini.run().status == RunStatus.TERMINATED
    assert side != LANE


# Lanes


async def test_a_lane_that_is_to_go_is_given_back_once_it_is_quiet(
    make: Make, place: Place
) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.settle()
    mini.pipe.give_up([LANE])
    await mini.settle()
    assert mini.quiet == []
    runner.completes("act", "done")
    await mini.settle()
    assert mini.quiet == [LANE]
    assert mini.pipe.lanes == []
    assert value_of(mini.run().result) == "done"
    assert mini.pipe._memory.states == {}


async def test_a_lane_that_comes_is_read_from_its_beginning(make: Make, place: Place) -> None:
    mini = make(listens)
    mini.pipe.assign([LANE + 1])
    place.begin("listens")
    await mini.settle()
    assert mini.journal() == []
    mini.pipe.assign([LANE + 1, LANE])
    await mini.settle()
    assert len(mini.journal()) == 1


async def test_a_lane_that_is_taken_away_makes_everything_be_read_again(
    make: Make, place: Place
) -> None:
    """Nobody takes a lane away but a database that went back."""
    mini = make(listens)
    place.begin("listens")
    await mini.settle()
    mini.pipe.assign([LANE + 1])
    await mini.settle()
    assert mini.pipe._memory.states == {}
    mini.pipe.assign([LANE])
    place.tell(signal("say", "end"))
    await mini.settle()
    assert place.loaded == [[RUN_ID]]
    assert mini.run().status == RunStatus.COMPLETED


async def test_only_hints_for_its_own_lanes_wake_a_pipe(make: Make) -> None:
    mini = make(sleeps)
    mini.pipe._awake = False
    mini.pipe.wake_lanes(1 << (LANE + 1) % 64)
    assert not mini.pipe._awake
    mini.pipe.wake_lanes(1 << LANE % 64 | 1 << (LANE + 1) % 64)
    assert mini.pipe._awake


async def test_what_a_pipe_holds_is_told_to_who_ends_its_tenure(make: Make, place: Place) -> None:
    runner = Runner("act")
    mini = make(asks, runner=runner)
    place.begin("asks")
    await mini.settle()
    ((task, transition),) = mini.pipe.held()
    assert (task.name, transition) == ("act", -1)
    assert mini.pipe.busy
    runner.ends("act", Outcome("completed", completed(1, "done")))
    ((task, _),) = mini.pipe.held()
    assert task.event is not None
    await mini.settle()
    assert list(mini.pipe.held()) == []
    assert not mini.pipe.busy
    assert orjson.loads(mini.run().result) == ["done"]
