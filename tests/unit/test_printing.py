"""Objects whose own printing fails: what is said of them all the same."""

import logging
from typing import Any

import pytest

from hotmesh.printing import (
    TEXT_CHARS_MAX,
    UnprintableError,
    message_of,
    printable,
    shown,
    stack_of,
    told,
)


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class NoTextError(Exception):
    def __str__(self) -> Any:
        return 7


class EndsError(Exception):
    def __str__(self) -> str:
        raise SystemExit(1)


class NotedError(Exception):
    @property
    def __notes__(self) -> list[str]:
        raise ValueError("no notes")


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def test_ordinary_errors_say_what_they_say() -> None:
    assert message_of(ValueError("why")) == "why"
    assert told(ValueError("why")) == "ValueError: why"
    assert told(ValueError()) == "ValueError"
    assert shown(["a"]) == "['a']"
    error = raised(ValueError("why"))
    assert printable(error) is error
    assert printable(None) is None
    assert "in raised" in stack_of(error)
    assert stack_of(ValueError()) == ""


@pytest.mark.parametrize("kind", [MuteError, NoTextError, EndsError])
def test_an_error_without_a_text_says_that_it_has_none(kind: type[Exception]) -> None:
    assert message_of(kind()).startswith(f"<str of {kind.__name__} failed: ")
    assert told(kind()).startswith(f"{kind.__name__}: <str of ")


def test_a_value_that_cannot_be_shown_says_so() -> None:
    assert shown(MuteError()) == "<repr of MuteError failed: ValueError>"
    assert len(shown("x" * 2 * TEXT_CHARS_MAX)) == TEXT_CHARS_MAX + 1


def test_an_error_that_no_log_can_print_is_stood_in_for(caplog: pytest.LogCaptureFixture) -> None:
    error = printable(raised(NotedError("hidden")))
    assert isinstance(error, UnprintableError)
    assert error.__traceback__ is not None
    with caplog.at_level(logging.ERROR):
        logging.getLogger("hotmesh").error("failed", exc_info=error)
    assert "NotedError can't be printed" in caplog.text
