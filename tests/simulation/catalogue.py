"""The workflows that are played, and what each comes to."""

from __future__ import annotations

from typing import Any

from simulation.app import (
    Again,
    Asks,
    Chain,
    Collect,
    Endless,
    Fan,
    Hurries,
    Lasts,
    Late,
    Naps,
    Passes,
    Sends,
    Tree,
    large,
)
from simulation.grouped import Falls, Groups, Halts, Renews
from simulation.hauled import Hauls

PLAIN = (Chain, Fan, Tree, Collect, Sends, Late, Asks, Again, Endless)

GROUPED = (Groups, Falls, Halts, Renews)

WORKFLOWS = (*PLAIN, Passes, Naps, *GROUPED, Hauls)


HOSTED = (*WORKFLOWS, Lasts, Hurries)
"""What a worker hosts that hosts everything."""


def expected(kind: Any, first: int, count: int) -> Any:
    """What a workflow returns, whatever happens meanwhile; of one that fails, what with."""
    numbers = range(first, first + count)
    if kind in (Chain, Again, Renews):
        return first + count
    if kind is Hauls:
        return large(first + count)
    if kind is Falls:
        return sorted(f"member {number}" for number in numbers)
    if kind in (Naps, Hurries):
        return count
    if kind is Fan or kind is Groups:
        return sum(number + 1 for number in numbers)
    if kind is Tree:
        return sum(number + 2 for number in numbers) + 1
    if kind is Asks:
        return first + sum(number + 1 for number in numbers)
    return list(numbers)


def arguments(kind: Any, first: int, count: int) -> list[Any]:
    """What a workflow is started with."""
    return [first, count, large(first)] if kind is Hauls else [first, count]


ENDLESS = (Endless, Halts, Lasts)
"""Workflows that only a client ends."""
