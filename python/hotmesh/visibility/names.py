"""Names in a query: one that nobody has declared or written is a mistake, not an empty answer."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

from hotmesh.common.search_attributes import declared_types
from hotmesh.exceptions import InvalidArgumentError

SHOWN_MAX = 5
"""Near names that an error lists."""


def undeclared(names: Iterable[str]) -> set[str]:
    """Those that no search attribute key of this process has."""
    return {name for name in names if not declared_types(name)}


def check_names(names: Iterable[str], written: Collection[str]) -> None:
    """Refuse a name that is neither declared here nor written by any run.

    Args:
        names: The attributes that a query names.
        written: Those that runs of its namespace have.

    Raises:
        InvalidArgumentError: There is such a name; lists near ones.
    """
    for name in sorted(undeclared(names)):
        if name in written:
            continue
        near = difflib.get_close_matches(name, written, n=SHOWN_MAX, cutoff=0.5)
        folded = [each for each in written if each.lower() == name.lower()]
        near = list(dict.fromkeys([*folded, *near]))[:SHOWN_MAX]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise InvalidArgumentError(
            f"{name} in a filter is no field of a run, and no run has an attribute of that name; "
            f"a SearchAttributeKey made in this process declares one.{hint}"
        )
