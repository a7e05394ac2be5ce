"""What is decided by several kinds at once is decided by the kind table, and said there once."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidy.tree import PACKAGE, ROOT, modules, place, text_files

TABLE = f"python/{PACKAGE}/core/kinds.py"
# Tables from a kind to what is done with it: path and why its rows are no column.
DISPATCH = {
    f"python/{PACKAGE}/router/effects.py": "a method of the router for each command",
    f"python/{PACKAGE}/client/_check.py": "words of one report",
}
RUST = re.compile(r"kinds::[A-Z][A-Z_]+\s*\|\s*kinds::[A-Z]")
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


def classifications(root: Path) -> Iterator[str]:
    """Name the places in Python that go by several kinds, without the table."""
    for _, path, tree in modules(root):
        if path.relative_to(root).as_posix() == TABLE:
            continue
        for node in ast.walk(tree):
            if _classifies(node, is_dispatch=path.relative_to(root).as_posix() in DISPATCH):
                yield f"{place(root, path, node)}: say it in core/kinds.py, by a column"


def classifications_in_rust(root: Path) -> Iterator[str]:
    """Likewise in Rust."""
    for path in text_files(root, ".rs", under="rust"):
        if path.name != "kinds.rs" and RUST.search(path.read_text()):
            yield f"{path.relative_to(root)}: say it in core/kinds.py, by a column"


def _classifies(node: ast.AST, *, is_dispatch: bool) -> bool:
    if isinstance(node, ast.Set | ast.List | ast.Tuple):
        return _how_many(node.elts) > 1
    if isinstance(node, ast.Dict):
        return not is_dispatch and _how_many(node.keys) > 1
    if isinstance(node, ast.BoolOp):
        compared = [each for each in node.values if isinstance(each, ast.Compare)]
        return _how_many([right for each in compared for right in each.comparators]) > 1
    if isinstance(node, ast.Compare):
        ordered = any(isinstance(each, _ORDER) for each in node.ops)
        return ordered and _how_many([node.left, *node.comparators]) > 0
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range":
        return any(_how_many([each]) for argument in node.args for each in ast.walk(argument))
    return False


def _how_many(nodes: list[ast.expr | None] | list[ast.expr]) -> int:
    """How many of these are single kinds: ``kinds.SIGNAL``."""
    return sum(
        isinstance(each, ast.Attribute)
        and getattr(each.value, "id", None) == "kinds"
        and each.attr in _kind_names()
        for each in nodes
    )


def _kind_names() -> set[str]:
    return set(re.findall(r"^([A-Z_]+) = _kind\(", (ROOT / TABLE).read_text(), re.MULTILINE))


def test_python_goes_by_the_table() -> None:
    assert list(classifications(ROOT)) == []


def test_rust_goes_by_the_table() -> None:
    assert list(classifications_in_rust(ROOT)) == []


def test_every_exception_is_still_needed() -> None:
    named = {path: (ROOT / path).read_text() for path in DISPATCH}
    assert [path for path, text in named.items() if "    kinds." not in text] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("X = frozenset((kinds.SIGNAL, kinds.UPDATE))", True),
        ("X = {kinds.SIGNAL, kinds.UPDATE}", True),
        ("X = {kinds.SIGNAL: 1, kinds.UPDATE: 2}", True),
        ("X = kind in [kinds.SIGNAL, kinds.UPDATE]", True),
        ("X = kind == kinds.SIGNAL or kind == kinds.UPDATE", True),
        ("X = kind >= kinds.COMPLETE", True),
        ("X = kinds.ACTIVITY_COMPLETED <= kind <= kinds.ACTIVITY_TIMED_OUT", True),
        ("X = range(kinds.ACTIVITY_COMPLETED, kinds.ACTIVITY_TIMED_OUT + 1)", True),
        ("X = kind in kinds.EVENTS or kind == kinds.START", False),
        ("X = (kinds.SIGNAL, 0, 0, name, identity, body)", False),
        ("X = kind == kinds.SIGNAL and name == wanted", False),
        ("X = (kinds.EVENTS, kinds.OPENING)", False),
    ],
)
def test_each_way_of_classifying_is_found(tmp_path: Path, text: str, found: bool) -> None:
    package = tmp_path / "python" / PACKAGE
    package.mkdir(parents=True)
    (package / "module.py").write_text(text + "\n")
    assert bool(list(classifications(tmp_path))) is found


def test_a_classification_in_rust_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "rust"
    folder.mkdir()
    (folder / "ledger.rs").write_text("match kind {\n    kinds::SIGNAL\n    | kinds::UPDATE => 1,")
    assert len(list(classifications_in_rust(tmp_path))) == 1
