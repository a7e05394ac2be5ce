"""Replay: compares what a workflow asks for with what its journal says it asked for."""

from __future__ import annotations

from collections.abc import Sequence

from hotmesh.core.kinds import ROUTER_MADE
from hotmesh.core.types import Event


def match_commands(recorded: Sequence[Event], issued: Sequence[Event]) -> int:
    """Index of the first difference between two lists of commands, or -1 if there is none.

    Kind, seq and name must be equal; arguments may differ. Commands that the router writes are
    skipped in `recorded`; the index counts the rest.
    """
    expected = [each for each in recorded if each[0] not in ROUTER_MADE]
    for index, (left, right) in enumerate(zip(expected, issued, strict=False)):
        if left[0] != right[0] or left[1] != right[1] or left[3] != right[3]:
            return index
    return -1 if len(expected) == len(issued) else min(len(expected), len(issued))
