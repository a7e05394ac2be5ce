"""The SQL of this folder, by name, for the schema in use."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_PACKAGE = "hotmesh.backends.postgres"
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_SCHEMA = re.compile(r"\bhotmesh\b(?=[.;])")
_PARAMETERS = re.compile(r"@(\d+)@")
_FUNCTION_FILES = (
    "messages",
    "starts",
    "reading",
    "step",
    "tasks",
    "retention",
    "routers",
    "moves",
    "visibility",
)


def _text(name: str) -> str:
    return files(_PACKAGE).joinpath("sql", name).read_text(encoding="utf-8")


def _in_schema(sql: str, schema: str) -> str:
    return _SCHEMA.sub(schema, sql)


@cache
def statements(schema: str) -> dict[str, str]:
    """The statements of queries.sql by name; ``@3@`` in them stands for ``$1, $2, $3``."""
    pieces = _NAME.split(_in_schema(_text("queries.sql"), schema))
    named = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return {name: _PARAMETERS.sub(_placeholders, sql).strip() for name, sql in named.items()}


def _placeholders(match: re.Match[str]) -> str:
    return ", ".join(f"${number}" for number in range(1, int(match[1]) + 1))


def schema_script(schema: str) -> str:
    """What makes the tables of a fresh database."""
    return _in_schema(_text("schema.sql"), schema)


def functions_script(schema: str) -> str:
    """What makes or replaces the functions."""
    scripts = (_text(f"functions/{name}.sql") for name in _FUNCTION_FILES)
    return _in_schema("\n".join(scripts), schema)


def migrations(schema: str) -> dict[int, str]:
    """Scripts that bring an older schema one version further, by the version they lead to."""
    folder = files(_PACKAGE).joinpath("sql", "migrations")
    if not folder.is_dir():
        return {}
    return {
        int(script.name.partition("_")[0]): _in_schema(script.read_text("utf-8"), schema)
        for script in folder.iterdir()
        if script.name.endswith(".sql")
    }
