"""The timer wheel: tokens with a due time, handed out in order once their time has come.

This twin is a heap with lazy deletion, which is the fastest such structure in Python and the
easiest to read; the Rust twin is a hierarchical wheel. Their contracts are one.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

_DEAD_MIN = 64
"""Dead heap items that are put up with before the heap is rebuilt."""


class Wheel:
    """Timers by token. Nothing comes out early; equal due times come out in insertion order."""

    __slots__ = ("_entries", "_heap", "_inserted")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, int]] = []  # (due, insertion, token), dead ones included
        self._entries: dict[int, tuple[int, int]] = {}  # token → (due, insertion) of live ones
        self._inserted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, due_ms: int, token: int) -> None:
        """Set a timer. A token that is set already is moved."""
        self._inserted += 1
        self._entries[token] = (due_ms, self._inserted)
        heappush(self._heap, (due_ms, self._inserted, token))
        self._compact()

    def cancel(self, token: int) -> bool:
        """Remove a timer; false if there is none with this token."""
        if self._entries.pop(token, None) is None:
            return False
        self._compact()
        return True

    def advance(self, now_ms: int) -> list[int]:
        """Take out the tokens that are due at `now_ms`, ordered by (due, insertion)."""
        due: list[int] = []
        heap = self._heap
        while heap and heap[0][0] <= now_ms:
            due_ms, inserted, token = heappop(heap)
            if self._entries.get(token) == (due_ms, inserted):
                del self._entries[token]
                due.append(token)
        return due

    def next_due(self) -> int | None:
        """The earliest due time, or None if there is no timer."""
        heap = self._heap
        while heap:
            due_ms, inserted, token = heap[0]
            if self._entries.get(token) == (due_ms, inserted):
                return due_ms
            heappop(heap)
        return None

    def _compact(self) -> None:
        """Rebuild the heap once most of it is dead, so cancelled timers take no memory."""
        if len(self._heap) > 2 * len(self._entries) + _DEAD_MIN:
            entries = self._entries.items()
            self._heap = [(due, inserted, token) for token, (due, inserted) in entries]
            heapify(self._heap)
