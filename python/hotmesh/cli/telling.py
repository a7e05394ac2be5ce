"""`signal`, `query`, `update`, `cancel` and `terminate`: talk to a workflow that is there."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from hotmesh.cli.arguments import Commands, add_command, add_run_id, add_values, seconds
from hotmesh.cli.failures import failure_document, failure_text
from hotmesh.cli.output import Output, to_json
from hotmesh.cli.session import with_client
from hotmesh.client import Client, WorkflowUpdateFailedError, WorkflowUpdateStage
from hotmesh.client._hosting import why_not_taken_up
from hotmesh.engine import wire
from hotmesh.exceptions import HotMeshError

QUERY_WAIT_S = 30.0
"""How long a query waits for a worker, if `--timeout` doesn't say."""

ACCEPT_WAIT_S = 30.0
"""How long an update waits for a worker to accept it, if `--timeout` doesn't say."""


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

    _add_update(commands)

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


def _add_update(commands: Commands) -> None:
    parser = add_command(
        commands,
        "update",
        with_client(update),
        help_text="send an update to a workflow and wait for its result",
    )
    add_run_id(parser)
    parser.add_argument("name", metavar="NAME", help="the update's name")
    add_values(parser, "an argument of the update")
    parser.add_argument(
        "--update-id",
        metavar="UPDATE",
        help="the update's id (default: a random one); a second update of the same id is the "
        "first one, and gives its result",
    )
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="wait until it is accepted, not for its result",
    )
    parser.add_argument(
        "--timeout",
        metavar="DURATION",
        type=seconds,
        help="the longest wait (default: 30 seconds until it is accepted, then for ever)",
    )


async def signal(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Send a signal; it is durable when this returns."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    await handle.signal(options.name, args=options.args)
    text = f"Signal {options.name!r} is on its way to {options.id!r}."
    return await _sent(client, options, output, text)


async def query(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Print a query's answer."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    answer = await handle.query(
        options.name, args=options.args, rpc_timeout=timedelta(seconds=options.timeout)
    )
    output.show({"workflow_id": options.id, "result": answer}, to_json(answer))
    return 0


async def update(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Send an update; print its result, or with ``--no-wait`` that it was accepted.

    Raises:
        HotMeshError: It was rejected or failed; says how.
    """
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    waits_s = ACCEPT_WAIT_S if options.timeout is None else options.timeout
    sent = await handle.start_update(
        options.name,
        args=options.args,
        id=options.update_id,
        wait_for_stage=WorkflowUpdateStage.ACCEPTED,
        rpc_timeout=timedelta(seconds=waits_s),
    )
    document = {"workflow_id": options.id, "update_id": sent.id}
    if options.no_wait and not sent.has_outcome:  # What has one may have been rejected.
        text = f"Update {options.name!r} of {options.id!r} is accepted, with the id {sent.id!r}."
        output.show({**document, "accepted": True}, text)
        return 0
    timeout = None if options.timeout is None else timedelta(seconds=options.timeout)
    try:
        value = await sent.result(rpc_timeout=timeout)
    except WorkflowUpdateFailedError as error:
        if options.json:
            output.show({**document, "failure": failure_document(error.cause)}, "")
        raise HotMeshError(
            f"update {options.name!r} of workflow {options.id!r} did not complete: "
            f"{failure_text(error.cause)}"
        ) from error
    output.show({**document, "result": value}, to_json(value))
    return 0


async def cancel(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Ask for cancellation."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    await handle.cancel(reason=options.reason)
    text = f"Workflow {options.id!r} was asked to cancel itself."
    return await _sent(client, options, output, text)


async def terminate(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Close a workflow from outside."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    await handle.terminate(reason=options.reason)
    text = f"The termination of workflow {options.id!r} is stored."
    return await _sent(client, options, output, text, by_code=False)


async def _sent(
    client: Client,
    options: argparse.Namespace,
    output: Output,
    text: str,
    *,
    by_code: bool = True,
) -> int:
    """Say that a message is stored, and if nobody is there to take it up."""
    document: dict[str, Any] = {"workflow_id": options.id, "sent": True}
    run_id = wire.run_id_bytes(options.run_id) if options.run_id else b""
    waits = await why_not_taken_up(client, options.id, run_id, by_code=by_code)
    if waits:
        document["waits"] = waits
    output.show(document, f"{text} {waits}".rstrip())
    return 0
