"""What a Postgres URL says: where to connect, which schema, whether through a pooler."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from hotmesh.exceptions import InvalidArgumentError

SCHEMA_DEFAULT = "hotmesh"
_SCHEMA_NAME = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_FLAGS = {"1": True, "true": True, "0": False, "false": False}


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL."""

    dsn: str
    """The URL for the driver: without what only HotMesh understands."""
    shown: str
    """The URL for people: without the password."""
    schema: str
    pooler: bool | None
    """Whether a transaction pooler is in between; None: find out."""

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
    """Parse ``postgresql://user:password@host:port/database?schema=name&pooler=1``.

    Args:
        url: Parameters other than ``schema`` and ``pooler`` are the driver's (``sslmode``, ...).

    Returns:
        The parts.

    Raises:
        InvalidArgumentError: The port is no number, or ``schema`` or ``pooler`` has a value that
            can't be used.
    """
    parts = urlsplit(url)
    try:
        _ = parts.port
    except ValueError as error:
        raise InvalidArgumentError(f"not a Postgres URL: {error}") from error
    schema, pooler = SCHEMA_DEFAULT, None
    passed_on: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "schema":
            schema = value
        elif name == "pooler":
            if value not in _FLAGS:
                raise InvalidArgumentError(f"pooler={value!r} in the Postgres URL: use 1 or 0")
            pooler = _FLAGS[value]
        else:
            passed_on.append((name, value))
    if not _SCHEMA_NAME.fullmatch(schema):
        raise InvalidArgumentError(
            f"schema={schema!r} in the Postgres URL: use lower-case letters, digits and "
            "underscores, at most 48, not starting with a digit"
        )
    place = url.partition("?")[0]
    dsn = f"{place}?{urlencode(passed_on)}" if passed_on else place
    return Address(dsn, _without_password(url), schema, pooler)


def _without_password(url: str) -> str:
    place, mark, query = url.partition("?")
    parts = urlsplit(place)
    if parts.password is not None:
        place = place.replace(f":{parts.password}@", ":***@", 1)
    shown = [
        (name, "***" if "password" in name else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return place + mark + urlencode(shown, safe="*/")
