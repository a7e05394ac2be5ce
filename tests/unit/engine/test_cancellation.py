"""Scopes are plain asyncio: what cancelling activities, children, timers and tasks asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.core import kinds
from hotmesh.exceptions import ActivityError, CancelledError, ChildWorkflowError, RetryState
from hotmesh.workflow import ActivityCancellationType, ChildWorkflowCancellationType
from unit.engine.driving import (
    Driven,
    cancel,
    canceled,
    child_completed,
    child_failed,
    child_not_started,
    child_started,
    completed,
    fired,
    kinds_of,
    sent,
    shown,
    signal,
)

SECOND = timedelta(seconds=1)


def activity(**options: Any) -> Any:
    return workflow.start_activity("act", start_to_close_timeout=SECOND, **options)


def run_of(code: Callable[[], Any], core: ModuleType | None = None) -> Driven:
    run = Driven(code) if core is None else Driven(code, core=core)
    run.start()
    return run


# Activities


def test_a_cancelled_activity_is_asked_to_stop_and_raises_at_once(core: ModuleType) -> None:
    async def code() -> None:
        await activity()

    run = run_of(code, core)
    commands = run.give(cancel())
    assert commands[0] == (kinds.CANCEL_ACTIVITY, 1, 0, "", b"", b"")
    assert kinds_of(commands) == ["CANCEL_ACTIVITY", "CANCELED"]
    with pytest.raises(CancelledError):
        run.outcome()
    assert run.replayed().instance.closed


def test_what_it_raises_says_that_it_was_to_be_cancelled() -> None:
    errors: list[ActivityError] = []

    async def code() -> None:
        handle = activity()
        await workflow.sleep(1)
        handle.cancel()
        try:
            await handle
        except ActivityError as error:
            errors.append(error)

    run_of(code).give(fired(2), at=1)
    (error,) = errors
    assert error.retry_state is RetryState.CANCEL_REQUESTED
    assert isinstance(error.cause, CancelledError)


def test_an_activity_may_be_waited_for_until_it_has_stopped() -> None:
    async def code() -> str:
        try:
            await activity(cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
        except ActivityError as error:
            assert isinstance(error.cause, CancelledError)
            return "stopped"
        return "finished all the same"

    run = run_of(code)
    assert shown(run.give(cancel())) == [("CANCEL_ACTIVITY", 1, "")]
    assert run.is_open
    run.give(canceled(1, CancelledError("stopped")))
    assert run.outcome() == "stopped"


def test_an_activity_that_is_waited_for_may_complete_all_the_same() -> None:
    async def code() -> Any:
        return await activity(
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        )

    run = run_of(code)
    run.give(cancel())
    run.give(completed(1, "finished"))
    assert run.outcome() == "finished"


def test_an_abandoned_activity_is_told_nothing() -> None:
    async def code() -> None:
        await activity(cancellation_type=ActivityCancellationType.ABANDON)

    assert kinds_of(run_of(code).give(cancel())) == ["CANCELED"]


def test_cancelling_again_asks_for_nothing_more() -> None:
    async def code() -> None:
        handle = activity(cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED)
        await workflow.sleep(1)
        assert handle.cancel() is True
        assert handle.cancel() is True
        await asyncio.wait([handle])
        assert handle.cancel() is False

    run = run_of(code)
    assert kinds_of(run.give(fired(2), at=1)) == ["CANCEL_ACTIVITY"]
    run.give(completed(1))
    assert run.outcome() is None


def test_an_activity_that_was_not_sent_yet_is_never_asked_for() -> None:
    async def code() -> str:
        handle = activity(schedule_to_close_timeout=5, schedule_to_start_timeout=5)
        handle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handle
        return "none"

    run = Driven(code)
    assert kinds_of(run.start()) == ["COMPLETE"]
    assert run.replayed().instance.pending == {}


def test_shield_keeps_an_activity_going() -> None:
    async def code() -> str:
        handle = activity()
        try:
            await asyncio.shield(handle)
        except asyncio.CancelledError:
            return await handle
        return "not cancelled"

    run = run_of(code)
    assert run.give(cancel()) == []
    run.give(completed(1, "kept"))
    assert run.outcome() == "kept"


def test_clean_up_after_cancellation_goes_on_undisturbed() -> None:
    async def code() -> str:
        try:
            await workflow.sleep(60)
        finally:
            await activity()
        return "never"

    run = run_of(code)
    assert kinds_of(run.give(cancel())) == ["CANCEL_TIMER", "ACTIVITY"]
    assert kinds_of(run.give(completed(2))) == ["CANCELED"]


def test_cancelling_a_task_cancels_what_it_awaits_and_nothing_else() -> None:
    async def code() -> list[str]:
        async def one() -> str:
            try:
                return await activity()
            except ActivityError:
                return "cancelled"

        tasks = [asyncio.create_task(one()) for _ in range(2)]
        await workflow.sleep(1)
        tasks[0].cancel()
        return await asyncio.gather(*tasks)

    run = run_of(code)
    timer = run.journal[0][2][0]
    assert timer[0] == kinds.TIMER
    assert shown(run.give(fired(timer[1]), at=1)) == [("CANCEL_ACTIVITY", 2, "")]
    run.give(completed(3, "finished"))
    assert run.outcome() == ["cancelled", "finished"]


def test_an_activity_whose_time_is_up_says_that_it_was_cancelled() -> None:
    async def code() -> str:
        try:
            async with asyncio.timeout(5):
                await activity()
        except TimeoutError:
            return "late"
        return "in time"

    run = Driven(code)
    assert shown(run.start()) == [("TIMER", 1, ""), ("ACTIVITY", 2, "act")]
    assert kinds_of(run.give(fired(1), at=5)) == ["CANCEL_ACTIVITY", "FAIL"]
    with pytest.raises(ActivityError) as raised:
        run.outcome()
    assert isinstance(raised.value.cause, CancelledError)


def test_a_wait_that_is_over_in_time_drops_its_timer() -> None:
    async def code() -> str:
        async with asyncio.timeout(5):
            return await activity()

    run = Driven(code)
    run.start()
    assert kinds_of(run.give(completed(2, "in time"))) == ["CANCEL_TIMER", "COMPLETE"]


def test_the_first_reason_for_cancellation_stays_until_the_next() -> None:
    async def code() -> list[str | None]:
        reasons: list[str | None] = [workflow.cancellation_reason()]
        for _ in range(2):
            try:
                await workflow.sleep(60)
            except asyncio.CancelledError:
                reasons.append(workflow.cancellation_reason())
        return reasons

    run = run_of(code)
    run.give(cancel("first"))
    run.give(cancel("second"))
    assert run.outcome() == [None, "first", "second"]


def test_cancellation_of_a_run_that_has_ended_changes_nothing() -> None:
    async def code() -> None: ...

    run = run_of(code)
    assert run.instance.activate(run.now_ms, [cancel()]) == []


# Children


def child(kind: ChildWorkflowCancellationType) -> Callable[[], Any]:
    async def code() -> str:
        handle = await workflow.start_child_workflow("Child", id="c", cancellation_type=kind)
        try:
            return await handle
        except ChildWorkflowError as error:
            return f"{error} {RetryState(error.retry_state or 0).name}"

    return code


ABANDON, TRY, COMPLETED, REQUESTED = (
    ChildWorkflowCancellationType.ABANDON,
    ChildWorkflowCancellationType.TRY_CANCEL,
    ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    ChildWorkflowCancellationType.WAIT_CANCELLATION_REQUESTED,
)


@pytest.mark.parametrize(
    ("kind", "commands", "is_over"),
    [
        (ABANDON, ["COMPLETE"], True),
        (TRY, ["CANCEL_CHILD", "COMPLETE"], True),
        (REQUESTED, ["CANCEL_CHILD", "COMPLETE"], True),
        (COMPLETED, ["CANCEL_CHILD"], False),
    ],
)
def test_each_way_of_cancelling_a_child(
    kind: ChildWorkflowCancellationType, commands: list[str], is_over: bool
) -> None:
    run = run_of(child(kind))
    run.give(child_started(1))
    found = run.give(cancel())
    assert kinds_of(found) == commands
    if commands[0] == "CANCEL_CHILD":
        assert found[0] == (kinds.CANCEL_CHILD, 1, int(kind), "c", b"", b"")
    if not is_over:
        run.give(child_failed(1, CancelledError("stopped")))
    assert run.outcome() == "Child Workflow execution cancelled CANCEL_REQUESTED"


def test_a_child_that_is_waited_for_may_complete_all_the_same() -> None:
    run = run_of(child(COMPLETED))
    run.give(child_started(1))
    run.give(cancel())
    run.give(child_completed(1, "finished"))
    assert run.outcome() == "finished"


@pytest.mark.parametrize("kind", [TRY, COMPLETED])
def test_a_child_whose_start_is_awaited_is_cancelled_too(
    kind: ChildWorkflowCancellationType,
) -> None:
    run = run_of(child(kind))
    assert kinds_of(run.give(cancel())) == ["CANCEL_CHILD", "CANCELED"]


def test_a_start_that_fails_after_it_was_cancelled_is_nobodys() -> None:
    async def code() -> str:
        try:
            await workflow.start_child_workflow("Child", id="c", cancellation_type=COMPLETED)
        except asyncio.CancelledError:
            await workflow.sleep(1)
        return "went on"

    run = run_of(code)
    assert kinds_of(run.give(cancel())) == ["CANCEL_CHILD", "TIMER"]
    assert run.give(child_not_started(1)) == []
    run.give(fired(2), at=1)
    assert run.outcome() == "went on"


def test_a_child_that_was_not_sent_yet_is_never_started() -> None:
    async def code() -> None:
        task = asyncio.create_task(workflow.start_child_workflow("Child", id="c"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run = Driven(code)
    assert kinds_of(run.start()) == ["COMPLETE"]


def test_cancelling_a_child_twice_or_after_its_end_asks_for_nothing_more() -> None:
    async def code() -> None:
        handle = await workflow.start_child_workflow("Child", id="c")
        assert handle.cancel() is True
        assert handle.cancel() is True
        await asyncio.wait([handle])
        assert handle.cancel() is False

    run = run_of(code)
    assert kinds_of(run.give(child_started(1))) == ["CANCEL_CHILD"]
    run.give(child_completed(1))
    assert run.outcome() is None


def test_a_try_to_cancel_before_the_start_is_known_is_told_to_whoever_awaits_it() -> None:
    errors: list[BaseException] = []

    async def code() -> None:
        task = asyncio.create_task(
            workflow.start_child_workflow("Child", id="c", cancellation_type=TRY)
        )
        await workflow.sleep(1)
        (handle,) = [each for each in handles() if hasattr(each, "started")]
        handle.cancel()
        try:
            await task
        except ChildWorkflowError as error:
            errors.append(error)

    run = Driven(code)

    def handles() -> list[Any]:
        return list(run.instance.pending.values())

    commands = run.start()
    timer = next(each for each in commands if each[0] == kinds.TIMER)
    assert "CANCEL_CHILD" in kinds_of(run.give(fired(timer[1]), at=1))
    assert len(errors) == 1


# What comes together with what cancels it: signals are heard before results


def hears_of(make: Callable[[], Any]) -> Callable[[], Any]:
    """Code that cancels what it waits for when it hears a signal."""

    async def code() -> str:
        task = asyncio.ensure_future(make())
        workflow.set_signal_handler("stop", lambda: task.cancel())
        try:
            return await task
        except (asyncio.CancelledError, ActivityError, ChildWorkflowError) as error:
            return type(error).__name__

    return code


def executing(kind: ChildWorkflowCancellationType) -> Callable[[], Any]:
    return lambda: workflow.execute_child_workflow("C", id="c", cancellation_type=kind)


def test_a_timer_that_fired_is_dropped_by_a_signal_that_came_with_it() -> None:
    run = run_of(hears_of(lambda: workflow.sleep(5)))
    assert kinds_of(run.give(fired(1), signal("stop"), at=5)) == ["CANCEL_TIMER", "COMPLETE"]
    assert run.outcome() == "CancelledError"
    assert run.replayed().instance.closed


def test_a_result_is_too_late_for_a_signal_that_came_with_it() -> None:
    run = run_of(hears_of(activity))
    commands = run.give(completed(1, "result"), signal("stop"))
    assert kinds_of(commands) == ["CANCEL_ACTIVITY", "COMPLETE"]
    assert run.outcome() == "ActivityError"


def test_a_childs_end_is_too_late_unless_it_is_waited_for() -> None:
    for kind, outcome in ((TRY, "ChildWorkflowError"), (COMPLETED, "result")):
        options: Any = {"id": "c", "cancellation_type": kind}
        run = run_of(
            hears_of(lambda options=options: workflow.execute_child_workflow("C", **options))
        )
        run.give(child_started(1))
        commands = run.give(child_completed(1, "result"), signal("stop"))
        assert kinds_of(commands) == ["CANCEL_CHILD", "COMPLETE"]
        assert run.outcome() == outcome


def test_news_of_a_childs_start_are_too_late_for_a_signal_that_came_with_it() -> None:
    run = run_of(hears_of(executing(TRY)))
    assert kinds_of(run.give(child_started(1), signal("stop"))) == ["CANCEL_CHILD", "COMPLETE"]
    assert run.outcome() == "CancelledError"


def test_an_answer_from_another_workflow_is_too_late_for_a_signal_that_came_with_it() -> None:
    run = run_of(hears_of(lambda: workflow.get_external_workflow_handle("o").signal("s")))
    assert kinds_of(run.give(sent(1), signal("stop"))) == ["COMPLETE"]
    assert run.outcome() == "CancelledError"


# Other workflows


def test_a_signal_that_is_on_its_way_is_not_taken_back() -> None:
    async def code() -> str:
        handle = workflow.get_external_workflow_handle("other")
        try:
            await handle.signal("hello")
        except asyncio.CancelledError:
            return "went on"
        return "sent"

    run = run_of(code)
    assert kinds_of(run.give(cancel())) == ["COMPLETE"]
    assert run.outcome() == "went on"
