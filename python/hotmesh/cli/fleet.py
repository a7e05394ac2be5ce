"""`routers`, `prune`, `check` and `core-info`: look after a deployment."""

from __future__ import annotations

import argparse
import platform
from typing import Any, cast

from hotmesh._version import __version__
from hotmesh.cli.arguments import Commands, add_command, seconds
from hotmesh.cli.output import Facts, Output, Table
from hotmesh.cli.session import with_client
from hotmesh.cli.times import exact, moment, shown
from hotmesh.client import Client
from hotmesh.client._check import check
from hotmesh.core import core_info
from hotmesh.engine import wire

CHECK_PAUSE_SECONDS = 3.0
"""What is under way is stored by then."""


def add_commands(commands: Commands) -> None:
    """Add the commands of this file."""
    add_command(
        commands, "routers", with_client(routers), help_text="list the workers of a namespace"
    )
    prune_parser = add_command(
        commands, "prune", with_client(prune), help_text="delete workflows closed long ago"
    )
    prune_parser.add_argument(
        "--older-than",
        metavar="DURATION",
        type=seconds,
        required=True,
        help="closed at least this long ago, such as '30 days' (0: all that are closed)",
    )
    check_parser = add_command(
        commands,
        "check",
        with_client(check_stored),
        help_text="check that what is stored moves each open workflow once a worker has its queue",
    )
    check_parser.add_argument(
        "--pause",
        metavar="DURATION",
        type=seconds,
        default=CHECK_PAUSE_SECONDS,
        help="between the two looks that must both find what is wrong (default: %(default)s s)",
    )
    add_command(
        commands,
        "core-info",
        show_core,
        help_text="say which version and which core is installed",
        connects=False,
    )


async def routers(client: Client, options: argparse.Namespace, output: Output) -> int:
    """List the routers that share a namespace's lanes and tasks."""
    del options
    found = await client.connection.patient.routers(client.namespace)
    documents: list[dict[str, Any]] = [
        {
            "router_id": bytes(each.router_id).hex(),
            "task_queue": each.task_queue,
            "alive": bool(each.alive),
            "lanes": each.lanes,
            "seen": exact(moment(each.seen_ms)),
            "info": wire.load(each.info),
        }
        for each in found
    ]
    rows = [
        (
            document["router_id"],
            document["task_queue"],
            "alive" if document["alive"] else "dead",
            str(document["lanes"]),
            shown(moment(each.seen_ms)),
            _about(document["info"]),
        )
        for document, each in zip(documents, found, strict=True)
    ]
    output.show(
        documents,
        Table(
            ("router", "task queue", "state", "lanes", "seen", "info"),
            rows,
            "No worker is running. Start one: hotmesh worker module:object",
        ),
    )
    return 0


def _about(info: dict[str, Any]) -> str:
    """What a router says of itself, but for its task queue, which has a column of its own."""
    return " ".join(
        f"{name}={_listed(value)}" for name, value in info.items() if name != "task_queue"
    )


def _listed(value: Any) -> str:
    return ",".join(map(str, cast("list[Any]", value))) if isinstance(value, list) else str(value)


async def prune(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Delete closed runs with their journals."""
    deleted = await client.connection.patient.prune(
        client.namespace, round(options.older_than * 1000)
    )
    runs = "run" if deleted == 1 else "runs"
    output.show({"deleted": deleted}, f"Deleted {deleted} closed {runs}.")
    return 0


async def check_stored(client: Client, options: argparse.Namespace, output: Output) -> int:
    """List what is wrong in what is stored; 1 if anything is."""
    problems = await check(client.connection.backend, client.namespace, options.pause)
    rows = [(each.workflow_id, each.run_id, each.what) for each in problems]
    output.show(
        [each._asdict() for each in problems],
        Table(("workflow", "run", "what is wrong"), rows, "Nothing is wrong."),
    )
    return 1 if problems else 0


async def show_core(options: argparse.Namespace, output: Output) -> int:
    """Say what is installed; needs no database."""
    del options
    core = core_info()
    document = {
        "hotmesh": __version__,
        "core": core.implementation,
        "core_version": core.version,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    output.show(document, Facts({key.replace("_", " "): text for key, text in document.items()}))
    return 0
