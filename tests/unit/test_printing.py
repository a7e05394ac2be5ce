"""Objects whose own printing fails: what is said of them all the same."""

import asyncio
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from hotmesh.printing import (
    UnprintableError,
    frames_in,
    message_of,
    printable,
    shown,
    stack_of,
    told,
    user_frames,
)
from hotmesh.shortening import CHARS_MAX


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
    assert len(shown("x" * 2 * CHARS_MAX)) == CHARS_MAX + 1


def test_an_error_that_no_log_can_print_is_stood_in_for(caplog: pytest.LogCaptureFixture) -> None:
    error = printable(raised(NotedError("hidden")))
    assert isinstance(error, UnprintableError)
    assert error.__traceback__ is not None
    with caplog.at_level(logging.ERROR):
        logging.getLogger("hotmesh").error("failed", exc_info=error)
    assert "NotedError can't be printed" in caplog.text


def raises() -> None:
    raise ValueError("here")


async def by_way_of_asyncio() -> None:
    async with asyncio.timeout(5):
        await asyncio.gather(asyncio.to_thread(raises))


async def failure_of(work: Any) -> BaseException:
    try:
        await work
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


async def test_a_stack_shows_the_users_frames_and_not_those_of_libraries() -> None:
    error = await failure_of(by_way_of_asyncio())
    stack = stack_of(error)
    assert 'raise ValueError("here")' in stack
    assert "asyncio" not in stack.replace("by_way_of_asyncio", "").replace("asyncio.", "")
    functions = [frame.rpartition(" ")[2] for frame in frames_in(stack)]
    assert functions == ["failure_of", "by_way_of_asyncio", "raises"]
    assert user_frames(error) == frames_in(stack)


def test_a_stack_of_nothing_but_libraries_is_shown_as_it_is() -> None:
    try:
        frames_in(None)  # type: ignore[arg-type]
    except TypeError as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        assert "in frames_in" in stack_of(error)


async def test_a_stack_of_another_process_is_that_of_the_users_code_there() -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        error = await failure_of(asyncio.get_running_loop().run_in_executor(pool, raises))
    (frame,) = frames_in(stack_of(error))
    assert frame.startswith(f"{__file__}:")
    assert frame.endswith(" in raises")
