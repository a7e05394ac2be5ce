"""`signal`, `query`, `cancel` and `terminate`: talk to a workflow that is there."""

from __future__ import annotations

import argparse
from datetime import timedelta

from hotmesh.cli.arguments import Commands, add_command, add_run_id, add_values, seconds
from hotmesh.cli.output import Output, to_json
from hotmesh.cli.session import with_client
from hotmesh.client import Client

QUERY_WAIT_S = 30.0
"""How long a query waits for a worker, if `--timeout` doesn't say."""


def add_commands(commands: Commands) -> None:
    """Add the commands of this file."""
    signal_parser = add_command(
        commands, "signal", with_client(signal), help_text="send a signal to a workflow"
    )
    add_run_id(signal_parser)
    signal_parser.add_argument("name", metavar="NAME", help="the signal's name")
    add_values(signal_parser, "an argument of the signal")

    query_parser = add_command(
        commands, "query", with_client(query), help_text="ask a workflow something"
    )
    add_run_id(query_parser)
    query_parser.add_argument("name", metavar="NAME", help="the query's name")
    add_values(query_parser, "an argument of the query")
    query_parser.add_argument(
        "--timeout",
        metavar="DURATION",
        type=seconds,
        default=QUERY_WAIT_S,
        help="the longest wait for a worker to answer (default: 30 seconds)",
    )

    cancel_parser = add_command(
        commands, "cancel", with_client(cancel), help_text="ask a workflow to cancel itself"
    )
    add_run_id(cancel_parser)
    cancel_parser.add_argument("--reason", default="", help="why; the workflow can read it")

    terminate_parser = add_command(
        commands,
        "terminate",
        with_client(terminate),
        help_text="close a workflow without asking its code",
    )
    add_run_id(terminate_parser)
    terminate_parser.add_argument("--reason", help="why; whoever awaits its result gets it")


async def signal(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Send a signal; it is durable when this returns."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    await handle.signal(options.name, args=options.args)
    return _sent(options, output, f"Signal {options.name!r} is on its way to {options.id!r}.")


async def query(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Print a query's answer."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    answer = await handle.query(
        options.name, args=options.args, rpc_timeout=timedelta(seconds=options.timeout)
    )
    output.show({"workflow_id": options.id, "result": answer}, to_json(answer))
    return 0


async def cancel(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Ask for cancellation."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    await handle.cancel(reason=options.reason)
    return _sent(options, output, f"Workflow {options.id!r} was asked to cancel itself.")


async def terminate(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Close a workflow from outside."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    await handle.terminate(reason=options.reason)
    return _sent(options, output, f"The termination of workflow {options.id!r} is stored.")


def _sent(options: argparse.Namespace, output: Output, text: str) -> int:
    output.show({"workflow_id": options.id, "sent": True}, text)
    return 0
