"""The function-first face, every call of it."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import meshflow, workflow
from hotmesh.client import Client, WorkflowFailureError
from hotmesh.common import SearchAttributeKey
from hotmesh.exceptions import (
    ApplicationError,
    InvalidArgumentError,
    RPCError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from support.running import at_module_level, eventually

calls: Counter[str] = Counter()


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    """A database in which the face is shut down at the end."""
    calls.clear()
    yield database_url
    await meshflow.shutdown()


@pytest.fixture
async def memory() -> AsyncIterator[str]:
    """A database in memory, for what does not depend on the backend."""
    calls.clear()
    yield "sqlite://"
    await meshflow.shutdown()


async def start(url: str, function: Any, *args: Any, **options: Any) -> meshflow.Handle:
    return await meshflow.Client(connection=url).workflow.start(
        workflow_name=function, args=args, **options
    )


async def run(url: str, function: Any, *args: Any, **options: Any) -> Any:
    return await (await start(url, function, *args, **options)).result()


async def host(url: str, *workflows: Callable[..., Any], **options: Any) -> meshflow.Worker:
    return await meshflow.Worker.create(connection=url, workflow=list(workflows), **options)


# -- Activities --


async def shout(text: str) -> str:
    return text.upper()


def count_letters(text: str) -> int:
    return len(text)


texts = meshflow.workflow.proxy_activities(activities=[shout, count_letters])
renamed = meshflow.workflow.proxy_activities(activities={"loudly": shout})


async def test_activities_async_threaded_and_renamed(url: str) -> None:
    async def letters(text: str) -> list[Any]:
        return await meshflow.workflow.all(
            texts.shout(text), texts.count_letters(text), renamed.loudly("b"), "a plain value"
        )

    await host(url, letters)
    assert await run(url, letters, "abc") == ["ABC", 3, "B", "a plain value"]


async def test_activities_proxied_after_the_worker_was_made_are_hosted(memory: str) -> None:
    async def late_one() -> str:
        return "late"

    async def calls_late() -> str:
        return await later.late_one()

    await host(memory, calls_late)
    later = meshflow.workflow.proxy_activities(activities=[late_one])
    assert await run(memory, calls_late) == "late"


async def test_all_keeps_the_order_and_raises_the_first_failure(memory: str) -> None:
    async def fails(after: float) -> None:
        await workflow.sleep(after)
        raise ApplicationError(f"after {after}")

    async def several() -> Any:
        try:
            await meshflow.workflow.all(fails(0.05), fails(0.01), 1)
        except ApplicationError as error:
            return [str(error), await meshflow.workflow.all(), await meshflow.workflow.all(1, 2)]

    await host(memory, several)
    assert await run(memory, several) == ["after 0.01", [], [1, 2]]


async def flaky(name: str) -> int:
    calls[name] += 1
    if calls[name] < 3:
        raise ValueError("not yet")
    return calls[name]


by_default = meshflow.workflow.proxy_activities(activities=[flaky])
only_once = meshflow.workflow.proxy_activities(
    activities=[flaky], retry_policy={"maximum_attempts": 1}
)


async def calls_flaky(name: str) -> int:
    return await by_default.flaky(name)


async def calls_flaky_once(name: str) -> int:
    return await only_once.flaky(name)


async def test_the_workers_options_are_the_default_retry_policy(memory: str) -> None:
    await host(
        memory,
        calls_flaky,
        calls_flaky_once,
        options={
            "initial_interval": "10 ms",
            "maximum_interval": "20 ms",
            "backoff_coefficient": 2,
            "maximum_attempts": 5,
        },
    )
    assert await run(memory, calls_flaky, "default") == 3
    with pytest.raises(WorkflowFailureError):
        await run(memory, calls_flaky_once, "once")
    assert calls == {"default": 3, "once": 1}


async def test_an_activity_can_run_on_another_task_queue(memory: str) -> None:
    async def where() -> str:
        from hotmesh import activity

        return activity.info().task_queue

    elsewhere = meshflow.workflow.proxy_activities(activities=[where], task_queue="elsewhere")

    async def asks_where() -> str:
        return await elsewhere.where()

    await host(memory, asks_where)
    await meshflow.Worker.create(connection=memory, task_queue="elsewhere", activities=[where])
    assert await run(memory, asks_where) == "elsewhere"


def test_two_functions_of_one_name_are_refused() -> None:
    async def first() -> None: ...

    async def second() -> None: ...

    meshflow.workflow.proxy_activities(activities={"only_name": first})
    with pytest.raises(ValueError, match=r"only_name.*both.*first.*second"):
        meshflow.workflow.proxy_activities(activities={"only_name": second})
    with pytest.raises(AttributeError, match=r"No activity 'third'.*loudly"):
        _ = renamed.third


# -- Time and signals --


async def relay(incoming: str, outgoing: str) -> Any:
    datum = await meshflow.workflow.wait_for(incoming)
    await meshflow.workflow.signal(outgoing, datum)
    return datum


async def test_signals_meet_waits_whichever_comes_first(url: str) -> None:
    await host(url, relay)
    client = meshflow.Client(connection=url)
    await client.workflow.signal("early", {"n": 1})  # before anybody waits
    first = await start(url, relay, "early", "middle")
    second = await start(url, relay, "middle", "late")
    assert await first.result() == {"n": 1}
    assert await second.result() == {"n": 1}
    waiting = await start(url, relay, "from the handle", "nobody")
    await waiting.signal("from the handle", [1, 2])
    assert await waiting.result() == [1, 2]
    assert await run(url, relay, "late", "nobody") == {"n": 1}  # its sender is closed already


async def test_durations_of_every_form(memory: str) -> None:
    async def naps() -> list[Any]:
        return [
            await meshflow.workflow.sleep_for(0.01),
            await meshflow.workflow.sleep_for("10 ms"),
            await meshflow.workflow.sleep_for("0s"),
            await meshflow.workflow.sleep_for(timedelta(milliseconds=10)),
        ]

    await host(memory, naps)
    assert await run(memory, naps) == [0.01, 0.01, 0, 0.01]


# -- Other workflows --


async def child(name: str) -> str:
    await meshflow.workflow.enrich({"child": name})
    return f"child {name}"


async def waiting_child(key: str) -> Any:
    return await meshflow.workflow.wait_for(key)


async def parent(key: str) -> list[Any]:
    mine = await meshflow.workflow.exec_child(workflow_name="child", args=["one"])
    by_function = await meshflow.workflow.exec_child(workflow_name=child, args=["two"])
    started = await meshflow.workflow.start_child(
        workflow_name=waiting_child, args=[key], workflow_id=f"{key}-child"
    )
    return [mine, by_function, started]


async def test_children(url: str) -> None:
    await host(url, parent, child, waiting_child)
    handle = await start(url, parent, "key")
    assert await handle.result() == ["child one", "child two", "key-child"]
    assert "child" not in (await handle.state())["record"]
    client = meshflow.Client(connection=url)
    left = await client.workflow.get_handle("key-child")
    assert await left.status() == "running"  # it outlives its parent
    await left.signal("key", 7)
    assert await left.result() == 7


async def hooked(name: str) -> dict[str, Any]:
    await meshflow.workflow.enrich({name: "was here"})
    await meshflow.workflow.signal(f"{name} done")
    return await meshflow.workflow.search().get("owner", name, "missing")


async def hooked_twice(name: str) -> str:
    """A hook's hook shares the same record."""
    return await meshflow.workflow.hook(workflow_name=hooked, args=[name])


async def hooks() -> list[str]:
    await meshflow.workflow.enrich({"owner": "me"})
    inner = await meshflow.workflow.hook(workflow_name=hooked, args=["inner"])
    await meshflow.workflow.hook(workflow_name="hooked_twice", args=["nested"])
    for name in ("inner", "nested", "outer", "other"):
        await meshflow.workflow.wait_for(f"{name} done")
    return [inner]


async def hooks_another(target: str) -> str:
    return await meshflow.workflow.hook(workflow_name=hooked, args=["other"], workflow_id=target)


async def test_hooks_share_the_record(url: str) -> None:
    await host(url, hooks, hooked, hooked_twice, hooks_another)
    client = meshflow.Client(connection=url)
    owner = await start(url, hooks, workflow_id="owner")

    async def has_enriched() -> bool:
        return "owner" in (await owner.state())["record"]

    await eventually(has_enriched, "the owner has written what its hooks read")
    outer = await client.workflow.hook(workflow_id="owner", workflow_name="hooked", args=["outer"])
    other = await run(url, hooks_another, "owner")
    inner_id = (await owner.result())[0]
    record = (await owner.state())["record"]
    assert record == {
        "owner": "me",
        "inner": "was here",
        "nested": "was here",
        "outer": "was here",
        "other": "was here",
    }
    assert await outer.result() == {"owner": "me", "outer": "was here", "missing": None}
    for hook_id, name in ((inner_id, "inner"), (other, "other")):
        hook = await client.workflow.get_handle(hook_id)
        assert await hook.result() == {"owner": "me", name: "was here", "missing": None}
        assert (await hook.state())["record"] == {}
    with pytest.raises(RPCError, match="completed"):
        await client.workflow.hook(workflow_id="owner", workflow_name=hooked, args=["late"])
    with pytest.raises(RPCError, match="not found"):
        await client.workflow.hook(workflow_id="nobody", workflow_name=hooked, args=["late"])
    with pytest.raises(InvalidArgumentError, match="args must be a list of arguments, not"):
        await client.workflow.hook(workflow_id="owner", workflow_name=hooked, args="late")


async def interrupter(target: str) -> list[bool]:
    return [
        await meshflow.workflow.interrupt(target, reason="enough"),
        await meshflow.workflow.interrupt(target),
        await meshflow.workflow.interrupt("nobody"),
    ]


async def test_interrupt_from_inside_and_outside(url: str) -> None:
    await host(url, interrupter, waiting_child)
    first = await start(url, waiting_child, "never", workflow_id="first")
    assert await run(url, interrupter, "first") == [True, False, False]
    with pytest.raises(WorkflowFailureError) as caught:
        await first.result()
    assert isinstance(caught.value.cause, TerminatedError)
    assert await first.status() == "terminated"
    assert (await first.state())["error"] == "enough"
    second = await start(url, waiting_child, "never")
    await second.interrupt(reason="also enough")
    assert await second.status() == "terminated"


# -- The record --


async def keeps_a_record() -> list[Any]:
    record = meshflow.workflow.search()
    before = await record.get("id", "count")
    await record.set(count=1, tags=["a", "b"], deep={"x": None})
    return [before, await record.get()]


async def test_search_reads_and_writes_the_record(url: str) -> None:
    await host(url, keeps_a_record)
    assert await run(url, keeps_a_record, search={"data": {"id": "x"}}) == [
        {"id": "x", "count": None},
        {"id": "x", "count": 1, "tags": ["a", "b"], "deep": {"x": None}},
    ]


async def noop() -> None:
    return None


async def test_workflows_are_found_by_their_records(url: str) -> None:
    await host(url, noop, waiting_child)
    client = meshflow.Client(connection=url)
    for number in range(3):
        kind = "odd" if number % 2 else "even"
        await run(url, noop, workflow_id=f"n{number}", search={"data": {"kind": kind, "n": number}})
    await start(url, waiting_child, "k", workflow_id="open", search={"data": {"kind": "even"}})

    async def found(*args: Any, **options: Any) -> list[str]:
        return [each["workflow_id"] for each in await client.workflow.search(*args, **options)]

    assert await found({"kind": "even"}) == ["open", "n2", "n0"]
    assert await found({"kind": "even", "n": 2}) == ["n2"]
    assert await found({"n": "2"}) == []
    assert await found({"kind": "even"}, status="running") == ["open"]
    assert await found({"kind": "even"}, workflow_name="noop", limit=1) == ["n2"]
    assert await found(namespace="another") == []
    with pytest.raises(InvalidArgumentError, match="kind in a filter is no field of a run"):
        await found({"kind": "even"}, namespace="another")
    with pytest.raises(InvalidArgumentError, match="Did you mean kind"):
        await found({"kinds": "even"})
    SearchAttributeKey.for_keyword("declared_by_now")
    assert await found({"declared_by_now": "even"}) == []
    (one,) = await client.workflow.search({"n": 1})
    assert one["record"] == {"kind": "odd", "n": 1}
    assert one["status"] == "completed"
    with pytest.raises(InvalidArgumentError, match="Unknown status 'done'"):
        await client.workflow.search(status="done")


# -- The run itself --


async def looks_at_itself() -> dict[str, Any]:
    return meshflow.workflow.get_context()


async def test_the_context_says_who_runs(memory: str) -> None:
    await host(memory, looks_at_itself)
    handle = await start(memory, looks_at_itself, workflow_id="me")
    context = await handle.result()
    now = context.pop("now")
    assert isinstance(now, float)
    assert context == {
        "namespace": "default",
        "task_queue": "default",
        "workflow_id": "me",
        "workflow_name": "looks_at_itself",
        "run_id": handle.run_id,
        "attempt": 1,
        "parent_workflow_id": None,
        "transitions": 0,
        "replaying": False,
    }


async def careful(key: str) -> list[bool]:
    asked: list[bool] = []
    for name in ("mail", "mail", "print"):
        allowed = await meshflow.workflow.is_side_effect_allowed(name)
        if allowed:
            calls[name] += 1
        asked.append(allowed)
    await meshflow.workflow.signal("asked")
    await meshflow.workflow.wait_for(key)
    return asked


async def test_a_side_effect_is_allowed_once_and_in_no_replay(url: str) -> None:
    first = await host(url, careful, waiting_child)
    handle = await start(url, careful, "go on")
    await run(url, waiting_child, "asked")
    await first.shutdown()
    await host(url, careful)  # Replays the run from its journal.
    await handle.signal("go on")
    assert await handle.result() == [False, False, False]  # as the replay saw it
    assert calls == {"mail": 1, "print": 1}


# -- Clients, handles, workers --


async def fails() -> None:
    raise ApplicationError("on purpose")


async def test_the_handle_shows_the_workflow(url: str) -> None:
    await host(url, noop, fails, waiting_child)
    client = meshflow.Client(connection={"url": url})
    waiting = await start(url, waiting_child, "k", workflow_id="w", search={"data": {"a": 1}})
    state = await waiting.state()
    assert state["status"] == "running"
    assert state["record"] == {"a": 1}
    assert state["closed"] is None
    assert "result" not in state
    with pytest.raises(WorkflowAlreadyStartedError):
        await start(url, waiting_child, "k", workflow_id="w")
    await client.workflow.signal("k", "value")
    assert await waiting.result() == "value"
    state = await (await client.workflow.get_handle("w")).state()
    assert (state["status"], state["result"]) == ("completed", "value")
    assert state["run_id"] == waiting.run_id
    export = await waiting.export()
    assert export["record"] == {"a": 1}
    assert [event["number"] for event in export["events"]] == [0, 1]
    failing = await start(url, fails)
    with pytest.raises(WorkflowFailureError, match="failed: on purpose"):
        await failing.result()
    assert await failing.status() == "failed"
    assert (await failing.state())["error"] == "on purpose"
    with pytest.raises(RPCError, match="not found"):
        await (await client.workflow.get_handle("nobody")).status()


def workflow_definition_named(name: str) -> Callable[..., Any]:
    async def other() -> int:
        return 1

    other.__name__ = name
    return other


async def test_workers_of_one_place_are_one(memory: str) -> None:
    first = await host(memory, noop)
    second = await host(memory, looks_at_itself)
    async with await Client.connect(memory) as sdk:
        assert len(await sdk.backend.routers("default")) == 1
        assert await run(memory, noop) is None
        assert (await run(memory, looks_at_itself))["workflow_name"] == "looks_at_itself"
        await host(memory, noop)  # once more is once
        with pytest.raises(ValueError, match="hosts a different workflow 'noop' already"):
            await host(memory, workflow_definition_named("noop"))
        await first.shutdown()
        await second.shutdown()
        assert await sdk.backend.routers("default") == []


async def test_a_worker_of_activities_only_can_take_in_workflows(memory: str) -> None:
    await meshflow.Worker.create(connection=memory, activities=[shout])
    await host(memory, noop)
    assert await run(memory, noop) is None


async def test_both_faces_call_each_other(memory: str) -> None:
    @workflow.defn(name="classy")
    class Classy:
        @workflow.run
        @at_module_level
        async def run(self, text: str) -> list[Any]:
            loud = await texts.shout(text)
            return [loud, await workflow.execute_child_workflow("child", "x")]

    await host(memory, Classy, child)
    async with await Client.connect(memory) as sdk:
        result = await sdk.execute_workflow(Classy.run, "hey", id="c", task_queue="default")
    assert result == ["HEY", "child x"]


async def test_bad_arguments_are_refused_at_the_call(memory: str) -> None:
    create = meshflow.Worker.create
    with pytest.raises(InvalidArgumentError, match="workflow or activities"):
        await create(connection=memory)
    with pytest.raises(InvalidArgumentError, match="unknown 'backoff'"):
        await create(connection=memory, workflow=noop, options={"backoff": 2})
    with pytest.raises(InvalidArgumentError, match="maximum_interval 'never' can't be read"):
        await create(connection=memory, workflow=noop, options={"maximum_interval": "never"})
    with pytest.raises(InvalidArgumentError, match="retry policy"):
        await create(connection=memory, workflow=noop, options={"backoff_coefficient": 0.5})
    with pytest.raises(TypeError, match="must be a function"):
        await create(connection=memory, workflow=[7])
    with pytest.raises(TypeError, match="workflow 'noop' must be a function"):
        await create(connection=memory, workflow="noop")
    with pytest.raises(TypeError, match="has no name"):
        await create(connection=memory, workflow=lambda: 1)
    with pytest.raises(InvalidArgumentError, match="options must be a dict, not 5"):
        await create(connection=memory, workflow=noop, options=5)
    with pytest.raises(InvalidArgumentError, match="search must be a dict, not 5"):
        await start(memory, "noop", search=5)
    for args in ("HotMesh", b"x", None, {"a": 1}, {1}):
        with pytest.raises(InvalidArgumentError, match="args must be a list of arguments, not"):
            await meshflow.Client(connection=memory).workflow.start(workflow_name="x", args=args)
    with pytest.raises(InvalidArgumentError, match="unknown 'host'"):
        meshflow.Client(connection={"host": "x"})
    with pytest.raises(InvalidArgumentError, match="search: unknown 'date'"):
        await start(memory, "noop", search={"date": {}})
    with pytest.raises(InvalidArgumentError, match="expire 'a while' can't be read"):
        await start(memory, "noop", expire="a while")
    with pytest.raises(InvalidArgumentError, match="unknown 'attempts'"):
        meshflow.workflow.proxy_activities(activities=[shout], retry_policy={"attempts": 1})
    with pytest.raises(RuntimeError, match="Not in workflow"):
        meshflow.workflow.random()


async def test_shutdown_may_come_twice_and_the_face_opens_again(memory: str) -> None:
    await host(memory, noop)
    await meshflow.shutdown()
    await meshflow.shutdown()
    await host(memory, noop)
    assert await run(memory, noop) is None
    assert meshflow.guid() != meshflow.guid()


# -- As people write it who know it from elsewhere --


async def test_workers_take_plain_functions_and_functions_by_name(url: str) -> None:
    def hello(name: str) -> str:
        meshflow.workflow.enrich({"greeted": name})
        return f"Hello, {name}!"

    await meshflow.Worker.create(
        connection={"url": url}, workflow={"example": hello, "short": lambda: "s"}
    )
    handle = await start(url, "example", "HotMesh")
    assert await handle.result() == "Hello, HotMesh!"
    assert (await handle.state())["record"]["greeted"] == "HotMesh"
    assert await run(url, "short") == "s"


async def test_a_plain_function_may_return_what_is_to_be_awaited(memory: str) -> None:
    def both(text: str) -> Any:
        return meshflow.workflow.all(texts.shout(text), texts.count_letters(text))

    await host(memory, both)
    assert await run(memory, both, "abc") == ["ABC", 3]


async def test_activities_of_a_worker_by_name(memory: str) -> None:
    async def calls_by_name() -> str:
        return await workflow.execute_activity(
            "loud", "x", start_to_close_timeout=timedelta(seconds=9)
        )

    await host(memory, calls_by_name, activities={"loud": shout})
    assert await run(memory, calls_by_name) == "X"


async def test_an_open_client_is_shared_and_stays_open(url: str) -> None:
    async def answers() -> int:
        return 42

    async with await Client.connect(url) as client:
        await meshflow.Worker.create(connection=client, workflow=answers)
        handle = await meshflow.Client(client).workflow.start(workflow_name="answers")
        assert await handle.result() == 42
        await meshflow.shutdown()
        assert await client.count_workflows()


async def test_a_failed_workflow_says_why(memory: str) -> None:
    async def fails() -> None:
        raise ApplicationError("no funds", type="NoFunds")

    await host(memory, fails)
    handle = await start(memory, fails, workflow_id="pay-1")
    with pytest.raises(WorkflowFailureError, match=r"'pay-1' failed: NoFunds: no funds") as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)


def in_a_cell(source: str) -> dict[str, Any]:
    """What a notebook's cell defines, each time it is run."""
    cell: dict[str, Any] = {"__name__": "__main__", "meshflow": meshflow, "workflow": workflow}
    exec(source, cell)
    return cell


async def test_a_notebooks_cell_that_is_run_again_replaces_what_it_defined(memory: str) -> None:
    cell = """
async def help_out():
    return {0}

helpers = meshflow.workflow.proxy_activities(activities=[help_out])

async def asks():
    return [{0}, await helpers.help_out()]
"""
    for edition in (1, 2, 3):
        defined = in_a_cell(cell.format(edition))
        await meshflow.Worker.create(connection=memory, workflow=defined["asks"])
        assert await run(memory, "asks") == [edition, edition]


async def test_one_name_for_functions_of_two_places_is_refused(memory: str) -> None:
    def outer() -> Any:
        async def twice() -> int:
            return 1

        return twice

    async def twice() -> int:
        return 2

    await host(memory, outer())
    with pytest.raises(ValueError, match="different workflow 'twice'"):
        await host(memory, twice)
