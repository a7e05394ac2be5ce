"""The rollcall's rows: what routers say of themselves, hear, and leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class HeldTask(NamedTuple):
    """A first attempt that a router had in hand without a task, and the task that it becomes."""

    queue_id: int
    activity_type: str
    lane: int
    run_id: bytes
    seq: int
    attempt: int
    """1 of one that has begun: it is claimed by the router. 0: not begun, anybody may claim it."""
    frame: bytes
    transition: int
    """The seq of the transition that asked for it, where its commit is not known: stored only if
    the journal has that. -1: it is known to be committed."""


class Registration(NamedTuple):
    """A router's row in the rollcall."""

    router_id: bytes
    namespace: str
    queue_id: int
    hosts_workflows: bool
    """Routers without workflows own no lanes."""
    lease_ms: int
    info: bytes
    """JSON for people: task queue, types hosted, build id, process, idle or busy."""
    beats: int = 0
    """How many beats of this router were answered. The store counts too: if it knows of fewer, it
    went back."""
    workflow_types: Sequence[str] | None = None
    """Those hosted: of their side queues it takes lanes too. None hosts any."""
    latest_ms: int | None = None
    """What the router takes the store's time for: no lease is over that lasts longer, whatever the
    store's clock says. None believes the clock."""
    jump_ms: int = 0
    """By how much the store's time was seen to jump, by the router's own clock; taken out of it if
    its shift is still ``jump_shift_ms``."""
    jump_shift_ms: int = 0


class Beat(NamedTuple):
    """``alive`` false: the router was declared dead, or the store went back and knows nothing of it
    or of its task queue: it must join again under a new id."""

    alive: bool
    now_ms: int
    lanes: Sequence[int]
    """All lanes owned now, in order; free ones up to the fair share were just taken."""
    surplus: Sequence[int]
    """Those of them to give back so that the others get their share."""
    routers: int
    """Live routers that share the queue's lanes, this one included."""
    shift_ms: int = 0
    """By how much the store's time is ahead of its wall clock."""
    went_back: bool = False
    """Whether the store knows of fewer beats than this router: all that it read may be wrong."""


class RouterRow(NamedTuple):
    """A router as listed."""

    router_id: bytes
    namespace: str
    queue_id: int
    task_queue: str
    lanes: int
    seen_ms: int
    alive: bool
    info: bytes
