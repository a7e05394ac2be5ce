"""Small things that programs written for Temporal's SDK rely on, each as its server has it."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pydantic
import pytest

from hotmesh import activity, workflow
from hotmesh.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
)
from hotmesh.common import Payload, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from hotmesh.converter import CompositePayloadConverter, DataConverter, JSONPlainPayloadConverter
from hotmesh.exceptions import ApplicationError, CancelledError, WorkflowAlreadyStartedError
from hotmesh.worker import (
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from support.running import ONCE, QUEUE, execute, start, task_failure, working

LIMIT = timedelta(seconds=20)


@activity.defn
async def fails() -> None:
    raise ValueError("v")


@activity.defn
async def hangs() -> None:
    await asyncio.Event().wait()


@activity.defn
async def tells_its_id() -> str:
    return activity.info().activity_id


def chain(error: BaseException | None) -> list[str]:
    found: list[str] = []
    while error is not None:
        found.append(type(error).__name__)
        error = error.__cause__
    return found


@workflow.defn
class CallsOne:
    @workflow.run
    async def run(self, name: str, local: bool) -> list[str]:
        begin: Callable[..., Any] = (
            workflow.start_local_activity if local else workflow.start_activity
        )
        timeout = timedelta(milliseconds=50) if name == "timeout" else LIMIT
        handle = begin(
            "fails" if name == "fails" else "hangs",
            start_to_close_timeout=timeout,
            retry_policy=ONCE,
        )
        try:
            if name == "cancel":
                await asyncio.sleep(0.01)
                handle.cancel()
            await handle
        except Exception as error:
            return chain(error)
        return []


@pytest.mark.parametrize(
    ("name", "local", "expected"),
    [
        ("fails", False, ["ActivityError", "ApplicationError"]),
        ("fails", True, ["ApplicationError"]),
        ("timeout", False, ["ActivityError", "TimeoutError"]),
        ("timeout", True, ["ActivityError", "TimeoutError"]),
        ("cancel", False, ["ActivityError", "CancelledError"]),
        ("cancel", True, ["ActivityError", "CancelledError"]),
    ],
)
async def test_how_an_activity_ends_is_told(
    client: Client, name: str, local: bool, expected: list[str]
) -> None:
    async with working(client, CallsOne, activities=[fails, hangs]):
        assert await execute(client, CallsOne.run, name, local) == expected


@workflow.defn
class CallsNobody:
    @workflow.run
    async def run(self) -> None:
        await workflow.execute_local_activity("nobody", start_to_close_timeout=LIMIT)


async def test_a_local_activity_that_nobody_hosts_fails_the_task(any_client: Client) -> None:
    async with working(any_client, CallsNobody, activities=[fails]) as worker:
        handle = await start(any_client, CallsNobody.run)
        failure = await task_failure(handle)
        assert failure["message"] == (
            "Activity function nobody is not registered on this worker, available activities: fails"
        )

        @activity.defn
        async def nobody() -> None: ...

        worker.add_activity(nobody)
        await handle.result()


@workflow.defn
class Numbers:
    @workflow.run
    async def run(self) -> list[str]:
        async def call(**options: Any) -> str:
            return await workflow.execute_activity(
                tells_its_id, start_to_close_timeout=LIMIT, retry_policy=ONCE, **options
            )

        await asyncio.sleep(0.001)
        first = await call()
        await asyncio.sleep(0.001)
        named = await call(activity_id="mine")
        await asyncio.sleep(0.001)
        handle = workflow.start_activity(fails, start_to_close_timeout=LIMIT, retry_policy=ONCE)
        try:
            await handle
        except Exception as error:
            return [first, named, error.activity_id]  # type: ignore[attr-defined]
        return []


@pytest.mark.parametrize("eager", [True, False])
async def test_activities_are_numbered_among_themselves(any_client: Client, eager: bool) -> None:
    async with working(
        any_client,
        Numbers,
        activities=[tells_its_id, fails],
        disable_eager_activity_execution=not eager,
        max_cached_workflows=0,
    ):
        assert await execute(any_client, Numbers.run) == ["1", "mine", "3"]


class Pokes(WorkflowInboundInterceptor):
    """Calls the workflow API when it is made."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self.poked = asyncio.Event()
        workflow.set_signal_handler("poke", self.poked.set)
        workflow.logger.info("made for %s", workflow.info().workflow_id)
        super().init(outbound)

    async def execute_workflow(self, input: Any) -> Any:  # noqa: A002
        await self.poked.wait()
        return await super().execute_workflow(input)


class PokesWorkflows(Interceptor):
    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[WorkflowInboundInterceptor]:
        input.unsafe_extern_functions["double"] = lambda value: 2 * value
        return Pokes


@workflow.defn
class Doubles:
    @workflow.run
    async def run(self, value: int) -> int:
        return workflow.extern_functions()["double"](value)


async def test_an_interceptor_may_call_the_workflow_api_when_it_is_made(client: Client) -> None:
    async with working(client, Doubles, interceptors=[PokesWorkflows()]):
        handle = await start(client, Doubles.run, 4)
        await handle.signal("poke")
        assert await handle.result() == 8


@workflow.defn
class Logs:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.info("in run")
        await asyncio.Event().wait()

    @workflow.update
    async def change(self) -> None:
        workflow.logger.info("in update")

    @workflow.update
    async def wait_a_little(self) -> str:
        await asyncio.sleep(0.001)
        info = workflow.current_update_info()
        assert info is not None
        return info.id


async def test_log_records_name_the_update(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "hotmesh.workflow"):
        async with working(client, Logs):
            handle = await start(client, Logs.run)
            await handle.execute_update(Logs.change, id="u1")
            assert await handle.execute_update(Logs.wait_a_little, id="u2") == "u2"
    by_text = {each.msg.partition(" (")[0]: vars(each) for each in caplog.records}
    details = by_text["in update"]["temporal_workflow"]
    assert (details["update_id"], details["update_name"]) == ("u1", "change")
    assert "update_id" not in by_text["in run"]["temporal_workflow"]


@workflow.defn
class AnySignal:
    @workflow.run
    async def run(self) -> list[Any]:
        got: list[Any] = []

        def on_any(name: str, *args: Any) -> None:
            got.append([name, *args])

        workflow.set_dynamic_signal_handler(on_any)
        await workflow.wait_condition(lambda: bool(got))
        for bad in (lambda: None, lambda name, args: None):
            try:
                workflow.set_dynamic_signal_handler(bad)
            except RuntimeError:
                got.append("refused")
        return got


async def test_a_dynamic_handler_of_the_old_form_gets_values(client: Client) -> None:
    async with working(client, AnySignal):
        handle = await start(client, AnySignal.run)
        await handle.signal("s", args=["v", 2])
        assert await handle.result() == [["s", "v", 2], "refused", "refused"]


@workflow.defn
class Counts:
    def __init__(self) -> None:
        self.count = 0

    @workflow.run
    async def run(self, closes: bool) -> str:
        await workflow.wait_condition(lambda: self.count > 0 and closes)
        return workflow.info().run_id

    @workflow.update
    async def add(self) -> str:
        self.count += 1
        return f"{workflow.info().run_id} {self.count}"


@pytest.mark.parametrize(
    "reuse", [WorkflowIDReusePolicy.ALLOW_DUPLICATE, WorkflowIDReusePolicy.REJECT_DUPLICATE]
)
@pytest.mark.parametrize(
    "conflict", [WorkflowIDConflictPolicy.USE_EXISTING, WorkflowIDConflictPolicy.FAIL]
)
@pytest.mark.parametrize("closes", [True, False])
async def test_an_update_with_start_that_is_repeated_finds_what_it_did(
    any_client: Client,
    reuse: WorkflowIDReusePolicy,
    conflict: WorkflowIDConflictPolicy,
    closes: bool,
) -> None:
    async def once(update_id: str | None = "u") -> str:
        operation = WithStartWorkflowOperation(
            Counts.run,
            closes,
            id="w",
            task_queue=QUEUE,
            id_conflict_policy=conflict,
            id_reuse_policy=reuse,
        )
        outcome = await any_client.execute_update_with_start_workflow(
            Counts.add, id=update_id, start_workflow_operation=operation
        )
        handle = await operation.workflow_handle()
        assert outcome.startswith(str(handle.result_run_id or handle.run_id or ""))
        return outcome

    async with working(any_client, Counts):
        first, second = await asyncio.gather(once(), once())
        if closes:
            await any_client.get_workflow_handle("w").result()
        assert first == second == await once()
        if not closes and conflict == WorkflowIDConflictPolicy.FAIL:
            with pytest.raises(WorkflowAlreadyStartedError):
                await once("another")


async def test_equal_updates_with_start_that_overtake_each_other_start_one_run(
    any_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def once() -> str:
        operation = WithStartWorkflowOperation(
            Counts.run,
            True,
            id="w",
            task_queue=QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        return str(
            await any_client.execute_update_with_start_workflow(
                Counts.add, id="u", start_workflow_operation=operation
            )
        )

    looked, go_on, find = asyncio.Event(), asyncio.Event(), any_client.backend.find

    async def slow_find(keys: Any) -> Any:
        rows = await find(keys)
        if not go_on.is_set():
            looked.set()
            await go_on.wait()
        return rows

    async with working(any_client, Counts):
        monkeypatch.setattr(any_client.backend, "find", slow_find)
        late = asyncio.ensure_future(once())
        await looked.wait()
        monkeypatch.setattr(any_client.backend, "find", find)
        first = await once()
        await any_client.get_workflow_handle("w").result()
        go_on.set()
        assert await late == first


@workflow.defn
class Stops:
    @workflow.run
    async def run(self) -> None:
        await asyncio.Event().wait()

    @workflow.update
    async def stop(self) -> None:
        task = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        task.cancel()
        await task


async def test_an_update_that_is_cancelled_says_so(client: Client) -> None:
    async with working(client, Stops):
        handle = await start(client, Stops.run)
        with pytest.raises(WorkflowUpdateFailedError) as failed:
            await handle.execute_update(Stops.stop)
    assert isinstance(failed.value.cause, CancelledError)


class PickyError(ValueError):
    """A converter's own error."""


class Picky(JSONPlainPayloadConverter):
    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        if type_hint is int:
            raise PickyError("not that one")
        return super().from_payload(payload, type_hint)

    def to_payload(self, value: Any) -> Payload | None:
        if value == "unsayable":
            raise PickyError("not this one")
        return super().to_payload(value)


class PickyConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Picky())


PICKY = dataclasses.replace(DataConverter.default, payload_converter_class=PickyConverter)


@workflow.defn(failure_exception_types=[PickyError])
class Says:
    @workflow.run
    async def run(self, number: int) -> str:
        return "x"


@workflow.defn
class SaysNothing:
    @workflow.run
    async def run(self) -> str:
        return "x"


async def test_what_a_converter_raises_of_its_own_is_raised(database_url: str) -> None:
    async with (
        await Client.connect(database_url, data_converter=PICKY) as client,
        working(client, Says, SaysNothing),
    ):
        with pytest.raises(PickyError, match="not this one") as raised:
            await start(client, "SaysNothing", "unsayable")
        assert any("SaysNothing" in note for note in raised.value.__notes__)
        handle = await start(client, "SaysNothing", result_type=int)
        with pytest.raises(PickyError, match="not that one"):
            await handle.result()
        with pytest.raises(WorkflowFailureError) as failed:
            await execute(client, "Says", 1)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "PickyError"


class Amount(pydantic.BaseModel):
    cents: int


@workflow.defn(failure_exception_types=[pydantic.ValidationError])
class Pays:
    @workflow.run
    async def run(self, amount: Amount) -> None: ...


async def test_bad_input_fails_where_its_error_is_a_failure(client: Client) -> None:
    async with working(client, Pays):
        with pytest.raises(WorkflowFailureError) as failed:
            await execute(client, "Pays", {"cents": "x"})
    assert isinstance(failed.value.cause, ApplicationError)
    assert "1 validation error" in str(failed.value.cause)
