"""What a Postgres URL says: where to connect, which schema, whether through a pooler."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from hotmesh.backends.postgres import parameters
from hotmesh.backends.postgres.parameters import Keepalives, refuse
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.redaction import Redaction

SCHEMA_DEFAULT = "hotmesh"
APPLICATION_NAME = "hotmesh"
STATEMENTS_CACHED = 100
CONNECT_S = 10.0
"""How long one attempt to connect to one host may take."""

_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_NOT_A_URL = (
    "not a Postgres URL: it reads postgresql://user:password@host:port/database?name=value. "
    "Percent-encode characters like @ : / ? # in user, password and database"
)

Place = tuple[str, int | None]
"""A host, or a folder with a socket, and the port."""


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL."""

    dsn: str = field(repr=False)
    """The URL for the driver: user, password, database, and what its own parser knows."""
    shown: str
    """The URL for people: without secrets."""
    schema: str
    pooler: bool | None
    """Whether a transaction pooler is in between; None: find out."""
    redaction: Redaction
    """Hides the secrets in what the driver says."""
    places: Sequence[Place] = ()
    """Where to try, in order; empty: the driver's defaults."""
    session_attributes: str = "any"
    """Which of the places will do."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the server, for each connection."""
    connect_s: float = CONNECT_S
    call_s: float | None = None
    """How long a call may take; None: the usual."""
    statements_cached: int = STATEMENTS_CACHED
    direct_tls: bool | None = None
    keepalives: Keepalives = field(default_factory=Keepalives)

    def lock_key(self, *parts: str | bytes) -> int:
        """Key of an advisory lock: the same in every process that means the same thing."""
        digest = hashlib.blake2b(self.schema.encode(), digest_size=8, person=b"hotmesh-lock")
        for part in parts:
            digest.update(b"\0" + (part.encode() if isinstance(part, str) else part))
        return int.from_bytes(digest.digest(), "big", signed=True)

    def channel(self, name: str) -> str:
        """The NOTIFY channel of a hint channel; Postgres allows 63 bytes."""
        text = f"{self.schema}\0{name}".encode()
        return "hm_" + hashlib.blake2b(text, digest_size=16, person=b"hotmesh-hint").hexdigest()


def parse_address(url: str) -> Address:
    """Parse ``postgresql://user:password@host1:port,host2/database?schema=name&pooler=1``.

    Args:
        url: The scheme may name a driver (``postgresql+asyncpg``), which is not looked at: a URL
            says where a database is. For parameters see :mod:`.parameters`.

    Raises:
        InvalidArgumentError: It is no URL, or a parameter can't be honoured; the message names it
            and shows no secret.
    """
    account, hosts, path, given = _taken_apart(url)
    for name in [name for name, value in given.items() if parameters.check(name, value)]:
        del given[name]
    schema = given.pop("schema", SCHEMA_DEFAULT)
    if not _SCHEMA_NAME.fullmatch(schema):
        raise refuse(
            "schema",
            f"{schema!r} can't be one: use lower-case letters, digits and underscores, at most "
            "48, not starting with a digit",
        )
    _refuse_said_twice(account, path, given)
    places = _places(hosts, given)
    redaction = Redaction(url)
    parameters.settle_tls(given)
    found: dict[str, Any] = {
        "pooler": parameters.flag(given, "pooler"),
        "places": places,
        "session_attributes": parameters.session_attributes(given, len(places)),
        "connect_s": parameters.connect_seconds(given) or CONNECT_S,
        "call_s": parameters.number(given, "command_timeout", float, least=0.001),
        "direct_tls": parameters.flag(given, "direct_tls"),
        "keepalives": parameters.keepalives(given),
    }
    cached = parameters.number(given, "statement_cache_size", least=0)
    found["statements_cached"] = STATEMENTS_CACHED if cached is None else int(cached)
    application = given.pop("fallback_application_name", APPLICATION_NAME)
    passed_on = {name: given.pop(name) for name in tuple(given) if name in parameters.DRIVER}
    query = f"?{urlencode(passed_on)}" if passed_on else ""
    return Address(
        dsn=f"postgresql://{account}{path}{query}",
        shown=redaction.shown,
        schema=schema,
        redaction=redaction,
        settings={"application_name": application, **given},
        **found,
    )


def _taken_apart(url: str) -> tuple[str, str, str, dict[str, str]]:
    """The account with its @, the hosts, the path with its slash, and the parameters.

    Nothing of a URL that can't be read is repeated: it may be a piece of a password.
    """
    _, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    account, at, hosts = authority.rpartition("@")
    if "#" in rest or "@" in account or "@" in path:
        raise InvalidArgumentError(_NOT_A_URL)
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise InvalidArgumentError(_NOT_A_URL) from None
    for name, value in pairs:
        if name in given:
            raise refuse(name, "given twice")
        given[name] = value
    return account + at, hosts, slash + path if path else "", given


def _refuse_said_twice(account: str, path: str, given: Mapping[str, str]) -> None:
    """Refuse a parameter for what the URL says already: who reads it would take one of the two.

    Raises:
        InvalidArgumentError: naming the parameter.
    """
    user, _, password = account.removesuffix("@").partition(":")
    for names, said, what in (
        (("user",), user, "user"),
        (("password",), password, "password"),
        (("dbname", "database"), path, "database"),
    ):
        found = [name for name in names if name in given]
        if found and (said or len(found) > 1):
            raise refuse(found[-1], f"the URL names a {what} already")


def _places(hosts: str, given: dict[str, str]) -> tuple[Place, ...]:
    """Every host with its port, in the order in which they are to be tried."""
    if "host" in given:
        if hosts:
            raise refuse("host", "the URL names a host already")
        hosts = given.pop("host")
    balance = given.pop("load_balance_hosts", "disable")
    if balance not in ("disable", "random"):
        raise refuse("load_balance_hosts", f"{balance!r} is neither disable nor random")
    if not hosts:
        return ()  # the driver's own, with `port` if it is given
    places = [_place(host) for host in hosts.split(",")]
    ports = given.pop("port", "").split(",")
    if ports != [""]:
        if any(own is not None for _, own in places):
            raise refuse("port", "the URL names a port already")
        if len(ports) not in (1, len(places)):
            raise refuse("port", f"{len(ports)} ports for {len(places)} hosts")
        ports *= len(places) if len(ports) == 1 else 1
        places = [
            (host, _port(given_port)) for (host, _), given_port in zip(places, ports, strict=True)
        ]
    if balance == "random":
        random.shuffle(places)
    return tuple(places)


def _place(text: str) -> Place:
    bracketed = re.fullmatch(r"\[([^\]]+)\](?::(\d*))?", text)
    if bracketed:
        return unquote(bracketed[1]), _port(bracketed[2] or "")
    if text.startswith("/"):
        return text, None
    host, _, port = text.partition(":")
    if not host:
        raise InvalidArgumentError(_NOT_A_URL)
    return unquote(host), _port(port)


def _port(text: str) -> int | None:
    text = unquote(text)
    if not text:
        return None
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise InvalidArgumentError(f"{_NOT_A_URL}: a port is no number from 1 to 65535")
    return int(text)
