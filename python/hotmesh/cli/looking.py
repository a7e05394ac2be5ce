"""`list`, `describe` and `history`: see what workflows are there and what they did."""

from __future__ import annotations

import argparse
from typing import Any

from hotmesh.cli.arguments import Commands, add_command, add_run_id, at_least
from hotmesh.cli.failures import failure_document, failure_text
from hotmesh.cli.history import EventReader, table_rows
from hotmesh.cli.output import Facts, Output, Table, to_json
from hotmesh.cli.session import with_client
from hotmesh.cli.times import exact, moment, shown, status_name
from hotmesh.cli.waiting import in_trouble, waiting_document, waiting_texts, waits_for
from hotmesh.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from hotmesh.client._pending import waiting

LIST_LIMIT = 50
"""Workflows that `list` shows, if `--limit` doesn't say."""


def add_commands(commands: Commands) -> None:
    """Add the commands of this file."""
    list_parser = add_command(
        commands, "list", with_client(list_workflows), help_text="list workflows, newest first"
    )
    list_parser.add_argument(
        "--query",
        help="a filter, such as \"WorkflowType = 'order' AND ExecutionStatus = 'Failed'\"",
    )
    list_parser.add_argument(
        "--limit",
        metavar="N",
        type=at_least(1),
        default=LIST_LIMIT,
        help="the most to show (default: %(default)s)",
    )
    list_parser.add_argument(
        "--failing",
        action="store_true",
        help="only open workflows whose task fails, or of which something stored is corrupt",
    )
    describe_parser = add_command(
        commands, "describe", with_client(describe), help_text="show what is known of a workflow"
    )
    add_run_id(describe_parser)
    history_parser = add_command(
        commands, "history", with_client(history), help_text="show a workflow's steps"
    )
    add_run_id(history_parser)


async def list_workflows(client: Client, options: argparse.Namespace, output: Output) -> int:
    """List workflows, newest first."""
    found, more = await _found(client, options)
    waits = await waiting(client, [each.raw_info for each in found])
    documents: list[dict[str, Any]] = []
    rows: list[tuple[str, ...]] = []
    for each in found:
        waited = waits.get(bytes(each.raw_info.run_id))
        about = (each.record, waited.hosted, waited.activities) if waited else None
        more = waited.more if waited else 0
        documents.append(_execution(each) | (waiting_document(*about, more=more) if about else {}))
        rows.append(
            (
                each.id,
                each.workflow_type,
                status_name(each.status),
                shown(each.start_time),
                shown(each.close_time),
                each.task_queue,
                waits_for(waiting_texts(*about, more=more)) if about else "",
            )
        )
    columns = ("workflow id", "type", "status", "started", "closed", "task queue", "waits for")
    output.show(documents, Table(columns, rows, "No workflow matches."))
    if more:
        output.note(f"There are more than these {len(found)}; --limit shows more of them.")
    return 0


async def _found(
    client: Client, options: argparse.Namespace
) -> tuple[list[WorkflowExecution], bool]:
    """The workflows asked for, and whether there are more."""
    if not options.failing:
        listed = client.list_workflows(options.query, limit=options.limit, page_size=options.limit)
        return [each async for each in listed], listed.has_more
    running = "ExecutionStatus = 'Running'"
    query = f"({options.query}) AND {running}" if options.query else running
    found: list[WorkflowExecution] = []
    async for each in client.list_workflows(query):
        if in_trouble(each.record):
            found.append(each)
            if len(found) > options.limit:
                return found[: options.limit], True
    return found, False


async def describe(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Show one run with its record, memo and outcome."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    found = await handle.describe()
    document = {
        **_execution(found),
        "transitions": found.history_length,
        "memo": await found.memo(),
        "summary": await found.static_summary(),
        "details": await found.static_details(),
    }
    waits = (found.record, found.hosted, found.pending_activities, found.pending_children)
    open_one = found.status == WorkflowExecutionStatus.RUNNING
    outcome, told = await _outcome(client, found)
    facts = {
        name.replace("_", " "): value if isinstance(value, str) else to_json(value)
        for name, value in document.items()
        if value not in (None, "", {})
    }
    if open_one:
        document |= waiting_document(*waits)
        told = waiting_texts(*waits)
    output.show(document | outcome, Facts(facts | told))
    return 0


async def history(client: Client, options: argparse.Namespace, output: Output) -> int:
    """Show a run's journal, event by event."""
    handle = client.get_workflow_handle(options.id, run_id=options.run_id)
    fetched = await handle.fetch_history()
    reader = EventReader(client.payloads, fetched)
    transitions: list[dict[str, Any]] = [
        {
            "number": each.number,
            "time": exact(moment(each.now_ms)),
            "jobs": [await reader.read(event) for event in each.jobs],
            "commands": [await reader.read(event) for event in each.commands],
        }
        for each in fetched.events
    ]
    document: dict[str, Any] = {
        "workflow_id": fetched.workflow_id,
        "run_id": fetched.run_id,
        "type": fetched.workflow_type,
        "transitions": transitions,
    }
    rows = table_rows(transitions)
    if fetched.status == WorkflowExecutionStatus.RUNNING:
        found = await client.get_workflow_handle(options.id, run_id=fetched.run_id).describe()
        if found.status == WorkflowExecutionStatus.RUNNING:
            waits = (found.record, found.hosted, found.pending_activities, found.pending_children)
            document |= waiting_document(*waits)
            rows += [("", "", "waits", "", *each) for each in waiting_texts(*waits).items()]
    output.show(
        document,
        Table(
            ("step", "time", "event", "seq", "name", "details"),
            rows,
            "The workflow has not taken a step yet. Is a worker running for its task queue?",
        ),
    )
    return 0


def _execution(found: WorkflowExecution) -> dict[str, Any]:
    return {
        "workflow_id": found.id,
        "run_id": found.run_id,
        "type": found.workflow_type,
        "status": status_name(found.status),
        "task_queue": found.task_queue,
        "namespace": found.namespace,
        "started": exact(found.start_time),
        "closed": exact(found.close_time),
        "parent_id": found.parent_id,
        "record": dict(found.record),
    }


async def _outcome(
    client: Client, found: WorkflowExecution
) -> tuple[dict[str, Any], dict[str, str]]:
    """What a closed run closed with, for programs and for people; nothing of an open one."""
    if found.status == WorkflowExecutionStatus.RUNNING:
        return {}, {}
    handle = client.get_workflow_handle(found.id, run_id=found.run_id)
    try:
        result = await handle.result(follow_runs=False)
    except WorkflowFailureError as error:
        failure = {"failure": failure_document(error.cause)}
        return failure, {"failure": failure_text(error.cause)}
    except WorkflowContinuedAsNewError as error:
        following = error.new_execution_run_id
        return {"continued_as": following}, {"continued as": following}
    return {"result": result}, {"result": to_json(result)}
