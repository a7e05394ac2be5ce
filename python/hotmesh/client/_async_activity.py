"""Activities that are completed from outside: by a task token, or by workflow and activity id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from hotmesh.backends.protocol import Tasks
from hotmesh.client import _interceptor as inputs
from hotmesh.client._errors import AsyncActivityCancelledError, not_found
from hotmesh.client._history import decode_journal
from hotmesh.client._payloads import Payloads
from hotmesh.common import ARG_UNSET
from hotmesh.converter import DataConverter
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.exceptions import (
    CancelledError,
    InvalidArgumentError,
    RetryState,
    RPCError,
    RPCStatusCode,
)
from hotmesh.limits import LEASE_MS_DEFAULT

if TYPE_CHECKING:
    from hotmesh.client._client import Client

ATTEMPTS_TRIED_MAX = 100
"""Attempts that a heartbeat by id tries: only a token says which attempt it is."""

_RESULTS = frozenset(
    (
        kinds.ACTIVITY_COMPLETED,
        kinds.ACTIVITY_FAILED,
        kinds.ACTIVITY_TIMED_OUT,
        kinds.ACTIVITY_CANCELED,
    )
)


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity named by its ids."""

    workflow_id: str | None
    run_id: str | None
    activity_id: str


class TaskToken(NamedTuple):
    """What a task token holds."""

    namespace: str
    run_id: bytes
    seq: int
    attempt: int
    """0: not known."""

    def encode(self) -> bytes:
        """The token as activities see it."""
        return orjson.dumps([self.namespace, self.run_id.hex(), self.seq, self.attempt])

    @staticmethod
    def decode(token: bytes) -> TaskToken:
        """Read a token.

        Raises:
            InvalidArgumentError: It is none.
        """
        try:
            namespace, run_id, seq, attempt = orjson.loads(token)
            return TaskToken(str(namespace), bytes.fromhex(run_id), int(seq), int(attempt))
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"Malformed task token {token[:80]!r}") from error


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

        Details are kept for the next attempt if the activity has a heartbeat timeout; without one
        nothing is stored of its first attempt.

        Args:
            *details: What the next attempt finds, should this one fail.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            AsyncActivityCancelledError: Its cancellation was asked for.
            RPCError: NOT_FOUND, the attempt is over or the activity is not known.
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
            RPCError: NOT_FOUND, the workflow is closed or not known.
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


class _Scheduled(NamedTuple):
    """An activity as its workflow scheduled it."""

    options: Mapping[str, Any]
    scheduled_ms: int
    queue_id: int
    """The queue that it is a task of; 0: none."""
    is_open: bool
    """No result of it is in the journal."""
    is_recalled: bool
    """Its cancellation was asked for."""


async def complete(client: Client, options: inputs.CompleteAsyncActivityInput) -> None:
    """See :meth:`AsyncActivityHandle.complete`."""
    token = await _locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    body = await payloads.encode([options.result], _what("result", token))
    await _finish(client, token, (kinds.ACTIVITY_COMPLETED, "", body))


async def report_cancellation(
    client: Client, options: inputs.ReportCancellationAsyncActivityInput
) -> None:
    """See :meth:`AsyncActivityHandle.report_cancellation`."""
    token = await _locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    body = await payloads.encode_error(
        CancelledError("Cancelled", *options.details), _what("cancellation details", token)
    )
    await _finish(client, token, (kinds.ACTIVITY_CANCELED, "", body))


async def fail(client: Client, options: inputs.FailAsyncActivityInput) -> None:
    """See :meth:`AsyncActivityHandle.fail`."""
    # The worker package imports this one; by the time of a call it is there.
    from hotmesh.worker._activity_retry import retry_decision

    token = await _locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    failure = await payloads.encode_error(options.error, _what("failure", token))
    scheduled = await _scheduled(client, token)
    stored = await client.connection.patient.tasks_of(client.namespace, token.run_id, [token.seq])
    task = stored[0] if stored else None
    attempt = token.attempt or (task.attempt if task is not None else 1)
    batch = _batch(client)
    now_ms = (await client.connection.backend.tasks(batch)).now_ms
    decision = retry_decision(
        scheduled.options, attempt, options.error, scheduled.scheduled_ms, now_ms
    )
    if isinstance(decision, RetryState):
        await _finish(client, token, (kinds.ACTIVITY_FAILED, decision.name, failure))
        return
    state: dict[str, str] = {"f": wire.pack_bytes(failure)}
    if task is not None and (kept := wire.load(task.state).get("d")):
        state["d"] = kept  # what earlier heartbeats said
    if options.last_heartbeat_details:
        details = await payloads.encode(
            options.last_heartbeat_details, _what("heartbeat details", token)
        )
        state["d"] = wire.pack_bytes(details)
    batch.retry_run.append(token.run_id)
    batch.retry_seq.append(token.seq)
    batch.retry_attempt.append(attempt)
    batch.retry_delay.append(decision)
    batch.retry_state.append(wire.dump(state))
    await client.connection.backend.tasks(batch)
    await client.connection.backend.notify([(f"tasks:{scheduled.queue_id}", "")])


async def heartbeat(client: Client, options: inputs.HeartbeatAsyncActivityInput) -> None:
    """See :meth:`AsyncActivityHandle.heartbeat`."""
    token = await _locate(client, options.id_or_token)
    payloads = _payloads(client, options.data_converter_override)
    details = await payloads.encode(options.details, _what("heartbeat details", token))
    scheduled = await _scheduled(client, token)
    lease_ms = scheduled.options.get("hb") or scheduled.options.get("st") or LEASE_MS_DEFAULT
    attempts = [token.attempt] if token.attempt else range(1, ATTEMPTS_TRIED_MAX + 1)
    batch = _batch(client)
    for attempt in attempts:
        batch.beat_run.append(token.run_id)
        batch.beat_seq.append(token.seq)
        batch.beat_attempt.append(attempt)
        batch.beat_lease.append(lease_ms)
        batch.beat_state.append(wire.dump({"d": wire.pack_bytes(details)}))
    reply = await client.connection.backend.tasks(batch)
    if reply.recalled:
        raise _cancelled()
    if len(reply.lost) == len(attempts):
        _check_eager(token, scheduled)


def _batch(client: Client) -> Tasks:
    return Tasks(client.namespace, client.outside_id, 0, LEASE_MS_DEFAULT)


async def _finish(client: Client, token: TaskToken, outcome: tuple[int, str, bytes]) -> None:
    kind, name, body = outcome
    meta = wire.dump({"identity": client.identity}) if kind == kinds.ACTIVITY_FAILED else b""
    frame = encode_event((kind, token.seq, token.attempt, name, meta, body))
    connection = client.connection
    lane = await connection.patient.complete_task(*token, frame)
    if lane is None:
        raise _over(token)
    connection.hint_lanes([lane])


async def _locate(client: Client, named: AsyncActivityIDReference | bytes) -> TaskToken:
    """The activity that a token or ids name.

    Raises:
        RPCError: NOT_FOUND, there is none, or it is of another namespace.
        InvalidArgumentError: The token is malformed, or the workflow id is missing.
    """
    await client.connection.ready()
    if isinstance(named, bytes):
        token = TaskToken.decode(named)
        if token.namespace != client.namespace:
            raise _over(token)
        return token
    if not named.workflow_id:
        raise InvalidArgumentError("An activity id needs the workflow_id it belongs to")
    row = await client.find_run(named.workflow_id, named.run_id)
    run_id = bytes(row.run_id)
    frames = await client.connection.patient.journal(client.namespace, run_id)
    for transition in reversed(decode_journal(wire.run_id_text(run_id), frames)):
        for kind, seq, _, _, meta, _ in reversed(transition.commands):
            if kind == kinds.ACTIVITY and wire.load(meta).get("id", str(seq)) == named.activity_id:
                return TaskToken(client.namespace, run_id, seq, 0)
    raise not_found(f"{named.workflow_id}, activity {named.activity_id}")


async def _scheduled(client: Client, token: TaskToken) -> _Scheduled:
    frames = await client.connection.patient.journal(client.namespace, token.run_id)
    options: Mapping[str, Any] | None = None
    queue_id, scheduled_ms, settled, commanded = 0, 0, set[int](), set[int]()
    for transition in decode_journal(wire.run_id_text(token.run_id), frames):
        settled.update(kind for kind, seq, *_ in transition.jobs if seq == token.seq)
        for kind, seq, number, _, meta, _ in transition.commands:
            if seq == token.seq:
                commanded.add(kind)
                if kind == kinds.ACTIVITY:
                    options, scheduled_ms = wire.load(meta), transition.now_ms
                if number and kind in (kinds.ACTIVITY, kinds.REDISPATCH):
                    queue_id = number
    if options is None:
        raise _over(token)
    return _Scheduled(
        options,
        scheduled_ms,
        queue_id,
        is_open=settled.isdisjoint(_RESULTS),
        is_recalled=kinds.CANCEL_ACTIVITY in commanded,
    )


def _check_eager(token: TaskToken, scheduled: _Scheduled) -> None:
    """Answer the heartbeat of an attempt that is no task: one that its router started itself.

    Nothing is stored of it, so it has no claim to renew and no place for details.

    Raises:
        AsyncActivityCancelledError: Its cancellation was asked for.
        RPCError: NOT_FOUND, it is over.
    """
    if scheduled.queue_id or not scheduled.is_open:
        raise _over(token)
    if scheduled.is_recalled:
        raise _cancelled()


def _cancelled() -> AsyncActivityCancelledError:
    from hotmesh.activity import ActivityCancellationDetails

    return AsyncActivityCancelledError(ActivityCancellationDetails(cancel_requested=True))


def _payloads(client: Client, override: DataConverter | None) -> Payloads:
    return client.payloads if override is None else client.payloads.using(override)


def _what(part: str, token: TaskToken) -> str:
    return f"{part} of activity {token.seq} of run {wire.run_id_text(token.run_id)}"


def _over(token: TaskToken) -> RPCError:
    return RPCError(
        f"activity {token.seq} of run {wire.run_id_text(token.run_id)} is not running or its "
        "workflow is closed",
        RPCStatusCode.NOT_FOUND,
    )
