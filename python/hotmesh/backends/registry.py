"""From a URL to a backend: the only module that knows the concrete backends."""

from __future__ import annotations

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

_HOMES = {
    "sqlite": _SQLITE,
    "postgres": _POSTGRES,
    "postgresql": _POSTGRES,
    "redis": _REDIS,
    "rediss": _REDIS,
}


def backend_for(url: str) -> Backend:
    """Make the backend that a URL names, not connected yet.

    Args:
        url: ``sqlite://`` (memory, shared by the whole process), ``sqlite:///file.db``,
            ``postgres://…`` or ``redis://…``.

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
        raise InvalidArgumentError(
            f"Unknown database URL scheme {scheme if separator else '(none)'!r}. "
            f"Use one of: {', '.join(f'{name}://' for name in _HOMES)}"
        )
    try:
        module = importlib.import_module(home.module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in home.drivers:
            raise
        raise MissingExtraError(home.extra, f"A {scheme}:// database") from error
    return cast("Backend", getattr(module, home.backend_class)(url))
