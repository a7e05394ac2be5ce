"""The program of the README, to the letter, on every backend; and what it is known to get wrong."""

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.asyncio import Redis

from hotmesh import HotMesh, MeshFlow, events, meshflow
from hotmesh.client import Client
from hotmesh.core import kinds
from hotmesh.telemetry import SPAN_NAME

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

SLEEP_S = 5.0
LATE_S = 0.1

greeted: Counter[str] = Counter()


async def greet(name: str) -> str:
    greeted[name] += 1
    return f"Hello, {name}!"


activities = meshflow.workflow.proxy_activities(
    activities=[greet], start_to_close_timeout="10 seconds"
)


async def example(name: str) -> list[Any]:
    await meshflow.workflow.trace({"name": "example", "version": 1, "complete": True})
    await meshflow.workflow.enrich({"name": "example", "version": "1", "complete": "true"})
    await meshflow.workflow.emit(
        {"my.dog": {"everything": "goes"}, "my.dog.cat": {"anything": "works"}}
    )
    return await meshflow.workflow.all(
        activities.greet("1"),
        activities.greet("2"),
        activities.greet("3"),
        meshflow.workflow.sleep_for("5 seconds"),
    )


async def echo(value: Any) -> Any:
    return value


echoes = meshflow.workflow.proxy_activities(activities=[echo])


async def return_twice(value: Any) -> list[Any]:
    return [value, await echoes.echo(value)]


async def draw() -> list[float]:
    return [meshflow.workflow.random() for _ in range(3)]


async def draw_around_a_sleep() -> list[float]:
    first = meshflow.workflow.random()
    await meshflow.workflow.sleep_for(0.01)
    return [first, meshflow.workflow.random()]


async def wait_for_datum(key: str) -> Any:
    return await meshflow.workflow.wait_for(key)


@pytest.fixture(scope="session")
def exporter() -> InMemorySpanExporter:
    """Everything that goes to the process's tracer provider."""
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    return spans


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """The spans of one test."""
    exporter.clear()
    yield exporter
    exporter.clear()


@pytest.fixture
async def url(database_url: str) -> AsyncIterator[str]:
    """A database in which the face is shut down at the end."""
    greeted.clear()
    yield database_url
    await meshflow.shutdown()


async def worker(url: str, *workflows: Any) -> None:
    await meshflow.Worker.create(
        connection=url,
        namespace="meshflow",
        task_queue="default",
        workflow=list(workflows),
        options={
            "backoff_coefficient": 2,
            "maximum_attempts": 1000,
            "maximum_interval": "5 seconds",
        },
    )


async def run(url: str, function: Any, *args: Any) -> Any:
    handle = await meshflow.Client(connection=url).workflow.start(
        namespace="meshflow", workflow_name=function, args=args
    )
    return await handle.result()


async def test_the_first_example_of_other_languages(url: str) -> None:
    """Its names as they are there; a function that waits for nothing."""
    await MeshFlow.Worker.create(
        connection=url,
        namespace="meshflow",
        task_queue="default",
        workflow={"example": lambda name: f"Hello, {name}!"},
        options={
            "backoff_coefficient": 2,
            "maximum_attempts": 1_000,
            "maximum_interval": "5 seconds",
        },
    )
    client = MeshFlow.Client(connection=url)
    workflow_id = HotMesh.guid()
    handle = await client.workflow.start(
        namespace="meshflow",
        task_queue="default",
        workflow_name="example",
        workflow_id=workflow_id,
        args=["HotMesh"],
        expire=3_600,
        search={"data": {"$entity": "default", "id": workflow_id}},
    )
    assert await handle.result() == "Hello, HotMesh!"
    await MeshFlow.shutdown()


async def test_the_program_of_the_readme(url: str, spans: InMemorySpanExporter) -> None:
    await worker(url, example, draw)
    await run(url, draw)  # So that what follows measures a sleep, not the opening of connections.
    client = meshflow.Client(connection=url)
    workflow_id = meshflow.guid()
    async with await Client.connect(url, namespace="meshflow") as listener:
        heard: list[tuple[str, Any]] = []
        subscription = await events.subscribe(
            listener, ">", lambda topic, data: heard.append((topic, data))
        )
        idle_lag = asyncio.create_task(lag_of_a_sleep())
        began = time.monotonic()
        handle = await client.workflow.start(
            namespace="meshflow",
            task_queue="default",
            workflow_name="example",
            workflow_id=workflow_id,
            args=["HotMesh"],
            expire=3_600,
            search={"data": {"$entity": "default", "id": workflow_id}},
        )
        result = await handle.result()
        took = time.monotonic() - began
        await subscription.unsubscribe()

    assert result == ["Hello, 1!", "Hello, 2!", "Hello, 3!", 5]
    assert type(result[3]) is int
    assert SLEEP_S <= took <= SLEEP_S + LATE_S + await idle_lag
    assert greeted == {"1": 1, "2": 1, "3": 1}
    assert sorted(heard, key=lambda event: event[0]) == [
        ("my.dog", {"everything": "goes"}),
        ("my.dog.cat", {"anything": "works"}),
    ]
    state = await handle.state()
    assert state["record"] == {
        "name": "example",
        "version": "1",
        "complete": "true",
        "$entity": "default",
        "id": workflow_id,
    }
    assert state["status"] == "completed"
    assert state["result"] == result
    assert await handle.result() == result  # as often as one likes
    assert_one_span(spans, workflow_id, handle.run_id)


async def lag_of_a_sleep() -> float:
    """How late this very process wakes up from a plain sleep: not the engine's fault."""
    began = time.monotonic()
    worst = 0.0
    while time.monotonic() < began + SLEEP_S:
        before = time.monotonic()
        await asyncio.sleep(0.05)
        worst = max(worst, time.monotonic() - before - 0.05)
    return worst


def assert_one_span(spans: InMemorySpanExporter, workflow_id: str, run_id: str | None) -> None:
    (span,) = spans.get_finished_spans()
    assert span.name == "example"
    assert span.attributes == {
        "name": "example",
        "version": 1,
        "complete": True,
        "hotmesh.namespace": "meshflow",
        "hotmesh.workflow_id": workflow_id,
        "hotmesh.run_id": run_id,
        "hotmesh.workflow_type": "example",
    }
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time


async def test_a_span_without_a_name_gets_one(url: str, spans: InMemorySpanExporter) -> None:
    async def nameless() -> None:
        await meshflow.workflow.trace({"step": 1})

    await worker(url, nameless)
    await run(url, nameless)
    assert [span.name for span in spans.get_finished_spans()] == [SPAN_NAME]


async def test_sleeps_take_as_long_as_they_say(url: str) -> None:
    async def nap(length: str) -> list[float]:
        began = meshflow.workflow.get_context()["now"]
        slept = await meshflow.workflow.sleep_for(length)
        return [slept, meshflow.workflow.get_context()["now"] - began]

    await worker(url, nap)
    for text, length in (("0.3s", 0.3), ("1 second", 1)):
        began = time.monotonic()
        slept, by_its_clock = await run(url, nap, text)
        took = time.monotonic() - began
        assert slept == length
        assert length <= took
        assert length <= round(by_its_clock, 3) <= length + 2 * LATE_S


@pytest.mark.parametrize(
    "value", ["/tmp/x", "true", "null", "1", "", "{}", "/s", "/d", "\u2028é\U0001f600", "/"]
)
async def test_text_stays_what_it_is(sqlite_url: str, value: str) -> None:
    await worker(sqlite_url, return_twice)
    try:
        assert await run(sqlite_url, return_twice, value) == [value, value]
    finally:
        await meshflow.shutdown()


async def test_values_of_every_kind_stay_what_they_are(url: str) -> None:
    values: Any = {
        "texts": ["/tmp/x", "true", "null", "1", "", "{}"],
        "others": [True, False, None, 0, 1, -1.5, 2**53, [], {}],
    }
    await worker(url, return_twice)
    assert await run(url, return_twice, values) == [values, values]


async def test_each_workflow_draws_its_own_numbers(url: str) -> None:
    await worker(url, draw, draw_around_a_sleep)
    drawn = [await run(url, draw) for _ in range(4)]
    numbers = [number for each in drawn for number in each]
    assert all(0 <= number < 1 for number in numbers)
    assert len(set(numbers)) == len(numbers)
    first, second = await run(url, draw_around_a_sleep)
    assert first != second


async def test_a_wait_has_no_end(url: str) -> None:
    """The only timers stored are those that a workflow asks for: a wait asks for none."""
    await worker(url, wait_for_datum)
    key = meshflow.guid()
    client = meshflow.Client(connection=url)
    handle = await client.workflow.start(
        namespace="meshflow", workflow_name="wait_for_datum", args=[key]
    )
    async with await Client.connect(url, namespace="meshflow") as sdk:
        await _until_waiting(sdk, handle.workflow_id)
        commands = await _commands(sdk, handle.workflow_id)
        row = await sdk.find_run(handle.workflow_id, None)
    assert "WAIT" in commands
    assert not {"TIMER", "DEADLINE"} & set(commands)
    assert row.header == b""  # neither a timeout nor an expiry
    await client.workflow.signal(key, {"late": True}, namespace="meshflow")
    assert await handle.result() == {"late": True}


async def test_nothing_that_waits_expires_in_redis(redis_url: str) -> None:
    await worker(redis_url, wait_for_datum)
    try:
        client = meshflow.Client(connection=redis_url)
        await client.workflow.signal("for later", 1, namespace="meshflow")
        handle = await client.workflow.start(
            namespace="meshflow", workflow_name="wait_for_datum", args=["never"]
        )
        async with await Client.connect(redis_url, namespace="meshflow") as sdk:
            await _until_waiting(sdk, handle.workflow_id)
        prefix = parse_qs(urlsplit(redis_url).query)["prefix"][0]
        async with Redis.from_url(redis_url.partition("?")[0]) as server:
            keys = [key async for key in server.scan_iter(match=f"*{prefix}*")]
            lives = {key: await server.ttl(key) for key in keys}
        assert lives
        assert set(lives.values()) == {-1}  # No key has an end of life.
    finally:
        await meshflow.shutdown()


@pytest.mark.parametrize("example", ["faq.py", "faq_temporal.py"])
async def test_the_examples_run(example: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / example), stdout=PIPE, stderr=PIPE
    )
    output, errors = await process.communicate()
    text = output.decode()
    assert (process.returncode, errors.decode()) == (0, "")
    assert "RESPONSE ['Hello, 1!', 'Hello, 2!'" in text
    assert [text.count(f"greet({name!r})") for name in ("1", "2")] == [1, 1]
    assert "my.dog" in text


async def _until_waiting(sdk: Client, workflow_id: str) -> None:
    events_of = sdk.get_workflow_handle(workflow_id).fetch_history_events(wait_new_event=True)
    async for _ in events_of:
        return


async def _commands(sdk: Client, workflow_id: str) -> list[str]:
    history = await sdk.get_workflow_handle(workflow_id).fetch_history()
    return [kinds.NAMES[command[0]] for event in history.events for command in event.commands]


async def test_the_demo_needs_no_extra(tmp_path: Path) -> None:
    """`make demo` installs the package alone, so that no driver and no tracer is there."""
    hidden = ("opentelemetry", "asyncpg", "redis", "hiredis", "nats", "rich", "uvloop")
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({hidden!r}))\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLES / "faq.py"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=PIPE,
        stderr=PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert "['Hello, 1!', 'Hello, 2!', 'Hello, 3!', 5]" in out.decode()
