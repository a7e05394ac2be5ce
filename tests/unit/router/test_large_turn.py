"""One pipe of a router at a time has a large value in hand."""

import asyncio

from hotmesh.backends.protocol import MessageRow
from hotmesh.limits import LARGE_TURN_BYTES, RESULTS_BYTES_MAX
from hotmesh.router.large_turn import LargeTurn, ends_large


def row(frame: int, body: int | None) -> MessageRow:
    data = None if body is None else bytes(body)
    return MessageRow(1, 64, b"r" * 16, bytes(frame), "w", "T", b"", data, False)


def test_the_last_message_tells_whether_something_large_was_read() -> None:
    assert not ends_large([])
    assert not ends_large([row(10, None), row(LARGE_TURN_BYTES, None)])
    assert ends_large([row(10, None), row(LARGE_TURN_BYTES + 1, None)])
    assert ends_large([row(10, LARGE_TURN_BYTES)])


SMALL, LARGE = [row(10, None)], [row(10, LARGE_TURN_BYTES)]


async def test_pipes_read_in_turns() -> None:
    turn, woken = LargeTurn(), list[str]()

    def may_read(pipe: str) -> bool:
        return turn.may_read(pipe, lambda: woken.append(pipe))

    assert may_read("a")  # nothing was read yet: there may be something large for each
    assert not may_read("b")
    await turn.has_read("a", SMALL)
    turn.release("a")
    assert woken.pop() == "b"
    assert all(map(may_read, "abc"))
    await turn.has_read("a", LARGE)
    assert may_read("a")
    assert not may_read("b")
    assert not may_read("c")
    turn.leave("c")
    turn.release("a")
    assert (woken, turn.has("b"), turn.has("a")) == (["b"], True, False)
    assert not may_read("a")
    assert not may_read("c")
    turn.release("b")  # a step of it was under way that does not read
    assert turn.has("b")
    assert may_read("b")
    await turn.has_read("b", SMALL)
    turn.release("b")
    assert woken == ["b", "a", "c"]  # what is there is not large: they need no turn
    assert all(map(may_read, "abc"))
    assert not any(map(turn.has, "abc"))


async def test_two_that_have_read_at_once_go_on_one_after_the_other() -> None:
    turn = LargeTurn()
    await turn.has_read("x", SMALL)
    await turn.has_read("a", LARGE)
    waiting = asyncio.create_task(turn.has_read("b", LARGE))
    await asyncio.sleep(0)
    assert not waiting.done()
    turn.release("a")
    await waiting
    assert turn.has("b")
    gone = asyncio.create_task(turn.has_read("c", LARGE))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    turn.leave("c")
    turn.leave("b")
    assert turn.may_read("a", lambda: None)


def test_what_all_others_have_in_hand_counts() -> None:
    turn, weights = LargeTurn(), {"a": 0, "b": 0, "c": 0}
    for pipe in weights:
        turn.join(pipe, lambda pipe=pipe: weights[pipe])
    assert not turn.others_have_enough("a")
    weights["b"] = weights["c"] = RESULTS_BYTES_MAX // 2
    assert turn.others_have_enough("a")
    assert not turn.others_have_enough("b")
    turn.leave("c")
    assert not turn.others_have_enough("a")


async def test_whose_turn_it_is_waits_for_nobody_who_may_wait_for_it() -> None:
    turn, weights = LargeTurn(), {"a": 0, "b": RESULTS_BYTES_MAX}
    for pipe in weights:
        turn.join(pipe, lambda pipe=pipe: weights[pipe])
    assert turn.others_have_enough("a")
    await turn.take("a")
    assert not turn.others_have_enough("a")
    turn.release("a")
    assert turn.others_have_enough("a")


def test_who_was_kept_back_is_told_once_when_there_is_room() -> None:
    turn, weights = LargeTurn(), {"a": 0, "b": 0}
    for pipe in weights:
        turn.join(pipe, lambda pipe=pipe: weights[pipe])
    assert not turn.has_room_again()
    weights["b"] = RESULTS_BYTES_MAX
    assert turn.others_have_enough("a")
    assert not turn.has_room_again()
    weights["b"] -= 1  # part of it is written
    assert turn.has_room_again()
    assert not turn.has_room_again()
