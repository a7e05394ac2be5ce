"""Write what follows from the tables of the core: its Rust twin, and pictures in the documents.

What stands outside the marks of a file is left as it is.
"""

import ast
import textwrap
from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path

from hotmesh.core import kinds, run_states

ROOT = Path(__file__).resolve().parent.parent
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


def rust_kinds() -> str:
    """The kinds, and what the Rust core asks of them."""
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
    return _blocks(blocks)


def rust_run_states() -> str:
    """The states of a run, and the arrows between them."""
    said = _docstrings(run_states.__file__)
    states = "".join(
        f"{_comment(said[name.upper()])}    {name.title()} = {number},\n"
        for number, name in sorted(run_states.NAMES.items())
    )
    arrows = "\n".join(
        f"{_comment(said[name.upper()])}    {name}:\n        {_arrows(arrow)};\n"
        for name, arrow in run_states.ARROWS.items()
    )
    return _blocks({"states": states, "arrows": arrows})


def picture_of_run_states() -> str:
    """A picture of both, but for what leads from every state to one: that is said beside it."""
    lines: dict[tuple[int, int], list[str]] = {}
    for name, arrow in run_states.ARROWS.items():
        for before, after in arrow.items():
            if name not in ("fail", "forget"):
                lines.setdefault((before, after), []).append(name.replace("_", " "))
    names = {**run_states.NAMES, run_states.GONE: "[*]"}
    drawn = "".join(
        f"    {names[before]} --> {names[after]}: {', '.join(found)}\n"
        for (before, after), found in lines.items()
    )
    return f"\n```mermaid\nstateDiagram-v2\n    direction LR\n{drawn}```\n\n"


WRITTEN: dict[str, tuple[str, str, Callable[[], str]]] = {
    "rust/core/src/kinds.rs": (
        "// Below: written by `make tables` from `python/hotmesh/core/kinds.py`.\n",
        "",
        rust_kinds,
    ),
    "rust/core/src/run_states.rs": (
        "// Below: written by `make tables` from `python/hotmesh/core/run_states.py`.\n",
        "",
        rust_run_states,
    ),
    "docs/architecture.md": (
        "<!-- Written by `make tables` from `python/hotmesh/core/run_states.py`: -->\n",
        "<!-- Up to here. -->\n",
        picture_of_run_states,
    ),
}
"""File → the mark above what is written, the mark below it ("": to the end), and what it is."""


def rewritten(path: str, text: str) -> str:
    """The text of a file with what follows from the tables in its place.

    Args:
        path: Which one, a key of :data:`WRITTEN`.
        text: As it is.
    """
    above, below, write = WRITTEN[path]
    head, mark, rest = text.partition(above)
    assert mark, f"{path} has no mark {above!r}"
    _, end, tail = rest.partition(below) if below else (rest, "", "")
    assert end == below, f"{path} has no mark {below!r}"
    return head + mark + write() + end + tail


def _blocks(blocks: dict[str, str]) -> str:
    return "".join(f"\n{name}! {{\n{rows}}}\n" for name, rows in blocks.items())


def _joined(members: Collection[int]) -> str:
    return " | ".join(kinds.NAMES[kind] for kind in sorted(members))


def _arrows(arrow: run_states.Arrow) -> str:
    names = {number: name.title() for number, name in run_states.NAMES.items()}
    return ", ".join(f"{names[before]} => {names[after]}" for before, after in arrow.items())


def _comment(text: str) -> str:
    indent = "    /// "
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent) + "\n"


def _docstrings(path: str) -> dict[str, str]:
    """Name → the text that stands below its assignment."""
    body = ast.parse(Path(path).read_text()).body
    found: dict[str, str] = {}
    for assigned, said in pairwise(body):
        if isinstance(assigned, ast.AnnAssign) and isinstance(said, ast.Expr):
            found[ast.unparse(assigned.target)] = " ".join(ast.literal_eval(said.value).split())
    return found


if __name__ == "__main__":
    for name in WRITTEN:
        target = ROOT / name
        target.write_text(rewritten(name, target.read_text()))
