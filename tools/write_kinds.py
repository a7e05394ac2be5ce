"""Write the Rust core's kinds from the kind table, `python/hotmesh/core/kinds.py`.

What stands above the mark in `rust/core/src/kinds.rs` is left as it is.
"""

import textwrap
from collections.abc import Collection
from pathlib import Path

from hotmesh.core import kinds

TARGET = Path(__file__).resolve().parent.parent / "rust/core/src/kinds.rs"
MARK = "// Below: written by `make kinds` from `python/hotmesh/core/kinds.py`.\n"
WIDTH = 96

SETS: dict[str, tuple[Collection[int], str]] = {
    "is_event": (
        kinds.EVENTS,
        "Whether somebody was told that it is accepted: each is taken once, none is left unread.",
    ),
    "is_not_journaled": (kinds.NOT_JOURNALED, "Whether the journal doesn't get it."),
    "opens": (kinds.OPENING, "Whether this command awaits an outcome."),
    "is_always_local": (
        kinds.ALWAYS_LOCAL,
        "Whether what this command opens is local work until it is settled.",
    ),
    "may_be_local": (kinds.MAY_BE_LOCAL, "Whether this command may open local work."),
    "is_stored": (
        kinds.STORED,
        "Whether this command opens a row of the store, to be deleted when it is settled.",
    ),
    "is_router_made": (
        kinds.ROUTER_MADE,
        "Whether the router writes this command; a replayed workflow never issues it.",
    ),
}
"""Name → the kinds in it, and what it says of them."""


def written(source: str) -> str:
    """The text of the file, given as it is, with all that follows from the table."""
    head, mark, _ = source.partition(MARK)
    assert mark, f"{TARGET} has no mark"
    numbers = "".join(f"    {name} = {kind},\n" for kind, name in sorted(kinds.NAMES.items()))
    statuses = "".join(
        f"    {kinds.NAMES[kind]} = {status},\n" for kind, status in kinds.CLOSE_STATUS.items()
    )
    sets = "\n".join(
        f"{_comment(text)}    {name}:\n        {_joined(members)};\n"
        for name, (members, text) in SETS.items()
    )
    openers: dict[tuple[int, ...], list[int]] = {}
    for outcome, settled in kinds.SETTLES.items():
        openers.setdefault(settled, []).append(outcome)
    outcomes = "".join(
        f"    {_joined(found)}\n        => {_joined(settled)};\n"
        for settled, found in openers.items()
    )
    blocks = {"kinds": numbers, "statuses": statuses, "sets": sets, "outcomes": outcomes}
    return head + mark + "".join(f"\n{name}! {{\n{rows}}}\n" for name, rows in blocks.items())


def _joined(members: Collection[int]) -> str:
    return " | ".join(kinds.NAMES[kind] for kind in sorted(members))


def _comment(text: str) -> str:
    return (
        textwrap.fill(text, WIDTH, initial_indent="    /// ", subsequent_indent="    /// ") + "\n"
    )


if __name__ == "__main__":
    TARGET.write_text(written(TARGET.read_text()))
