"""One run in the router's memory, and what has arrived for it."""

from __future__ import annotations

from typing import NamedTuple

from hotmesh.core import kinds
from hotmesh.core._python.codec import encode_event
from hotmesh.core._python.ledger import Ledger
from hotmesh.core._python.timers import START_EVENT
from hotmesh.core.rope import Bytes
from hotmesh.core.run_states import CLOSED, DEFER, FAIL, GIVE
from hotmesh.core.types import Event


class MessageOrigin(NamedTuple):
    """The stream message an event came in."""

    lane: int
    message_id: int


class TimerOrigin(NamedTuple):
    """The timer row an event stands for."""

    lane: int
    due_ms: int
    key: int


Origin = MessageOrigin | TimerOrigin | None
"""Where an event came from; None for what this process made itself."""


class Arrival(NamedTuple):
    """An event on its way to a run."""

    event: Event
    frame: Bytes
    """Its bytes, journaled as they came."""
    origin: Origin
    synthetic: bool = False
    """A start made up because the run's first event is not one."""

    @property
    def is_local(self) -> bool:
        """Whether this process made the event, so that nobody can read it again."""
        return self.origin is None and not self.synthetic


SYNTHETIC_START = Arrival(START_EVENT, encode_event(START_EVENT), None, synthetic=True)


class Run:
    """A run this router knows.

    What waits, waits in `backlog`, as does what is too much for one activation. While a run is busy
    or answering, and then only, it has `jobs`.
    """

    __slots__ = (
        "anchor",
        "backlog",
        "dismissed",
        "job_bytes",
        "jobs",
        "journal_seq",
        "lane",
        "ledger",
        "run_id",
        "state",
    )

    def __init__(self, run_id: bytes, lane: int, state: int) -> None:
        self.run_id = run_id
        self.lane = lane
        self.state = state
        """See `run_states`; an arrow is the only way from one to another."""
        self.ledger = Ledger()
        self.journal_seq = 0
        self.jobs: list[Arrival] = []
        self.job_bytes = 0
        """Frames of the jobs, together."""
        self.backlog: list[Arrival] = []
        self.dismissed: list[Arrival] = []
        """Duplicates and the like that came beside the jobs, to be acknowledged with them."""
        self.anchor: Origin = None
        """The message or timer kept unacknowledged while local work is open."""

    def has_local_work(self) -> bool:
        """Whether a crash now would leave work that only a reader of the stream can find."""
        return self.ledger.local > 0 and self.state < CLOSED

    def accept(self, arrival: Arrival) -> bool:
        """Put an event among the jobs; false if the ledger refuses it.

        An empty journal must begin with a start, whatever came first.
        """
        ledger = self.ledger
        was_started = ledger.started
        if not ledger.accept(arrival.event):
            return False
        self.state = GIVE[self.state]
        self.job_bytes += len(arrival.frame)
        if arrival.event[0] == kinds.START:
            self.jobs.insert(0, arrival)
            return True
        if not was_started:
            ledger.accept(START_EVENT)
            self.jobs.insert(0, SYNTHETIC_START)
        self.jobs.append(arrival)
        return True

    def defer_queries(self, count: int) -> None:
        """Put the last so many queries among the jobs before the backlog, in order."""
        at = len(self.jobs)
        while count and at:
            at -= 1
            count -= self.jobs[at].event[0] == kinds.QUERY
        rest = self.jobs[at:]
        self.jobs[at:] = [job for job in rest if job.event[0] != kinds.QUERY]
        self.backlog[:0] = [job for job in rest if job.event[0] == kinds.QUERY]
        if rest and not self.jobs:
            self.state = DEFER[self.state]

    def fail(self) -> None:
        """Give the jobs back to the backlog, in order, and forget what was believed of them."""
        jobs = [job for job in self.jobs if not job.synthetic]
        self.backlog[:0] = [*jobs, *self.dismissed]
        self.jobs = []
        self.dismissed = []
        self.job_bytes = 0
        self.ledger = Ledger()
        self.state = FAIL[self.state]

    def local_arrivals(self) -> list[Arrival]:
        """What this process made for the run and nobody can read again, in order."""
        return [each for each in (*self.jobs, *self.backlog) if each.is_local]
