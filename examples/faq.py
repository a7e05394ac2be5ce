"""The program of the README in two processes: a worker and a client, on any database.

python examples/faq.py                            an SQLite file, made and deleted
python examples/faq.py postgresql://localhost/db  or any other database
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from hotmesh import events, meshflow
from hotmesh.client import Client

EXPECTED = ["Hello, 1!", "Hello, 2!", "Hello, 3!", 5]
READY = "ready"


# -- The program --


async def greet(name: str) -> str:
    say(f"greet({name!r})")
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


async def run_worker(url: str) -> None:
    """Host the workflow until this process is asked to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    show_spans()
    await meshflow.Worker.create(
        connection=url,
        namespace="meshflow",
        task_queue="default",
        workflow=example,
        options={
            "backoff_coefficient": 2,
            "maximum_attempts": 1000,
            "maximum_interval": "5 seconds",
        },
    )
    # On SQLite events reach the process that emits them; other databases carry them everywhere.
    async with await Client.connect(url, namespace="meshflow") as client:
        await events.subscribe(client, ">", lambda topic, data: say(f"event {topic}: {data}"))
        say(READY)
        await stop.wait()
    await meshflow.shutdown()
    say("handed everything over and stopped")


async def run_client(url: str) -> bool:
    """Start the workflow, wait for it, and tell whether all is as it should be."""
    client = meshflow.Client(connection=url)
    workflow_id = meshflow.guid()
    # Connects, so that what is timed below is the workflow.
    before = await client.workflow.search(namespace="meshflow", workflow_name="example")
    say(f"{len(before)} workflows there before")
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
    say(f"started {workflow_id}")
    result = await handle.result()
    took = time.monotonic() - began
    say(f"RESPONSE {result} after {took:.3f} s")
    state = await handle.state()
    say(f"{state['status']}, its record is {state['record']}")
    await meshflow.shutdown()
    record = {"name": "example", "version": "1", "complete": "true"}
    record |= {"$entity": "default", "id": workflow_id}
    return result == EXPECTED and took >= 5 and state["record"] == record


# -- Around it: two processes that say what they do --


def say(text: str) -> None:
    """Tell it at once, also through a pipe."""
    print(text, flush=True)


def show_spans() -> None:
    """Print each span, if OpenTelemetry is installed (pip install 'hotmesh[otel]')."""
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
    except ModuleNotFoundError:
        return

    one_line = ConsoleSpanExporter(
        formatter=lambda span: f"span {span.name!r}: {dict(span.attributes or {})}\n"
    )
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(one_line))
    trace.set_tracer_provider(provider)


@contextlib.asynccontextmanager
async def worker_process(url: str) -> AsyncIterator[None]:
    """This program as a worker in a process of its own; what it prints is shown here."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--worker", url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    ready = asyncio.Event()

    async def relay(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            text = line.decode().rstrip()
            say(f"  worker | {text}")
            if text == READY:
                ready.set()
        ready.set()  # It has ended; the client would wait for ever.

    relaying = asyncio.create_task(relay(process.stdout))
    try:
        await ready.wait()
        if process.returncode is not None or relaying.done():
            raise SystemExit("the worker did not start")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        await relaying


async def demonstrate(url: str) -> bool:
    """Run the worker elsewhere and the client here."""
    say(f"On {url.split('://')[0]}: a worker and a client, with nothing but the database between")
    async with worker_process(url):
        return await run_client(url)


def main() -> int:
    """0 if everything was as it should be."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--worker"]:
        asyncio.run(run_worker(arguments[1]))
        return 0
    with tempfile.TemporaryDirectory(prefix="hotmesh-") as directory:
        url = arguments[0] if arguments else f"sqlite:///{Path(directory, 'hotmesh.db')}"
        right = asyncio.run(demonstrate(url))
    print("All as it should be." if right else "That is NOT what it should be.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
