"""Whose exception it is: the code's own, or that of a process, task or coroutine that ends."""

import asyncio
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import pytest

from hotmesh.interrupts import is_from_outside


def judged(code: Callable[[], Any]) -> bool:
    """What is said of what some code raises."""
    try:
        code()
    except BaseException as error:
        return is_from_outside(error)
    raise AssertionError("nothing was raised")


def raises(error: BaseException) -> Callable[[], NoReturn]:
    def code() -> NoReturn:
        raise error

    return code


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(1), GeneratorExit(), asyncio.CancelledError(), ValueError()],
)
def test_what_code_raises_is_its_own(error: BaseException) -> None:
    assert judged(raises(error)) is False


def test_sys_exit_is_the_codes_own() -> None:
    assert judged(lambda: sys.exit(3)) is False


@contextmanager
def handler(given: Any) -> Generator[None]:
    before = signal.signal(signal.SIGINT, given)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1_000_000):
        pass


def exits(number: int, frame: FrameType | None) -> None:
    raise SystemExit(number)


class Exits:
    def handle(self, number: int, frame: FrameType | None) -> None:
        sys.exit(number)


@pytest.mark.parametrize(
    "given",
    [signal.default_int_handler, exits, Exits().handle, functools.partial(Exits().handle)],
    ids=["default", "function", "method", "partial"],
)
def test_what_a_handler_of_a_signal_raises_is_not(given: Any) -> None:
    with handler(given):
        assert judged(interrupted) is True
        assert judged(raises(KeyboardInterrupt())) is False


def test_signals_are_the_main_threads() -> None:
    found: list[bool] = []
    with handler(signal.default_int_handler):
        thread = threading.Thread(
            target=lambda: found.append(judged(functools.partial(exits, 1, None)))
        )
        thread.start()
        thread.join()
    assert found == [False]


async def test_the_exit_of_a_coroutine_that_is_closed_is_not_the_codes_own() -> None:
    found: list[bool] = []

    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    async def leaves() -> None:
        raise GeneratorExit

    async def calls(code: Callable[[], Any]) -> None:
        try:
            await code()
        except BaseException as error:
            found.append(is_from_outside(error))

    async def gets() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, GeneratorExit())
        await future

    closed = calls(waits)
    closed.send(None)
    closed.close()
    await calls(leaves)
    await asyncio.create_task(calls(gets))
    assert found == [True, False, False]


async def test_a_cancellation_is_from_outside_if_the_task_is_cancelled() -> None:
    found: list[bool] = []

    async def stray() -> None:
        helper = asyncio.create_task(asyncio.sleep(60))
        await asyncio.sleep(0)
        helper.cancel()
        await helper

    async def calls(code: Callable[[], Any]) -> None:
        try:
            await code()
        except asyncio.CancelledError as error:
            found.append(is_from_outside(error))

    await calls(stray)
    cancelled = asyncio.create_task(calls(lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    cancelled.cancel()
    await cancelled
    assert found == [False, True]
