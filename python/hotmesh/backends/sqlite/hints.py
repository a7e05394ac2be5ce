"""Wake-up hints between the event loops of a process. Hints may be lost; they carry no truth."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

Callback = Callable[[str | None], None]

DONE = "done:"
"""What the channels of those who wait for runs and replies begin with."""

_LOG = logging.getLogger("hotmesh.backends.sqlite")


class _Listener(NamedTuple):
    loop: asyncio.AbstractEventLoop
    callback: Callback


class Hints:
    """The listeners of one database in this process; safe to use from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: defaultdict[str, list[_Listener]] = defaultdict(list)

    def listen(self, channel: str, callback: Callback) -> None:
        """Call back on the running loop from now on."""
        with self._lock:
            self._listeners[channel].append(_Listener(asyncio.get_running_loop(), callback))

    def unlisten(self, channel: str, callback: Callback) -> None:
        """Take a callback out; nothing happens if it does not listen."""
        with self._lock:
            listeners = self._listeners[channel]
            for listener in listeners:
                if listener.callback == callback:
                    listeners.remove(listener)
                    break
            if not listeners:
                del self._listeners[channel]

    def publish(self, hints: Sequence[tuple[str, str]]) -> None:
        """Call every listener of these channels back with its payload, soon."""
        with self._lock:
            calls = [
                (listener, payload)
                for channel, payload in hints
                for listener in self._listeners.get(channel, ())
            ]
        for listener, payload in calls:
            _call(listener.loop, listener.callback, payload)

    def heard(self, beginning: str) -> bool:
        """Whether anybody listens to a channel whose name begins like this."""
        with self._lock:
            return any(channel.startswith(beginning) for channel in self._listeners)

    def publish_foreign(self, done: str | None) -> None:
        """Another process changed something: call every listener back.

        Args:
            done: The ids that it is done with, as ``done:`` channels carry them; their listeners
                are not called if there are none. None if that is not known.
        """
        with self._lock:
            calls = [
                (listener, done if channel.startswith(DONE) else None)
                for channel, listeners in self._listeners.items()
                for listener in listeners
            ]
        for listener, payload in calls:
            if payload != "":
                _call(listener.loop, listener.callback, payload)


def _call(loop: asyncio.AbstractEventLoop, callback: Callback, payload: str | None) -> None:
    try:
        loop.call_soon_threadsafe(callback, payload)
    except RuntimeError:  # a loop that was closed without unlistening
        _LOG.debug("A listener's event loop is closed")
