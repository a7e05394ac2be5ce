"""Bad input: a typed error that names what and where, and nothing else affected."""

import asyncio
import contextlib
import inspect
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from hotmesh.common import RetryPolicy
from hotmesh.engine import wire
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    ConversionError,
    InvalidArgumentError,
    PayloadTooLargeError,
    RPCError,
    RPCStatusCode,
    TerminatedError,
)
from hotmesh.worker import Worker
from support.damage import Change, damage_journal
from support.running import (
    SOON,
    at_module_level,
    eventually,
    execute,
    failure_of,
    start,
    task_failure,
    working,
)


@activity.defn
async def echo(value: Any) -> Any:
    return value


@workflow.defn
class Echo:
    def __init__(self) -> None:
        self.ended = False

    @workflow.run
    async def run(self, value: Any) -> Any:
        if value == "wait":
            await workflow.wait_condition(lambda: self.ended)
        return value

    @workflow.signal
    def end(self) -> None:
        self.ended = True

    @workflow.query
    def ask(self) -> Any:
        return object()

    @workflow.update
    def change(self) -> Any:
        return object()

    @workflow.update
    def grow(self) -> str:
        return "x" * (2 * 1024 * 1024)


# What the client refuses


@pytest.mark.parametrize("bad", ["", "nul\0inside", "x" * 1001, "é" * 501, "\ud800", 7])
@pytest.mark.parametrize("what", ["id", "task_queue", "workflow"])
async def test_an_invalid_name_is_refused(client: Client, what: str, bad: Any) -> None:
    given: dict[str, Any] = {"id": "fine", "task_queue": "fine", "workflow": "fine", what: bad}
    name = given.pop("workflow")
    with pytest.raises(InvalidArgumentError):
        await client.start_workflow(name, **given)
    with pytest.raises(RPCError):
        await client.get_workflow_handle("fine").describe()


@pytest.mark.parametrize("call", ["signal", "query", "execute_update"])
async def test_an_invalid_handler_name_is_refused(client: Client, call: str) -> None:
    handle = await start(client, Echo.run, "wait")
    for bad in ("", "nul\0inside", "x" * 1001):
        with pytest.raises(InvalidArgumentError):
            await getattr(handle, call)(bad)


@pytest.mark.parametrize("bad", ["", "nul\0inside", "x" * 1001, "\ud800", 7])
async def test_a_handle_of_an_impossible_id_is_refused_when_it_is_used(
    any_client: Client, bad: Any
) -> None:
    handle = any_client.get_workflow_handle(bad)
    calls: list[Callable[[], Any]] = [
        handle.describe,
        handle.result,
        handle.cancel,
        handle.terminate,
        lambda: handle.signal("end"),
        lambda: handle.query("ask"),
        lambda: handle.execute_update("change"),
        handle.fetch_history,
    ]
    for call in calls:
        with pytest.raises(InvalidArgumentError, match="workflow id"):
            await call()
    with pytest.raises(RPCError, match="not found"):
        await any_client.get_workflow_handle("fine", run_id=bad or "none").describe()


async def test_a_run_that_is_not_there_or_closed_is_named(any_client: Client) -> None:
    async with working(any_client, Echo):
        handle = await start(any_client, Echo.run, "x", id="order-7")
        await handle.result()
    other = str(uuid.uuid4())
    with pytest.raises(RPCError, match=f"order-7, run {other}"):
        await any_client.get_workflow_handle("order-7", run_id=other).signal(Echo.end)
    with pytest.raises(RPCError, match="already completed: order-7") as caught:
        await handle.signal(Echo.end)
    assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_the_longest_name_is_accepted(any_client: Client) -> None:
    async with working(any_client, Echo):
        assert await execute(any_client, Echo.run, "x", id="i" * 1000) == "x"
        assert await execute(any_client, Echo.run, "y", id="é" * 500) == "y"


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(initial_interval=timedelta(seconds=-1)),
        RetryPolicy(backoff_coefficient=0.5),
        RetryPolicy(maximum_attempts=-1),
        RetryPolicy(initial_interval=timedelta(2), maximum_interval=timedelta(1)),
        RetryPolicy(backoff_coefficient=float("nan")),
        RetryPolicy(initial_interval="1 second"),  # type: ignore[arg-type]
        RetryPolicy(backoff_coefficient="2"),  # type: ignore[arg-type]
        RetryPolicy(maximum_attempts=1.5),  # type: ignore[arg-type]
        RetryPolicy(non_retryable_error_types="CardError"),
        {"maximum_attempts": 3},
    ],
)
async def test_an_invalid_retry_policy_is_refused(client: Client, policy: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"retry.policy"):
        await start(client, Echo.run, "x", retry_policy=policy)


@pytest.mark.parametrize(
    "option", ["execution_timeout", "run_timeout", "task_timeout", "start_delay", "expire"]
)
async def test_an_invalid_duration_is_refused(client: Client, option: str) -> None:
    for bad in (timedelta(seconds=-1), "soon", float("inf"), float("nan")):
        with pytest.raises(InvalidArgumentError, match=option):
            await start(client, Echo.run, "x", **{option: bad})


@workflow.defn
class LongLived:
    """All that it waits for might take as long as it is told."""

    @workflow.run
    async def run(self, days: int) -> list[Any]:
        long = timedelta(days=days)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(long.total_seconds()):
                ended = await workflow.execute_activity(
                    echo,
                    "activity",
                    schedule_to_close_timeout=long,
                    schedule_to_start_timeout=long,
                    start_to_close_timeout=long,
                    heartbeat_timeout=long,
                    retry_policy=RetryPolicy(initial_interval=long, maximum_interval=long),
                )
        child = await workflow.execute_child_workflow(
            Echo.run,
            "child",
            execution_timeout=long,
            run_timeout=long,
            task_timeout=long,
            expire=long,
        )
        return [ended, child]


async def test_a_duration_of_a_hundred_centuries_is_stored(any_client: Client) -> None:
    """On every backend; and a start that one can't take would fail all those beside it."""
    long = timedelta(days=3_650_000)

    async with working(any_client, Echo, LongLived, activities=[echo]):
        assert await execute(any_client, LongLived.run, long.days) == ["activity", "child"]
        for option in ("execution_timeout", "run_timeout", "task_timeout", "expire"):
            assert await execute(any_client, Echo.run, option, **{option: long}) == option
        handle = await start(any_client, Echo.run, "late", start_delay=long)
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING


async def test_an_argument_that_cannot_be_serialised_is_named(client: Client) -> None:
    with pytest.raises(ConversionError, match=r"arguments of workflow 'Echo'.*value 1"):
        await start(client, Echo.run, object())
    handle = await start(client, Echo.run, "wait")
    for call in (handle.signal, handle.query, handle.execute_update):
        with pytest.raises(ConversionError, match="arguments of"):
            await call("x", object())


async def test_a_payload_over_the_limit_is_refused(any_client: Client) -> None:
    big = "x" * (2 * 1024 * 1024)
    with pytest.raises(PayloadTooLargeError, match="arguments of workflow 'Echo'") as caught:
        await start(any_client, Echo.run, big)
    assert caught.value.size > caught.value.limit == 2 * 1024 * 1024
    async with working(any_client, Echo):
        largest = big[:-100]
        assert await execute(any_client, Echo.run, largest) == largest


async def test_everything_that_a_start_stores_is_limited(client: Client) -> None:
    big = "x" * (2 * 1024 * 1024)
    for options in ({"record": {"a": big}}, {"memo": {"a": big}}, {"static_summary": big}):
        with pytest.raises(PayloadTooLargeError, match="workflow 'Echo'"):
            await start(client, Echo.run, 1, id="refused", **options)
    with pytest.raises(PayloadTooLargeError, match="start signal 'end'"):
        await start(client, Echo.run, 1, start_signal="end", start_signal_args=[big])
    handle = await start(client, Echo.run, "wait")
    for call in (handle.cancel, handle.terminate):
        with pytest.raises(PayloadTooLargeError, match="reason of"):
            await call(reason=big + "x")
    assert (await client.count_workflows()).count == 1


@pytest.mark.parametrize("limit", [0, -1, 1.5, "2 MiB", 2**40])
async def test_an_impossible_payload_limit_is_refused(database_url: str, limit: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="payload_limit must be between 1 and"):
        await Client.connect(database_url, payload_limit=limit)


async def test_a_dynamic_definition_cannot_be_called_by_itself(client: Client) -> None:
    @workflow.defn(dynamic=True)
    class AnyName:
        @workflow.run
        @at_module_level
        async def run(self, args: Any) -> None:
            return None

    with pytest.raises(InvalidArgumentError, match="dynamic"):
        await start(client, AnyName.run)


# What a worker refuses


def test_a_worker_needs_something_to_do() -> None:
    with pytest.raises(ValueError, match="At least one activity or workflow"):
        Worker(object(), task_queue="x")  # type: ignore[arg-type]


async def test_a_worker_refuses_what_it_cannot_host(client: Client) -> None:
    class Undecorated:
        async def run(self) -> None:
            return None

    @activity.defn
    def threaded() -> None:
        return None

    cases: list[tuple[dict[str, Any], str]] = [
        ({"workflows": [Undecorated]}, "Undecorated missing attributes"),
        ({"workflows": [Echo, Echo]}, "More than one workflow named Echo"),
        ({"activities": [echo, echo]}, "More than one activity named echo"),
        ({"activities": [threaded]}, "activity_executor"),
        ({"workflows": [Echo], "lease": 0.5}, "lease must be at least 1 s"),
        ({"workflows": [Echo], "lease": 3601}, "at most 3600 s"),
        ({"workflows": [Echo], "lease": float("nan")}, "lease must"),
        ({"workflows": [Echo], "task_queue": ""}, "task queue must not be empty"),
        ({"workflows": [Echo], "max_cached_workflows": -1}, "max_cached_workflows"),
        ({"activities": [echo], "max_concurrent_activities": 0}, "max_concurrent_activities"),
        ({"workflows": [Echo], "deadlock_timeout": -1}, "deadlock_timeout"),
        (
            {"workflows": [Echo], "graceful_shutdown_timeout": timedelta(seconds=-1)},
            "graceful_shutdown_timeout",
        ),
    ]
    for options, message in cases:
        with pytest.raises(ValueError, match=message):
            Worker(client, **{"task_queue": "x", **options})


def test_decorators_refuse_what_makes_no_workflow() -> None:
    with pytest.raises(ValueError, match=r"missing @workflow.run"):

        @workflow.defn
        class NoRun:
            pass

    with pytest.raises(ValueError, match=r"multiple @workflow.run"):

        @workflow.defn
        class TwoRuns:
            @workflow.run
            @at_module_level
            async def one(self) -> None:
                return None

            @workflow.run
            @at_module_level
            async def two(self) -> None:
                return None

    with pytest.raises(ValueError, match="multiple signal methods found for same"):

        @workflow.defn
        class TwoSignals:
            @workflow.run
            @at_module_level
            async def run(self) -> None:
                return None

            @workflow.signal(name="same")
            def one(self) -> None:
                return None

            @workflow.signal(name="same")
            def two(self) -> None:
                return None


# What fails a task, and only that


async def bystands(client: Client) -> None:
    assert await execute(client, Echo.run, "fine") == "fine"


async def test_an_unknown_workflow_type_is_named_beside_the_known_ones_and_waits(
    any_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(any_client, Echo) as worker:
        handle = await start(any_client, "later_known", 1)
        await bystands(any_client)

        async def later_known(value: int) -> int:
            return value + 1

        worker.add_workflow(later_known)
        assert await handle.result() == 2
    (warning,) = [each for each in caplog.messages if "later_known" in each]
    assert "hosts Echo" in warning


@pytest.mark.parametrize("args", [[], [1, 2]])
async def test_a_wrong_argument_count_fails_the_task(client: Client, args: list[int]) -> None:
    async with working(client, Echo):
        handle = await start(client, "Echo", *args)
        failure = await task_failure(handle)
        await bystands(client)
    assert failure["type"] == "TypeError"
    assert failure["message"] == (f"workflow 'Echo' takes 1 argument(s) but {len(args)} were given")


async def test_a_wrong_argument_type_fails_the_task(client: Client) -> None:
    async def typed(value: int) -> int:
        return value

    async with working(client, typed, Echo):
        handle = await start(client, "typed", "no number")
        failure = await task_failure(handle)
        await bystands(client)
    assert failure["type"] == "ConversionError"
    assert "arguments of workflow 'typed', value 1" in failure["message"]


async def test_a_result_that_cannot_be_serialised_fails_the_task(client: Client) -> None:
    async def unserialisable() -> Any:
        return object()

    async with working(client, unserialisable, Echo):
        handle = await start(client, "unserialisable")
        failure = await task_failure(handle)
        await bystands(client)
    assert failure["type"] == "ConversionError"
    assert "result of workflow 'unserialisable'" in failure["message"]


async def test_a_result_over_the_limit_fails_the_task(client: Client) -> None:
    async def big() -> str:
        return "x" * (2 * 1024 * 1024)

    async with working(client, big, Echo):
        handle = await start(client, "big")
        failure = await task_failure(handle)
        await bystands(client)
    assert failure["type"] == "PayloadTooLargeError"
    assert "result of workflow 'big'" in failure["message"]


async def test_an_activity_result_over_the_limit_fails_the_activity(client: Client) -> None:
    @activity.defn
    async def big() -> str:
        return "x" * (2 * 1024 * 1024)

    async def calls() -> str:
        return await workflow.execute_activity(
            big, start_to_close_timeout=SOON, retry_policy=RetryPolicy(maximum_attempts=1)
        )

    async with working(client, calls, Echo, activities=[big]):
        error = await failure_of(execute(client, "calls"))
        await bystands(client)
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "PayloadTooLargeError"


async def test_heartbeat_details_over_the_limit_fail_the_activity(client: Client) -> None:
    @activity.defn
    async def beats() -> None:
        activity.heartbeat("x" * (2 * 1024 * 1024))
        await asyncio.Event().wait()

    async def calls() -> None:
        await workflow.execute_activity(
            beats,
            start_to_close_timeout=SOON,
            heartbeat_timeout=SOON,
            retry_policy=RetryPolicy(maximum_attempts=1),
        )

    async with working(client, calls, Echo, activities=[beats]):
        error = await failure_of(execute(client, "calls"))
        await bystands(client)
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "PayloadTooLargeError"
    assert "heartbeat details of activity 'beats'" in error.cause.message


@pytest.mark.parametrize("text", [None, "x" * (2 * 1024 * 1024)])
async def test_a_failure_over_the_limit_is_cut_down(client: Client, text: str | None) -> None:
    @activity.defn
    async def fails() -> None:
        big = "x" * (2 * 1024 * 1024)
        raise ApplicationError(text or "short", big)

    async def calls() -> None:
        await workflow.execute_activity(
            fails, start_to_close_timeout=SOON, retry_policy=RetryPolicy(maximum_attempts=1)
        )

    async with working(client, calls, Echo, activities=[fails]):
        error = await failure_of(execute(client, "calls"))
        await bystands(client)
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "PayloadTooLargeError"
    assert "failure of activity 'fails'" in error.cause.message


async def test_a_failure_of_a_workflow_over_the_limit_is_cut_down(client: Client) -> None:
    class Reports:
        @workflow.run
        @at_module_level
        async def run(self, how: str) -> None:
            if how == "fail":
                raise ApplicationError("m", "x" * (2 * 1024 * 1024), type="Chosen")
            await workflow.wait_condition(lambda: False)

        @workflow.update
        def refuse(self) -> None:
            raise ApplicationError("m", "x" * (2 * 1024 * 1024))

        @workflow.query
        def look(self) -> None:
            raise ValueError("x" * (2 * 1024 * 1024))

    reports = workflow.defn(Reports)
    async with working(client, reports, Echo):
        error = await failure_of(execute(client, "Reports", "fail"))
        handle = await start(client, "Reports", "wait")
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("refuse")
        with pytest.raises(WorkflowQueryFailedError, match=r"failure of query 'look': \d+ bytes"):
            await handle.query("look")
        await bystands(client)
    assert isinstance(error, ApplicationError)
    assert error.type == "Chosen"
    assert "failure of workflow 'Reports'" in error.message
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "PayloadTooLargeError"
    assert "failure of update 'refuse'" in refused.value.cause.message


async def test_an_answer_that_cannot_be_serialised_reaches_its_caller(client: Client) -> None:
    async with working(client, Echo):
        handle = await start(client, Echo.run, "wait")
        for update, error_type in (("change", "ConversionError"), ("grow", "PayloadTooLargeError")):
            with pytest.raises(WorkflowUpdateFailedError) as caught:
                await handle.execute_update(update)
            assert isinstance(caught.value.cause, ApplicationError)
            assert caught.value.cause.type == error_type
            assert f"result of update '{update}'" in caught.value.cause.message
        with pytest.raises(Exception, match="result of query 'ask'"):
            await handle.query(Echo.ask)
        await handle.signal(Echo.end)
        assert await handle.result() == "wait"


@pytest.mark.parametrize(
    "call",
    [
        lambda: workflow.start_activity("", start_to_close_timeout=1),
        lambda: workflow.start_activity("x", start_to_close_timeout=-1),
        lambda: workflow.start_activity("x", start_to_close_timeout=1, task_queue=""),
        lambda: workflow.start_activity("x", start_to_close_timeout=1, activity_id="\0"),
        lambda: workflow.start_activity(
            "x", start_to_close_timeout=1, retry_policy=RetryPolicy(backoff_coefficient=0)
        ),
        lambda: workflow.enrich({"": 1}),
        lambda: workflow.enrich({"x": object()}),
        lambda: workflow.emit({"x" * 1001: 1}),
        lambda: workflow.trace({"x": object()}),
        lambda: workflow.patched(""),
        lambda: workflow.patched("x" * 1001),
        lambda: workflow.upsert_memo({"": 1}),
        lambda: workflow.sleep(float("nan")),
        lambda: workflow.start_child_workflow("Echo", 1, id=""),
        lambda: workflow.get_external_workflow_handle("x" * 1001).signal("end"),
        lambda: workflow.enrich({"x": "y" * (2 * 1024 * 1024)}),
        lambda: workflow.trace({"x": "y" * (2 * 1024 * 1024)}),
        lambda: workflow.upsert_memo({"x": "y" * (2 * 1024 * 1024)}),
        lambda: workflow.start_child_workflow("Echo", 1, memo={"x": "y" * (2 * 1024 * 1024)}),
        lambda: workflow.start_activity(
            "x", start_to_close_timeout=1, summary="y" * (2 * 1024 * 1024)
        ),
    ],
)
async def test_workflow_calls_refuse_bad_options(client: Client, call: Callable[[], Any]) -> None:
    async def calls() -> str:
        try:
            asked = call()
            if inspect.iscoroutine(asked):
                await asked
        except (InvalidArgumentError, PayloadTooLargeError) as error:
            return str(error)
        return "accepted"

    async with working(client, calls):
        assert await execute(client, "calls") != "accepted"


async def test_arguments_of_an_activity_that_cannot_be_serialised_are_named(
    client: Client,
) -> None:
    async def calls() -> str:
        try:
            workflow.start_activity(echo, object(), start_to_close_timeout=SOON)
        except ConversionError as error:
            return str(error)
        return "accepted"

    async with working(client, calls, activities=[echo]):
        assert "arguments of activity 'echo'" in await execute(client, "calls")


# What is damaged


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: b"\xff\xff\xff",
        lambda frame: b"",
        lambda frame: frame[:-1],
        lambda frame: frame[:-6] + bytes([frame[-6] ^ 1]) + frame[-5:],
    ],
    ids=["garbage", "empty", "cut off", "one bit"],
)
async def test_a_damaged_journal_stops_its_run_and_no_other(
    database_url: str, change: Change
) -> None:
    async with await Client.connect(database_url) as client:
        async with working(client, Echo):
            handle = await start(client, Echo.run, "wait")
            await eventually(lambda: has_begun(handle), "the first row is written")
        await damage_journal(database_url, wire.run_id_bytes(handle.result_run_id), change)
        async with working(client, Echo):
            await handle.signal(Echo.end)
            failure = await task_failure(handle)
            await bystands(client)
            with pytest.raises(RPCError) as caught:
                await handle.query(Echo.ask, rpc_timeout=timedelta(milliseconds=100))
            await handle.terminate("it can't be mended")
            with pytest.raises(WorkflowFailureError) as ended:
                await handle.result()
    assert failure["type"] == "CorruptJournalError"
    assert str(handle.result_run_id) in failure["message"]
    assert caught.value.status == RPCStatusCode.DEADLINE_EXCEEDED
    assert isinstance(ended.value.cause, TerminatedError)


async def has_begun(handle: Any) -> bool:
    return (await handle.describe()).history_length > 0
