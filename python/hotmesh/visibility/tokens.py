"""The words of a query."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from hotmesh.exceptions import InvalidArgumentError

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
      | (?P<number>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]))
      | (?P<quoted>`[^`]+`)
      | (?P<word>[^\W\d][\w.$-]*|\$[\w.$-]+)
      | (?P<sign><=|>=|!=|<>|[=<>(),*])
    )""",
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")


class Token(NamedTuple):
    """A word and what it is."""

    kind: str
    """text, number, quoted, word, sign, or "" at the end."""
    text: str

    def is_word(self, word: str) -> bool:
        """Whether it is this word of the language, in any case."""
        return self.kind == "word" and self.text.upper() == word

    def value(self) -> Any:
        """The value that a text, a number, ``true`` or ``false`` stands for; None for others."""
        if self.kind == "text":
            quote = self.text[0]
            return _ESCAPED.sub(r"\1", self.text[1:-1].replace(quote * 2, quote))
        if self.kind == "number":
            digits = self.text.lstrip("+")
            return float(digits) if any(each in digits for each in ".eE") else int(digits)
        if self.kind == "word" and self.text.lower() in ("true", "false"):
            return self.text.lower() == "true"
        return None


END = Token("", "the end")


class Tokens:
    """A query word by word.

    Raises:
        InvalidArgumentError: It is no text, or has what is no word.
    """

    def __init__(self, query: str) -> None:
        if not isinstance(query, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(f"A filter must be text, not {type(query).__name__}")
        self._tokens: list[Token] = []
        self._at = 0
        at, end = 0, len(query.rstrip())
        while at < end:
            found = _TOKEN.match(query, at)
            if found is None or found.lastgroup is None:
                raise InvalidArgumentError(f"Malformed filter at {query[at:].strip()[:40]!r}")
            text = found[found.lastgroup]
            if found.lastgroup == "quoted":
                text = text.strip("`")
            self._tokens.append(Token(found.lastgroup, text))
            at = found.end()

    def peek(self) -> Token:
        """The next word."""
        return self._tokens[self._at] if self._at < len(self._tokens) else END

    def take(self) -> Token:
        """The next word, passing over it."""
        token = self.peek()
        self._at += 1
        return token

    def take_word(self, word: str) -> bool:
        """Whether the next word is this one of the language; passes over it if so."""
        found = self.peek().is_word(word)
        self._at += found
        return found
