"""Whether replayed code calls what it calls with the arguments that the journal has.

Arguments may differ legally: a field with a default was added, a library writes another form. But
arguments that turn up at another command's place mean that the code goes another way than it went,
and results would be given to the wrong calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from hotmesh.core import Event, kinds
from hotmesh.core.kinds import MORE_THAN_BODY, UNCOMPARED
from hotmesh.engine.arguments import DIGEST_BYTES, ArgumentDigests, arguments_of


class Change(NamedTuple):
    """A command whose arguments are not those recorded."""

    transition: int
    command: Event
    """As the journal has it."""
    recorded: bytes
    issued: bytes


class ArgumentComparer:
    """Compares the arguments of one run's replay.

    Args:
        digests: Of this run.
    """

    __slots__ = ("_digests", "changes")

    def __init__(self, digests: ArgumentDigests) -> None:
        self._digests = digests
        self.changes: list[Change] = []
        """Found so far."""

    def compare(
        self, transition: int, recorded: Sequence[Event], issued: Sequence[Event]
    ) -> Change | None:
        """Take in a transition whose commands are of the same kinds and names.

        Returns:
            A command that was issued with the arguments of another one of this transition.
        """
        found = [
            (left, right)
            for left, right in zip(_compared(recorded), _compared(issued), strict=True)
            if left[5] != right[5] or left[0] in MORE_THAN_BODY
        ]
        if not found:
            return None
        sealed = next((each[5] for each in recorded if each[0] == kinds.DIGESTS), None)
        changes = (
            list(_changes(transition, found))
            if sealed is None
            else list(self._changed_digests(transition, recorded, issued, sealed))
        )
        if not changes:
            return None
        self.changes += changes
        return _moved(changes)

    def permuted(self) -> Change | None:
        """A changed command, if all that changed of its kind and name is the order in the run."""
        groups: dict[tuple[int, str], list[Change]] = {}
        for change in self.changes:
            groups.setdefault((change.command[0], change.command[3]), []).append(change)
        for group in groups.values():
            recorded = Counter(change.recorded for change in group)
            if recorded == Counter(change.issued for change in group):
                return group[0]
        return None

    def _changed_digests(
        self, transition: int, recorded: Sequence[Event], issued: Sequence[Event], sealed: bytes
    ) -> Iterable[Change]:
        at = 0
        for left, right in zip(_compared(recorded), _compared(issued), strict=True):
            arguments = arguments_of(right)
            if arguments is None:
                continue
            before, now = sealed[at : at + DIGEST_BYTES], self._digests.of(arguments)
            at += DIGEST_BYTES
            if before != now:
                yield Change(transition, left, before, now)


def _compared(commands: Iterable[Event]) -> list[Event]:
    return [each for each in commands if each[0] not in UNCOMPARED]


def _changes(transition: int, pairs: Iterable[tuple[Event, Event]]) -> Iterable[Change]:
    for left, right in pairs:
        before, now = arguments_of(left), arguments_of(right)
        if before is not None and now is not None and before != now:
            yield Change(transition, left, before, now)


def _moved(changes: Sequence[Change]) -> Change | None:
    recorded = {(each.command[0], each.command[3], each.recorded) for each in changes}
    for change in changes:
        if (change.command[0], change.command[3], change.issued) in recorded:
            return change
    return None
