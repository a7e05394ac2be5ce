"""From a URL to a backend: the only module that knows the concrete backends."""

from __future__ import annotations

import difflib
import importlib
from typing import NamedTuple, cast

from hotmesh.backends.protocol import Backend
from hotmesh.exceptions import InvalidArgumentError, MissingExtraError


class _Home(NamedTuple):
    """Where a backend's class is, and what its drivers come with."""

    module: str
    backend_class: str
    drivers: tuple[str, ...]
    extra: str


_SQLITE = _Home("hotmesh.backends.sqlite", "SqliteBackend", ("sqlite3",), "")
_POSTGRES = _Home("hotmesh.backends.postgres", "PostgresBackend", ("asyncpg",), "postgres")
_REDIS = _Home("hotmesh.backends.redis", "RedisBackend", ("redis", "hiredis"), "redis")

_DRIVERS_OF_POSTGRES = ("asyncpg", "psycopg", "psycopg2", "psycopg_async")
"""What URLs for SQLAlchemy name; a URL says where a database is, not who connects to it."""

_HOMES = {
    "sqlite": _SQLITE,
    "sqlite+aiosqlite": _SQLITE,
    "sqlite+pysqlite": _SQLITE,
    "postgres": _POSTGRES,
    "postgresql": _POSTGRES,
    **{f"postgresql+{driver}": _POSTGRES for driver in _DRIVERS_OF_POSTGRES},
    **{f"postgres+{driver}": _POSTGRES for driver in _DRIVERS_OF_POSTGRES},
    **{
        f"{scheme}{how}": _REDIS
        for scheme in ("redis", "rediss", "valkey", "valkeys")
        for how in ("", "+sentinel", "-sentinel")
    },
    "redis+socket": _REDIS,
    "unix": _REDIS,
}
_SHOWN = ("sqlite", "postgresql", "redis", "rediss", "valkey", "redis+sentinel", "unix")
"""Schemes to suggest; the others are spellings of these."""


def backend_for(url: str) -> Backend:
    """Make the backend that a URL names, not connected yet.

    Args:
        url: ``sqlite://`` or ``sqlite:///:memory:`` (memory, shared by the whole process),
            ``sqlite:///file.db``, ``postgresql://…`` or ``redis://…``, or one of their spellings.

    Returns:
        A backend; ``connect`` it before use and ``close`` it afterwards. SQLite backends of one
        process on the same database share their threads and commits.

    Raises:
        InvalidArgumentError: the scheme is unknown or the URL can't be read.
        MissingExtraError: the database's driver is not installed.
    """
    scheme, separator, _ = url.partition("://")
    home = _HOMES.get(scheme.lower()) if separator else None
    if home is None:
        near = difflib.get_close_matches(scheme.lower(), _SHOWN, 1, 0.7) if separator else ()
        meant = f"Did you mean {near[0]}://? " if near else ""
        raise InvalidArgumentError(
            f"Unknown database URL scheme {scheme if separator else '(none)'!r}. {meant}"
            f"Use one of: {', '.join(f'{name}://' for name in _SHOWN)}"
        )
    try:
        module = importlib.import_module(home.module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in home.drivers:
            raise
        raise MissingExtraError(home.extra, f"A {scheme}:// database") from error
    return cast("Backend", getattr(module, home.backend_class)(url))
