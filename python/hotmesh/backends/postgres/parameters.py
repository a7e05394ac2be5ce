"""The parameters of a Postgres URL: whose each is, and why one can't be honoured.

libpq's and the driver's are honoured, or refused by name. What nobody here knows is a setting of
the server, which refuses what it does not know either.
"""

from __future__ import annotations

import difflib
import math
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hotmesh.exceptions import InvalidArgumentError

DRIVER = frozenset(
    (
        "port",
        "user",
        "password",
        "passfile",
        "dbname",
        "database",
        "service",
        "sslmode",
        "sslcert",
        "sslkey",
        "sslrootcert",
        "sslcrl",
        "sslpassword",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "krbsrvname",
        "gsslib",
    )
)
"""What the driver's own parser of URLs takes."""

OURS = frozenset(
    (
        "schema",
        "pooler",
        "host",
        "target_session_attrs",
        "connect_timeout",
        "timeout",
        "command_timeout",
        "statement_cache_size",
        "direct_tls",
        "ssl",
        "application_name",
        "fallback_application_name",
        "load_balance_hosts",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
    )
)
"""What is read here, or in :mod:`.address`."""

HARMLESS: Mapping[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer"),
    "gssencmode": ("disable", "prefer"),
    "sslcompression": ("0",),
    "sslsni": ("1",),
    "sslcertmode": ("allow",),
    "client_encoding": ("utf8", "utf-8", "UTF8", "UTF-8", "auto"),
}
"""Parameters that allow what is done anyway, with the values that do; others are refused."""

REFUSED: Mapping[str, str] = {
    "hostaddr": "give the address as the host",
    "replication": "HotMesh runs statements, not replication",
    "requirepeer": "the driver can't check who owns a socket",
    "require_auth": "the driver can't choose how it logs in",
    "min_protocol_version": "the driver speaks one version of the protocol",
    "max_protocol_version": "the driver speaks one version of the protocol",
    "requiressl": "use sslmode=require",
    "sslcrldir": "use sslcrl",
    "sslkeylogfile": "use the environment variable SSLKEYLOGFILE",
    "gssdelegation": "the driver can't delegate credentials",
    "servicefile": "use the environment variable PGSERVICEFILE",
    "max_cached_statement_lifetime": "HotMesh has few statements, and keeps them",
    "max_cacheable_statement_size": "HotMesh has few statements, and keeps them",
    "prepared_statement_cache_size": "use statement_cache_size, or pooler=1 behind a pooler",
    "prepared_statement_name_func": "use pooler=1 behind a pooler",
    "pgbouncer": "use pooler=1",
    "connection_limit": "HotMesh opens about a dozen connections a process",
    "max_connections": "HotMesh opens about a dozen connections a process",
    "pool_size": "HotMesh opens about a dozen connections a process",
    "pool_timeout": "HotMesh's calls wait for a connection as long as for an answer",
    "pool_max_conns": "HotMesh opens about a dozen connections a process",
    "pool_min_conns": "HotMesh opens connections when it needs them",
    "default_transaction_isolation": "HotMesh counts on 'read committed'",
    "default_transaction_read_only": "HotMesh writes",
}

KNOWN = sorted(DRIVER | OURS | set(HARMLESS) | {"options"})
"""Names to suggest."""

INT_MAX = 2**31 - 1

_FLAGS = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
_WRITABLE = ("any", "read-write", "primary")


@dataclass(frozen=True, slots=True)
class Keepalives:
    """What the system does to notice that the other end of a connection is gone."""

    on: bool = True
    options: Mapping[int, int] = field(default_factory=dict[int, int])
    """Options of a TCP socket and their values."""


def refuse(name: str, reason: str) -> InvalidArgumentError:
    """The error of a parameter that can't be honoured."""
    return InvalidArgumentError(f"{name!r} in the Postgres URL: {reason}")


def unknown(name: str) -> InvalidArgumentError:
    """The error of a parameter that neither HotMesh nor the server knows."""
    near = difflib.get_close_matches(name.lower(), KNOWN, n=3)
    meant = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(KNOWN)}"
    return refuse(name, f"no parameter and no setting of the server; {meant}")


def check(name: str, value: str) -> bool:
    """Whether a parameter needs nothing to be done.

    Raises:
        InvalidArgumentError: it, or its value, can't be honoured.
    """
    if name in REFUSED:
        raise refuse(name, REFUSED[name])
    allowed = HARMLESS.get(name)
    if allowed is None:
        return False
    if value not in allowed:
        raise refuse(name, f"{value!r} can't be had with this driver; use {' or '.join(allowed)}")
    return True


def flag(given: dict[str, str], name: str) -> bool | None:
    """Take a yes or no."""
    value = given.pop(name, None)
    if value is None:
        return None
    if value.lower() not in _FLAGS:
        raise refuse(name, f"{value!r} is neither 1 nor 0")
    return _FLAGS[value.lower()]


def number(
    given: dict[str, str],
    name: str,
    kind: Callable[[str], float] = int,
    *,
    least: float = 1,
    most: float = INT_MAX,
) -> float | None:
    """Take a number."""
    value = given.pop(name, None)
    if value is None:
        return None
    try:
        found = kind(value)
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        what = "whole number" if kind is int else "number"
        raise refuse(name, f"{value!r} is no {what} from {least:,} to {most:,}")
    return found


def session_attributes(given: dict[str, str], hosts: int) -> str:
    """Take which of several servers will do: one that writes, unless there is no choice.

    Args:
        given: The URL's parameters.
        hosts: How many the URL names; none: those of ``PGHOST``, which the driver reads.
    """
    value = given.pop("target_session_attrs", None) or os.environ.get("PGTARGETSESSIONATTRS")
    if not value:
        many = hosts > 1 or (not hosts and "," in os.environ.get("PGHOST", ""))
        return "read-write" if many else "any"
    if value not in _WRITABLE:
        raise refuse("target_session_attrs", f"HotMesh writes; use {' or '.join(_WRITABLE)}")
    return value


def connect_seconds(given: dict[str, str]) -> float | None:
    """Take how long an attempt to connect to one host may take, by libpq's name or the driver's."""
    if "connect_timeout" in given and "timeout" in given:
        raise refuse("timeout", "connect_timeout is given as well")
    name = "connect_timeout" if "connect_timeout" in given else "timeout"
    return number(given, name, float, least=0.001)


def keepalives(given: dict[str, str]) -> Keepalives:
    """Take libpq's keepalive parameters."""
    on = flag(given, "keepalives")
    options: dict[int, int] = {}
    for name, option, most in (
        ("keepalives_idle", "TCP_KEEPIDLE", 32_767),
        ("keepalives_interval", "TCP_KEEPINTVL", 32_767),
        ("keepalives_count", "TCP_KEEPCNT", 127),
        ("tcp_user_timeout", "TCP_USER_TIMEOUT", INT_MAX),
    ):
        value = number(given, name, least=0, most=most)  # more is an error of the socket's
        if value is None:
            continue
        if not hasattr(socket, option):
            raise refuse(name, "this system can't do that")
        if value:  # 0 is the system's own choice
            options[getattr(socket, option)] = int(value)
    return Keepalives(on is not False, options)


def settle_tls(given: dict[str, str]) -> None:
    """Put in the driver's own words what it does not read of a URL."""
    if "ssl" in given:  # the driver's argument, and what SQLAlchemy's URLs for it say
        if "sslmode" in given:
            raise refuse("ssl", "sslmode is given as well")
        given["sslmode"] = given.pop("ssl")
    if given.get("sslrootcert") != "system":
        return
    mode = given.setdefault("sslmode", "verify-full")
    if mode != "verify-full":
        raise refuse("sslmode", f"{mode!r} is too weak for sslrootcert=system; use verify-full")
    found: str | None = ssl.get_default_verify_paths().cafile  # None where there is no such file
    if not found:
        raise refuse("sslrootcert", "this system has no file with certificates; name one")
    given["sslrootcert"] = found
