"""Printing: tables and facts for people, one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

CELL_MAX = 200
"""Characters of a table's cell; more is cut off. Facts and JSON are never cut."""


@dataclass(frozen=True)
class Table:
    """Rows under a heading; `nothing` is said in place of an empty table."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    nothing: str = "Nothing found."


@dataclass(frozen=True)
class Facts:
    """Names and values, one below the other."""

    items: Mapping[str, str]


View = Table | Facts | str
"""What people see of a document."""


class Output:
    """Where a command's answer goes.

    Args:
        as_json: Print documents instead of views.
        stream: Where to. Default is standard output.
    """

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self._as_json = as_json
        self._stream = stream or sys.stdout

    def show(self, document: Any, view: View) -> None:
        """Print an answer.

        Args:
            document: The answer for programs; values that are no JSON are printed as text.
            view: The answer for people.
        """
        if self._as_json:
            self._write(to_json(document, indent=2))
        elif isinstance(view, str):
            self._write(view)
        elif isinstance(view, Facts):
            self._facts(view)
        elif not view.rows:
            self._write(view.nothing)
        elif not (self._stream.isatty() and self._rich_table(view)):
            self._plain_table(view)

    def note(self, text: str) -> None:
        """Say something beside the answer, on standard error."""
        print(text, file=sys.stderr, flush=True)

    def _write(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _facts(self, facts: Facts) -> None:
        width = max(map(len, facts.items), default=0)
        for name, value in facts.items.items():
            self._write(f"{name:<{width}}  {printable(value, None)}")

    def _plain_table(self, table: Table) -> None:
        lines = [[column.upper() for column in table.columns]]
        lines += [[printable(cell) for cell in row] for row in table.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            self._write("  ".join(cells).rstrip())

    def _rich_table(self, table: Table) -> bool:
        """Print it with rich; false where rich is not installed."""
        try:
            from rich import box
            from rich.console import Console
            from rich.table import Table as RichTable
            from rich.text import Text
        except ModuleNotFoundError:
            return False
        shown = RichTable(*table.columns, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in table.rows:
            shown.add_row(*(Text(printable(cell)) for cell in row))
        Console(file=self._stream).print(shown)
        return True


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON text; what JSON has no form for becomes text."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=str)


def printable(text: str, longest: int | None = CELL_MAX) -> str:
    """Text for a terminal: control characters escaped, and cut off if it is too long.

    Ids and values come from whoever started a workflow; they must not steer a terminal.
    """
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
