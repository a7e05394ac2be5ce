# ruff: noqa: A002 - `input` and `next` are the names that interceptors use
"""Interceptors around workflows: they see every call in and out, and may change it."""

from collections.abc import Sequence
from typing import Any, NoReturn

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowUpdateFailedError
from hotmesh.common import Payload, RawValue
from hotmesh.converter import DataConverter
from hotmesh.exceptions import ApplicationError
from hotmesh.worker import (
    ActivityInboundInterceptor,
    ContinueAsNewInput,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    SignalChildWorkflowInput,
    SignalExternalWorkflowInput,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from support.running import SOON, start, working

seen: list[str] = []
user: Payload = DataConverter.default.payload_converter.to_payload("alice")


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def note(what: str) -> None:
    if not (workflow.in_workflow() and workflow.unsafe.is_replaying()):
        seen.append(what)


class Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(Outbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        note(f"run {sorted(input.headers)}")
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        note(f"signal {input.signal} {sorted(input.headers)}")
        await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        note(f"query {input.query}")
        return f"intercepted {await super().handle_query(input)}"

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        note(f"validate {input.update}")
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        note(f"update {input.update}")
        input.args = [f"changed {input.args[0]}"]
        return await super().handle_update_handler(input)


class Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle:
        note(f"activity {input.activity}")
        input.headers = {"user": user}
        return super().start_activity(input)

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle:
        note(f"local {input.activity}")
        input.headers = {"user": user}
        return super().start_local_activity(input)

    async def start_child_workflow(
        self, input: StartChildWorkflowInput
    ) -> workflow.ChildWorkflowHandle:
        note(f"child {input.workflow}")
        input.headers = {"user": user}
        return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:
        note(f"signal child {input.signal}")
        input.headers = {"user": user}
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:
        note(f"signal external {input.signal}")
        await super().signal_external_workflow(input)

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        note("continue")
        input.headers = {"user": user}
        super().continue_as_new(input)


class Activities(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        seen.append(f"attempt {sorted(input.headers)}")
        return await super().execute_activity(input)


class Tracing(Interceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return Activities(next)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        return Inbound


@activity.defn
async def echo(value: str) -> str:
    return value


@workflow.defn
class Traced:
    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self, then: str) -> Any:
        if then == "wait":
            await workflow.wait_condition(lambda: len(self.got) > 0)
            return self.got
        if then == "activity":
            await workflow.execute_local_activity(echo, "x", start_to_close_timeout=SOON)
            return await workflow.execute_activity(echo, "x", start_to_close_timeout=SOON)
        if then == "child":
            handle = await workflow.start_child_workflow(Traced.run, "wait")
            await handle.signal(Traced.put, "x")
            return await handle
        if then == "external":
            await workflow.get_external_workflow_handle("other").signal("put", "x")
        if then == "continue":
            workflow.continue_as_new("done")
        return sorted(workflow.info().headers)

    @workflow.signal
    def put(self, value: str) -> None:
        self.got.append(value)

    @workflow.signal(dynamic=True)
    def put_any(self, name: str, args: Sequence[RawValue]) -> None:
        self.got.append([name, len(args)])

    @workflow.query
    def ask(self, value: str) -> str:
        return value

    @workflow.update
    def change(self, value: str) -> str:
        return value

    @change.validator
    def check(self, value: str) -> None:
        if value == "bad":
            raise ApplicationError("rejected")


@pytest.mark.parametrize("cached", [1000, 0])
@pytest.mark.parametrize(
    ("then", "result", "calls"),
    [
        (
            "activity",
            "x",
            ["run []", "local echo", "attempt ['user']", "activity echo", "attempt ['user']"],
        ),
        (
            "child",
            ["x"],
            [
                "run []",
                "child Traced",
                "run ['user']",
                "signal child put",
                "signal put ['user']",
            ],
        ),
        ("continue", ["user"], ["run []", "continue", "run ['user']"]),
    ],
)
async def test_calls_out_of_a_workflow_are_seen_with_their_headers(
    client: Client, then: str, result: Any, calls: list[str], cached: int
) -> None:
    async with working(
        client, Traced, activities=[echo], interceptors=[Tracing()], max_cached_workflows=cached
    ):
        handle = await start(client, Traced.run, then)
        assert await handle.result() == result
    assert sorted(seen) == sorted(calls)


async def test_a_signal_to_another_workflow_is_seen(client: Client) -> None:
    async with working(client, Traced, interceptors=[Tracing()]):
        other = await start(client, Traced.run, "wait", id="other")
        await (await start(client, Traced.run, "external")).result()
        assert await other.result() == ["x"]
    assert "signal external put" in seen


async def test_calls_into_a_workflow_are_seen_and_changed(client: Client) -> None:
    async with working(client, Traced, interceptors=[Tracing()]):
        handle = await start(client, Traced.run, "wait")
        assert await handle.query(Traced.ask, "x") == "intercepted x"
        assert await handle.execute_update(Traced.change, "x") == "changed x"
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Traced.change, "bad")
        await handle.signal("dynamic", args=[1, 2])
        assert await handle.result() == [["dynamic", 2]]
    assert seen == [
        "run []",
        "query ask",
        "validate change",
        "update change",
        "validate change",
        "signal dynamic []",
    ]


async def test_the_first_interceptor_is_the_outermost(client: Client) -> None:
    def wrapping(name: str) -> Interceptor:
        class Wraps(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                return [name, await super().execute_workflow(input)]

        class Wrapper(Interceptor):
            def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> Any:
                return Wraps

        return Wrapper()

    async with working(client, Traced, interceptors=[wrapping("first"), wrapping("second")]):
        handle = await start(client, "Traced", "")
        assert await handle.result() == ["first", ["second", []]]
