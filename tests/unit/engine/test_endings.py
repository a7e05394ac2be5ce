"""How a run ends: what each exception comes to, wherever in its code it comes out."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import signal as signals
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.common import RawValue
from hotmesh.core import kinds
from hotmesh.engine import instance, unawaited
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    ConversionError,
    FailureError,
    PayloadTooLargeError,
)
from unit.engine.driving import (
    Driven,
    cancel,
    completed,
    fired,
    kinds_of,
    query,
    shown,
    signal,
    values,
)


class OddError(Exception):
    """An exception that is no failure."""


def raising(error: BaseException, **options: Any) -> Driven:
    async def code() -> None:
        raise error

    return Driven(code, **options)


def test_what_is_returned_is_the_result(core: ModuleType) -> None:
    async def code(one: int, *, two: int = 2) -> list[int]:
        return [one, two]

    run = Driven(code, 1, core=core)
    assert shown(run.start()) == [("COMPLETE", 0, "")]
    assert run.outcome() == [1, 2]


@pytest.mark.parametrize(
    "error",
    [
        ApplicationError("x"),
        FailureError("x"),
        TimeoutError("x"),
        asyncio.CancelledError("x"),
        CancelledError("x"),
        BaseExceptionGroup("g", [ApplicationError("x"), asyncio.CancelledError()]),
        ExceptionGroup("g", [ExceptionGroup("h", [TimeoutError("x")])]),
        BaseExceptionGroup("g", [asyncio.CancelledError("x"), asyncio.CancelledError("x")]),
    ],
)
def test_failures_and_unasked_cancellation_fail_the_run(error: BaseException) -> None:
    run = raising(error)
    assert kinds_of(run.start()) == ["FAIL"]
    with pytest.raises(FailureError):
        run.outcome()


@pytest.mark.parametrize(
    "error",
    [
        OddError("x"),
        SystemExit(1),
        KeyboardInterrupt("x"),
        GeneratorExit("x"),
        BaseExceptionGroup("g", [ApplicationError("x"), OddError("x")]),
        ExceptionGroup("g", [OddError("x")]),
    ],
)
def test_whatever_else_fails_the_task_and_not_the_run(error: BaseException) -> None:
    run = raising(error)
    with pytest.raises(type(error)) as raised:
        run.start()
    assert raised.value is error
    assert run.is_open


def test_exceptions_that_the_class_or_the_worker_names_fail_the_run() -> None:
    assert kinds_of(raising(OddError("x"), failure_types=(OddError,)).start()) == ["FAIL"]
    assert kinds_of(Driven(FailsByOddError).start()) == ["FAIL"]


@workflow.defn(failure_exception_types=[OddError])
class FailsByOddError:
    @workflow.run
    async def run(self) -> None:
        assert workflow.is_failure_exception(OddError())
        assert not workflow.is_failure_exception(ValueError())
        raise OddError("x")


class Ending(SystemExit):
    """What a signal handler of the process raises."""


@pytest.fixture
def told_to_end() -> Iterator[Callable[[], None]]:
    """Sends the process a signal, whose handler raises in whatever runs."""

    def handle(*_: object) -> None:
        raise Ending

    before = signals.signal(signals.SIGUSR1, handle)
    yield lambda: signals.raise_signal(signals.SIGUSR1)
    signals.signal(signals.SIGUSR1, before)


def test_a_signal_of_the_process_is_nobodys_failure(told_to_end: Callable[[], None]) -> None:
    """Even where everything that is raised fails the run."""

    async def code() -> None:
        told_to_end()

    run = Driven(code, failure_types=(BaseException,))
    with pytest.raises(Ending):
        run.start()
    assert run.is_open


def cancelled_run(error: BaseException) -> Driven:
    async def code() -> None:
        try:
            await workflow.sleep(60)
        except asyncio.CancelledError:
            raise error from None

    run = Driven(code)
    run.start()
    run.give(cancel("enough"))
    return run


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        CancelledError("mine"),
        BaseExceptionGroup("g", [asyncio.CancelledError(), CancelledError("x")]),
    ],
)
def test_cancellation_that_was_asked_for_cancels_the_run(error: BaseException) -> None:
    run = cancelled_run(error)
    assert run.closing()[0] == kinds.CANCELED
    with pytest.raises(CancelledError) as raised:
        run.outcome()
    expected = "mine" if isinstance(error, CancelledError) else "Workflow cancelled"
    assert raised.value.message == expected


def test_a_failure_after_cancellation_is_a_failure() -> None:
    run = cancelled_run(ApplicationError("could not clean up"))
    assert run.closing()[0] == kinds.FAIL


def test_a_run_may_end_well_after_it_was_cancelled() -> None:
    async def code() -> str:
        try:
            await workflow.sleep(60)
        except asyncio.CancelledError:
            assert workflow.cancellation_reason() == "enough"
        return "cleaned up"

    run = Driven(code)
    run.start()
    assert kinds_of(run.give(cancel("enough"))) == ["CANCEL_TIMER", "COMPLETE"]
    assert run.outcome() == "cleaned up"


def test_cancellation_that_comes_with_the_start_is_seen_at_the_first_wait() -> None:
    async def code() -> None:
        assert workflow.cancellation_reason() == "enough"
        await workflow.sleep(60)

    assert kinds_of(Driven(code).start(cancel("enough"))) == ["CANCELED"]


def test_continue_as_new_beside_cancelled_tasks_goes_on() -> None:
    async def code() -> None:
        async def wait() -> None:
            await workflow.sleep(60)

        async def go_on() -> None:
            await workflow.sleep(0)
            workflow.continue_as_new("again")

        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            group.create_task(go_on())

    run = Driven(code)
    (command,) = [each for each in run.start() if each[0] == kinds.CONTINUE]
    assert command[5][16:] == values("again")


def test_a_failure_beside_continue_as_new_is_not_hidden() -> None:
    async def code() -> None:
        try:
            workflow.continue_as_new()
        except workflow.ContinueAsNewError as error:
            raise BaseExceptionGroup("several", [error, ApplicationError("x")]) from None

    assert kinds_of(Driven(code).start()) == ["FAIL"]


def test_the_members_of_a_group_are_kept() -> None:
    async def code() -> None:
        async with asyncio.TaskGroup() as group:
            for text in ("one", "two"):
                group.create_task(fail(text))

    async def fail(text: str) -> None:
        raise ApplicationError(text)

    run = Driven(code)
    run.start()
    with pytest.raises(FailureError) as raised:
        run.outcome()
    assert [str(each) for each in raised.value.members] == ["one", "two"]


def test_a_result_that_can_not_be_stored_fails_the_task() -> None:
    async def unserialisable() -> object:
        return object()

    async def large() -> str:
        return "x" * 200

    with pytest.raises(ConversionError, match="result of workflow 'unserialisable'"):
        Driven(unserialisable).start()
    with pytest.raises(PayloadTooLargeError, match="result of workflow 'large'"):
        Driven(large, payload_limit=100).start()


def test_a_failure_that_is_too_large_is_shortened() -> None:
    run = raising(ApplicationError("x" * 5000, type="Mine"), payload_limit=1000)
    run.start()
    with pytest.raises(ApplicationError, match="failure of workflow 'code'") as raised:
        run.outcome()
    assert raised.value.type == "Mine"


def test_a_run_ends_once_whatever_comes_to_its_end_after() -> None:
    async def code() -> str:
        heard: list[int] = []

        def hear() -> None:
            heard.append(1)
            raise ApplicationError("first")

        workflow.set_signal_handler("s", hear)
        await workflow.wait_condition(lambda: bool(heard))
        return "second"

    run = Driven(code)
    run.start()
    assert kinds_of(run.give(signal("s"))) == ["FAIL"]
    with pytest.raises(ApplicationError, match="first"):
        run.outcome()


def test_only_the_first_mistake_of_an_activation_is_told() -> None:
    async def code() -> None:
        try:
            await workflow.sleep(60)
        finally:
            workflow.continue_as_new()

    run = Driven(code)
    run.start()
    run.instance.fail_task(OddError("first"))
    run.instance.fail_task(OddError("second"))
    with pytest.raises(OddError, match="first"):
        run.give(cancel())


@workflow.defn
class Initialised:
    """Takes its arguments when it is made."""

    @workflow.init
    def __init__(self, word: str) -> None:
        self.word = word
        if word == "fail":
            raise ApplicationError("not this word")
        if word == "cancel":
            raise asyncio.CancelledError
        if word == "go on":
            workflow.continue_as_new("next")
        if word == "mistake":
            raise OddError(word)

    @workflow.run
    async def run(self, word: str) -> list[str]:
        assert workflow.instance() is self
        return [self.word, word]

    @workflow.signal
    def say(self, word: str) -> None:
        self.word = word


def test_the_object_is_made_with_the_arguments_before_anything_else() -> None:
    run = Driven(Initialised, "first")
    run.start(signal("say", "second"))
    assert run.outcome() == ["second", "first"]


@pytest.mark.parametrize(
    ("word", "kind"), [("fail", "FAIL"), ("cancel", "FAIL"), ("go on", "CONTINUE")]
)
def test_what_making_the_object_raises_ends_the_run(word: str, kind: str) -> None:
    run = Driven(Initialised, word)
    assert kinds_of(run.start()) == [kind]


def test_a_mistake_in_making_the_object_fails_the_task() -> None:
    with pytest.raises(OddError, match="mistake"):
        Driven(Initialised, "mistake").start()


def test_arguments_that_do_not_fit_fail_the_task() -> None:
    async def code(number: int) -> None: ...

    with pytest.raises(ConversionError, match="arguments of workflow 'code'"):
        Driven(code, "no number").start()
    with pytest.raises(TypeError, match=r"takes 1 argument\(s\) but 2 were given"):
        Driven(code, 1, 2).start()


@workflow.defn(dynamic=True)
class Dynamic:
    """Stands in for any type."""

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[Any]:
        converter = workflow.payload_converter()
        given = converter.from_payloads([each.payload for each in args])
        if given == ["odd"]:
            raise OddError("x")
        return [workflow.info().workflow_type, *given]

    @workflow.dynamic_config
    def configure(self) -> workflow.DynamicWorkflowConfig:
        named = self.__class__ is Dynamic
        return workflow.DynamicWorkflowConfig(failure_exception_types=[OddError] if named else None)


def test_a_dynamic_workflow_gets_raw_values_and_says_what_fails_it() -> None:
    run = Driven(Dynamic, 1, "x")
    run.start()
    assert run.outcome() == ["Any", 1, "x"]
    assert kinds_of(Driven(Dynamic, "odd").start()) == ["FAIL"]


def test_a_dynamic_config_that_says_nothing_leaves_the_rules() -> None:
    class Other(Dynamic):
        pass

    definition = WorkflowDefinition.of(Dynamic)
    assert definition is not None
    run = Driven(dataclasses.replace(definition, cls=Other), "odd")
    with pytest.raises(OddError):
        run.start()


def test_tasks_that_nobody_awaits_do_not_hold_a_run_up() -> None:
    async def code() -> str:
        async def wait() -> None:
            await workflow.sleep(60)

        asyncio.create_task(wait())  # noqa: RUF006
        await workflow.sleep(0)
        return "done"

    run = Driven(code)
    run.start()
    assert run.outcome() == "done"


def test_an_exception_that_nobody_awaits_is_noted_and_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "hotmesh.engine.unawaited")

    async def code() -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": "something", "exception": OddError("x")})
        seen: list[Any] = []
        loop.set_exception_handler(lambda _, context: seen.append(context["message"]))
        assert loop.get_exception_handler() is not None
        loop.call_exception_handler({"message": "another"})
        assert seen == ["another"]

    Driven(code).start()
    (record,) = [each for each in caplog.records if each.name == "hotmesh.engine.unawaited"]
    assert record.getMessage() == "something in workflow w"


def test_a_task_that_nobody_awaits_and_that_fails_is_an_error_in_the_log_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fails() -> None:
        raise OddError("in the background")

    async def code() -> str:
        asyncio.create_task(fails())  # noqa: RUF006
        asyncio.get_running_loop().create_future().set_exception(OddError("no task"))
        await workflow.sleep(60)
        return "done"

    gc.collect()  # what other tests have left may have errors of its own
    caplog.clear()
    run = Driven(code)
    run.start()
    again = run.replayed()
    run.instance.dismantle()
    del run
    gc.collect()
    assert caplog.records == []  # it will be replayed, and says so then
    again.give(fired(1), at=60)
    assert again.outcome() == "done"
    again.instance.dismantle()
    gc.collect()
    (record,) = caplog.records
    assert record.getMessage() == "WorkflowTask exception was never retrieved in workflow w"
    assert (record.levelname, vars(record)["workflow_id"]) == ("ERROR", "w")
    assert "in the background" in str(record.exc_info)


def test_what_nobody_reads_is_not_written_down(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes long, and the garbage collector may be who asks."""
    caplog.set_level(logging.INFO, "hotmesh.engine")
    for module in (instance, unawaited):
        monkeypatch.setattr(module, "printable", pytest.fail)

    async def code() -> None:
        task = asyncio.create_task(fail())
        try:
            await workflow.sleep(60)
        finally:
            task.cancel()

    async def fail() -> None:
        asyncio.get_running_loop().call_exception_handler({"exception": OddError("x")})
        try:
            await workflow.sleep(60)
        finally:
            raise OddError("on the way out")

    run = Driven(code)
    run.start()
    run.instance.dismantle()
    assert caplog.records == []


def test_a_run_that_leaves_memory_ends_its_coroutines_and_changes_nothing() -> None:
    seen: list[str] = []

    async def code() -> None:
        async def helper() -> None:
            try:
                await workflow.sleep(60)
            finally:
                seen.append("helper")
                workflow.start_activity("never", start_to_close_timeout=1)

        workflow.start_activity("not waited for", start_to_close_timeout=1)
        task = asyncio.create_task(helper())
        try:
            await task
        finally:
            seen.append("main")

    run = Driven(code)
    run.start()
    asked: list[Any] = []
    run.instance.dismantle(asked.append)
    assert seen == []
    asked[0]()
    assert seen == ["main", "helper"]
    assert not hasattr(run.instance, "loop")
    assert run.instance.pending == {}


def test_what_a_run_had_is_free_at_once_though_its_code_still_waits() -> None:
    class Large:
        """What the garbage collector need not come for."""

    def answered() -> bool:
        return False

    async def code() -> None:
        await workflow.wait_condition(answered)

    run = Driven(code)
    run.start()
    run.instance.object = large = Large()
    answer: Any = Large()
    run.instance.commands = [(49, 0, 0, "", b"", answer)]
    run.instance.replies = [(b"", answer)]
    alive = [weakref.ref(large), weakref.ref(answer)]
    del large, answer
    gc.disable()
    try:
        run.instance.dismantle()
        assert [each() for each in alive] == [None, None]
    finally:
        gc.enable()


def test_a_run_without_code_left_is_taken_apart_at_once() -> None:
    async def code() -> None: ...

    run = Driven(code)
    run.start()

    def never(_: object) -> None:
        raise AssertionError("there is nothing to run")

    run.instance.dismantle(never)
    assert not hasattr(run.instance, "loop")


def test_a_coroutine_that_does_not_want_to_end_is_noted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hotmesh.engine.instance")

    async def code() -> None:
        try:
            await workflow.sleep(60)
        except GeneratorExit:
            raise OddError("I won't") from None

    run = Driven(code)
    run.start()
    run.instance.dismantle()
    assert "did not end well on eviction" in caplog.messages[0]


def test_a_signal_of_the_process_gets_through_the_taking_apart(
    told_to_end: Callable[[], None],
) -> None:
    async def code() -> None:
        try:
            await workflow.sleep(60)
        finally:
            told_to_end()

    run = Driven(code)
    run.start()
    with pytest.raises(Ending):
        run.instance.dismantle()


def test_the_state_of_a_run_is_told_in_short() -> None:
    async def code() -> None:
        await workflow.execute_activity("act", start_to_close_timeout=1)

    run = Driven(code)
    run.start()
    assert run.instance.state() == {"transitions": 1, "pending": 1, "closed": False}
    run.give(completed(1))
    assert run.instance.state() == {"transitions": 2, "pending": 0, "closed": True}


def test_nothing_reaches_the_main_coroutine_twice() -> None:
    async def code() -> list[float]:
        before = workflow.time()
        await workflow.sleep(5)
        return [before, workflow.time()]

    run = Driven(code)
    run.start(query("__stack_trace"))
    run.give(fired(1), at=5)
    before, after = run.outcome()
    assert after - before == 5
