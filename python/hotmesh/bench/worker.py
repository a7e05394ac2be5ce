"""`python -m hotmesh.bench.worker PLAN`: a worker process of a measurement.

It says "ready" on standard output, then answers each line of standard input with one line of JSON
that says what it has used so far, and ends when standard input does.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any, cast

from hotmesh.backends.protocol import Backend
from hotmesh.bench import processes
from hotmesh.bench.loops import run_loop
from hotmesh.bench.plan import NAMESPACE, Plan
from hotmesh.bench.workloads import WORKFLOWS, echo
from hotmesh.client import Client
from hotmesh.worker import Worker

READY = "ready"


def usage(backend: Backend) -> dict[str, Any]:
    """What this process has used so far."""
    used: dict[str, Any] = {
        "cpu_s": time.process_time(),
        "memory_bytes": processes.own_memory(),
        "disk_bytes": processes.own_written(),
    }
    if backend.name == "sqlite":  # It runs in here, so it is counted in here.
        used["rows"], used["round_trips"] = cast("Any", backend).work()
    return used


async def serve(plan: Plan, *, activities_only: bool) -> None:
    """Work until standard input ends."""
    profile: Any = None
    if plan.profile:
        from hotmesh.bench.profile import Profile

        profile = Profile.install()
    async with await Client.connect(plan.url, namespace=NAMESPACE) as client:
        if activities_only:
            worker = Worker(client, task_queue=plan.remote_queue, activities=[echo])
        else:
            worker = Worker(
                client, task_queue=plan.task_queue, workflows=WORKFLOWS, activities=[echo]
            )
        async with worker:
            _say(READY)
            while await asyncio.to_thread(sys.stdin.readline):
                answer = usage(client.backend)
                if profile is not None:
                    answer["profile"] = profile.seconds()
                _say(json.dumps(answer))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> None:
    """Run with the words of the command line."""
    logging.basicConfig(level=logging.WARNING)
    plan = Plan.from_json(words[0])
    run_loop(serve(plan, activities_only="--activities" in words[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
