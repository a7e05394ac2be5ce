"""Views for people and documents for programs."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hotmesh.cli.output import CELL_MAX, Facts, Output, Table, View, printable, to_json


def printed(document: Any, view: View, *, as_json: bool = False) -> str:
    stream = io.StringIO()
    Output(as_json=as_json, stream=stream).show(document, view)
    return stream.getvalue()


def test_a_table_is_aligned_and_its_lines_have_no_trailing_blanks() -> None:
    table = Table(("id", "type"), [("a", "x"), ("longer", "")])
    assert printed({}, table) == "ID      TYPE\na       x\nlonger\n"


def test_an_empty_table_says_so() -> None:
    assert printed({}, Table(("id",), [], "No workflow matches.")) == "No workflow matches.\n"


def test_facts_are_aligned_and_never_cut() -> None:
    long = "x" * (CELL_MAX * 2)
    assert printed({}, Facts({"a": "1", "name": long})) == f"a     1\nname  {long}\n"


def test_json_is_one_document_whatever_the_view() -> None:
    document = {"text": "ü", "time": datetime(2026, 1, 2, tzinfo=UTC), "big": 2**70}
    text = printed(document, "for people", as_json=True)
    assert json.loads(text) == {
        "text": "ü",
        "time": "2026-01-02 00:00:00+00:00",
        "big": 2**70,
    }
    assert "ü" in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("plain ü", "plain ü"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("x" * (CELL_MAX + 1), "x" * (CELL_MAX - 1) + "…"),
    ],
)
def test_text_can_not_steer_the_terminal_nor_fill_it(given: str, expected: str) -> None:
    assert printable(given) == expected


def test_a_terminal_gets_a_rich_table_with_the_same_cells() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    Output(as_json=False, stream=stream).show({}, Table(("id",), [("[bold]w-1",)]))
    assert "[bold]w-1" in stream.getvalue()  # Cells are text, not markup.


def test_json_text_of_a_value_is_one_line() -> None:
    assert to_json({"a": [1, None]}) == '{"a": [1, null]}'
