"""Runs that could not end, since events wait for them that their router has not read yet.

The store closes no run while an event is unread that somebody was told is accepted. A run that was
refused its end sees what has come and ends with it; mostly that is all. Where more waits than one
step reads, it would be refused again and again: such a run is *gathered for*, it waits until what
is stored for it has been read.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from hotmesh.backends.protocol import MessageRow
from hotmesh.limits import BATCH_BYTES_MAX, LANES_PER_QUEUE

IN_VAIN_MAX = 20
IN_VAIN_S = 1.0
"""A run whose end is refused more often than that, and for longer, without anything more to be read
for it, waits for an event in vain: that lies in a wrong lane, or is counted and not there."""

KEPT = 1_000
"""Runs that it is known of; then it is counted anew."""

READS = LANES_PER_QUEUE
"""Reads that bring nothing for a run after which it waits no longer, though others fill each of
them: every lane has had its turn."""

QUIET_READS = 2
"""Reads one after the other that nothing fills: then all has been read. One is not enough, for a
lane may get only its share of a step after one that was full."""


@dataclass(slots=True)
class _Refusal:
    first_s: float
    """When it was refused first without there being more to read than before."""
    times: int = 0
    most: int = 0
    """The most events that were found waiting for it."""
    found: int = 0
    """Those that were found since it was refused last."""
    size: int = 0
    """Bytes of these."""
    reads: int = 0
    """How many have brought nothing for it."""


class RefusedEnds:
    """Those of one pipe.

    Args:
        bytes_max: What a transition can hold: nobody waits for more.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._refusals: dict[bytes, _Refusal] = {}
        self._gathering: set[bytes] = set()
        self._quiet_reads = 0
        self._is_reading = False

    def __bool__(self) -> bool:
        return bool(self._refusals)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._refusals)

    def __contains__(self, run_id: bytes) -> bool:
        return run_id in self._refusals

    @property
    def run_ids(self) -> Collection[bytes]:
        """The runs."""
        return self._refusals.keys()

    @property
    def gathering(self) -> Collection[bytes]:
        """Runs that are not activated, so that what waits for them is read."""
        return self._gathering

    @property
    def goes_on(self) -> bool:
        """Whether the next step may read more for one of these."""
        return bool(self._gathering) and self._is_reading

    def refused(self, run_ids: Sequence[bytes], *, counts: bool = True) -> list[bytes]:
        """The ends of these were refused; what was read of the stream will be read again.

        Args:
            run_ids: The runs.
            counts: Whether it says something if there is nothing more to read for one.

        Returns:
            Those that wait in vain.
        """
        now_s, in_vain = time.monotonic(), list[bytes]()
        if len(self._refusals) > KEPT:
            self._refusals = {each: self._refusals[each] for each in self._gathering}
        for run_id in run_ids:
            refusal = self._refusals.get(run_id)
            if refusal is None:
                self._refusals[run_id] = _Refusal(now_s)
                continue
            if refusal.found > refusal.most:
                refusal.most, refusal.times, refusal.first_s = refusal.found, 0, now_s
            refusal.times += counts
            if refusal.times > IN_VAIN_MAX and now_s - refusal.first_s > IN_VAIN_S:
                in_vain.append(run_id)
            refusal.found = refusal.size = refusal.reads = 0
            self._gathering.add(run_id)
        self._quiet_reads = 0
        self._is_reading = True
        return in_vain

    def has_read(
        self, messages: Sequence[MessageRow], room: int, large_waits: bool = False
    ) -> list[bytes]:
        """A step has read; the runs for which everything has been read, or enough.

        Args:
            messages: What it has brought.
            room: For how many there was room.
            large_waits: Whether a large one was left where it is.
        """
        self._is_reading = room > 0 and not large_waits  # whose turn ends wakes the pipe
        if room <= 0:
            return []
        step_bytes = 0
        for row in messages:
            step_bytes += len(row[3])
            refusal = self._refusals.get(row[2])
            if refusal is not None:
                refusal.found += 1
                refusal.size += len(row[3])
                refusal.reads = 0
        is_full = len(messages) * 2 >= room or step_bytes >= BATCH_BYTES_MAX or large_waits
        self._quiet_reads = 0 if is_full else self._quiet_reads + 1
        done: list[bytes] = []
        for run_id in self._gathering:
            refusal = self._refusals[run_id]
            refusal.reads += 1
            if (
                self._quiet_reads >= QUIET_READS
                or refusal.reads > READS
                or refusal.size >= self._bytes_max
            ):
                done.append(run_id)
        self._gathering.difference_update(done)
        return done

    def stored(self, run_ids: Sequence[bytes]) -> None:
        """Transitions of these runs are stored: whatever they wait for next is another matter."""
        for run_id in run_ids:
            if self._refusals.pop(run_id, None) is not None:
                self._gathering.discard(run_id)
