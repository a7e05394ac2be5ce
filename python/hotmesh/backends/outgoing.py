"""What is written for other runs, by clients and by routers: starts and sends, and repeats of them.

A write whose answer was lost may have been applied, and what it sent may have been handled since,
by a run that has closed. So who repeats a write says since when: then the store looks whether a
run that has closed since has the frame in its journal, and answers as it did the first time. (An
open run drops what it has been sent already by itself.) A write that succeeds at once pays nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

REPEAT_SLACK_MS = 600_000
"""How much a store's wall clock, which may be set meanwhile, and its callers' may differ in what
they say of a pause."""


class StartItem(NamedTuple):
    """A run to create together with its start message.

    ``delay_ms`` > 0 stores a timer (``timer_key`` 0) in place of the start message. ``events`` are
    frames delivered right after the start message (signal-with-start), or to the open run under
    ``USE_EXISTING``. Starting the same ``run_id`` twice is a success and changes nothing.
    """

    namespace: str
    workflow_id: str
    run_id: bytes
    workflow_type: str
    lane: int
    reuse: int
    conflict: int
    delay_ms: int
    expire_s: int
    """Seconds to keep the run after closing; -1 keeps it until it is pruned."""
    header: bytes
    """Opaque to the backend: parent, timeouts, retry policy, memo, waiting client."""
    input: bytes
    frame: bytes
    """The start message's frame."""
    attributes: Sequence[tuple[str, bytes]]
    """Names and JSON texts of the run's record (enriched and search attributes, memo)."""
    events: Sequence[bytes]
    over: bytes | None = None
    """The only closed run that may be taken over, b"" for none; None leaves it to ``reuse``."""
    again_ms: int = 0
    """As :attr:`SendItem.again_ms`, of the ``events``: an open run may have taken them."""


class StartOutcome(NamedTuple):
    """``started`` is true when this call (or an earlier one with the same run id) made the run."""

    started: bool
    run_id: bytes
    """The run that holds the workflow id now: ours, the open one, or the newest closed one."""
    status: int
    """Its :class:`RunStatus`."""


class SendItem(NamedTuple):
    """A message to a run named by its workflow id; ``run_id`` b"" means the newest run."""

    namespace: str
    workflow_id: str
    run_id: bytes
    kind: int
    frame: bytes
    allow_closed: bool
    """Queries reach closed runs too; everything else is refused for them."""
    again_ms: int = 0
    """0: this is the first try. Otherwise it may have been sent before, at most so long ago: it is
    not delivered again if one of the workflow's runs has it that has closed since."""


class SendOutcome(NamedTuple):
    """``status`` 0: no such run. Otherwise its :class:`RunStatus`; delivered if ``delivered``."""

    delivered: bool
    run_id: bytes
    status: int
    lane: int


Item = TypeVar("Item", StartItem, SendItem)


class Tries(Generic[Item]):
    """The items of a write that is repeated: each call gives them for the next try.

    Args:
        items: As they are for the first try.
        now_s: A clock that never goes back.
    """

    def __init__(self, items: Sequence[Item], now_s: Callable[[], float] = time.monotonic) -> None:
        self._items = items
        self._now_s = now_s
        self._began_s: float | None = None

    def __call__(self) -> Sequence[Item]:
        """What to write now."""
        if self._began_s is None:
            self._began_s = self._now_s()
            return self._items
        passed_ms = round((self._now_s() - self._began_s) * 1000) + REPEAT_SLACK_MS
        return [item._replace(again_ms=item.again_ms + passed_ms) for item in self._items]
