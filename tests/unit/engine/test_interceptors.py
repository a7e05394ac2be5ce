"""Interceptors stand around each call into workflow code and out of it, the first one outermost."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar

import pytest

from hotmesh import workflow
from hotmesh.common import Payload, RawValue
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import ApplicationError
from hotmesh.worker import (
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from hotmesh.worker._workflow_interception import intercepted_instances
from unit.engine.driving import (
    Driven,
    answer,
    child_started,
    completed,
    kinds_of,
    options_of,
    sent,
    signal,
    update,
    value_of,
    values,
)

SEEN: list[str] = []
TRACE = {"trace": Payload(metadata={"encoding": b"plain"}, data=b"7")}


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def note(name: str, given: Any) -> None:
    SEEN.append(name)
    headers: Mapping[str, Payload] = getattr(given, "headers", {})
    if headers:
        SEEN.append(f"{name} headers {sorted(headers)}")


class NotingInbound(WorkflowInboundInterceptor):
    """Notes what comes in."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        SEEN.append(f"init {workflow.info().workflow_id}")
        super().init(NotingOutbound(outbound))

    async def execute_workflow(self, input: Any) -> Any:  # noqa: A002
        note("execute", input)
        return ["wrapped", await super().execute_workflow(input)]

    async def handle_signal(self, input: Any) -> None:  # noqa: A002
        note(f"signal {input.signal} {input.args}", input)
        await super().handle_signal(input)

    async def handle_query(self, input: Any) -> Any:  # noqa: A002
        note(f"query {input.query}", input)
        return await super().handle_query(input)

    def handle_update_validator(self, input: Any) -> None:  # noqa: A002
        note(f"validate {input.update} {input.id}", input)
        super().handle_update_validator(input)

    async def handle_update_handler(self, input: Any) -> Any:  # noqa: A002
        note(f"update {input.update} {input.id}", input)
        return await super().handle_update_handler(input)


class NotingOutbound(WorkflowOutboundInterceptor):
    """Notes what goes out, and adds a header."""

    def start_activity(self, input: Any) -> Any:  # noqa: A002
        SEEN.append(f"activity {input.activity}")
        return super().start_activity(dataclasses.replace(input, headers=TRACE))

    def start_local_activity(self, input: Any) -> Any:  # noqa: A002
        SEEN.append(f"local {input.activity}")
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: Any) -> Any:  # noqa: A002
        SEEN.append(f"child {input.workflow} {input.id}")
        return await super().start_child_workflow(dataclasses.replace(input, headers=TRACE))

    async def signal_child_workflow(self, input: Any) -> None:  # noqa: A002
        SEEN.append(f"signal child {input.child_workflow_id}")
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: Any) -> None:  # noqa: A002
        SEEN.append(f"signal {input.workflow_id}")
        await super().signal_external_workflow(dataclasses.replace(input, headers=TRACE))

    def continue_as_new(self, input: Any) -> Any:  # noqa: A002
        SEEN.append("continue")
        super().continue_as_new(dataclasses.replace(input, headers=TRACE))

    def info(self) -> workflow.Info:
        SEEN.append("info")
        return dataclasses.replace(super().info(), namespace="shown")


class Noting(Interceptor):
    """Wraps every workflow."""

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> Any:  # noqa: A002
        input.unsafe_extern_functions["outside"] = lambda: "from outside"
        return NotingInbound


class Around(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: Any) -> Any:  # noqa: A002
        SEEN.append("around")
        return await super().execute_workflow(input)


class Outermost(Interceptor):
    def workflow_interceptor_class(self, input: Any) -> Any:  # noqa: A002
        del input
        return Around


def wrapped(code: Any, *args: Any, interceptors: Sequence[Interceptor] = (), **options: Any) -> Any:
    make = intercepted_instances(interceptors or [Noting()])
    return Driven(code, *args, make_instance=make, **options)


@workflow.defn
class Everything:
    """Has a handler of each kind."""

    words: ClassVar[list[Any]] = []

    @workflow.run
    async def run(self, word: str) -> str:
        await workflow.wait_condition(lambda: "end" in self.words)
        return word

    @workflow.signal
    async def say(self, word: str) -> None:
        self.words.append(word)

    @workflow.signal(dynamic=True)
    def any_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.words.append(f"{name} {len(args)}")

    @workflow.query
    def look(self) -> list[Any]:
        return self.words

    @workflow.query(dynamic=True)
    def any_query(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} {len(args)}"

    @workflow.update
    async def change(self, word: str) -> str:
        return word

    @change.validator
    def check(self, word: str) -> None:
        if word == "bad":
            raise ValueError("refused")

    @workflow.update(dynamic=True)
    def any_update(self, name: str, args: Sequence[RawValue]) -> str:
        return f"{name} {len(args)}"


@pytest.fixture
def everything(core: ModuleType) -> Driven:
    Everything.words.clear()
    run = wrapped(Everything, "x", core=core)
    run.start()
    SEEN.clear()
    return run


def test_the_first_interceptor_is_the_outermost_one() -> None:
    async def code() -> str:
        return "x"

    run = wrapped(code, interceptors=[Outermost(), Noting()])
    run.start()
    assert [each for each in SEEN if each != "info"] == ["init w", "around", "execute"]
    assert run.outcome() == ["wrapped", "x"]


def test_a_worker_whose_interceptors_wrap_no_workflow_makes_plain_runs() -> None:
    assert intercepted_instances([]) is None
    assert intercepted_instances([Interceptor()]) is None


def test_functions_from_outside_are_reached_by_name() -> None:
    async def code() -> str:
        return workflow.extern_functions()["outside"]()

    run = wrapped(code)
    run.start()
    assert run.outcome() == ["wrapped", "from outside"]


def test_headers_of_the_start_reach_the_chain() -> None:
    async def code() -> None: ...

    wrapped(code, header={"h": wire.pack_headers(TRACE)}).start()
    assert "execute headers ['trace']" in SEEN


def test_signals_go_through_the_chain(everything: Driven) -> None:
    everything.give(
        signal("say", "a", headers=wire.pack_headers(TRACE)),
        signal("what", 1),
        signal("say", "end"),
    )
    assert SEEN[:2] == ["signal say ['a']", "signal say ['a'] headers ['trace']"]
    assert SEEN[2].startswith("signal what [[RawValue")
    assert everything.outcome() == ["wrapped", "x"]
    assert Everything.words == ["a", "what 1", "end"]


def test_queries_go_through_the_chain(everything: Driven) -> None:
    assert everything.ask("look") == []
    assert everything.ask("any thing", 1) == "any thing 1"
    assert SEEN == ["query look", "query any thing"]


def test_updates_and_validators_go_through_the_chain(everything: Driven) -> None:
    everything.give(update("change", "good", id="1"))
    assert answer(everything.replies[b"completed"]) == "good"
    everything.give(update("change", "bad", id="2"))
    with pytest.raises(ApplicationError, match="refused"):
        answer(everything.replies[b"completed"])
    everything.give(update("any thing", 1, 2, id="3"))
    assert answer(everything.replies[b"completed"]) == "any thing 2"
    assert SEEN == [
        "validate change 1",
        "update change 1",
        "validate change 2",
        "update any thing 3",
    ]


def test_info_is_what_the_chain_shows() -> None:
    async def code() -> str:
        return workflow.info().namespace + workflow.info().namespace

    run = wrapped(code)
    run.start()
    assert run.outcome() == ["wrapped", "shownshown"]


def test_activities_go_out_through_the_chain_with_their_headers(core: ModuleType) -> None:
    async def code() -> Any:
        local: Any = await workflow.execute_local_activity("l", 1, start_to_close_timeout=2)
        return [
            local,
            await workflow.execute_activity(
                "a",
                1,
                task_queue="others",
                start_to_close_timeout=timedelta(seconds=1),
                heartbeat_timeout=0.5,
                activity_id="mine",
                summary="what for",
            ),
        ]

    run = wrapped(code, core=core, hosts_activity=lambda _: True)
    (local,) = run.start()
    assert options_of(local) == {"st": 2000, "local": True}
    (command,) = run.give(completed(1, "l"))
    assert options_of(command) == {
        "st": 1000,
        "hb": 500,
        "q": "others",
        "id": "mine",
        "summary": "what for",
    }
    document, body = wire.split_document(command[5])
    assert wire.unpack_headers(document["h"]) == TRACE
    assert body == values(1)
    run.give(completed(2, "a"))
    assert run.outcome() == ["wrapped", ["l", "a"]]
    assert [each for each in SEEN if each.startswith(("local", "activity"))] == [
        "local l",
        "activity a",
    ]
    assert not run.replayed().changed_arguments


def test_children_go_out_through_the_chain(core: ModuleType) -> None:
    async def code() -> None:
        handle = await workflow.start_child_workflow("C", id="c", expire=60, record=True, memo={})
        await handle.signal("s", 1)
        await workflow.start_child_workflow("D")

    run = wrapped(code, core=core)
    (start,) = run.start()
    options = options_of(start)
    assert wire.unpack_headers(options["header"]["h"]) == TRACE
    assert (options["id"], options["expire"], options["record"]) == ("c", 60, True)
    (sending,) = run.give(child_started(1))
    assert options_of(sending) == {"ns": "n", "wid": "c"}
    assert value_of(sending[5]) == 1
    (second,) = run.give(sent(2))
    assert "expire" not in options_of(second)
    assert [each for each in SEEN if "child" in each][:2] == ["child C c", "signal child c"]


class Slow(Interceptor):
    """Lets others go first before it starts a child."""

    def workflow_interceptor_class(self, input: Any) -> Any:  # noqa: A002
        del input
        return SlowInbound


class SlowInbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(SlowOutbound(outbound))


class SlowOutbound(WorkflowOutboundInterceptor):
    async def start_child_workflow(self, input: Any) -> Any:  # noqa: A002
        for _ in range(3 if input.id == "first" else 1):
            await asyncio.sleep(0)
        return await super().start_child_workflow(input)


def test_children_started_side_by_side_keep_their_own_options(core: ModuleType) -> None:
    async def code() -> None:
        await asyncio.gather(
            workflow.start_child_workflow("C", id="first", expire=60, record=True),
            workflow.start_child_workflow("C", id="second", expire=30),
            workflow.start_child_workflow("C", id="third"),
        )

    run = wrapped(code, interceptors=[Slow()], core=core)
    found = {options_of(each)["id"]: options_of(each) for each in run.start()}
    assert [each.get("expire") for _, each in sorted(found.items())] == [60, 30, None]
    assert [each.get("record") for _, each in sorted(found.items())] == [True, None, None]


def test_signals_go_out_through_the_chain() -> None:
    async def code() -> None:
        await workflow.get_external_workflow_handle("other", run_id="r").signal("s", args=[1, 2])

    run = wrapped(code)
    (command,) = run.start()
    assert options_of(command) == {"ns": "n", "wid": "other", "rid": "r"}
    document, body = wire.split_document(command[5])
    assert (list(document["h"]), body) == (["trace"], values(1, 2))
    assert "signal other" in SEEN


def test_continuing_as_new_goes_out_through_the_chain() -> None:
    async def code() -> None:
        workflow.continue_as_new(1, workflow="Other", run_timeout=5, backoff_start_interval=1)

    (command,) = wrapped(code).start()
    assert (command[0], command[3]) == (kinds.CONTINUE, "Other")
    options = options_of(command)
    assert wire.unpack_headers(options.pop("h")) == TRACE
    assert options == {"run": 5000, "delay": 1000}
    assert "continue" in SEEN


def test_a_query_may_change_nothing_through_the_chain_either() -> None:
    async def code() -> None:
        def start_child() -> None:
            workflow.start_child_workflow("C").send(None)

        workflow.set_query_handler("child", start_child)
        workflow.set_query_handler("continue", workflow.continue_as_new)
        await workflow.wait_condition(lambda: False)

    run = wrapped(code)
    run.start()
    for name in ("child", "continue"):
        with pytest.raises(ApplicationError, match="While in read-only function"):
            run.ask(name)
    assert kinds_of(run.journal[-1][2]) == []
