"""Interceptors around activities."""

# ruff: noqa: A002 - `input` and `next` are the names interceptors use

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from hotmesh import activity
from hotmesh.common import Payload
from hotmesh.engine import wire
from hotmesh.worker._interceptor import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)
from unit.worker.activity_harness import Harness, with_document


class Tracing(Interceptor):
    """Notes what passes, with its own name."""

    def __init__(self, name: str, trace: list[Any]) -> None:
        self.name = name
        self.trace = trace

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return TracingInbound(next, self)


class TracingInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, owner: Tracing) -> None:
        super().__init__(next)
        self.owner = owner

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        self.owner.trace.append((self.owner.name, "init", activity.info().activity_type))
        super().init(TracingOutbound(outbound, self.owner))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        self.owner.trace.append((self.owner.name, "execute", tuple(input.args)))
        for name, payload in input.headers.items():
            self.owner.trace.append((self.owner.name, name, payload.data))
        return [self.owner.name, await super().execute_activity(input)]


class TracingOutbound(ActivityOutboundInterceptor):
    def __init__(self, next: ActivityOutboundInterceptor, owner: Tracing) -> None:
        super().__init__(next)
        self.owner = owner

    def info(self) -> activity.Info:
        return replace(super().info(), activity_id=f"seen by {self.owner.name}")

    def heartbeat(self, *details: Any) -> None:
        super().heartbeat(self.owner.name, *details)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def coroutine(value: int) -> str:
    activity.heartbeat(value)
    return activity.info().activity_id


def plain(value: int) -> str:
    activity.heartbeat(value)
    return activity.info().activity_id


@pytest.mark.parametrize("name", ["coroutine", "plain"])
async def test_interceptors_nest_the_first_outermost(name: str, pool: ThreadPoolExecutor) -> None:
    trace: list[Any] = []
    harness = Harness(
        coroutine,
        plain,
        activity_executor=pool,
        interceptors=[Tracing("outer", trace), Interceptor(), Tracing("inner", trace)],
    )
    task = harness.task(name, 5)
    headers = {"user": Payload({"encoding": b"plain"}, b"ada")}
    task.body = with_document({"h": wire.pack_headers(headers)}, task.body)
    outcome = await harness.start(task)
    assert harness.result(outcome) == ["outer", ["inner", "seen by inner"]]
    assert trace == [
        ("outer", "init", name),
        ("inner", "init", name),
        ("outer", "execute", (5,)),
        ("outer", "user", b"ada"),
        ("inner", "execute", (5,)),
        ("inner", "user", b"ada"),
    ]


async def test_an_interceptor_may_replace_function_and_arguments() -> None:
    async def other(value: int) -> str:
        return f"other {value}"

    class Replacing(ActivityInboundInterceptor):
        async def execute_activity(self, input: ExecuteActivityInput) -> Any:
            input.fn, input.args = other, [input.args[0] + 1]
            return await super().execute_activity(input)

    class Worker(Interceptor):
        def intercept_activity(
            self, next: ActivityInboundInterceptor
        ) -> ActivityInboundInterceptor:
            return Replacing(next)

    harness = Harness(coroutine, interceptors=[Worker()])
    assert harness.result(await harness.run("coroutine", 1)) == "other 2"


async def test_an_interceptor_that_fails_fails_the_attempt() -> None:
    class Failing(Interceptor):
        def intercept_activity(
            self, next: ActivityInboundInterceptor
        ) -> ActivityInboundInterceptor:
            raise RuntimeError("no way")

    harness = Harness(coroutine, interceptors=[Failing()])
    assert harness.failure(await harness.run("coroutine", 1)).message == "no way"
