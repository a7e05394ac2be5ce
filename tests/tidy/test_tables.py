"""What follows from the core's tables is written as they are."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tidy.tree import ROOT

PATHS = ["rust/core/src/kinds.rs", "rust/core/src/run_states.rs", "docs/architecture.md"]


def load(root: Path = ROOT) -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_tables", root / "tools/write_tables.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_all_files_are_looked_at() -> None:
    assert list(load().WRITTEN) == PATHS


@pytest.mark.parametrize("path", PATHS)
def test_what_follows_from_the_tables_is_written(path: str) -> None:
    text = (ROOT / path).read_text()
    assert load().rewritten(path, text) == text, "run `make tables`"


@pytest.mark.parametrize("path", PATHS)
def test_a_change_by_hand_is_found(path: str) -> None:
    tool = load()
    text = (ROOT / path).read_text()
    changed = text.replace(tool.WRITTEN[path][0], tool.WRITTEN[path][0] + "\nby hand\n")
    assert tool.rewritten(path, changed) == text != changed


@pytest.mark.parametrize("path", PATHS)
def test_a_file_without_its_mark_is_refused(path: str) -> None:
    with pytest.raises(AssertionError, match="no mark"):
        load().rewritten(path, "text")
