"""Threads that take turns share a processor, and only while one of them waits."""

import os
import threading
from collections.abc import Iterator
from typing import cast

import pytest

from hotmesh.router import workflow_thread
from hotmesh.router.same_processor import SameProcessor
from hotmesh.router.workflow_thread import WorkflowThread

EVERYWHERE = set(range(os.cpu_count() or 1))
pytestmark = pytest.mark.usefixtures("may_run_everywhere")


@pytest.fixture
def may_run_everywhere() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, EVERYWHERE)
    if os.sched_getaffinity(0) != EVERYWHERE or len(EVERYWHERE) == 1:
        pytest.skip("this machine gives us one processor, or not all")
    yield
    os.sched_setaffinity(0, allowed)


@pytest.fixture
def other() -> Iterator[int]:
    """The native id of a thread that waits."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert thread.native_id is not None
    yield thread.native_id
    end.set()
    thread.join()


def test_both_threads_are_bound_to_one_processor(other: int) -> None:
    processor = SameProcessor()
    assert processor.bind(other)
    assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == os.sched_getaffinity(other)
    processor.free()
    assert os.sched_getaffinity(0) == EVERYWHERE


def test_a_thread_that_never_came_to_run_is_freed_by_who_waited(other: int) -> None:
    processor = SameProcessor()
    assert processor.bind(other)
    processor.free(other)
    assert os.sched_getaffinity(other) == EVERYWHERE
    processor.free()


def test_a_thread_that_has_ended_needs_nothing() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    assert thread.native_id is not None
    SameProcessor().free(thread.native_id)


def test_a_thread_that_is_restricted_is_left_alone(other: int) -> None:
    processor = SameProcessor()
    os.sched_setaffinity(0, {0})
    assert not processor.bind(other)
    assert os.sched_getaffinity(0) == {0}
    assert os.sched_getaffinity(other) == EVERYWHERE


def test_where_it_is_not_allowed_nobody_stays_bound(
    other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = os.sched_setaffinity

    def refuse_others(thread: int, processors: set[int]) -> None:
        if thread:
            raise PermissionError
        allowed(thread, processors)

    monkeypatch.setattr(os, "sched_setaffinity", refuse_others)
    processor = SameProcessor()
    assert not processor.bind(other)
    assert os.sched_getaffinity(0) == EVERYWHERE
    assert not processor.bind(other)


@pytest.mark.parametrize("patience", [3600, 0])
async def test_code_of_workflows_is_not_bound_and_neither_is_who_waited(
    monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    monkeypatch.setattr(workflow_thread, "CALL_SECONDS", patience)
    bound: list[bool] = []

    class Noted(SameProcessor):
        def bind(self, other: int) -> bool:
            bound.append(super().bind(other))
            return bound[-1]

    monkeypatch.setattr(workflow_thread, "SameProcessor", Noted)
    thread = WorkflowThread(1.0)
    thread.start()
    try:
        for _ in range(3):
            assert await thread.run(lambda: os.sched_getaffinity(0)) == EVERYWHERE
            assert os.sched_getaffinity(0) == EVERYWHERE
    finally:
        thread.stop()
    assert bound
    assert bound[0]


async def test_who_is_interrupted_while_it_waits_is_not_left_bound() -> None:
    class Interrupting:
        """In the place of the lock that is waited for: a signal's handler raises there."""

        def acquire(self, **_: float) -> bool:
            assert len(os.sched_getaffinity(0)) == 1
            raise InterruptedError

        def release(self) -> None: ...

    thread = WorkflowThread(0)
    thread.start()
    try:
        work = workflow_thread._Work(lambda: None)
        work.done = cast("threading.Lock", Interrupting())
        with pytest.raises(InterruptedError):
            thread._call(work)
        assert os.sched_getaffinity(0) == EVERYWHERE
    finally:
        thread.stop()
