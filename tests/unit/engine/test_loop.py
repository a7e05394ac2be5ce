"""Which loop runs in a thread, and which run the code there belongs to."""

import asyncio
import contextlib
import gc
import threading
import weakref
from typing import Any, cast

import pytest

from hotmesh.engine.context import current, maybe_current
from hotmesh.engine.info import NotInWorkflowError
from hotmesh.engine.loop import LoopHost, WorkflowLoop, active, own_thread

running = asyncio._get_running_loop


class Host:
    """As much of a run as a loop wants."""

    now_ms = 0


def loop_of(host: Host) -> WorkflowLoop:
    return WorkflowLoop(cast("LoopHost", host))


def test_code_belongs_to_the_run_whose_loop_it_is_on_and_to_none_before_and_after() -> None:
    one, other = Host(), Host()
    for host in (one, other):
        loop = loop_of(host)
        outer = loop.enter()
        assert running() is loop
        assert cast("Any", current()) is maybe_current() is host
        loop.leave(outer)
        assert running() is None
        assert maybe_current() is None
        with pytest.raises(NotInWorkflowError):
            current()


async def test_the_loop_that_ran_and_its_task_are_back_afterwards() -> None:
    outside, task = asyncio.get_running_loop(), asyncio.current_task()
    loop = loop_of(Host())
    outer = loop.enter()
    loop.leave(outer)
    assert running() is outside
    assert asyncio.current_task() is task
    with own_thread():
        loop.leave(loop.enter())
        assert maybe_current() is None
    assert running() is outside
    assert asyncio.current_task() is task


def test_a_run_within_a_run_gives_the_outer_one_back() -> None:
    one, other = Host(), Host()
    with own_thread():
        first, second = loop_of(one), loop_of(other)
        outer = first.enter()
        inner = second.enter()
        assert cast("Any", current()) is other
        second.leave(inner)
        assert cast("Any", current()) is one
        assert running() is first
        first.leave(outer)
        assert maybe_current() is None


def test_threads_do_not_see_each_others_runs() -> None:
    seen: list[object] = []
    loop = loop_of(Host())
    outer = loop.enter()
    other = threading.Thread(target=lambda: seen.append((maybe_current(), running())))
    other.start()
    other.join()
    loop.leave(outer)
    assert seen == [(None, None)]


def test_a_thread_of_its_own_holds_on_to_no_run() -> None:
    host = Host()
    gone = weakref.ref(host)
    with own_thread():
        loop = loop_of(host)
        loop.leave(loop.enter())
    del host, loop
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("has_own_thread", [True, False])
def test_a_child_that_workflow_code_has_forked_ends_by_what_its_code_raises(
    has_own_thread: bool,
) -> None:
    def forks() -> None:
        loop = loop_of(Host())
        outer = loop.enter()
        try:
            active.clear()  # as in a child
            raise SystemExit(3)
        finally:
            loop.leave(outer)

    with pytest.raises(SystemExit), own_thread() if has_own_thread else contextlib.nullcontext():
        forks()
    assert running() is None
    assert threading.get_ident() not in active
