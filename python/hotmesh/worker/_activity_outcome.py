"""What came of an attempt, as events and states that are stored: results, failures, retries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from hotmesh import json_bytes
from hotmesh.activity import CompleteAsyncError, logger
from hotmesh.converter import (
    DataConverter,
    Failure,
    apply_codec_to_failure,
    body_to_payloads,
    encode_failure,
    encode_values,
)
from hotmesh.converter.failure import TimeoutFailureInfo
from hotmesh.core import kinds
from hotmesh.engine.activity_task import ActivityTask, Event, Outcome
from hotmesh.engine.failures import stored_failure
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    PayloadTooLargeError,
    RetryState,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
    TimeoutType,
)
from hotmesh.groups import is_benign, is_interruption, remaining
from hotmesh.interrupts import is_from_outside
from hotmesh.printing import message_of, printable
from hotmesh.worker._activity_heartbeat import Heartbeats
from hotmesh.worker._activity_registry import RegisteredActivity
from hotmesh.worker._activity_retry import retry_decision
from hotmesh.worker._activity_running import (
    RunningActivity,
    deadlines,
    pack_state,
    state_details,
    state_failure,
)

TIMEOUT_NAMES = {
    TimeoutType.START_TO_CLOSE: "StartToClose",
    TimeoutType.SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutType.SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutType.HEARTBEAT: "Heartbeat",
}


class OutcomeWriter:
    """Writes the outcomes of a runner's attempts.

    Args:
        heartbeats: Knows the details that the next attempt shall find.
        identity: The worker, as failures name it.
        payload_limit: Largest result or failure in bytes.
        now_ms: The clock.
    """

    def __init__(
        self, heartbeats: Heartbeats, identity: str, payload_limit: int, now_ms: Callable[[], int]
    ) -> None:
        self._heartbeats = heartbeats
        self._meta = json_bytes.dumps({"identity": identity})
        self._payload_limit = payload_limit
        self._now_ms = now_ms

    def result_body(
        self,
        converter: DataConverter,
        registered: RegisteredActivity,
        task: ActivityTask,
        result: Any,
    ) -> bytes:
        """The result of a function as stored values; a codec is not applied yet.

        Raises:
            ApplicationError: It can't be serialised. Not retryable: the work is done, and doing
                it again would end the same way.
        """
        what = registered.result_text or f"result of activity {task.name!r}"
        try:
            return encode_values(converter, (result,), what)
        except Exception as err:
            raise ApplicationError(
                f"{message_of(err)} (type {type(result).__qualname__})",
                type=type(err).__name__,
                non_retryable=True,
            ) from err

    def completed(self, task: ActivityTask, body: bytes) -> Event:
        """The event of a function that returned.

        Raises:
            ApplicationError: The result is too large. Not retryable.
        """
        if len(body) > self._payload_limit:
            too_large = PayloadTooLargeError(
                len(body), self._payload_limit, f"result of activity {task.name!r}"
            )
            raise ApplicationError(
                str(too_large), type="PayloadTooLargeError", non_retryable=True
            ) from too_large
        return (kinds.ACTIVITY_COMPLETED, task.seq, task.attempt, "", b"", body)

    def returned(
        self,
        converter: DataConverter,
        registered: RegisteredActivity,
        task: ActivityTask,
        result: Any,
    ) -> Event:
        """The event of a function that returned, where there is no codec.

        Raises:
            ApplicationError: The result can't be serialised, or is too large. Not retryable.
        """
        try:
            body = encode_values(converter, (result,), registered.result_text)
        except Exception:  # noqa: BLE001 - a converter may raise anything
            body = self.result_body(converter, registered, task, result)  # It says more.
        if len(body) > self._payload_limit:
            return self.completed(task, body)  # It refuses.
        return (kinds.ACTIVITY_COMPLETED, task.seq, task.attempt, "", b"", body)

    async def of_error(self, running: RunningActivity, error: BaseException) -> Outcome:
        """The outcome of a function that raised."""
        if all(isinstance(each, CompleteAsyncError) for each in remaining(error)):
            logger.debug("Completing asynchronously")
            return await self._left_to_a_client(running)
        if is_interruption(error):
            details = running.cancellation
            if running.heartbeat_error is not None:
                error = running.heartbeat_error
            elif details is not None and details.worker_shutdown:
                error = ApplicationError(
                    "Worker is shutting down and this activity did not complete in time",
                    type="WorkerShutdown",
                )
            elif details is not None:
                return await self._canceled(running)
        _log(error)
        return await self._failed(running, error)

    async def _left_to_a_client(self, running: RunningActivity) -> Outcome:
        # Else a client may have told more of it by now than this worker knows.
        told = running.heartbeat_body is not None
        state = await self._heartbeats.state(running) if told else b""
        expires_ms, _ = deadlines(running.task, running.heard_ms)[0]
        return Outcome("async", delay_ms=max(0, expires_ms - self._now_ms()), state=state)

    async def timed_out(
        self, running: RunningActivity, timeout: TimeoutType, where: str
    ) -> Outcome:
        """The outcome of an attempt that took too long, or was silent for too long.

        Args:
            running: The attempt.
            timeout: Which of its timeouts.
            where: The stack of where it is, for people.
        """
        task, message = running.task, f"activity {TIMEOUT_NAMES[timeout]} timeout"
        error = TimeoutError(message, type=timeout, last_heartbeat_details=())
        details = await self._stored_details(running)
        if timeout is not TimeoutType.SCHEDULE_TO_CLOSE:
            return await self._failed(running, error, _timeout_failure(error, details, where=where))
        failure = _timeout_failure(error, details, state_failure(task.state), where)
        return self._final(task, failure, RetryState.TIMEOUT, error)

    def of_unwritable(
        self, task: ActivityTask, error: BaseException, reason: BaseException
    ) -> Outcome:
        """The outcome of a failed attempt whose failure the program's own code can't write.

        Written without converter and codec, so it says which classes failed and nothing else.

        Args:
            task: What was attempted.
            error: What the attempt failed with.
            reason: What writing it failed with.
        """
        logger.error(
            "The failure of activity %s can't be stored as it is",
            task.name,
            exc_info=printable(reason),
        )
        name = type(error).__name__
        text = f"{name}; storing it failed with {type(reason).__name__}"
        failure = encode_failure(DataConverter.default, ApplicationError(text, type=name))
        decision = retry_decision(
            task.options, task.attempt, error, task.scheduled_ms, self._now_ms()
        )
        if isinstance(decision, RetryState):
            return self._final(task, failure, decision, error)
        return Outcome("retry", delay_ms=decision, state=pack_state(b"", failure), failure=error)

    def lost(self, task: ActivityTask) -> Outcome | None:
        """The outcome of a task whose last worker vanished on the last attempt that is allowed.

        Returns:
            The final failure; None if the attempt that the task now is may be made.
        """
        policy: Mapping[str, Any] = task.options.get("retry") or {}
        attempts_max: int = policy.get("a") or 0
        if not attempts_max or task.attempt <= attempts_max:
            return None
        silent = bool(task.options.get("hb"))
        error = TimeoutError(
            "activity worker lost",
            type=TimeoutType.HEARTBEAT if silent else TimeoutType.START_TO_CLOSE,
            last_heartbeat_details=(),
        )
        failure = _timeout_failure(error, state_details(task.state), state_failure(task.state))
        last_made = dataclasses.replace(task, attempt=task.attempt - 1)
        return self._final(last_made, failure, RetryState.MAXIMUM_ATTEMPTS_REACHED, error)

    async def _canceled(self, running: RunningActivity) -> Outcome:
        task = running.task
        logger.debug("Completing as cancelled")
        failure = await _encoded(
            running.converter, encode_failure(running.converter, CancelledError("Cancelled"))
        )
        return Outcome(
            "canceled", (kinds.ACTIVITY_CANCELED, task.seq, task.attempt, "", b"", failure)
        )

    async def _failed(
        self, running: RunningActivity, error: BaseException, failure: bytes | None = None
    ) -> Outcome:
        task, details = running.task, running.cancellation
        decision = retry_decision(
            task.options,
            task.attempt,
            error,
            task.scheduled_ms,
            self._now_ms(),
            cancel_requested=details is not None and details.cancel_requested,
        )
        if failure is None:
            failure = await self._limited_failure(running, error)
        if isinstance(decision, RetryState):
            return self._final(task, failure, decision, error)
        state = pack_state(await self._stored_details(running), failure)
        return Outcome("retry", delay_ms=decision, state=state, failure=error)

    def _final(
        self, task: ActivityTask, failure: bytes, state: RetryState, error: BaseException
    ) -> Outcome:
        event = (kinds.ACTIVITY_FAILED, task.seq, task.attempt, state.name, self._meta, failure)
        return Outcome("failed", event, failure=error)

    async def _stored_details(self, running: RunningActivity) -> bytes:
        try:
            return await self._heartbeats.details(running)
        except BaseException as own:  # any codec may raise anything
            if is_from_outside(own):
                raise
            # The attempt fails for a reason of its own; losing progress must not hide it.
            logger.exception("Heartbeat details are lost for the next attempt")
            return b""

    async def _limited_failure(self, running: RunningActivity, error: BaseException) -> bytes:
        what = f"activity {running.task.name!r}"
        failure = stored_failure(running.converter, error, self._payload_limit, what)
        return await _encoded(running.converter, failure)


async def _encoded(converter: DataConverter, failure: bytes) -> bytes:
    """A failure as the codec wants it stored."""
    if converter.payload_codec is not None:
        failure = await apply_codec_to_failure(converter.payload_codec, failure, True)
    return failure


def _timeout_failure(
    error: TimeoutError, details: bytes, cause: bytes = b"", where: str = ""
) -> bytes:
    """A timeout as it is stored, around details and a cause that are stored already.

    Written without converter: what a codec encoded must not be encoded again.
    """
    info = TimeoutFailureInfo(int(error.type or 0), body_to_payloads(details))
    failure = Failure(message=error.message, stack_trace=where, timeout_failure_info=info)
    if cause:
        failure.cause = Failure.from_json(cause)
    return failure.to_json()


def _log(error: BaseException) -> None:
    log = logger.debug if is_benign(error) else logger.warning
    log("Completing activity as failed", exc_info=printable(error))
