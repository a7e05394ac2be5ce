"""Activities that are completed from outside: by a task token, or by workflow and activity id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hotmesh.backends.protocol import KEEP, Tasks
from hotmesh.client import _interceptor as inputs
from hotmesh.client._async_attempt import AsyncActivityIDReference as AsyncActivityIDReference
from hotmesh.client._async_attempt import TaskToken, find_claimed, locate, over, still_running
from hotmesh.client._errors import AsyncActivityCancelledError
from hotmesh.client._payloads import Payloads
from hotmesh.common import ARG_UNSET
from hotmesh.converter import DataConverter
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.exceptions import CancelledError, RetryState
from hotmesh.limits import LEASE_MS_DEFAULT

if TYPE_CHECKING:
    from hotmesh.client._client import Client


class AsyncActivityHandle:
    """An activity that raised ``raise_complete_async`` and is finished from here."""

    def __init__(
        self,
        client: Client,
        id_or_token: AsyncActivityIDReference | bytes,
        data_converter_override: DataConverter | None = None,
    ) -> None:
        self._client = client
        self._id_or_token = id_or_token
        self._converter = data_converter_override

    def with_converter(self, data_converter: DataConverter) -> AsyncActivityHandle:
        """The same activity with another data converter."""
        return AsyncActivityHandle(self._client, self._id_or_token, data_converter)

    async def heartbeat(
        self,
        *details: Any,
        rpc_metadata: inputs.Metadata = inputs.NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Say that the activity is alive.

        Details are kept for the next attempt. If the activity's function is still running, so that
        nothing is stored of it, they wait for it to raise ``CompleteAsyncError``, for
        two seconds at most. A heartbeat without details does not wait.

        Args:
            *details: What the next attempt finds, should this one fail.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            AsyncActivityCancelledError: Its cancellation was asked for.
            RPCError: NOT_FOUND, the attempt is over or the activity is not known.
                FAILED_PRECONDITION, its function is still running, so details can't be kept.
        """
        await self._client.outbound.heartbeat_async_activity(
            inputs.HeartbeatAsyncActivityInput(
                self._id_or_token, details, rpc_metadata, rpc_timeout, self._converter
            )
        )

    async def complete(
        self,
        result: Any = ARG_UNSET,
        *,
        rpc_metadata: inputs.Metadata = inputs.NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Complete the activity.

        Args:
            result: Its result. Default is None.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            RPCError: NOT_FOUND, the workflow is closed or not known, or the attempt that the
                token names is over.
        """
        await self._client.outbound.complete_async_activity(
            inputs.CompleteAsyncActivityInput(
                self._id_or_token,
                None if result is ARG_UNSET else result,
                rpc_metadata,
                rpc_timeout,
                self._converter,
            )
        )

    async def fail(
        self,
        error: Exception,
        *,
        last_heartbeat_details: Sequence[Any] = (),
        rpc_metadata: inputs.Metadata = inputs.NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Fail this attempt of the activity; its retry policy decides what follows.

        Args:
            error: Why.
            last_heartbeat_details: What the next attempt finds.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            RPCError: NOT_FOUND, the workflow is closed or not known, or the attempt that the
                token names is over. FAILED_PRECONDITION, the activity's function is still running
                after a wait of two seconds: its outcome is its own.
        """
        await self._client.outbound.fail_async_activity(
            inputs.FailAsyncActivityInput(
                self._id_or_token,
                error,
                last_heartbeat_details,
                rpc_metadata,
                rpc_timeout,
                self._converter,
            )
        )

    async def report_cancellation(
        self,
        *details: Any,
        rpc_metadata: inputs.Metadata = inputs.NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Say that the activity stopped because it was cancelled.

        Args:
            *details: What the workflow finds in the CancelledError.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            RPCError: NOT_FOUND, the workflow is closed or not known, or the attempt that the
                token names is over.
        """
        await self._client.outbound.report_cancellation_async_activity(
            inputs.ReportCancellationAsyncActivityInput(
                self._id_or_token, details, rpc_metadata, rpc_timeout, self._converter
            )
        )


async def complete(client: Client, options: inputs.CompleteAsyncActivityInput) -> None:
    """See :meth:`AsyncActivityHandle.complete`."""
    token = await locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    body = await payloads.encode([options.result], _what("result", token))
    await _finish(client, token, (kinds.ACTIVITY_COMPLETED, "", body))


async def report_cancellation(
    client: Client, options: inputs.ReportCancellationAsyncActivityInput
) -> None:
    """See :meth:`AsyncActivityHandle.report_cancellation`."""
    token = await locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    body = await payloads.encode_error(
        CancelledError("Cancelled", *options.details), _what("cancellation details", token)
    )
    await _finish(client, token, (kinds.ACTIVITY_CANCELED, "", body))


async def fail(client: Client, options: inputs.FailAsyncActivityInput) -> None:
    """See :meth:`AsyncActivityHandle.fail`."""
    # The worker package imports this one; by the time of a call it is there.
    from hotmesh.worker._activity_retry import retry_decision

    token = await locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    failure = await payloads.encode_error(options.error, _what("failure", token))
    task, scheduled = await find_claimed(client, token)
    if task is None:
        raise still_running(token)
    batch = _batch(client)
    now_ms = (await client.connection.backend.tasks(batch)).now_ms
    decision = retry_decision(
        scheduled.options,
        task.attempt,
        options.error,
        scheduled.scheduled_ms,
        now_ms,
        cancel_requested=scheduled.is_recalled,
    )
    if isinstance(decision, RetryState):
        last = token._replace(attempt=task.attempt)
        await _finish(client, last, (kinds.ACTIVITY_FAILED, decision.name, failure))
        return
    state = {**wire.load(task.state), "f": wire.pack_bytes(failure)}  # with earlier heartbeats
    if options.last_heartbeat_details:
        details = await payloads.encode(
            options.last_heartbeat_details, _what("heartbeat details", token)
        )
        state["d"] = wire.pack_bytes(details)
    batch.retry_run.append(token.run_id)
    batch.retry_seq.append(token.seq)
    batch.retry_attempt.append(task.attempt)
    batch.retry_delay.append(decision)
    batch.retry_state.append(wire.dump(state))
    await client.connection.backend.tasks(batch)
    await client.connection.backend.notify([(f"tasks:{scheduled.queue_id}", "")])


async def heartbeat(client: Client, options: inputs.HeartbeatAsyncActivityInput) -> None:
    """See :meth:`AsyncActivityHandle.heartbeat`."""
    token = await locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    details = await payloads.encode(options.details, _what("heartbeat details", token))
    task, scheduled = await find_claimed(client, token, wait=bool(options.details))
    if task is None:
        # Its router has started it itself: there is no claim to renew.
        if scheduled.is_recalled:
            raise _cancelled()
        if options.details:
            raise still_running(token)
        return
    state = {**wire.load(task.state), "d": wire.pack_bytes(details)}  # with the last failure
    batch = _batch(client)
    batch.beat_run.append(token.run_id)
    batch.beat_seq.append(token.seq)
    batch.beat_attempt.append(task.attempt)
    batch.beat_lease.append(scheduled.options.get("hb") or KEEP)
    batch.beat_state.append(wire.dump(state) if options.details else None)
    batch.beat_outside.append(False)
    reply = await client.connection.backend.tasks(batch)
    if reply.recalled:
        raise _cancelled()
    if reply.lost:
        raise over(token)


def _batch(client: Client) -> Tasks:
    return Tasks(client.namespace, client.outside_id, 0, LEASE_MS_DEFAULT)


async def _finish(client: Client, token: TaskToken, outcome: tuple[int, str, bytes]) -> None:
    kind, name, body = outcome
    meta = wire.dump({"identity": client.identity}) if kind == kinds.ACTIVITY_FAILED else b""
    frame = encode_event((kind, token.seq, token.attempt, name, meta, body))
    connection = client.connection
    lane = await connection.patient.complete_task(*token, frame)
    if lane is None:
        raise over(token)
    connection.hint_lanes([lane])


def _cancelled() -> AsyncActivityCancelledError:
    from hotmesh.activity import ActivityCancellationDetails

    return AsyncActivityCancelledError(ActivityCancellationDetails(cancel_requested=True))


def _payloads(client: Client, override: DataConverter | None) -> Payloads:
    return client.payloads if override is None else client.payloads.using(override)


def _what(part: str, token: TaskToken) -> str:
    return f"{part} of activity {token.seq} of run {wire.run_id_text(token.run_id)}"
