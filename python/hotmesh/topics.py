"""Topics of events and the patterns that select them: tokens joined by dots, as in NATS.

In a pattern ``*`` stands for exactly one token and a final ``>`` for one token or more.
"""

from __future__ import annotations

import re

from hotmesh import json_bytes
from hotmesh.exceptions import InvalidArgumentError, PayloadTooLargeError
from hotmesh.limits import EVENT_BYTES_MAX, NAME_BYTES_MAX

ONE = "*"
REST = ">"

_TOKEN = re.compile(r"[^\s.*>\0]+")


def checked_topic(topic: str) -> str:
    """A topic that every bus can carry.

    Raises:
        InvalidArgumentError: It is empty or too long, has an empty token, or holds white space
            or a wildcard.
    """
    _check_size("topic", topic)
    if not all(_TOKEN.fullmatch(token) for token in topic.split(".")):
        raise InvalidArgumentError(
            f"Topic {topic!r} must be tokens joined by dots, without white space, '*' or '>'"
        )
    return topic


def check_event(topic: str, data: bytes) -> None:
    """Refuse an event that some bus could not carry.

    Args:
        topic: Its topic.
        data: Its data as JSON text.

    Raises:
        InvalidArgumentError: The topic is not acceptable.
        PayloadTooLargeError: Topic and data together exceed ``EVENT_BYTES_MAX``.
    """
    size = len(json_bytes.dumps(checked_topic(topic))) + len(data)
    if size > EVENT_BYTES_MAX:
        raise PayloadTooLargeError(size, EVENT_BYTES_MAX, f"event on topic {topic!r}")


def checked_pattern(pattern: str) -> str:
    """A pattern that every bus understands.

    Raises:
        InvalidArgumentError: It is empty or too long, has an empty token, a wildcard inside a
            token, or ``>`` before its end.
    """
    _check_size("pattern", pattern)
    tokens = pattern.split(".")
    last = len(tokens) - 1
    for index, token in enumerate(tokens):
        is_wildcard = token == ONE or (token == REST and index == last)
        if not is_wildcard and not _TOKEN.fullmatch(token):
            raise InvalidArgumentError(
                f"Pattern {pattern!r} must be tokens joined by dots: words, '*' for any one "
                "token, or '>' at the end for the rest"
            )
    return pattern


def matches(pattern: str, topic: str) -> bool:
    """Whether a (checked) pattern selects a topic."""
    wanted, given = pattern.split("."), topic.split(".")
    if wanted[-1] == REST:
        del wanted[-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        token in (ONE, found) for token, found in zip(wanted, given, strict=True)
    )


def _check_size(what: str, text: str) -> None:
    if not text or len(text.encode(errors="surrogatepass")) > NAME_BYTES_MAX:
        raise InvalidArgumentError(f"{what} must have 1 to {NAME_BYTES_MAX} bytes: {text[:60]!r}")
