"""What a file may hold: its length, no prints, no SQL or Lua in Python, no leftovers."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidy.tree import PACKAGE, ROOT, modules, place, text_files

LINES_MAX = 700
# Files that may be longer: path and the reason it is still one job.
LONG_FILES: dict[str, str] = {
    "python/hotmesh/exceptions.py": "the closed list of errors, each with its text",
}
PRINTING = {"cli", "__main__"}
SQL = re.compile(
    r"\b(SELECT\s+[\w*(]|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|CREATE\s+(TABLE|INDEX))"
)
NUMBERED = re.compile(r"\?\d")
LUA = re.compile(r"redis\.p?call\(")
# Put together from halves, so that this file does not hold what it looks for.
MACHINE_PATH = re.compile(
    "/(" + "|".join(["wo" + "rk", "fa" + "rm", "ro" + "ot", "ho" + "me"]) + ")/"
)
LEFTOVER = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
UNFINISHED = re.compile("|".join([r"mark\.sk" + "ip", r"mark\.xf" + "ail", "unimpl" + "emented!"]))


def long_files(root: Path) -> Iterator[str]:
    """Name the files above the limit that have no reason to be."""
    for path in text_files(root, ".py", ".pyi", ".rs", ".sql", ".lua"):
        inside = path.relative_to(root).as_posix()
        lines = len(path.read_text().splitlines())
        if lines > LINES_MAX and inside not in LONG_FILES:
            yield f"{inside}: {lines} lines (at most {LINES_MAX}): is it one job?"


def numbered_parameters(root: Path) -> Iterator[str]:
    """Name the statements for SQLite with numbered parameters; Python 3.12.0-3 warns of each."""
    for path in sorted((root / "python/hotmesh/backends/sqlite/sql").rglob("*.sql")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if NUMBERED.search(line):
                yield f"{path.relative_to(root).as_posix()}:{number}: write ? or :name"


def buffers_kept(root: Path) -> Iterator[str]:
    """Name the calls of `orjson.dumps` whose result keeps its buffer; see `hotmesh.json_bytes`."""
    for _, path, tree in modules(root):
        copied = {
            id(node.right)
            for node in ast.walk(tree)
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod)
        }
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "orjson.dumps"
                and id(node) not in copied
                and path.name != "json_bytes.py"
            ):
                yield f"{place(root, path, node)}: use json_bytes.dumps"


def prints(root: Path) -> Iterator[str]:
    """Name the calls of print outside the command line."""
    for name, path, tree in modules(root):
        if name.count(".") and name.split(".")[1] in PRINTING:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print":
                yield f"{place(root, path, node)}: log, do not print"


def statements(root: Path) -> Iterator[str]:
    """Name the strings that hold SQL or Lua; those live in .sql and .lua files."""
    for _, path, tree in modules(root):
        prose = _docstrings(tree)
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and id(node) not in prose:
                if SQL.search(text):
                    yield f"{place(root, path, node)}: SQL belongs in a .sql file"
                elif LUA.search(text):
                    yield f"{place(root, path, node)}: Lua belongs in a .lua file"


def leftovers(root: Path) -> Iterator[str]:
    """Name lines with a path of somebody's machine, a note to oneself, or a test left out."""
    for path in text_files(root):
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            for pattern in (MACHINE_PATH, LEFTOVER, UNFINISHED):
                if pattern.search(line):
                    yield f"{path.relative_to(root)}:{number}: {line.strip()[:100]}"


def _docstrings(tree: ast.Module) -> set[int]:
    """The ids of strings that stand as statements: docstrings, of attributes too."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def test_no_file_is_too_long() -> None:
    assert list(long_files(ROOT)) == []


def test_every_exception_to_the_length_is_still_needed() -> None:
    stale = [
        path
        for path in LONG_FILES
        if not (ROOT / path).exists() or len((ROOT / path).read_text().splitlines()) <= LINES_MAX
    ]
    assert stale == []


def test_nothing_prints_but_the_command_line() -> None:
    assert list(prints(ROOT)) == []


def test_sql_and_lua_live_in_their_own_files() -> None:
    assert list(statements(ROOT)) == []


def test_json_is_written_into_bytes_of_its_size() -> None:
    assert list(buffers_kept(ROOT)) == []


def test_parameters_for_sqlite_have_no_numbers() -> None:
    assert list(numbered_parameters(ROOT)) == []


def test_a_numbered_parameter_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "python/hotmesh/backends/sqlite/sql"
    folder.mkdir(parents=True)
    (folder / "x.sql").write_text("DELETE FROM run\nWHERE id = ?1;\n")
    assert len(list(numbered_parameters(tmp_path))) == 1


def test_nothing_is_left_over() -> None:
    assert list(leftovers(ROOT)) == []


@pytest.mark.parametrize(
    ("text", "check", "found"),
    [
        ("x = 1\n" * (LINES_MAX + 1), long_files, True),
        ("x = 1\n" * LINES_MAX, long_files, False),
        ("print('x')\n", prints, True),
        ("def f():\n    log.info('print(x)')\n", prints, False),
        ("text = orjson.dumps(value)\n", buffers_kept, True),
        ("text = b'%b' % orjson.dumps(value)\n", buffers_kept, False),
        ("q = 'SELECT id FROM runs'\n", statements, True),
        ("q = f'''\nINSERT INTO {table}'''\n", statements, True),
        ("q = 'return redis.call(\"GET\", KEYS[1])'\n", statements, True),
        ('"""SELECT id: what the claim does."""\nq = "select one"\n', statements, False),
        ("x = 1  # TO" + "DO: more\n", leftovers, True),
        ("p = '/wo" + "rk/main'\n", leftovers, True),
        ("p = 'network/main'\n", leftovers, False),
    ],
)
def test_each_check_finds_what_it_looks_for(
    tmp_path: Path, text: str, check: object, found: bool
) -> None:
    package = tmp_path / "python" / PACKAGE
    package.mkdir(parents=True)
    (package / "module.py").write_text(text)
    assert callable(check)
    assert bool(list(check(tmp_path))) is found


def test_the_command_line_may_print(tmp_path: Path) -> None:
    folder = tmp_path / "python" / PACKAGE / "cli"
    folder.mkdir(parents=True)
    (folder / "main.py").write_text("print('x')\n")
    assert list(prints(tmp_path)) == []
