"""Errors that are too long to print or store: what is kept of them, and that they say so."""

import traceback
from collections.abc import Callable
from typing import Any

import pytest

from hotmesh.converter import DataConverter, decode_failure, encode_failure
from hotmesh.exceptions import ApplicationError
from hotmesh.groups import is_non_retryable, leaves
from hotmesh.printing import printable, stack_of, told, user_frames
from hotmesh.shortening import CHARS_MAX, EXCEPTIONS_MAX, FRAMES_ALL, FRAMES_EACH

LONG = 3_000


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


def caused(count: int, link: str = "__cause__") -> BaseException:
    """The last of a chain, numbered from the root."""
    error = raised(ValueError("number 0"))
    for number in range(1, count):
        following = raised(ValueError(f"number {number}"))
        setattr(following, link, error)
        error = following
    return error


def nested(depth: int) -> BaseException:
    error: BaseException = ValueError("innermost")
    for number in range(depth):
        error = BaseExceptionGroup(f"depth {number}", [error])
    return error


def endless(count: int = 0) -> int:
    return endless(count + 1) + 1


def recursion() -> BaseException:
    try:
        endless()
    except RecursionError as error:
        return error
    raise AssertionError("it ended")


def noted() -> BaseException:
    error = ValueError("noted")
    for number in range(LONG):
        error.add_note(f"note {number}")
    return error


def circle() -> BaseException:
    error = caused(LONG)
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    root.__cause__ = error
    return error


KINDS: dict[str, tuple[Callable[[], BaseException], str]] = {
    "causes": (lambda: caused(LONG), f"… {LONG - EXCEPTIONS_MAX:,} errors that led to this one"),
    "contexts": (lambda: caused(LONG, "__context__"), "errors that led to this one are left out"),
    "circle": (circle, "errors that led to this one are left out"),
    "members": (
        lambda: ExceptionGroup("wide", [ValueError(number) for number in range(LONG)]),
        f"… {LONG - 15:,} members are left out",
    ),
    "depth": (lambda: nested(LONG), "max_group_depth is 10"),
    "frames": (recursion, "frames are left out"),
    "group of stacks": (lambda: ExceptionGroup("deep", [recursion() for _ in range(60)]), "frames"),
    "notes": (noted, f"… {LONG - 100:,} notes are left out"),
    "message": (lambda: ValueError("x" * 50_000_000), "xxx…"),
    "note": (lambda: with_note("x" * 50_000_000), "xxx…"),
}


def with_note(text: str) -> BaseException:
    error = ValueError("noted")
    error.add_note(text)
    return error


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_too_long_is_printed_in_part_and_says_so(kind: str) -> None:
    make, said = KINDS[kind]
    error = make()
    shown = printable(error)
    assert shown is not None
    lines = traceback.format_exception(shown)
    assert sum(map(len, lines)) < 20 * CHARS_MAX
    assert sum(line.count("  File ") for line in lines) <= FRAMES_ALL + 5 * EXCEPTIONS_MAX
    text = "".join(lines)
    assert said in text
    assert type(error).__name__ in text


def test_the_beginning_is_what_is_kept() -> None:
    text = "".join(traceback.format_exception(printable(caused(LONG))))
    assert f"number {LONG - 1}" in text
    assert f"number {LONG - EXCEPTIONS_MAX}" in text
    assert f"number {LONG - EXCEPTIONS_MAX - 1}" not in text


def test_what_is_not_too_long_is_printed_as_it_is() -> None:
    for error in (caused(EXCEPTIONS_MAX), nested(5), ValueError("x" * CHARS_MAX)):
        assert printable(error) is error


def kept(error: BaseException) -> ApplicationError:
    found = decode_failure(DataConverter.default, encode_failure(DataConverter.default, error))
    assert isinstance(found, ApplicationError)
    return found


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_a_kept_chain_says_that_it_was_cut(link: str) -> None:
    error: Any = kept(caused(LONG, link))
    chain: list[str] = []
    while error is not None:
        chain.append(error.message)
        error = error.__cause__
    assert chain[0] == f"number {LONG - 1}"
    assert chain[-1] == f"… {LONG - len(chain) + 1:,} more causes are not kept"
    assert kept(caused(60)).__cause__ is not None
    assert "not kept" not in encode_failure(DataConverter.default, caused(65)).decode()


def test_a_kept_group_says_that_it_was_cut() -> None:
    group = ExceptionGroup(
        "wide", [*map(ValueError, range(LONG)), ApplicationError("last", non_retryable=True)]
    )
    error = kept(group)
    assert error.failure is not None
    left_out = LONG + 1 - len(leaves(error))
    assert error.failure.stack_trace.endswith(f"… {left_out:,} more members are not kept\n")
    assert is_non_retryable(error)


def test_a_kept_stack_says_that_it_was_cut() -> None:
    error = kept(recursion())
    assert error.failure is not None
    stack = error.failure.stack_trace
    assert stack.count("  File ") <= FRAMES_EACH
    assert "more frames" in stack


def test_all_that_is_kept_of_an_error_has_few_frames() -> None:
    group = ExceptionGroup("deep", [recursion() for _ in range(200)])
    document = encode_failure(DataConverter.default, group).decode()
    assert document.count("File ") <= FRAMES_ALL + 5 * 256


def test_frames_are_told_from_either_end() -> None:
    error = recursion()
    assert stack_of(error).count("in recursion") == 1
    assert user_frames(error)[-1].endswith("in endless")


def test_one_line_is_not_longer_than_people_read() -> None:
    assert len(told(ValueError("x" * 50_000_000))) < CHARS_MAX + 20
