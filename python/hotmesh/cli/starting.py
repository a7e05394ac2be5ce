"""`start` and `result`: begin a workflow, and wait for what becomes of it."""

from __future__ import annotations

import argparse
import uuid
from datetime import timedelta
from typing import Any

from hotmesh.cli.arguments import Commands, add_command, add_run_id, add_values, seconds
from hotmesh.cli.failures import failure_document, failure_text
from hotmesh.cli.output import Facts, Output, to_json
from hotmesh.cli.session import with_client
from hotmesh.client import Client, WorkflowFailureError, WorkflowHandle
from hotmesh.exceptions import HotMeshError


def add_commands(commands: Commands) -> None:
    """Add the commands of this file."""
    start_parser = add_command(
        commands, "start", with_client(start, makes=True), help_text="start a workflow of a type"
    )
    start_parser.add_argument("type", metavar="TYPE", help="the workflow type")
    start_parser.add_argument("--id", help="the workflow id (default: a random one)")
    start_parser.add_argument(
        "--task-queue", default="default", help="whose workers run it (default: %(default)s)"
    )
    add_values(start_parser, "an argument of the workflow")
    start_parser.add_argument(
        "--expire",
        metavar="DURATION",
        type=seconds,
        help="how long to keep it after it closed, such as '7 days' (default: until pruned)",
    )
    start_parser.add_argument("--wait", action="store_true", help="wait for its result")
    _add_timeout(start_parser)

    result_parser = add_command(
        commands, "result", with_client(result), help_text="wait for a workflow's result"
    )
    add_run_id(result_parser)
    _add_timeout(result_parser)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", metavar="DURATION", type=seconds, help="the longest wait (default: for ever)"
    )


async def start(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Start a workflow; with ``--wait``, print its result too."""
    handle: WorkflowHandle[Any, Any] = await client.start_workflow(
        options.type,
        args=options.args,
        id=str(uuid.uuid4()) if options.id is None else options.id,
        task_queue=options.task_queue,
        expire=options.expire,
    )
    if options.wait:
        return await _show_result(handle, options, output)
    document = {"workflow_id": handle.id, "run_id": handle.result_run_id}
    output.show(document, Facts({"workflow id": handle.id, "run id": handle.result_run_id or ""}))
    return 0


async def result(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Wait for a result and print it."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    return await _show_result(handle, options, output)


async def _show_result(
    handle: WorkflowHandle[Any, Any], options: argparse.Namespace, output: Output
) -> int:
    """Print the result, or for programs a failure.

    Raises:
        HotMeshError: The workflow failed; says how, and where to look.
    """
    document: dict[str, Any] = {"workflow_id": handle.id}
    timeout = None if options.timeout is None else timedelta(seconds=options.timeout)
    try:
        value = await handle.result(rpc_timeout=timeout)
    except WorkflowFailureError as error:
        if options.json:
            output.show({**document, "failure": failure_document(error.cause)}, "")
        raise HotMeshError(
            f"workflow {handle.id!r} did not complete: {failure_text(error.cause)}. "
            f"`hotmesh history {handle.id}` shows its steps."
        ) from error
    output.show({**document, "result": value}, to_json(value))
    return 0
