"""What a Redis URL says: where to look for the server, and how to speak to it.

redis-py's own parser reads a URL of one host. Lists of hosts, Sentinel, and the spellings of Valkey
are brought into its form here; what it would drop or ignore is refused by name.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlencode

from redis import exceptions as redis_errors
from redis.asyncio import connection as redis_connection

from hotmesh.backends.redis.link import Node
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.redaction import Redaction

PREFIX_DEFAULT = "hotmesh"
PORT, SENTINEL_PORT = 6379, 26379
CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 30.0
DAY_S, INT_MAX = 86_400, 2**31 - 1

_NOT_A_URL = (
    "not a Redis URL: it reads redis://user:password@host:port/0?name=value. Percent-encode "
    "characters like @ : / ? # in user and password"
)
_OWN = ("prefix", "service", "sentinel_username", "sentinel_password")
_REFUSED: Mapping[str, str] = {
    "max_connections": "HotMesh opens about a dozen connections a process",
    "timeout": "HotMesh's calls wait for a connection as long as for an answer",
    "retry_on_timeout": "HotMesh repeats by itself what may be repeated",
    "decode_responses": "what HotMesh stores is bytes",
    "encoding": "what HotMesh stores is bytes",
    "encoding_errors": "what HotMesh stores is bytes",
    "legacy_responses": "HotMesh reads raw answers",
    "ssl": "use rediss://",
    "lib_name": "use client_name",
    "lib_version": "use client_name",
}
_NUMBERS: Mapping[str, tuple[Callable[[str], float], float, float]] = {
    "socket_timeout": (float, 0.001, DAY_S),
    "socket_connect_timeout": (float, 0.001, DAY_S),
    "health_check_interval": (int, 0, DAY_S),
    "socket_read_size": (int, 64, 1 << 30),
    "db": (int, 0, INT_MAX),
}
"""Numbers that redis-py takes as they are: how they read, the least and the largest that work.

Other ones don't fail as what they are, but as a server that is not there.
"""
_OBJECTS = frozenset(
    (
        "self", "kwargs", "host", "port", "path", "parser_class", "retry", "retry_on_error",
        "redis_connect_func", "encoder_class", "credential_provider", "event_dispatcher",
        "himport_registry", "driver_info", "socket_keepalive_options", "socket_type",
    )
)  # fmt: skip
"""Arguments of redis-py's connections that no parameter of a URL can be."""


_UNUSABLE = (ValueError, TypeError, OSError, redis_errors.RedisError)
"""What redis-py and the files that a URL names answer to a parameter that is no good."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL."""

    shown: str
    """The URL for people: without secrets."""
    redaction: Redaction = field(repr=False)
    prefix: str
    """Put before every key and channel."""
    seeds: Sequence[Node]
    """Servers, nodes of a cluster, or sentinels, to be asked in this order."""
    service: str
    """The name that sentinels know the master by; empty without sentinels."""
    connection_class: Any
    options: Mapping[str, Any] = field(repr=False)
    """redis-py's arguments of a connection, without its address."""
    sentinel_options: Mapping[str, Any] = field(repr=False)
    """The same for a connection to a sentinel."""


def parse_url(url: str) -> RedisUrl:
    """Parse ``redis://user:password@host:port/0?prefix=name``, or one of its relatives.

    Args:
        url: ``redis``, or ``rediss`` with TLS, or the same as ``valkey`` and ``valkeys``: one host,
            several nodes of a cluster, or several servers one of which is the master.
            ``redis+sentinel://host1,host2/service/0`` (``rediss+sentinel`` and so on): sentinels
            that know the master. ``unix:///path?db=0``: a socket.

    Raises:
        InvalidArgumentError: It is no URL, or a parameter can't be honoured; the message names it
            and shows no secret.
    """
    scheme, _, rest = url.partition("://")
    family, _, how = scheme.lower().replace("valkey", "redis").replace("-", "+").partition("+")
    rest, _, fragment = rest.partition("#")
    place, _, query = rest.partition("?")
    given = _given(query)
    authority, _, path = place.partition("/")
    account, at, hosts = authority.rpartition("@")
    sentinel = how == "sentinel"
    if "@" in account or "@" in path or (fragment and not sentinel):
        raise InvalidArgumentError(_NOT_A_URL)
    prefix = given.pop("prefix", "") or PREFIX_DEFAULT
    secure = family == "rediss"
    seeds: tuple[Node, ...]
    service = given.pop("service", "") or unquote(fragment)
    if family == "unix" or how in ("socket", "unix"):
        seeds, base = (Node(unquote(f"/{path}"), 0),), f"unix://{account}{at}/{path}"
        if hosts or not path:
            raise InvalidArgumentError("not a Redis URL: a socket's reads unix:///path?db=0")
    else:
        default = SENTINEL_PORT if sentinel else PORT
        seeds = tuple(_node(host, default) for host in hosts.split(","))
        if sentinel:
            service, path = _service(service, path)
        _add_database(given, path)
        base = f"{family}://{account}{at}host"
    if service and not sentinel:
        raise _refused("service", "only sentinels know services: use redis+sentinel://")
    sentinel_options = {
        name.removeprefix("sentinel_"): given.pop(name)
        for name in ("sentinel_username", "sentinel_password")
        if name in given
    }
    if sentinel_options and not sentinel:
        raise _refused(f"sentinel_{next(iter(sentinel_options))}", "use redis+sentinel://")
    user, _, password = account.partition(":")
    for name, said in (("username", user), ("password", password)):
        if said and name in given:
            raise _refused(name, f"the URL names a {name} already")
    _check(given, secure=secure)
    connection_class, options = _options(base, given)
    tls = {name: value for name, value in options.items() if name.startswith(("ssl_", "socket_"))}
    redaction = Redaction(url)
    return RedisUrl(
        redaction.shown,
        redaction,
        prefix,
        seeds,
        service,
        connection_class,
        options,
        {**tls, **sentinel_options, "protocol": 2, "decode_responses": False},
    )


def _given(query: str) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in given:
            raise _refused(name, "given twice")
        given[name] = value
    return given


def _refused(name: str, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"{name!r} in the Redis URL: {reason}")


def _node(text: str, default_port: int) -> Node:
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]*))(?::(\d*))?", text)
    port = int(found[3] or default_port) if found else 0
    if found is None or not 0 < port < 65_536:
        raise InvalidArgumentError(_NOT_A_URL)  # it may be a piece of a password
    return Node(unquote(found[1] or found[2]) or "localhost", port)


def _service(service: str, path: str) -> tuple[str, str]:
    """The name of the master, and what is left of the path: the database."""
    first, _, second = path.strip("/").partition("/")
    if not service:
        service, first = unquote(first), second
    elif second:
        raise InvalidArgumentError(_NOT_A_URL)
    if not service:
        raise InvalidArgumentError(
            "not a Redis URL: a sentinel's reads redis+sentinel://host1,host2/service/0"
        )
    return service, first


def _add_database(given: dict[str, str], path: str) -> None:
    database = unquote(path.strip("/"))
    if not database:
        return
    if "db" in given:
        raise _refused("db", "the URL's path names a database already")
    given["db"] = database


def _check(given: dict[str, str], *, secure: bool) -> None:
    """Refuse what can't be honoured."""
    known = _known()
    if given.pop("protocol", "2") != "2":
        raise _refused("protocol", "HotMesh speaks version 2; leave it out")
    for name, value in given.items():
        if name in _REFUSED:
            raise _refused(name, _REFUSED[name])
        if name not in known:
            near = difflib.get_close_matches(name.lower(), [*known, *_OWN], n=3)
            meant = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise _refused(name, f"unknown; {meant}")
        if name.startswith("ssl_") and not secure:
            raise _refused(name, "use rediss://")
        if name in _NUMBERS:
            _check_number(name, value)


def _check_number(name: str, value: str) -> None:
    kind, least, most = _NUMBERS[name]
    try:
        found = kind(value)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        what = "whole number" if kind is int else "number"
        raise _refused(name, f"{value!r} is no {what} from {least:,} to {most:,}")


def _known() -> list[str]:
    """The parameters that redis-py's connections take."""
    names: set[str] = set()
    for each in redis_connection.SSLConnection.__mro__:
        names |= set(inspect.signature(each.__init__).parameters) if each is not object else set()
    return sorted(
        name for name in names - _OBJECTS if not name.startswith(("maint", "orig_", "oss_", "_"))
    )


def _options(base: str, given: Mapping[str, str]) -> tuple[Any, dict[str, Any]]:
    """redis-py's class of a connection and its arguments, tried out."""
    url = f"{base}?{urlencode(given)}"
    try:
        return _tried(url)
    except _UNUSABLE as error:
        reason, culprit = Redaction(url).hide(str(error)), _culprit(base, given)
    if culprit:
        raise _refused(culprit, f"it can't be used: {reason}")
    raise InvalidArgumentError(f"a parameter of the Redis URL can't be used: {reason}")


def _tried(url: str) -> tuple[Any, dict[str, Any]]:
    found = cast("dict[str, Any]", redis_connection.parse_url(url))
    connection_class: Any = found.pop("connection_class", redis_connection.Connection)
    for name in ("host", "port", "path"):
        found.pop(name, None)
    options = {
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_timeout": CALL_TIMEOUT_S,
        **found,
        "protocol": 2,  # one shape of answers, whatever redis-py's default
        "decode_responses": False,
    }
    connection = connection_class(**options)
    if issubclass(connection_class, redis_connection.SSLConnection):
        connection.ssl_context.get()  # reads the files
    return connection_class, options


def _culprit(base: str, given: Mapping[str, str]) -> str:
    """The parameter without which the others can be used; "" if it is not just one."""
    for culprit in given:
        others = {name: value for name, value in given.items() if name != culprit}
        try:
            _tried(f"{base}?{urlencode(others)}")
        except _UNUSABLE:
            continue
        return culprit
    return ""
