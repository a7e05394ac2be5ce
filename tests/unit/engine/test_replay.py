"""A recorded journal against code: the same code goes the same way, other code is found out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.common import RetryPolicy
from hotmesh.core import kinds
from hotmesh.core.journal import Journal, outline_of
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    CorruptRowError,
    NondeterminismError,
    UnknownWorkflowTypeError,
)
from hotmesh.router.replaying import Engine
from hotmesh.router.state import RunState
from hotmesh.router.watchdog import Watchdog
from unit.engine.driving import (
    RUN_ID,
    START_MS,
    Driven,
    cancel,
    completed,
    failed,
    fired,
    kinds_of,
    query,
    signal,
    values,
)

Code = Callable[..., Awaitable[Any]]


def act(name: str, *args: Any) -> Any:
    return workflow.execute_activity(name, args=args, start_to_close_timeout=timedelta(seconds=1))


async def two_steps(word: str = "") -> list[Any]:
    first = await act("first", word)
    await workflow.sleep(5)
    return [first, await act("second", first)]


def recorded(core: ModuleType, code: Code = two_steps) -> Driven:
    """A run of two steps, waiting for its second activity."""
    run = Driven(code, "w", core=core)
    run.start()
    run.give(completed(1, "one"))
    run.give(fired(2), at=5)
    return run


def test_a_replayed_run_stands_where_it_stood_and_goes_on(core: ModuleType) -> None:
    again = recorded(core).replayed()
    assert list(again.instance.pending) == [3]
    assert again.instance.seq == 3
    assert not again.instance.is_replaying
    assert again.instance.now_ms == START_MS + 5000
    again.give(completed(3, "two"))
    assert again.outcome() == ["one", "two"]


def test_a_replay_asks_for_nothing_and_answers_nobody(core: ModuleType) -> None:
    run = recorded(core)
    again = run.replayed()
    assert again.instance.replies == []
    assert again.instance.transitions == 3
    assert again.instance.journal_bytes == sum(map(len, run.frames()))


async def _none(word: str = "") -> None:
    del word


async def _another_name(word: str = "") -> None:
    await act("other", word)


async def _another_kind(word: str = "") -> None:
    del word
    await workflow.sleep(1)


async def _one_more(word: str = "") -> None:
    await asyncio.gather(act("first", word), act("more", word))


async def _later_other(word: str = "") -> None:
    await act("first", word)
    await act("second", word)


async def _never_waits(word: str = "") -> None:
    workflow.start_activity("first", word, start_to_close_timeout=1)


@pytest.mark.parametrize(
    ("code", "at", "had", "asks"),
    [
        (_none, 0, "ACTIVITY 'first' (seq 1)", "COMPLETE '' (seq 0)"),
        (_another_name, 0, "ACTIVITY 'first' (seq 1)", "ACTIVITY 'other' (seq 1)"),
        (_another_kind, 0, "ACTIVITY 'first' (seq 1)", "TIMER '' (seq 1)"),
        (_one_more, 0, "nothing", "ACTIVITY 'more' (seq 2)"),
        (_later_other, 1, "TIMER '' (seq 2)", "ACTIVITY 'second' (seq 2)"),
        (_never_waits, 0, "nothing", "COMPLETE '' (seq 0)"),
    ],
)
def test_code_that_goes_another_way_is_found_where_it_does(
    code: Code, at: int, had: str, asks: str, core: ModuleType
) -> None:
    with pytest.raises(NondeterminismError) as raised:
        recorded(core).replayed(code)
    text = str(raised.value)
    assert f"workflow 'w' (two_steps) at transition {at}" in text
    assert f"the journal has {had}, but the code asks for {asks}" in text
    assert "workflow.patched()" in text


def test_code_that_asks_for_less_than_it_did_is_found(core: ModuleType) -> None:
    async def two_at_once() -> None:
        await asyncio.gather(act("a"), act("b"))

    async def one() -> None:
        await act("a")

    run = Driven(two_at_once, core=core)
    run.start()
    with pytest.raises(NondeterminismError, match=r"has ACTIVITY 'b' \(seq 2\).* for nothing"):
        run.replayed(one)


def test_code_that_raises_at_replay_fails_the_task(core: ModuleType) -> None:
    async def broken(word: str = "") -> None:
        raise ZeroDivisionError(word)

    with pytest.raises(ZeroDivisionError):
        recorded(core).replayed(broken)


def test_a_run_whose_replay_failed_is_taken_apart() -> None:
    ended: list[str] = []

    async def other(word: str = "") -> None:
        try:
            await act("other", word)
        finally:
            ended.append(word)

    run = Driven(two_steps, "w")
    run.start()
    with pytest.raises(NondeterminismError):
        run.replayed(other)
    assert ended == ["w"]


# Arguments


async def two_at_once(first: str, second: str) -> None:
    await asyncio.gather(act("same", first), act("same", second))


async def the_other_way(first: str, second: str) -> None:
    await asyncio.gather(act("same", second), act("same", first))


async def with_more(first: str, second: str) -> None:
    await asyncio.gather(act("same", first, 1), act("same", second, 1))


def started(*args: Any) -> Driven:
    run = Driven(two_at_once, *args)
    run.start()
    return run


def test_arguments_in_another_order_are_never_given_each_others_results() -> None:
    with pytest.raises(NondeterminismError, match="arguments that the journal has in another pl"):
        started("a", "b").replayed(the_other_way)


def test_arguments_that_merely_differ_keep_the_recorded_result_and_are_noted() -> None:
    again = started("a", "b").replayed(with_more)
    assert again.changed_arguments == "ACTIVITY 'same' (seq 1) at transition 0"
    assert not started("a", "b").replayed().changed_arguments


def test_arguments_that_merely_differ_are_refused_where_replay_is_strict() -> None:
    with pytest.raises(NondeterminismError, match="strict_replay=True"):
        started("a", "b").replayed(with_more, strict_replay=True)


def test_arguments_that_change_places_over_the_run_are_found_too() -> None:
    async def one_by_one() -> None:
        await act("same", "a")
        await act("same", "b")

    async def reversed_() -> None:
        await act("same", "b")
        await act("same", "a")

    run = Driven(one_by_one)
    run.start()
    run.give(completed(1))
    with pytest.raises(NondeterminismError, match="in another place"):
        run.replayed(reversed_)


def test_a_timer_of_another_length_is_an_argument_that_differs() -> None:
    async def short() -> None:
        await workflow.sleep(1)

    async def long() -> None:
        await workflow.sleep(2)

    run = Driven(short)
    run.start()
    assert "TIMER" in run.replayed(long).changed_arguments


# What a router wrote


def test_transitions_that_a_router_made_are_no_ones_code(core: ModuleType) -> None:
    run = Driven(two_steps, "w", core=core)
    run.start()
    command = run.journal[0][2][0]
    frame = core.encode_event((kinds.ACTIVITY, 1, 7, "first", command[4], command[5]))
    run.journal.append((START_MS + 5, [], [(kinds.REDISPATCH, 1, 7, "first", frame, b"")]))
    run.give(completed(1, "one"))
    again = run.replayed()
    assert again.instance.transitions == 3
    assert list(again.instance.pending) == [2]


@pytest.mark.parametrize("kind", [kinds.TERMINATE, kinds.RUN_TIMED_OUT])
def test_an_end_from_outside_runs_no_code(kind: int, core: ModuleType) -> None:
    run = recorded(core)
    end = kinds.TERMINATED if kind == kinds.TERMINATE else kinds.TIMED_OUT
    run.journal.append((START_MS, [(kind, 0, 0, "", b"", b"")], [(end, 0, 0, "", b"", b"")]))
    again = run.replayed()
    assert again.instance.closed
    assert list(again.instance.pending) == [3]


def test_a_failure_once_all_attempts_were_spent_is_one_at_replay_too() -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    run = Driven(broken, failure_types=(BaseException,))
    assert kinds_of(run.start()) == ["FAIL"]
    definition = WorkflowDefinition.from_function(broken)
    definition.task_retry = RetryPolicy(maximum_attempts=1)
    assert run.replayed(definition, failure_types=()).instance.closed
    with pytest.raises(ZeroDivisionError):
        run.replayed(failure_types=())


def test_a_mistake_before_its_attempts_were_spent_fails_the_task_at_replay_too() -> None:
    async def broken(word: str = "") -> None:
        raise ZeroDivisionError(word)

    run = Driven(two_steps, "w")
    run.start()
    definition = WorkflowDefinition.from_function(broken)
    definition.task_retry = RetryPolicy(maximum_attempts=1)
    with pytest.raises(ZeroDivisionError):
        run.replayed(definition)


def test_queries_see_the_run_as_it_was_left(core: ModuleType) -> None:
    async def code() -> None:
        heard: list[str] = []
        workflow.set_signal_handler("say", heard.append)
        workflow.set_query_handler("heard", lambda: heard)
        await workflow.wait_condition(lambda: False)

    run = Driven(code, core=core)
    run.start(query("heard"))
    run.give(signal("say", "a"), query("heard"))
    assert run.replayed().ask("heard") == ["a"]


# Patches


async def old() -> None:
    await act("old")
    await workflow.sleep(1)
    await act("end")


async def patched() -> None:
    await act("new" if workflow.patched("p") else "old")
    await workflow.sleep(1)
    await act("end" if workflow.patched("p") is workflow.patched("p") else "never")


async def deprecated() -> None:
    workflow.deprecate_patch("p")
    await act("new")
    await workflow.sleep(1)
    await act("end")


async def new() -> None:
    await act("new")
    await workflow.sleep(1)
    await act("end")


def through(code: Code, core: ModuleType) -> Driven:
    run = Driven(code, core=core)
    run.start()
    run.give(completed(1))
    run.give(fired(2), at=1)
    return run


def test_a_new_run_takes_the_new_branch_and_records_it_once(core: ModuleType) -> None:
    run = through(patched, core)
    assert [kinds_of(each[2]) for each in run.journal] == [
        ["PATCH", "ACTIVITY"],
        ["TIMER"],
        ["ACTIVITY"],
    ]
    assert run.journal[0][2][0] == (kinds.PATCH, 0, 0, "p", b"", b"")
    assert run.journal[0][2][1][3] == "new"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (old, patched),
        (patched, patched),
        (patched, deprecated),
        (deprecated, patched),
        (deprecated, new),
        (patched, new),
    ],
)
def test_each_step_of_a_patchs_life_replays_what_was_before(
    before: Code, after: Code, core: ModuleType
) -> None:
    again = through(before, core).replayed(after)
    assert list(again.instance.pending) == [3]


@pytest.mark.parametrize(("before", "after"), [(old, deprecated), (old, new), (new, old)])
def test_a_step_that_is_left_out_is_found(before: Code, after: Code, core: ModuleType) -> None:
    with pytest.raises(NondeterminismError):
        through(before, core).replayed(after)


def test_a_run_that_comes_to_a_patch_only_later_takes_the_new_branch() -> None:
    async def before() -> None:
        await act("a")
        await act("b")

    async def after() -> None:
        await act("a")
        await act("c" if workflow.patched("p") else "b")

    run = Driven(before)
    run.start()
    again = run.replayed(after)
    assert [each[3] for each in again.give(completed(1))] == ["p", "c"]


# What can't be brought up


def state_of(run: Driven) -> RunState:
    state = RunState(run.details)
    state.remember(run.journal, [1] * len(run.journal))
    return state


def test_a_type_that_nobody_hosts_is_named_with_those_that_are() -> None:
    run = Driven(two_steps)
    definition = WorkflowDefinition.from_function(old)
    engine = Engine({"old": definition}, run.options)
    assert engine.hosts("old")
    assert not engine.hosts("two_steps")
    assert engine.task_retry("two_steps") is None
    with pytest.raises(UnknownWorkflowTypeError, match=r"two_steps.*old"):
        engine.bring_up(state_of(run), Watchdog(0))


def test_a_dynamic_workflow_stands_in_for_every_type() -> None:
    policy = RetryPolicy(maximum_attempts=3)
    definition = dataclasses.replace(
        WorkflowDefinition.from_function(two_steps), name=None, task_retry=policy
    )
    run = Driven(two_steps)
    engine = Engine({None: definition}, run.options)
    assert engine.hosts("anything")
    assert engine.task_retry("anything") is policy
    run.start()
    assert engine.bring_up(state_of(run), Watchdog(0)).definition is definition


def test_a_damaged_run_is_not_brought_up() -> None:
    run = Driven(two_steps)
    state = state_of(run)
    state.damage = CorruptRowError("r", "header", "it is no document")
    with pytest.raises(CorruptRowError):
        Engine({"two_steps": run.definition}, run.options).bring_up(state, Watchdog(0))


def test_a_run_is_brought_up_once() -> None:
    run = Driven(two_steps)
    run.start()
    state, engine = state_of(run), Engine({"two_steps": run.definition}, run.options)
    first = engine.bring_up(state, Watchdog(0))
    assert engine.bring_up(state, Watchdog(0)) is first
    assert state.transitions == state.sizes == ()


def test_the_watchdog_hears_of_each_transition(core: ModuleType) -> None:
    run, watchdog = recorded(core), Watchdog(0)
    Engine({"two_steps": run.definition}, run.options).bring_up(state_of(run), watchdog)
    assert watchdog.replayed == 3


def large_state(run: Driven) -> RunState:
    """A run whose journal is decoded row by row."""
    frames = run.frames()
    state = RunState(run.details)
    outline = list(map(outline_of, run.journal))
    state.remember(outline, list(map(len, frames)))
    state.transitions = Journal(frames, run.core.decode_transition, outline)
    return state


def test_a_large_journal_is_decoded_row_by_row_to_the_same_end(core: ModuleType) -> None:
    run = through(patched, core)
    state = large_state(run)
    engine = Engine({"patched": run.definition}, run.options)
    instance = engine.bring_up(state, Watchdog(0))
    assert list(instance.pending) == [3]
    assert state.transitions == ()


def test_a_large_journal_that_contradicts_the_code_says_so_each_time(core: ModuleType) -> None:
    """It is let go of while it is replayed: what was found stays."""
    run = through(patched, core)
    state = large_state(run)
    definition = dataclasses.replace(WorkflowDefinition.from_function(old), name="patched")
    engine = Engine({"patched": definition}, run.options)
    for _ in range(2):
        with pytest.raises(NondeterminismError):
            engine.bring_up(state, Watchdog(0))
    assert isinstance(state.damage, NondeterminismError)


def test_a_run_that_was_evicted_before_it_had_begun_is_simply_made() -> None:
    run = Driven(two_steps, "w")
    state = RunState(run.details)
    instance = Engine({"two_steps": run.definition}, run.options).bring_up(state, Watchdog(0))
    assert instance.primary is None
    commands = instance.activate(START_MS, [(kinds.START, 0, 0, "", b"", b"")])
    assert kinds_of(commands) == ["ACTIVITY"]
    assert instance.details.run_id == RUN_ID


def test_a_failed_activity_of_the_past_is_raised_again(core: ModuleType) -> None:
    async def code() -> str:
        try:
            await act("a")
        except ActivityError as error:
            workflow.upsert_memo({"why": str(error.__cause__)})
        await workflow.wait_condition(lambda: False)
        return ""

    run = Driven(code, core=core)
    run.start()
    run.give(failed(1, ApplicationError("broken")))
    assert run.replayed().instance.memo_bodies()["why"] == values("broken")


def test_cancellation_of_the_past_is_seen_again(core: ModuleType) -> None:
    async def code() -> None:
        try:
            await workflow.sleep(60)
        except asyncio.CancelledError:
            await act("clean up", workflow.cancellation_reason())

    run = Driven(code, core=core)
    run.start()
    run.give(cancel("enough"))
    again = run.replayed()
    assert again.instance.cancel_reason == "enough"
    assert not again.changed_arguments
