"""What follows a closing run: its parent hears, its children are dealt with, its chain goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from hotmesh.backends.protocol import MessageKind, RunStatus
from hotmesh.converter import DataConverter, decode_failure, encode_failure
from hotmesh.core import Event, encode_event, kinds, lane_of
from hotmesh.engine import wire
from hotmesh.engine.contexts import own_converter
from hotmesh.engine.info import ParentClosePolicy
from hotmesh.engine.options import retry_policy
from hotmesh.exceptions import (
    CancelledError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
)
from hotmesh.groups import is_non_retryable, remaining, requested_delay, type_names
from hotmesh.router.effects import Effects, child_send, dedupe_id, start_item
from hotmesh.router.state import RunState

RUN_TIMEOUT_KEY = -1
EXECUTION_TIMEOUT_KEY = -2

_CARRIED = (
    *("parent", "root", "exec", "exec_due", "run", "task", "retry", "memo", "sa"),
    *("h", "expire", "identity", "record", "record_id"),
)


class Closer:
    """Adds the effects of closing commands.

    Args:
        converter: Reads failures.
        queue_ids: Known task queues.
    """

    def __init__(self, converter: DataConverter, queue_ids: dict[str, int]) -> None:
        self._converter = converter
        self._queue_ids = queue_ids

    def close(
        self, state: RunState, now_ms: int, commands: list[Event], effects: Effects
    ) -> list[Event]:
        """Take in a transition whose last command closes the run; the commands to journal."""
        command = commands[-1]
        state.closed = True
        state.status = _STATUS[command[0]]
        if state.instance is not None:
            state.instance.status = state.status
        effects.closed.append(state.details.run_id)
        if state.children:
            self._close_children(state, effects)
        if command[0] == kinds.CONTINUE:
            self._drop_run_timers(state, effects)
            self._continue(state, command, effects)
            return commands
        if not state.details.header:
            return commands  # no timeouts, no retries, no parent
        self._drop_run_timers(state, effects)
        following = self._next_run(state, now_ms, command, effects)
        if following is not None:
            closing = (*command[:5], wire.join_following(following, command[5]))
            return [*commands[:-1], closing]
        self._tell_parent(state, command, effects)
        return commands

    # The run's own timeouts

    def first_timers(self, state: RunState, now_ms: int, effects: Effects) -> None:
        """Timers of the run's timeouts, when it starts."""
        for key, due_ms in run_deadlines(state, now_ms):
            effects.timers.append((state.lane, due_ms, state.details.run_id, key))

    def _drop_run_timers(self, state: RunState, effects: Effects) -> None:
        for key, due_ms in run_deadlines(state, state.start_ms):
            effects.drop_timers.append((state.lane, due_ms, state.details.run_id, key))

    # Children

    def _close_children(self, state: RunState, effects: Effects) -> None:
        for seq, document in state.children.items():
            policy = document["close"]
            if policy == ParentClosePolicy.ABANDON:
                continue
            identity = dedupe_id(state.details.run_id, seq)
            message_kind = MessageKind.EVENT
            if policy == ParentClosePolicy.REQUEST_CANCEL:
                event = (kinds.CANCEL, 0, 0, "", identity, b"parent closed")
            else:
                body = wire.join_document({"reason": "by parent close policy"}, b"")
                event = (kinds.TERMINATE, 0, 0, "", identity, body)
                message_kind = MessageKind.END
            effects.sends.append(child_send(state, document, message_kind, encode_event(event)))
            effects.send_owners.append(None)
        state.children = {}

    # The parent

    def _tell_parent(self, state: RunState, command: Event, effects: Effects) -> None:
        parent = state.details.header.get("parent")
        if parent is None or "seq" not in parent:
            return
        kind = kinds.CHILD_COMPLETED if command[0] == kinds.COMPLETE else kinds.CHILD_FAILED
        frame = encode_event(
            (kind, parent["seq"], state.status, "", state.details.run_id, command[5])
        )
        effects.messages.append(
            (parent["lane"], bytes.fromhex(parent["rid"]), MessageKind.RESULT, frame)
        )

    # The chain of runs

    def _continue(self, state: RunState, command: Event, effects: Effects) -> None:
        header = self._carried(state)
        document: dict[str, Any] = orjson.loads(command[4])
        task_queue = document.pop("q", state.details.task_queue)
        delay = document.pop("delay", 0)
        header.update(document)
        header.pop("attempt", None)
        header["continued"] = state.details.run_id.hex()
        self._start_next(
            state, command[5][:16], command[3], task_queue, header, command[5][16:], delay, effects
        )

    def _next_run(
        self, state: RunState, now_ms: int, command: Event, effects: Effects
    ) -> bytes | None:
        """Start the run that retries a failed one; its id, or None if the chain ends here."""
        if command[0] not in kinds.RETRIED:
            return None
        delay = self._retry_delay(state, now_ms, state.failure or command[5])
        if delay is None:
            return None
        run_id = wire.new_run_id()
        header = self._carried(state)
        header["attempt"] = state.details.header.get("attempt", 1) + 1
        header["continued"] = state.details.run_id.hex()
        header["last_failure"] = wire.pack_bytes(command[5])
        details = state.details
        self._start_next(
            state,
            run_id,
            details.workflow_type,
            details.task_queue,
            header,
            details.input,
            delay,
            effects,
        )
        return run_id

    def _retry_delay(self, state: RunState, now_ms: int, failure: bytes) -> int | None:
        header = state.details.header
        policy = retry_policy(header.get("retry"))
        if policy is None:
            return None
        attempt = header.get("attempt", 1)
        if policy.maximum_attempts and attempt >= policy.maximum_attempts:
            return None
        converter = own_converter(self._converter, state.details)
        error = decode_failure(converter, failure)
        if not _is_retryable(error, policy.non_retryable_error_types or ()):
            return None
        delay = requested_delay(error) or policy.interval_before(attempt + 1)
        delay_ms = max(1, round(delay.total_seconds() * 1000))
        deadline = _execution_deadline(state)
        if deadline is not None and now_ms + delay_ms >= deadline:
            return None
        return delay_ms

    def _carried(self, state: RunState) -> dict[str, Any]:
        old = state.details.header
        header = {key: old[key] for key in _CARRIED if key in old}
        header["first"] = old.get("first") or state.details.run_id.hex()
        if "exec" in old:
            header["exec_due"] = _execution_deadline(state)
        return header

    def _start_next(
        self,
        state: RunState,
        run_id: bytes,
        workflow_type: str,
        task_queue: str,
        header: dict[str, Any],
        body: bytes,
        delay_ms: int,
        effects: Effects,
    ) -> None:
        details = state.details
        effects.starts.append(
            start_item(
                details.namespace,
                details.workflow_id,
                run_id,
                workflow_type,
                lane_of(self._queue_ids[task_queue], details.workflow_id),
                header,
                body,
                delay_ms=delay_ms,
                expire=header.get("expire", -1),
            )
        )
        effects.start_owners.append(None)


def _execution_deadline(state: RunState) -> int | None:
    """When the whole chain of runs is to end; None for never."""
    header = state.details.header
    if "exec" not in header:
        return None
    return header.get("exec_due") or state.start_ms + header["exec"]


def run_deadlines(state: RunState, start_ms: int) -> list[tuple[int, int]]:
    """(timer key, due time) of the timeouts of a run that began at ``start_ms``."""
    header = state.details.header
    found: list[tuple[int, int]] = []
    if "run" in header:
        found.append((RUN_TIMEOUT_KEY, start_ms + header["run"]))
    if "exec" in header:
        found.append((EXECUTION_TIMEOUT_KEY, header.get("exec_due") or start_ms + header["exec"]))
    return found


def timed_out(converter: DataConverter) -> Event:
    """The command that closes a run whose time is up."""
    error = TimeoutError(
        "Workflow timed out", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]
    )
    return (kinds.TIMED_OUT, 0, 0, "", b"", encode_failure(converter, error))


def terminated(converter: DataConverter, document: dict[str, Any], details: list[Any]) -> Event:
    """The command that closes a terminated run."""
    error = TerminatedError(document.get("reason") or "Workflow terminated", *details)
    return (kinds.TERMINATED, 0, 0, "", b"", encode_failure(converter, error))


def _is_retryable(error: BaseException, names: Sequence[str]) -> bool:
    if is_non_retryable(error):
        return False
    if any(isinstance(each, (CancelledError, TerminatedError)) for each in remaining(error)):
        return False
    return type_names(error).isdisjoint(names)


_STATUS = {kind: RunStatus(status) for kind, status in kinds.CLOSE_STATUS.items()}
