"""What the face does with a client that the SDK's client has no call for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hotmesh.backends.protocol import MailItem, RunRow, RunStatus
from hotmesh.client import Client, StartWorkflowInput, WorkflowHandle
from hotmesh.client._records import Record
from hotmesh.common import Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from hotmesh.common.arguments import argument_list
from hotmesh.engine import wire
from hotmesh.engine.options import checked_name
from hotmesh.exceptions import RPCError, RPCStatusCode
from hotmesh.groups import members_of
from hotmesh.router.effects import mail_data


async def send_mail(client: Client, key: str, value: Any) -> None:
    """Send a datum to whoever waits for a key of the client's namespace, now or later.

    Raises:
        InvalidArgumentError: The key is not acceptable.
        ConversionError: The datum can't be serialised.
        PayloadTooLargeError: It exceeds the limit.
        BackendUnavailableError: Whether it was stored is not known.
    """
    checked_name(key, "signal id")
    body = await client.payloads.encode([value], f"data of signal {key!r}")
    await client.connection.ready()
    lanes = await client.backend.mail([MailItem(client.namespace, key, mail_data(body))])
    client.connection.hint_lanes(lanes)


async def start_hook(
    client: Client,
    *,
    target: str,
    hook_id: str,
    workflow_type: str,
    args: Sequence[Any],
    task_queue: str | None,
) -> WorkflowHandle[Any, Any]:
    """Start a function that shares the record of an open workflow.

    Args:
        client: Of the namespace of both.
        target: The workflow id of the record's owner.
        hook_id: The workflow id of the function's run.
        workflow_type: Its type.
        args: Its arguments.
        task_queue: Where it runs; the target's by default.

    Raises:
        InvalidArgumentError: The arguments are no list.
        RPCError: NOT_FOUND, the target does not exist or is closed.
        WorkflowAlreadyStartedError: The hook's id is taken.
    """
    args = argument_list(args)
    row = await client.find_run(target, None)
    if row.status != RunStatus.RUNNING:
        raise RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND)
    header = wire.load(row.header)
    owner = header.get("record") or bytes(row.run_id).hex()
    owner_id = header.get("record_id") or target
    return await client.outbound.start_workflow(
        StartWorkflowInput(
            workflow=workflow_type,
            args=args,
            id=hook_id,
            task_queue=task_queue or row.task_queue,
            execution_timeout=None,
            run_timeout=None,
            task_timeout=None,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            retry_policy=None,
            cron_schedule="",
            memo=None,
            search_attributes=None,
            start_delay=None,
            headers={},
            start_signal=None,
            start_signal_args=(),
            static_summary=None,
            static_details=None,
            ret_type=None,
            rpc_metadata={},
            rpc_timeout=None,
            request_eager_start=False,
            priority=Priority.default,
            shared_record=(owner_id, owner),
        )
    )


async def read_record(client: Client, workflow_id: str, run_id: str) -> Mapping[str, Any]:
    """The record of one run.

    Raises:
        RPCError: NOT_FOUND, there is no such run any more.
    """
    row = await client.find_run(workflow_id, run_id)
    return Record(row.attributes, wire.load(row.header)).values


def run_state(row: RunRow) -> dict[str, Any]:
    """A run as the face shows it: JSON values."""
    return {
        "workflow_id": row.workflow_id,
        "run_id": wire.run_id_text(bytes(row.run_id)),
        "namespace": row.namespace,
        "task_queue": row.task_queue,
        "workflow_name": row.workflow_type,
        "status": RunStatus(row.status).name.lower(),
        "started": _time(row.started_ms),
        "closed": _time(row.closed_ms) if row.closed_ms else None,
        "record": Record(row.attributes, wire.load(row.header)).values,
    }


def reason(error: BaseException) -> str:
    """Why something failed: the texts of an error's causes, the outermost first.

    Of an exception group all members are told, each with its causes.
    """
    texts: list[str] = []
    cause = error.__cause__
    while cause is not None:
        texts.append(str(cause) or type(cause).__name__)
        members = members_of(cause)
        if members:
            texts.append("; ".join(_with_reason(each) for each in members))
        cause = None if members and cause.__cause__ is members[0] else cause.__cause__
    return ": ".join(texts) or str(error)


def _with_reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if error.__cause__ is None else f"{text}: {reason(error)}"


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
