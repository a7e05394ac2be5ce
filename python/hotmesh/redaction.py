"""What may be shown of a URL: its secrets never appear in logs, errors or representations.

A secret is the password in front of the host, and the value of every parameter whose name says so,
in whatever spelling a driver repeats it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

HIDDEN = "***"

_SECRET_NAME = re.compile(r"pass(wor[dt]|wd|phrase)|pwd|secret|token|credential|api_?key", re.I)
_TOKEN_SCHEMES = ("nats", "tls", "ws", "wss")
"""Where a name without a password is a token."""

_SHORT_CHARS = 4
"""Shorter secrets are hidden only where they stand alone: they are parts of too many words."""


class Redaction:
    """Knows the secrets of a URL.

    Args:
        url: Any text, also one that is no URL at all.
    """

    def __init__(self, url: str) -> None:
        shown, secrets = _taken_apart(url)
        self.shown = shown
        """The URL for people."""
        spellings = {form for secret in secrets for form in _spellings(secret)}
        self._patterns = [_pattern(each) for each in sorted(spellings, key=len, reverse=True)]

    def __repr__(self) -> str:
        return f"Redaction({self.shown!r})"

    def hide(self, text: str) -> str:
        """A text without the secrets."""
        for pattern in self._patterns:
            text = pattern.sub(HIDDEN, text)
        return text

    def because(self, failure: BaseException, error: BaseException) -> None:
        """Name an error as the cause of a failure, unless it or what is behind it tells a secret.

        Raise the failure outside of the ``except`` block of the error: there it would become its
        context all the same.
        """
        if all(self.hide(text) == text for text in _texts(error)):
            failure.__cause__ = error


def shown_url(url: str) -> str:
    """A URL that may be shown."""
    return Redaction(url).shown


def _taken_apart(url: str) -> tuple[str, list[str]]:
    """What may be shown, and the secrets."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    place, question, query = rest.partition("?")
    if "@" not in authority and "@" in rest and not _is_host(authority):
        # A password with one of / ? # in it, not percent-encoded: nothing is where it should be.
        place, question, query = rest, "", ""
    shown, secrets = _without_account(scheme, place)
    pieces: list[str] = []
    for piece in query.split("&"):
        name, equals, value = piece.partition("=")
        if value and _SECRET_NAME.search(unquote_plus(name)):
            secrets.append(value)
            piece = f"{name}{equals}{HIDDEN}"
        pieces.append(piece)
    return scheme + mark + shown + question + "&".join(pieces), secrets


def _is_host(authority: str) -> bool:
    """Whether this is hosts with numbers as ports, and not the beginning of an account."""
    return all(
        re.fullmatch(r"\[[^\]]*\](:\d*)?|[^:]*(:\d*)?", each) for each in authority.split(",")
    )


def _without_account(scheme: str, place: str) -> tuple[str, list[str]]:
    account, at, address = place.rpartition("@")
    user, colon, password = account.partition(":")
    if colon:
        return f"{user}:{HIDDEN}@{address}", [password] if password else []
    if user and scheme.lower() in _TOKEN_SCHEMES:
        return f"{HIDDEN}@{address}", [user]
    return account + at + address, []


def _spellings(secret: str) -> Iterator[str]:
    for plain in (secret, unquote(secret), unquote_plus(secret)):
        yield from (plain, quote(plain, safe=""), quote_plus(plain), repr(plain)[1:-1])


def _pattern(secret: str) -> re.Pattern[str]:
    text = re.escape(secret)
    return re.compile(rf"(?<!\w){text}(?!\w)" if len(secret) < _SHORT_CHARS else text)


def _texts(error: BaseException | None) -> Iterator[str]:
    """What an error and those behind it say."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), repr(each), *map(str, getattr(each, "__notes__", ())))
        waiting += (each.__cause__, each.__context__)
