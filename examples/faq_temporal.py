"""The program of faq.py, written with the Temporal-shaped SDK; worker and client in one process.

python examples/faq_temporal.py                            an SQLite database in memory
python examples/faq_temporal.py postgresql://localhost/db  or any other database
"""

import asyncio
import sys
import time
import uuid
from datetime import timedelta

from hotmesh import activity, events, workflow
from hotmesh.client import Client
from hotmesh.common import RetryPolicy
from hotmesh.worker import Worker

TASK_QUEUE = "default"


@activity.defn
async def greet(name: str) -> str:
    print(f"greet({name!r})")
    return f"Hello, {name}!"


@workflow.defn(name="Example")
class Example:
    """Greets three times, sleeps, and can be asked how far it is."""

    def __init__(self) -> None:
        self._greetings: list[str] = []

    @workflow.run
    async def run(self, name: str) -> list[str | float]:
        workflow.trace({"name": "example", "version": 1, "complete": True})
        workflow.enrich({"name": "example", "version": "1", "complete": "true"})
        workflow.emit({"my.dog": {"everything": "goes"}, "my.dog.cat": {"anything": "works"}})
        *greetings, slept = await asyncio.gather(
            self._greet("1"), self._greet("2"), self._greet(name), self._sleep(5)
        )
        return [*greetings, slept]

    @workflow.query
    def greetings(self) -> list[str]:
        """What it has said so far."""
        return self._greetings

    async def _greet(self, name: str) -> str:
        greeting = await workflow.execute_activity(
            greet,
            name,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(
                backoff_coefficient=2,
                maximum_attempts=1000,
                maximum_interval=timedelta(seconds=5),
            ),
        )
        self._greetings.append(greeting)
        return greeting

    async def _sleep(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds


async def main(url: str) -> int:
    """0 if the result is right."""
    async with (
        await Client.connect(url, namespace="meshflow") as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Example], activities=[greet]),
        await events.subscribe(client, ">", lambda topic, data: print("event", topic, data)),
    ):
        began = time.monotonic()
        handle = await client.start_workflow(
            Example.run,
            "HotMesh",
            id=str(uuid.uuid4()),
            task_queue=TASK_QUEUE,
            expire=timedelta(hours=1),
            record={"$entity": "default"},
        )
        result = await handle.result()
        print("RESPONSE", result, f"after {time.monotonic() - began:.3f} s")
        print("asked afterwards, it has said", await handle.query(Example.greetings))
        print("its record is", dict((await handle.describe()).record))
    return 0 if result == ["Hello, 1!", "Hello, 2!", "Hello, HotMesh!", 5] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://")))
