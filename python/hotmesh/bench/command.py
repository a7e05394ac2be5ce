"""`hotmesh bench`: its arguments, and the processes it measures with."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from hotmesh.bench.plan import Plan
from hotmesh.bench.report import comparison, facts
from hotmesh.bench.workloads import WORKLOADS
from hotmesh.cli.arguments import Commands, at_least, seconds
from hotmesh.cli.output import Facts, Output
from hotmesh.client._configure import chosen_url
from hotmesh.exceptions import HotMeshError

CORES = ("rust", "python")

COUNTS = {"fan": 10, "sleep": 1000}
"""Workflows measured by default, where it is not :data:`COUNT`."""

COUNT = 10_000

WARM_UP_MAX = 200
"""Workflows run before measuring: enough for connections, caches and statements."""

COMPARE_ROUNDS = 3


def add_commands(commands: Commands) -> None:
    """Add the command of this package."""
    text = "measure throughput, latency and footprint on a database"
    parser = cast(
        "argparse.ArgumentParser",
        commands.add_parser("bench", help=text, description=text, allow_abbrev=False),
    )
    # `--json` names a file here; the table is printed in any case.
    parser.set_defaults(run=run, json=False)
    parser.add_argument(
        "--url",
        help="the database: sqlite:///file.db, postgresql://… or redis://… "
        "(default: $HOTMESH_URL, else sqlite:///hotmesh.db)",
    )
    parser.add_argument(
        "--workload",
        default="one",
        choices=tuple(WORKLOADS),
        help="what a workflow does: nothing, 1 or 10 activities, a fan of them, wait for a signal, "
        "sleep, run a child, run an activity in another process (default: %(default)s)",
    )
    _add_amounts(parser)
    parser.add_argument("--core", choices=CORES, help="the core (default: Rust if installed)")
    parser.add_argument("--json", dest="file", metavar="FILE", type=Path, help="write it all there")
    parser.add_argument(
        "--compare", action="store_true", help="measure both cores in turns, and their ratio"
    )
    parser.add_argument(
        "--profile", action="store_true", help="say where the time of the workers goes"
    )
    parser.add_argument("--keep", action="store_true", help="leave the closed runs in the database")


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--open",
        metavar="N",
        type=at_least(1),
        default=1000,
        help="workflows open at once (default: %(default)s)",
    )
    parser.add_argument(
        "-n",
        dest="count",
        metavar="N",
        type=at_least(1),
        help=f"workflows to run (default: {COUNT}; fan: {COUNTS['fan']}, sleep: {COUNTS['sleep']})",
    )
    parser.add_argument(
        "--workers",
        metavar="P",
        type=at_least(1),
        default=1,
        help="worker processes (default: %(default)s)",
    )
    parser.add_argument(
        "--width",
        metavar="N",
        type=at_least(1),
        default=1000,
        help="parallel activities of a `fan` workflow (default: %(default)s)",
    )
    parser.add_argument(
        "--duration",
        metavar="DURATION",
        type=_positive,
        help="start workflows for so long, such as '30 seconds', in place of -n",
    )


def _positive(text: str) -> float:
    value = seconds(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"a duration is longer than nothing, not {text!r}")
    return value


async def run(options: argparse.Namespace, output: Output) -> int:
    """Measure, print a table, and write the file that was asked for.

    Raises:
        HotMeshError: A process of the measurement failed; it has said why.
    """
    plan = _plan(options)
    if options.compare:
        document = await _compare(plan, output)
    else:
        document = await _measure(plan, options.core)
        output.show(document, Facts(facts(document)))
    if options.file is not None:
        text = json.dumps(document, indent=2) + "\n"
        await asyncio.to_thread(options.file.write_text, text)
    return 0


def _plan(options: argparse.Namespace) -> Plan:
    count = options.count
    if count is None:
        count = 0 if options.duration else COUNTS.get(options.workload, COUNT)
    warm_up = min(WARM_UP_MAX, count or WARM_UP_MAX)
    return Plan(
        url=chosen_url(options.url),
        workload=options.workload,
        open=options.open,
        count=count,
        duration=options.duration or 0.0,
        workers=options.workers,
        width=options.width,
        warm_up=1 if options.workload == "fan" else warm_up,
        profile=options.profile,
        keep=options.keep,
        task_queue="",
    )


async def _compare(plan: Plan, output: Output) -> Any:
    rounds = [{core: await _measure(plan, core) for core in CORES} for _ in range(COMPARE_ROUNDS)]
    output.show(rounds, Facts(comparison(rounds)))
    return rounds


async def _measure(plan: Plan, core: str | None) -> dict[str, Any]:
    """One measurement in a client process of its own."""
    plan = replace(plan, task_queue=f"bench-{uuid.uuid4().hex[:12]}")
    environment = dict(os.environ)
    if core is not None:
        environment["HOTMESH_CORE"] = core
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "hotmesh.bench.client",
        plan.to_json(),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, _ = await process.communicate()
    if process.returncode:
        raise HotMeshError("The client process of the benchmark failed; it says why above")
    found: dict[str, Any] = json.loads(out)
    return found
