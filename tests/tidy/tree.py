"""Reading the repository for the tidy tests: which files there are, and what modules import."""

import ast
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "hotmesh"
# Folders that builds, tools and editors fill; dot folders are left out but for these.
GENERATED = {"target", "dist", "build", "__pycache__", "node_modules"}
DOT_FOLDERS = {".ci", ".github"}
TEXT_SUFFIXES = {
    "",
    ".cfg",
    ".html",
    ".json",
    ".lua",
    ".md",
    ".py",
    ".pyi",
    ".rs",
    ".sh",
    ".sql",
    ".toml",
    ".yml",
    ".yaml",
}


@dataclass(frozen=True)
class Import:
    """One imported module and the place that imports it."""

    importer: str  # dotted module name
    imported: str
    where: str  # path:line


def text_files(root: Path, *suffixes: str, under: str = "") -> Iterator[Path]:
    """Yield the files of the tree people write, in order, optionally of some suffixes only."""
    wanted = set(suffixes) or TEXT_SUFFIXES
    folder = root / under
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        inside = str(path.relative_to(root))
        if path.is_dir():
            hidden = path.name.startswith(".") and path.name not in DOT_FOLDERS
            if not hidden and path.name not in GENERATED:
                yield from text_files(root, *wanted, under=inside)
        elif path.suffix in wanted and path.name != ".git":  # a file in a linked work tree
            yield path


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file. Each is parsed once, and nobody changes it.

    CPython 3.11 counts the depth of the tree in one place for all who parse. To format a traceback
    is to parse, too, so a finalizer that logs an exception in the midst of it ends it with "AST
    constructor recursion depth mismatch". Without the collector no other code runs in between.
    """
    source = path.read_text()
    collecting = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source, filename=str(path))
    finally:
        if collecting:
            gc.enable()


def modules(root: Path) -> Iterator[tuple[str, Path, ast.Module]]:
    """Yield name, path and syntax tree of each module of the package."""
    python = root / "python"
    for path in text_files(root, ".py", under=f"python/{PACKAGE}"):
        parts = path.relative_to(python).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, path, parsed(path)


def imports(root: Path) -> Iterator[Import]:
    """Yield every import of the package's own modules by each other, lazy ones included."""
    known = {name for name, _, _ in modules(root)}
    for name, path, tree in modules(root):
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(tree):
            for imported in _imported(node, package, known):
                if imported.split(".")[0] == PACKAGE:
                    yield Import(name, imported, place(root, path, node))


def place(root: Path, path: Path, node: ast.AST) -> str:
    """Write a node's place as `path:line`."""
    return f"{path.relative_to(root)}:{getattr(node, 'lineno', 1)}"


def _imported(node: ast.AST, package: str, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parents, *([base] if base else [])])
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            is_module = inner in known or base == PACKAGE
            yield inner if is_module else base
