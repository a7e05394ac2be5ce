"""Starting workflows: from a caller's options to a stored run, whatever holds the id now."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from hotmesh.backends.protocol import ConflictPolicy, RunStatus, StartItem
from hotmesh.client._connection import Connection
from hotmesh.client._interceptor import StartWorkflowInput, UpdateWithStartStartWorkflowInput
from hotmesh.client._payloads import Payloads
from hotmesh.client._records import checked_search, record_items
from hotmesh.client._terminate import send_terminate
from hotmesh.common import Payload, Priority, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from hotmesh.common.arguments import argument_list
from hotmesh.core import encode_event, kinds, lane_of
from hotmesh.engine import wire
from hotmesh.engine.attributes import SearchDocument
from hotmesh.engine.options import (
    checked_name,
    checked_text,
    kept_seconds,
    milliseconds,
    refuse_cron,
    refuse_priority,
    retry_document,
)
from hotmesh.exceptions import (
    InvalidArgumentError,
    RPCError,
    RPCStatusCode,
    UnsupportedOptionError,
    WorkflowAlreadyStartedError,
)

Options = StartWorkflowInput | UpdateWithStartStartWorkflowInput

_START_FRAME = encode_event((kinds.START, 0, 0, "", b"", b""))
_DEFAULT_PRIORITY = Priority.default
_KEEP = -1
"""Expiry of a run that is kept until it is pruned."""


class LookAgainError(Exception):
    """The workflow's newest run is closed, and not the one that the caller has looked at."""


class Started(NamedTuple):
    """What a start led to."""

    run_id: bytes
    fresh: bool
    """Whether this call made the run; else it was open already."""


async def start_run(
    connection: Connection,
    namespace: str,
    payloads: Payloads,
    options: Options,
    *,
    events: Sequence[bytes] = (),
    over: bytes | None = None,
) -> Started:
    """Start a workflow as its policies say.

    Args:
        connection: Where.
        namespace: Of the workflow.
        payloads: How to store its arguments.
        options: What to start.
        events: Messages for it, delivered with the start or to the run that is open already.
        over: The only closed run that may be taken over, b"" for none; None lets the policies say.

    Raises:
        InvalidArgumentError: An option is not acceptable; nothing was started.
        ConversionError: An argument can't be serialised.
        PayloadTooLargeError: The arguments exceed the limit.
        WorkflowAlreadyStartedError: The policies forbid the start.
        LookAgainError: Another closed run than ``over`` holds the id.
        BackendUnavailableError: The database could not be reached for a while.
    """
    terminate_open, conflict = _conflict(options, bool(events))
    item = await _item(connection, namespace, payloads, options, conflict, events)
    if over is not None:
        item = item._replace(over=over)
    while True:
        outcome = await connection.starts.submit(item)
        run_id = bytes(outcome.run_id)
        if outcome.started:
            return Started(run_id, fresh=True)
        is_open = outcome.status == RunStatus.RUNNING
        if is_open and conflict == ConflictPolicy.USE_EXISTING:
            return Started(run_id, fresh=False)
        if not is_open and over not in (None, run_id):
            raise LookAgainError
        if not (is_open and terminate_open):
            raise WorkflowAlreadyStartedError(
                options.id, options.workflow, run_id=wire.run_id_text(run_id)
            )
        # Between the closing of the old run and our start another one may slip in: try again.
        try:
            await send_terminate(
                connection, namespace, payloads, options.id, run_id, "Replaced by a new start", ()
            )
        except RPCError as error:  # It closed by itself in the meantime: just as well.
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        await connection.results(namespace).wait(run_id)


def signal_event(name: str, body: bytes, headers: Mapping[str, Any]) -> bytes:
    """The frame of a signal; its random id lets a repeated delivery be dropped."""
    document = {"h": headers} if headers else {}
    return encode_event(
        (kinds.SIGNAL, 0, 0, name, os.urandom(16), wire.join_document(document, body))
    )


def _conflict(options: Options, has_events: bool) -> tuple[bool, int]:
    """Whether an open run is to be terminated, and what the backend is to do about one."""
    reuse, conflict = options.id_reuse_policy, options.id_conflict_policy
    if reuse == WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        if conflict != WorkflowIDConflictPolicy.UNSPECIFIED:
            raise InvalidArgumentError(
                "id_conflict_policy can't be given together with "
                "id_reuse_policy=TERMINATE_IF_RUNNING"
            )
        return True, ConflictPolicy.FAIL
    if conflict == WorkflowIDConflictPolicy.TERMINATE_EXISTING:
        return True, ConflictPolicy.FAIL
    if conflict == WorkflowIDConflictPolicy.USE_EXISTING:
        return False, ConflictPolicy.USE_EXISTING
    if conflict == WorkflowIDConflictPolicy.UNSPECIFIED and has_events:
        return False, ConflictPolicy.USE_EXISTING  # Signal with start: that is what it is for.
    return False, ConflictPolicy.FAIL


async def _item(
    connection: Connection,
    namespace: str,
    payloads: Payloads,
    options: Options,
    conflict: int,
    events: Sequence[bytes],
) -> StartItem:
    workflow_id = checked_name(options.id, "workflow id")
    workflow_type = checked_name(options.workflow, "workflow type")
    task_queue = checked_name(options.task_queue, "task queue")
    searchable = checked_search(options.search_attributes)
    delay_ms = milliseconds(options.start_delay, "start_delay") or 0
    expire_s = _expiry(options.expire)
    header = await _header(payloads, options, searchable, expire_s)
    # Texts for errors are written where they are needed: they take as long as all the rest.
    what = f"arguments of workflow {workflow_type!r} (id {workflow_id!r})"
    body = await payloads.encode(options.args, what)
    attributes = record_items(searchable, options.record) if searchable or options.record else ()
    for name, value in attributes:
        what = f"record value {name!r} of workflow {workflow_type!r} (id {workflow_id!r})"
        payloads.within_limit(value, what)
    queue_id = await connection.patient.queue_id(namespace, task_queue)
    reuse = options.id_reuse_policy
    if reuse == WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    if connection.named_identity:
        header["identity"] = connection.named_identity
    written = wire.dump(header)
    if written:
        what = f"memo, summary and details of workflow {workflow_type!r} (id {workflow_id!r})"
        payloads.within_limit(written, what)
    return StartItem(
        namespace=namespace,
        workflow_id=workflow_id,
        run_id=wire.new_run_id(),
        workflow_type=workflow_type,
        lane=lane_of(queue_id, workflow_id),
        reuse=reuse,
        conflict=conflict,
        delay_ms=delay_ms,
        expire_s=expire_s,
        header=written,
        input=body,
        frame=_START_FRAME,
        attributes=attributes,
        events=events,
    )


async def _header(
    payloads: Payloads, options: Options, searchable: SearchDocument, expire_s: int
) -> dict[str, Any]:
    """The run's header: only what differs from the default, so that a plain start has none."""
    header: dict[str, Any] = {}
    if options.execution_timeout is not None:
        _put_time(header, "exec", options.execution_timeout, "execution_timeout")
    if options.run_timeout is not None:
        _put_time(header, "run", options.run_timeout, "run_timeout")
    if options.task_timeout is not None:
        _put_time(header, "task", options.task_timeout, "task_timeout")
    if options.start_delay is not None:
        _put_time(header, "delay", options.start_delay, "start_delay")
    if options.retry_policy is not None:
        header["retry"] = retry_document(options.retry_policy, f"workflow {options.workflow!r}")
    if options.cron_schedule:
        refuse_cron(options.cron_schedule, f"workflow {options.workflow!r} (id {options.id!r})")
    if options.memo:
        header["memo"] = {
            checked_name(name, "memo name"): wire.pack_bytes(
                await payloads.encode(
                    [value], f"memo {name!r} of workflow {options.workflow!r} (id {options.id!r})"
                )
            )
            for name, value in options.memo.items()
        }
    if searchable:
        header["sa"] = searchable
    if options.headers:
        header["h"] = await payloads.encode_headers(options.headers)
    if options.static_summary is not None:
        header["summary"] = checked_text(options.static_summary, "summary of a workflow")
    if options.static_details is not None:
        header["details"] = checked_text(options.static_details, "details of a workflow")
    if expire_s != _KEEP:
        header["expire"] = expire_s
    if options.id_reuse_policy != WorkflowIDReusePolicy.ALLOW_DUPLICATE:
        header["reuse"] = int(options.id_reuse_policy)
    if options.priority is not _DEFAULT_PRIORITY:
        refuse_priority(options.priority, f"workflow {options.workflow!r} (id {options.id!r})")
    if isinstance(options, StartWorkflowInput) and options.shared_record is not None:
        header["record_id"], header["record"] = options.shared_record
    if options.versioning_override is not None:
        raise UnsupportedOptionError(
            "versioning_override",
            f"workflow {options.workflow!r} (id {options.id!r})",
            "runs are not tied to builds: use workflow.patched() for changed code",
        )
    return header


def _put_time(header: dict[str, Any], key: str, value: timedelta, name: str) -> None:
    whole = milliseconds(value, name)
    if whole:
        header[key] = whole


def _expiry(expire: timedelta | float | None) -> int:
    """Whole seconds, rounded up."""
    kept_s = kept_seconds(expire, "expire")
    return _KEEP if kept_s is None else kept_s


async def with_signal(payloads: Payloads, options: StartWorkflowInput) -> list[bytes]:
    """The frames of a start's signal, if it has one.

    Raises:
        InvalidArgumentError: Arguments without a signal, or a bad name.
    """
    if options.start_signal is None:
        if options.start_signal_args:
            raise InvalidArgumentError("start_signal_args need a start_signal")
        return []
    name = checked_name(options.start_signal, "start signal name")
    body = await payloads.encode(
        argument_list(options.start_signal_args),
        f"arguments of start signal {name!r} to workflow {options.id!r}",
    )
    return [signal_event(name, body, await _headers(payloads, options.headers))]


async def _headers(payloads: Payloads, headers: Mapping[str, Payload]) -> dict[str, Any]:
    return await payloads.encode_headers(headers) if headers else {}
