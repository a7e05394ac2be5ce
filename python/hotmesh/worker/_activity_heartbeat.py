"""Heartbeats: taken from any thread, encoded at once, sent on at most once per interval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from hotmesh.activity import logger
from hotmesh.converter import apply_codec, encode_values
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.exceptions import PayloadTooLargeError
from hotmesh.interrupts import is_from_outside
from hotmesh.printing import printable
from hotmesh.worker._activity_alarm import ActivityAlarm
from hotmesh.worker._activity_running import (
    RunningActivity,
    pack_state,
    state_details,
    state_failure,
)

THROTTLE_SHARE = 0.8
"""Part of the heartbeat timeout that passes between two sent heartbeats."""


class Heartbeats:
    """Collects the heartbeats of all attempts of a runner.

    Args:
        payload_limit: Largest details in bytes.
        now_ms: The clock.
        alarm: Wakes the sender when a heartbeat that was held back may go.
        on_heartbeat: Told on the event loop; gets the task's whole new state.
        spawn: Runs a coroutine of the runner.
        interval_max: Longest interval between two sent heartbeats.
        interval_default: The interval of activities without heartbeat timeout.
    """

    def __init__(
        self,
        payload_limit: int,
        now_ms: Callable[[], int],
        alarm: ActivityAlarm,
        on_heartbeat: Callable[[ActivityTask, bytes], None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        interval_max: timedelta,
        interval_default: timedelta,
    ) -> None:
        self._payload_limit = payload_limit
        self._now_ms = now_ms
        self._alarm = alarm
        self._on_heartbeat = on_heartbeat
        self._spawn = spawn
        self._interval_max_ms = interval_max // timedelta(milliseconds=1)
        self._interval_default_ms = interval_default // timedelta(milliseconds=1)

    def report(
        self, running: RunningActivity, loop: asyncio.AbstractEventLoop, details: tuple[Any, ...]
    ) -> None:
        """Take a heartbeat. From any thread; the last one wins."""
        if running.settled:
            return
        running.heard_ms = self._now_ms()
        what = f"heartbeat details of activity {running.task.name!r}"
        try:
            body = encode_values(running.converter, details, what)
            if len(body) > self._payload_limit:
                raise PayloadTooLargeError(len(body), self._payload_limit, what)
            running.heartbeat_body = body
        except Exception as err:  # noqa: BLE001 - the activity fails with it once it has stopped
            running.heartbeat_error = err
            loop.call_soon_threadsafe(self._fail, running)
            return
        # The flag falls before the body is read (see `_receive`), so no last value is missed.
        if not running.heartbeat_posted:
            running.heartbeat_posted = True
            loop.call_soon_threadsafe(self._receive, running)

    def flush(self, running: RunningActivity) -> None:
        """Send what was held back, if its time has come."""
        if running.heartbeat_unsent and self._now_ms() >= running.heartbeat_flush_ms:
            running.heartbeat_unsent = False
            running.heartbeat_flush_ms = self._now_ms() + self._interval_ms(running)
            self._spawn(self._send(running))

    async def details(self, running: RunningActivity) -> bytes:
        """The latest details as they are stored: of this attempt, else of those before it."""
        body, codec = running.heartbeat_body, running.converter.payload_codec
        if body is None:
            return state_details(running.task.state)
        return body if codec is None else await apply_codec(codec, body, True)

    async def state(self, running: RunningActivity) -> bytes:
        """The task's state as of now: the latest details, and the last failure."""
        return pack_state(await self.details(running), state_failure(running.task.state))

    def _receive(self, running: RunningActivity) -> None:
        running.heartbeat_posted = False
        if running.settled:
            return
        running.heartbeat_unsent = True
        self.flush(running)
        if running.heartbeat_unsent:
            alarm_ms = running.next_alarm_ms()
            if alarm_ms is not None:
                self._alarm.set(running, alarm_ms)

    def _fail(self, running: RunningActivity) -> None:
        if not running.settled:
            logger.warning(
                "Cancelling activity because failed recording heartbeat",
                exc_info=printable(running.heartbeat_error),
            )
            running.interrupt()

    async def _send(self, running: RunningActivity) -> None:
        try:
            state = await self.state(running)
        except BaseException as err:  # a codec's error; the activity fails with it
            if is_from_outside(err):
                raise
            running.heartbeat_error = err
            self._fail(running)
            return
        if not running.settled:
            self._on_heartbeat(running.task, state)

    def _interval_ms(self, running: RunningActivity) -> int:
        timeout_ms = running.task.options.get("hb")
        wanted = int(timeout_ms * THROTTLE_SHARE) if timeout_ms else self._interval_default_ms
        return min(wanted, self._interval_max_ms)
