"""Which journals a connection has written itself, and need not be looked up before it goes on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

JOURNALS_MAX = 100_000
"""Journals that are known of; then it is begun anew."""


class WrittenJournals:
    """The journals whose newest row was written by the session, over the connection that it has.

    While that connection lasts, the database has not gone back: they are as they were left, for
    nobody else writes to runs of the session's lanes. (To look a row up takes half as long as to
    write one.)
    """

    def __init__(self) -> None:
        self._next: dict[bytes, int] = {}
        """The seq of a journal's next row, by run."""

    def forget(self) -> None:
        """Look everything up again."""
        self._next = {}

    def unsure(self, runs: Sequence[bytes], seqs: Sequence[int]) -> Sequence[Sequence[bytes | int]]:
        """Those of the rows to write of which it has to be looked up whether they come next.

        Args:
            runs: The row's runs.
            seqs: Their seqs.

        Returns:
            Their runs and their seqs.
        """
        due = list(map(self._next.get, runs))
        if due == seqs:
            return (), ()
        rows = [
            row
            for row, next_seq in zip(zip(runs, seqs, strict=True), due, strict=True)
            if row[1] != next_seq
        ]
        return [run for run, _ in rows], [seq for _, seq in rows]

    def wrote(self, runs: Sequence[bytes], seqs: Sequence[int], closed: Iterable[bytes]) -> None:
        """Take note of rows that were written, and of runs that were closed with them."""
        if len(self._next) > JOURNALS_MAX:
            self._next = {}
        self._next.update(zip(runs, [seq + 1 for seq in seqs], strict=True))
        for run in closed:
            self._next.pop(run, None)
