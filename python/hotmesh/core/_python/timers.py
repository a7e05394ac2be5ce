"""Timers: the store's timer rows that this router holds, and what each one means.

A key says what a row is for: ``seq * 4 + purpose`` (0 a timer, 1 schedule-to-start, 2
schedule-to-close), 0 a delayed start, below 0 a timeout of the run itself.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from hotmesh.core import kinds
from hotmesh.core._python.wheel import Wheel
from hotmesh.core.types import Event

START_EVENT: Event = (kinds.START, 0, 0, "", b"", b"")


def timer_key(seq: int, purpose: int) -> int:
    """The key of a timer (purpose 0) or an activity's deadline (1, 2)."""
    return seq * 4 + purpose


def event_of(key: int) -> Event:
    """The job that a fired timer stands for."""
    if key < 0:
        return (kinds.RUN_TIMED_OUT, 0, key, "", b"", b"")
    if key == 0:
        return START_EVENT
    seq, purpose = divmod(key, 4)
    if purpose == 0:
        return (kinds.TIMER_FIRED, seq, 0, "", b"", b"")
    return (kinds.ACTIVITY_TIMED_OUT, seq, purpose, "", b"", b"")


class Timer:
    """A timer row in this router's hands: waiting, fired, or dropped but not committed yet."""

    __slots__ = ("due_ms", "fired", "key", "lane", "run_id", "token")

    def __init__(self, run_id: bytes, lane: int, due_ms: int, key: int, token: int) -> None:
        self.run_id = run_id
        self.lane = lane
        self.due_ms = due_ms
        self.key = key
        self.token = token
        self.fired = False


class Timers:
    """Timer rows by (run, key), on one wheel."""

    __slots__ = ("_next_token", "_runs", "_tokens", "_wheel")

    def __init__(self) -> None:
        self._wheel = Wheel()
        self._runs: dict[bytes, dict[int, Timer]] = {}
        self._tokens: dict[int, Timer] = {}  # those on the wheel
        self._next_token = 0

    def __len__(self) -> int:
        return len(self._wheel)

    def next_due(self) -> int | None:
        """When the next timer fires, or None."""
        return self._wheel.next_due()

    def add(self, run_id: bytes, lane: int, due_ms: int, key: int) -> None:
        """Take a row in; one that is held already (in whatever state) stays as it is."""
        keys = self._runs.setdefault(run_id, {})
        if key in keys:
            return
        self._next_token += 1
        timer = Timer(run_id, lane, due_ms, key, self._next_token)
        keys[key] = self._tokens[timer.token] = timer
        self._wheel.add(due_ms, timer.token)

    def fire(self, now_ms: int) -> list[Timer]:
        """The rows whose time has come, ordered by due time; each is handed out once."""
        fired = [self._tokens.pop(token) for token in self._wheel.advance(now_ms)]
        for timer in fired:
            timer.fired = True
        return fired

    def drop(self, run_id: bytes, lane: int, due_ms: int, key: int) -> bool:
        """The row is about to be deleted; false if it fired, for then whoever handles it does.

        It stays known until `settle`, so that a stale reading does not bring it back.
        """
        timer = self._runs.setdefault(run_id, {}).get(key)
        if timer is None:
            timer = self._runs[run_id][key] = Timer(run_id, lane, due_ms, key, 0)
        elif timer.fired:
            return False
        elif self._tokens.pop(timer.token, None) is not None:
            self._wheel.cancel(timer.token)
        timer.fired = True
        return True

    def settle(self, run_id: bytes, key: int) -> None:
        """The row's deletion is committed."""
        keys = self._runs.get(run_id)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del self._runs[run_id]

    def forget(self, run_ids: Iterable[bytes]) -> None:
        """Let go of every row of these runs."""
        for run_id in run_ids:
            for timer in self._runs.pop(run_id, {}).values():
                if self._tokens.pop(timer.token, None) is not None:
                    self._wheel.cancel(timer.token)

    def in_lanes(self, lanes: Container[int]) -> list[bytes]:
        """The runs that have rows in these lanes."""
        return [
            run_id
            for run_id, keys in self._runs.items()
            if any(timer.lane in lanes for timer in keys.values())
        ]
