"""Loads the SQL of this backend: named statements in ``sql/*.sql``, nothing else."""

from __future__ import annotations

import re
import sqlite3
from importlib.resources import files

_FOLDER = files("hotmesh.backends.sqlite") / "sql"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_COMMENT = re.compile(r"^\s*--.*$\n?", re.MULTILINE)


def load(name: str) -> dict[str, str]:
    """The statements of ``sql/<name>.sql`` by name, without their comments."""
    parts = _NAME.split((_FOLDER / f"{name}.sql").read_text("utf-8"))
    return {
        key: _COMMENT.sub("", body).strip().removesuffix(";")
        for key, body in zip(parts[1::2], parts[2::2], strict=True)
    }


def migrations() -> list[list[str]]:
    """The statements of each migration; the first of them makes schema version 1.

    Files are named ``<version>_<what>.sql``; versions count from 1 without gaps.
    """
    folder = _FOLDER / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    assert [int(name.partition("_")[0]) for name in names] == list(range(1, len(names) + 1))
    return [_split((folder / name).read_text("utf-8")) for name in names]


def _split(script: str) -> list[str]:
    """Single statements, because ``executescript`` would commit the migration's transaction."""
    statements: list[str] = []
    text = ""
    for line in _COMMENT.sub("", script).splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            statements.append(text.strip())
            text = ""
    assert not text.strip(), "a migration must end with a complete statement"
    return statements
