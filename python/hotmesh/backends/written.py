"""Which journals a session has written itself, and need not be looked up before it goes on."""

from __future__ import annotations

from collections.abc import Sequence

JOURNALS_MAX = 100_000
"""Journals that are known of; then it is begun anew."""


class WrittenJournals:
    """The journals whose newest row was written by the session, over the connection that it has.

    While that connection lasts (in SQLite: while the same file is in the database's place), they
    are as they were left, for nobody else writes to runs of the session's lanes. Only somebody who
    restores the database in place changes them; what is lost then is what came last. So for all of
    them one row is looked up, the newest. (To look a row up takes half as long as to write one.)
    """

    def __init__(self) -> None:
        self._next: dict[bytes, int] = {}
        """The seq of a journal's next row, by run."""
        self._newest: tuple[bytes, int] = (b"", 0)
        """One of these that was written to by the latest step that wrote to any."""

    def forget(self) -> None:
        """Look everything up again."""
        self._next = {}

    def unsure(self, runs: Sequence[bytes], seqs: Sequence[int]) -> Sequence[Sequence[bytes | int]]:
        """Of which rows it has to be looked up whether they come next.

        Args:
            runs: The runs of the rows to write.
            seqs: Their seqs.

        Returns:
            Their runs and their seqs; among them the newest row's, if it answers for others.
        """
        due = list(map(self._next.get, runs))
        if due == seqs:
            return ([self._newest[0]], [self._newest[1]]) if runs else ((), ())
        rows = [
            row
            for row, next_seq in zip(zip(runs, seqs, strict=True), due, strict=True)
            if row[1] != next_seq
        ]
        if len(rows) < len(runs):
            rows.append(self._newest)
        return [run for run, _ in rows], [seq for _, seq in rows]

    def wrote(self, runs: Sequence[bytes], seqs: Sequence[int], gone: Sequence[bytes]) -> None:
        """Take note of rows that were written, and of runs that were closed or moved with them."""
        if len(self._next) > JOURNALS_MAX:
            self._next = {}
        known = self._next
        known.update(zip(runs, [seq + 1 for seq in seqs], strict=True))
        for run in gone:
            known.pop(run, None)
        newest = next(filter(known.__contains__, reversed(runs)), self._newest[0])
        if newest in known:
            self._newest = newest, known[newest]
        else:
            self._next = {}  # which of the others is the newest was not noted
