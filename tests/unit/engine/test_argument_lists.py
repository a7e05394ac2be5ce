"""Several arguments are a list: a text in place of one would be sent letter by letter."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import meshflow, workflow
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.worker import (
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from hotmesh.worker._workflow_interception import intercepted_instances
from unit.engine.driving import Driven, child_started, kinds_of, value_of

MINUTE = timedelta(minutes=1)
NO_LISTS: list[Any] = ["text", "", b"bytes", bytearray(b"x"), None, {"a": 1}, {1}, 5]


async def activity(args: Any) -> None:
    await workflow.execute_activity("a", args=args, start_to_close_timeout=MINUTE)


async def local_activity(args: Any) -> None:
    await workflow.execute_local_activity("a", args=args, start_to_close_timeout=MINUTE)


async def child(args: Any) -> None:
    await workflow.execute_child_workflow("C", args=args)


async def continued(args: Any) -> None:
    workflow.continue_as_new(args=args)


async def signal(args: Any) -> None:
    await workflow.get_external_workflow_handle("w").signal("s", args=args)


async def signal_to_child(args: Any) -> None:
    started = await workflow.start_child_workflow("C")
    await started.signal("s", args=args)


async def function_child(args: Any) -> None:
    await meshflow.workflow.exec_child(workflow_name="C", args=args)


async def function_child_started(args: Any) -> None:
    await meshflow.workflow.start_child(workflow_name="C", args=args)


async def own_hook(args: Any) -> None:
    await meshflow.workflow.hook(workflow_name="C", args=args)


async def hook_of_another(args: Any) -> None:
    await meshflow.workflow.hook(workflow_name="C", args=args, workflow_id="other")


CALLS = [
    activity,
    local_activity,
    child,
    continued,
    signal,
    signal_to_child,
    function_child,
    function_child_started,
    own_hook,
    hook_of_another,
]


@pytest.mark.parametrize("args", NO_LISTS)
@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_list_is_refused_where_it_is_given(
    call: Callable[[Any], Awaitable[None]], args: Any
) -> None:
    async def code() -> str:
        with pytest.raises(InvalidArgumentError, match="args must be a list of arguments, not"):
            await call(args)
        return "refused"

    run = Driven(code, hosts_activity=lambda _: True)
    commands = run.start()
    if call is signal_to_child:
        commands = run.give(child_started(1))
    assert kinds_of(commands) == ["COMPLETE"]


@pytest.mark.parametrize("args", [["text"], ("text",), range(1)])
@pytest.mark.parametrize("call", CALLS)
def test_any_sequence_is_a_list(call: Callable[[Any], Awaitable[None]], args: Any) -> None:
    async def code() -> None:
        await call(args)

    run = Driven(code, hosts_activity=lambda _: True)
    commands = run.start()
    if call is signal_to_child:
        commands = run.give(child_started(1))
    assert kinds_of(commands)[0] not in ("COMPLETE", "FAIL")


class Rewriting(WorkflowOutboundInterceptor):
    """Puts a text where a list is wanted."""

    def start_activity(self, input: Any) -> Any:  # noqa: A002
        return super().start_activity(dataclasses.replace(input, args="text"))

    def start_local_activity(self, input: Any) -> Any:  # noqa: A002
        return super().start_local_activity(dataclasses.replace(input, args="text"))

    async def start_child_workflow(self, input: Any) -> Any:  # noqa: A002
        return await super().start_child_workflow(dataclasses.replace(input, args="text"))

    async def signal_external_workflow(self, input: Any) -> None:  # noqa: A002
        await super().signal_external_workflow(dataclasses.replace(input, args="text"))

    def continue_as_new(self, input: Any) -> Any:  # noqa: A002
        super().continue_as_new(dataclasses.replace(input, args="text"))


class Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(Rewriting(outbound))


class Rewrites(Interceptor):
    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> Any:  # noqa: A002
        del input
        return Inbound


@pytest.mark.parametrize("call", [activity, local_activity, child, continued, signal])
def test_an_interceptor_can_not_bring_a_text_in_either(
    call: Callable[[Any], Awaitable[None]],
) -> None:
    async def code() -> str:
        with pytest.raises(InvalidArgumentError, match="args must be a list of arguments, not"):
            await call([1])
        return "refused"

    run = Driven(
        code, hosts_activity=lambda _: True, make_instance=intercepted_instances([Rewrites()])
    )
    (command,) = run.start()
    assert value_of(command[5]) == "refused"
