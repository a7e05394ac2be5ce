"""Where a caller of the face says its database is: a URL, a driver's class with options, a client.

All of them come down to a URL, or to an open client of the SDK, which is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote, urlencode

from hotmesh.client import Client as SdkClient
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.meshflow._options import checked_keys

Connection = str | Mapping[str, Any] | SdkClient | Any
"""A database URL; ``{"url": …}``; ``{"class": a driver's class or module, "options": {…}}``; an
open ``hotmesh.client.Client``; an open client of redis-py, asyncpg (also a pool of these), psycopg,
SQLAlchemy or sqlite3, whose address is used. None takes HOTMESH_URL, else ``sqlite:///hotmesh.db``."""

Source = str | SdkClient | None
"""A URL (None: the environment's), or an open client that is shared."""

_SCHEMES = {
    "asyncpg": "postgresql",
    "psycopg": "postgresql",
    "psycopg2": "postgresql",
    "psycopg_pool": "postgresql",
    "pg8000": "postgresql",
    "redis": "redis",
    "valkey": "valkey",
    "sqlite3": "sqlite",
    "aiosqlite": "sqlite",
}
"""Package of a driver → scheme of its URLs."""

_WHOLE = ("connection_string", "connectionString", "dsn", "conninfo", "url", "uri")
"""Names under which drivers take a whole URL."""

_PARTS = {
    "host": "host",
    "hostname": "host",
    "port": "port",
    "user": "user",
    "username": "user",
    "password": "password",
    "database": "database",
    "dbname": "database",
    "db": "database",
    "path": "path",
}
"""Names under which drivers take a part of a URL → the part."""


def source(connection: Connection) -> Source:
    """Where a connection leads.

    Raises:
        InvalidArgumentError: It is nothing of what :data:`Connection` lists; says what it lacks.
    """
    if connection is None or isinstance(connection, str | SdkClient):
        return connection
    if isinstance(connection, Mapping):
        return _from_mapping(cast("Mapping[str, Any]", connection))
    found = _from_open(connection)
    if found is None:
        raise InvalidArgumentError(
            "connection must be a database URL, {'url': …}, {'class': …, 'options': {…}} or an "
            f"open client, not a {type(connection).__module__}.{type(connection).__qualname__}"
        )
    return found


def _from_mapping(connection: Mapping[str, Any]) -> str:
    if "url" in connection:
        checked_keys(connection, {"url"}, "connection")
        url = connection["url"]
        if not isinstance(url, str):
            raise InvalidArgumentError(f"connection: 'url' must be text, not {url!r}")
        return url
    checked_keys(connection, {"class", "options"}, "connection")
    if "class" not in connection:
        raise InvalidArgumentError("connection needs 'url', or 'class' with 'options'")
    scheme = _scheme(connection["class"])
    options = connection.get("options", {})
    if not isinstance(options, Mapping):
        raise InvalidArgumentError(f"connection: 'options' must be a dict, not {options!r}")
    return _url(scheme, cast("Mapping[str, Any]", options))


def _scheme(driver: Any) -> str:
    """The scheme of a driver's URLs, told by the package that its class is of."""
    name = driver if isinstance(driver, str) else getattr(driver, "__module__", None)
    if name is None:
        name = getattr(driver, "__name__", "")  # a module
    scheme = _SCHEMES.get(str(name).partition(".")[0].lower())
    if scheme is None:
        raise InvalidArgumentError(
            f"connection: no database is known for class {driver!r}; pass a URL, or a class of "
            + ", ".join(sorted(_SCHEMES))
        )
    return scheme


def _url(scheme: str, options: Mapping[str, Any]) -> str:
    whole = [name for name in _WHOLE if options.get(name)]
    parts = {_PARTS[name]: value for name, value in options.items() if name in _PARTS}
    if whole:
        if len(whole) > 1 or parts:
            raise InvalidArgumentError(
                f"connection: option {whole[0]!r} says everything; leave the others out"
            )
        url = str(options[whole[0]])
        more = {name: value for name, value in options.items() if name not in _WHOLE}
    else:
        url = _joined(scheme, parts)
        more = {name: value for name, value in options.items() if name not in _PARTS}
    if not more:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(more)}"


def _joined(scheme: str, parts: Mapping[str, Any]) -> str:
    if scheme == "sqlite":
        database = str(parts.get("database", ""))
        return "sqlite://" if database in ("", ":memory:") else f"sqlite:///{database}"
    login = ""
    if parts.get("user") or parts.get("password"):
        login = quote(str(parts.get("user") or ""), safe="")
        if parts.get("password"):
            login += ":" + quote(str(parts["password"]), safe="")
        login += "@"
    if parts.get("path"):
        return f"unix://{login}{parts['path']}?{urlencode({'db': parts.get('database', 0)})}"
    host = str(parts.get("host") or "localhost")
    query = ""
    if host.startswith("/"):  # a directory with a socket
        host, query = "", f"?{urlencode({'host': host})}"
    elif ":" in host:
        host = f"[{host}]"
    port = f":{parts['port']}" if parts.get("port") else ""
    database = parts.get("database")
    path = "" if database is None else "/" + quote(str(database), safe="")
    return f"{scheme}://{login}{host}{port}{path}{query}"


def _from_open(client: Any) -> str | None:
    """The URL of a driver's open client or pool; None for anything else."""
    package = type(client).__module__.partition(".")[0]
    reader = _READERS.get(package)
    parts = None if reader is None else reader(client)
    return None if parts is None else _url(_SCHEMES.get(package, ""), parts)


def _from_redis(client: Any) -> Mapping[str, Any] | None:
    pool = getattr(client, "connection_pool", client)
    known: Mapping[str, Any] = getattr(pool, "connection_kwargs", {})
    return {name: known[name] for name in _PARTS if known.get(name) is not None} or None


def _from_asyncpg(client: Any) -> Mapping[str, Any] | None:
    address: Any = getattr(client, "_addr", None)
    login: Any = getattr(client, "_params", None)
    if login is None:
        return _from_asyncpg_pool(client)
    if isinstance(address, str):  # …/.s.PGSQL.5432
        host, _, port = address.rpartition("/.s.PGSQL.")
    else:
        host, port = address[:2]
    return {
        "host": host,
        "port": port,
        "user": login.user,
        "password": login.password,
        "database": login.database,
    }


def _from_asyncpg_pool(pool: Any) -> Mapping[str, Any] | None:
    """What a pool connects with; of options, those that say where to."""
    arguments: Sequence[Any] = getattr(pool, "_connect_args", ())
    options: Mapping[str, Any] = getattr(pool, "_connect_kwargs", {})
    dsn = arguments[0] if arguments and arguments[0] else options.get("dsn")
    if dsn:
        return {"dsn": dsn}
    return {name: options[name] for name in _PARTS if options.get(name) is not None} or None


def _from_psycopg(client: Any) -> Mapping[str, Any] | None:
    info = getattr(client, "info", None)
    if info is None:
        return None
    return {
        "host": info.host,
        "port": info.port,
        "user": info.user,
        "password": info.password,
        "database": info.dbname,
    }


def _from_sqlalchemy(client: Any) -> Mapping[str, Any] | None:
    url = getattr(client, "url", None)
    return None if url is None else {"url": url.render_as_string(hide_password=False)}


def _from_sqlite(client: Any) -> Mapping[str, Any] | None:
    file = next((row[2] for row in client.execute("PRAGMA database_list") if row[1] == "main"), "")
    if not file:
        raise InvalidArgumentError(
            "connection: a database in memory belongs to its sqlite3 connection; pass 'sqlite://'"
        )
    return {"database": file}


_READERS = {
    "redis": _from_redis,
    "valkey": _from_redis,
    "asyncpg": _from_asyncpg,
    "psycopg": _from_psycopg,
    "psycopg2": _from_psycopg,
    "sqlalchemy": _from_sqlalchemy,
    "sqlite3": _from_sqlite,
}
