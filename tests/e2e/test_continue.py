"""Chains of runs: continue-as-new, retried workflows, and what is carried over."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.client import Client, WorkflowContinuedAsNewError, WorkflowExecutionStatus, _chain
from hotmesh.common import RetryPolicy, SearchAttributeKey, SearchAttributePair
from hotmesh.common import TypedSearchAttributes as Typed
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    InvalidArgumentError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the SDK's name
)
from support.running import at_module_level, attempts, execute, failure_of, start, working

COLOR = SearchAttributeKey.for_keyword("color")


@workflow.defn
class Counts:
    """Counts down over as many runs, then tells what its last run knows."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self, left: int, past: list[str | None]) -> dict[str, Any]:
        info = workflow.info()
        past = [*past, info.continued_run_id]
        if left:
            workflow.continue_as_new(args=[left - 1, past])
        return {
            "run": info.run_id,
            "first": info.first_execution_run_id,
            "past": past,
            "memo": workflow.memo(),
            "color": info.typed_search_attributes.get(COLOR),
            "run_timeout": info.run_timeout.total_seconds() if info.run_timeout else None,
            "policy": info.retry_policy.maximum_attempts if info.retry_policy else None,
        }


async def test_a_workflow_continues_as_new_runs_under_one_id(any_client: Client) -> None:
    async with working(any_client, Counts):
        handle = await start(any_client, Counts.run, 3, [])
        told = await handle.result()
        described = await handle.describe()
        first = await any_client.get_workflow_handle(
            handle.id, run_id=handle.result_run_id
        ).describe()
    assert told["first"] == handle.result_run_id
    assert told["run"] == described.run_id != handle.result_run_id
    assert len(told["past"]) == 4
    assert told["past"][:2] == [None, handle.result_run_id]
    assert first.status == WorkflowExecutionStatus.CONTINUED_AS_NEW
    assert described.status == WorkflowExecutionStatus.COMPLETED


async def test_what_is_not_given_is_carried_over(any_client: Client) -> None:
    async with working(any_client, Counts):
        told = await execute(
            any_client,
            Counts.run,
            2,
            [],
            memo={"note": {"a": 1}},
            search_attributes=Typed([SearchAttributePair(COLOR, "red")]),
            run_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(maximum_attempts=4),
        )
    assert told["memo"] == {"note": {"a": 1}}
    assert told["color"] == "red"
    assert told["run_timeout"] == 30.0
    assert told["policy"] == 4


async def test_what_is_given_replaces_what_was(client: Client) -> None:
    @workflow.defn
    class Replaces:
        @workflow.run
        @at_module_level
        async def run(self, again: bool) -> list[Any]:
            info = workflow.info()
            if again:
                workflow.continue_as_new(
                    False,
                    memo={"note": "new"},
                    search_attributes=Typed([SearchAttributePair(COLOR, "blue")]),
                    run_timeout=timedelta(seconds=7),
                )
            return [
                workflow.memo(),
                info.typed_search_attributes.get(COLOR),
                info.run_timeout and info.run_timeout.total_seconds(),
            ]

    async with working(client, Replaces):
        handle = await start(
            client,
            Replaces.run,
            True,
            memo={"note": "old", "other": 1},
            search_attributes=Typed([SearchAttributePair(COLOR, "red")]),
        )
        assert await handle.result() == [{"note": "new"}, "blue", 7.0]
        described = await handle.describe()
    assert await described.memo() == {"note": "new"}
    assert described.typed_search_attributes.get(COLOR) == "blue"


async def test_upserts_are_carried_over(client: Client) -> None:
    @workflow.defn
    class Upserts:
        @workflow.run
        @at_module_level
        async def run(self, again: bool) -> list[Any]:
            if again:
                workflow.upsert_memo({"note": "changed", "gone": None})
                workflow.upsert_search_attributes([COLOR.value_set("green")])
                await workflow.sleep(0.001)
                workflow.continue_as_new(False)
            return [workflow.memo(), workflow.info().typed_search_attributes.get(COLOR)]

    async with working(client, Upserts):
        handle = await start(client, Upserts.run, True, memo={"note": "old", "gone": 1})
        assert await handle.result() == [{"note": "changed"}, "green"]
        described = await handle.describe()
    assert await described.memo() == {"note": "changed"}


async def test_what_was_removed_stays_removed(any_client: Client) -> None:
    @workflow.defn
    class Removes:
        @workflow.run
        @at_module_level
        async def run(self, again: bool) -> list[Any]:
            if again:
                workflow.upsert_memo({"gone": None})
                workflow.upsert_search_attributes([COLOR.value_unset()])
                await workflow.sleep(0.001)
                workflow.continue_as_new(False)
            return [workflow.memo(), workflow.info().typed_search_attributes.get(COLOR)]

    attributes = Typed([SearchAttributePair(COLOR, "red")])
    async with working(any_client, Removes):
        handle = await start(
            any_client, Removes.run, True, memo={"gone": 1}, search_attributes=attributes
        )
        assert await handle.result() == [{}, None]
        for run_id in (handle.first_execution_run_id, None):
            run = any_client.get_workflow_handle(handle.id, run_id=run_id)
            described = await run.describe()
            assert await described.memo() == {}
            assert described.typed_search_attributes.get(COLOR) is None


async def test_a_workflow_may_go_on_as_another_type_and_queue(client: Client) -> None:
    @workflow.defn
    class Second:
        @workflow.run
        @at_module_level
        async def run(self, value: str) -> list[str]:
            return [value, workflow.info().workflow_type, workflow.info().task_queue]

    @workflow.defn
    class First:
        @workflow.run
        @at_module_level
        async def run(self) -> list[str]:
            workflow.continue_as_new("x", workflow=Second.run, task_queue="second")

    async with working(client, First), working(client, Second, task_queue="second"):
        assert await execute(client, First.run) == ["x", "Second", "second"]


async def test_a_result_that_does_not_follow_names_the_next_run(client: Client) -> None:
    async with working(client, Counts):
        handle = await start(client, Counts.run, 1, [])
        last = (await handle.result())["run"]
        with pytest.raises(WorkflowContinuedAsNewError) as caught:
            await handle.result(follow_runs=False)
    assert caught.value.new_execution_run_id == last


@workflow.defn
class Sums:
    """Adds up what it is signalled, a run for each signal."""

    def __init__(self) -> None:
        self.got: list[int] = []

    @workflow.run
    async def run(self, total: int, left: int) -> int:
        await workflow.wait_condition(lambda: len(self.got) > 0)
        total += sum(self.got)
        left -= len(self.got)
        if left > 0:
            workflow.continue_as_new(args=[total, left])
        return total

    @workflow.signal
    def add(self, number: int) -> None:
        self.got.append(number)


async def test_no_signal_is_lost_between_runs(any_client: Client) -> None:
    async with working(any_client, Sums):
        handle = await start(any_client, Sums.run, 0, 30)
        async with asyncio.TaskGroup() as group:
            for _ in range(30):
                group.create_task(handle.signal(Sums.add, 1))
        assert await handle.result() == 30


async def test_continuing_with_a_delay_waits(client: Client) -> None:
    @workflow.defn
    class Delays:
        @workflow.run
        @at_module_level
        async def run(self, since: float | None) -> float:
            if since is None:
                workflow.continue_as_new(
                    workflow.time(), backoff_start_interval=timedelta(milliseconds=100)
                )
            return workflow.time() - since

    async with working(client, Delays):
        assert await execute(client, Delays.run, None) >= 0.1


@workflow.defn
class Flaky:
    @workflow.run
    async def run(self, good: int, how: str) -> list[Any]:
        info = workflow.info()
        if info.attempt < good:
            if how == "non-retryable":
                raise ApplicationError("final", non_retryable=True)
            if how == "hangs":
                await workflow.wait_condition(lambda: False)
            raise ApplicationError(f"attempt {info.attempt}", type="Flaky")
        failure = workflow.get_last_failure()
        return [info.attempt, str(failure), info.first_execution_run_id]


async def test_a_failed_workflow_is_retried_as_a_new_run(any_client: Client) -> None:
    async with working(any_client, Flaky):
        handle = await start(any_client, Flaky.run, 3, "", retry_policy=attempts(5))
        result = await handle.result()
    assert result[0] == 3
    assert "attempt 2" in result[1]
    assert result[2] == handle.result_run_id


async def test_a_workflows_attempts_are_never_exceeded(client: Client) -> None:
    async with working(client, Flaky):
        error = await failure_of(execute(client, Flaky.run, 100, "", retry_policy=attempts(3)))
    assert isinstance(error, ApplicationError)
    assert error.message == "attempt 3"


async def test_a_non_retryable_failure_ends_the_chain(client: Client) -> None:
    async with working(client, Flaky):
        error = await failure_of(
            execute(client, Flaky.run, 3, "non-retryable", retry_policy=attempts(5))
        )
    assert isinstance(error, ApplicationError)
    assert error.message == "final"


async def test_a_non_retryable_type_ends_the_chain(client: Client) -> None:
    policy = RetryPolicy(non_retryable_error_types=["Flaky"])
    async with working(client, Flaky):
        error = await failure_of(execute(client, Flaky.run, 3, "", retry_policy=policy))
    assert isinstance(error, ApplicationError)
    assert error.message == "attempt 1"


async def test_a_run_that_times_out_is_retried(client: Client) -> None:
    async with working(client, Flaky):
        result = await execute(
            client,
            Flaky.run,
            2,
            "hangs",
            retry_policy=attempts(2),
            run_timeout=timedelta(milliseconds=30),
        )
    assert result[0] == 2


async def test_the_execution_timeout_ends_the_whole_chain(client: Client) -> None:
    async with working(client, Flaky):
        error = await failure_of(
            execute(
                client,
                Flaky.run,
                10**6,
                "hangs",
                retry_policy=attempts(0),
                run_timeout=timedelta(milliseconds=30),
                execution_timeout=timedelta(milliseconds=120),
            )
        )
    assert isinstance(error, TimeoutError)


async def test_the_execution_timeout_spans_continued_runs(client: Client) -> None:
    @workflow.defn
    class Forever:
        @workflow.run
        @at_module_level
        async def run(self) -> None:
            await asyncio.sleep(0.02)
            workflow.continue_as_new()

    async with working(client, Forever):
        error = await failure_of(
            execute(client, Forever.run, execution_timeout=timedelta(milliseconds=100))
        )
    assert isinstance(error, TimeoutError)


async def test_a_cron_schedule_is_refused_by_the_client(client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match="cron_schedule"):
        await start(client, Counts.run, 0, [], cron_schedule="* * * * *")


async def test_a_cron_schedule_is_refused_for_a_child(client: Client) -> None:
    async def starts() -> str:
        try:
            await workflow.execute_child_workflow(Counts.run, args=[0, []], cron_schedule="@daily")
        except InvalidArgumentError as error:
            return str(error)
        return "started"

    async with working(client, starts, Counts):
        assert "cron_schedule" in await execute(client, "starts")


async def test_chains_survive_replay_of_every_task(client: Client) -> None:
    async with working(client, Counts, Flaky, max_cached_workflows=0):
        assert len((await execute(client, Counts.run, 3, []))["past"]) == 4
        assert (await execute(client, Flaky.run, 3, "", retry_policy=attempts(5)))[0] == 3


@workflow.defn
class Relay:
    """Continues as new when it is told to, and ends when it is told what."""

    def __init__(self) -> None:
        self.goes_on = False
        self.said = ""

    @workflow.run
    async def run(self, generation: int = 1) -> str:
        await workflow.wait_condition(lambda: self.goes_on or bool(self.said))
        if self.goes_on:
            workflow.continue_as_new(generation + 1)
        return f"{self.said} in run {generation}"

    @workflow.signal
    def go_on(self) -> None:
        self.goes_on = True

    @workflow.update
    def say(self, what: str) -> str:
        self.said = what
        return what


@pytest.mark.parametrize("message", ["cancel", "terminate", "update"])
async def test_what_is_sent_to_a_chain_reaches_it_though_it_goes_on_meanwhile(
    any_client: Client, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look for the newest run and the sending another one has become the newest."""
    look = _chain._newest

    async def went_on(*args: Any) -> bytes:
        seen = await look(*args)
        monkeypatch.setattr(_chain, "_newest", look)
        await handle.signal(Relay.go_on)
        while await look(*args) == seen:
            await asyncio.sleep(0.01)
        return seen

    monkeypatch.setattr(_chain, "_newest", went_on)
    async with working(any_client, Relay):
        handle = await start(any_client, Relay.run)
        if message == "cancel":
            await handle.cancel()
            assert isinstance(await failure_of(handle.result()), CancelledError)
        elif message == "terminate":
            await handle.terminate("enough")
            assert isinstance(await failure_of(handle.result()), TerminatedError)
        else:
            updated = any_client.get_workflow_handle(
                handle.id, first_execution_run_id=handle.first_execution_run_id
            )
            assert await updated.execute_update(Relay.say, "hello") == "hello"
            assert await handle.result() == "hello in run 2"
