"""The ledger: what one run has asked for, and what has been settled. Makes delivery exactly once.

A message is accepted once: a result whose command is settled, a fired timer that was canceled, a
signal id that was seen are refused. Two bit masks over sequence numbers, `opened` and `settled`,
only ever gain bits, so any order, duplication and split of the same messages ends in one state.

Local work is what only this process is doing for the run: eager activities, children and external
requests whose outcome the store has not confirmed, and code that was stopped midway. After a crash
somebody must do it again.
"""

from __future__ import annotations

from typing import Final

from hotmesh.core import kinds
from hotmesh.core.errors import LedgerError
from hotmesh.core.kinds import ALWAYS_LOCAL, CLOSE_STATUS, EVENTS, OPENING, SETTLES
from hotmesh.core.types import Event

SEQ_MAX: Final = (1 << 24) - 1
"""Highest sequence number of a command that opens work: bounds a run's masks at 2 MiB each."""

SCHEDULE_TO_START: Final = 1
SCHEDULE_TO_CLOSE: Final = 2

_WORD_BITS = 64


class OpenCommand:
    """A command whose outcome is still to come."""

    __slots__ = ("deadlines", "kind", "number", "seq", "starting")

    def __init__(self, kind: int, seq: int, number: int) -> None:
        self.kind = kind
        self.seq = seq
        self.number = number
        self.starting = kind == kinds.CHILD
        self.deadlines: list[tuple[int, int]] = []  # (purpose, due_ms)

    @property
    def is_local(self) -> bool:
        """Whether only this process is doing the work."""
        if self.kind == kinds.ACTIVITY:
            return self.number == 0
        return self.starting or self.kind in ALWAYS_LOCAL

    @property
    def is_task(self) -> bool:
        """Whether the work is an activity task in the store."""
        return self.kind == kinds.ACTIVITY and self.number > 0


class Ledger:
    """The state of one run, as far as delivery is concerned."""

    __slots__ = (
        "_opened",
        "_released",
        "_seen",
        "_settled",
        "closed",
        "local",
        "open",
        "paused",
        "started",
    )

    def __init__(self) -> None:
        self.started = False
        self.closed = False
        self.local = 0
        """Open local work."""
        self.paused = False
        """Whether the run's code was stopped midway: that it goes on is local work too."""
        self.open: dict[int, OpenCommand] = {}
        self._opened: list[int] = []
        self._settled: list[int] = []
        self._seen: set[tuple[int, bytes]] = set()
        self._released: list[tuple[OpenCommand, int]] = []

    def command(self, event: Event) -> None:
        """Record a command of the run.

        Raises:
            LedgerError: It contradicts what was recorded before.
        """
        kind, seq, number = event[0], event[1], event[2]
        if self.closed:
            raise LedgerError("after_close", kind, seq)
        if kind in OPENING:
            self._open(kind, seq, number)
        elif kind == kinds.DEADLINE:
            self._deadline(event)
        elif kind == kinds.CANCEL_TIMER:
            found = self.open.get(seq)
            if found is not None and found.kind == kinds.TIMER:
                self._settle(found, kind)
        elif kind == kinds.REDISPATCH:
            self._redispatch(seq, number)
        elif kind == kinds.PAUSED:
            self._pause(kind, seq, paused=True)
        elif kind == kinds.RESUMED:
            self._pause(kind, seq, paused=False)
        elif kind in CLOSE_STATUS:
            self.closed = True

    def accept(self, event: Event) -> bool:
        """Take a job in; false if it is a duplicate or comes too late."""
        if self.closed:
            return False
        kind, seq = event[0], event[1]
        openers = SETTLES.get(kind)
        if openers is not None:
            found = self.open.get(seq)
            if found is None or found.kind not in openers:
                return False
            if kind == kinds.CHILD_START_FAILED and not found.starting:
                return False
            self._settle(found, kind)
            return True
        if kind in EVENTS:
            return not event[4] or self._first_sight(kind, event[4])
        if kind == kinds.CHILD_STARTED:
            return self._child_started(seq)
        if kind == kinds.START:
            first = not self.started
            self.started = True
            return first
        if kind == kinds.RUN_TIMED_OUT:
            return self._first_sight(kind, b"")
        return False

    def is_open(self, seq: int) -> bool:
        """Whether the command with this sequence number still waits for its outcome."""
        return seq in self.open

    def counts(self) -> tuple[int, int, int]:
        """How many activity tasks, timers and waits for mail are open."""
        found = list(self.open.values())
        return (
            sum(each.is_task for each in found),
            sum(each.kind == kinds.TIMER for each in found),
            sum(each.kind == kinds.WAIT for each in found),
        )

    def words(self) -> tuple[list[int], list[int]]:
        """The opened and the settled mask, as 64-bit words; bit n of word w is seq 64 w + n."""
        return list(self._opened), list(self._settled)

    def local_seqs(self) -> list[int]:
        """Sequence numbers of the open local work, ascending."""
        return sorted(seq for seq, each in self.open.items() if each.is_local)

    def take_released(self) -> list[tuple[OpenCommand, int]]:
        """The commands settled since the last call, each with the kind that settled it."""
        released, self._released = self._released, []
        return released

    def forget_deadline(self, seq: int, purpose: int) -> None:
        """An open activity's deadline has passed; its timer is no longer there to be dropped."""
        command = self.open[seq]
        command.deadlines = [each for each in command.deadlines if each[0] != purpose]

    def _open(self, kind: int, seq: int, number: int) -> None:
        if not 1 <= seq <= SEQ_MAX or (kind == kinds.ACTIVITY and number < 0):
            raise LedgerError("range", kind, seq)
        if not _gain(self._opened, seq):
            raise LedgerError("opened_twice", kind, seq)
        command = OpenCommand(kind, seq, number)
        self.open[seq] = command
        self.local += command.is_local

    def _settle(self, command: OpenCommand, kind: int) -> None:
        gained = _gain(self._settled, command.seq)
        assert gained, "an open command was settled before"
        del self.open[command.seq]
        self.local -= command.is_local
        self._released.append((command, kind))

    def _deadline(self, event: Event) -> None:
        kind, seq, due_ms, _, meta, _ = event
        if meta not in (b"\x01", b"\x02"):
            raise LedgerError("purpose", kind, seq)
        found = self.open.get(seq)
        if found is None or found.kind != kinds.ACTIVITY:
            raise LedgerError("not_open", kind, seq)
        found.deadlines.append((meta[0], due_ms))

    def _redispatch(self, seq: int, queue_id: int) -> None:
        found = self.open.get(seq)
        if found is None or found.kind != kinds.ACTIVITY:
            raise LedgerError("not_open", kinds.REDISPATCH, seq)
        if queue_id <= 0:
            raise LedgerError("range", kinds.REDISPATCH, seq)
        self.local -= found.is_local
        found.number = queue_id

    def _pause(self, kind: int, seq: int, *, paused: bool) -> None:
        if paused == self.paused:
            raise LedgerError("opened_twice" if paused else "not_open", kind, seq)
        self.paused = paused
        self.local += 1 if paused else -1

    def _child_started(self, seq: int) -> bool:
        found = self.open.get(seq)
        if found is None or not found.starting:
            return False
        found.starting = False
        self.local -= 1
        return True

    def _first_sight(self, kind: int, identity: bytes) -> bool:
        if (kind, identity) in self._seen:
            return False
        self._seen.add((kind, identity))
        return True


def _gain(mask: list[int], seq: int) -> bool:
    """Set a bit of a mask; false if it is set already. The only way a mask ever changes."""
    word, bit = divmod(seq, _WORD_BITS)
    if word >= len(mask):
        mask.extend([0] * (word + 1 - len(mask)))
    if mask[word] >> bit & 1:
        return False
    mask[word] |= 1 << bit
    return True
