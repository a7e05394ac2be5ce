"""One pipe of a router at a time has a large value in hand."""

from hotmesh.limits import RESULTS_BYTES_MAX
from hotmesh.router.large_turn import LargeTurn


def test_pipes_have_the_turn_one_after_the_other() -> None:
    turn, woken = LargeTurn(), list[str]()

    def ask(pipe: str) -> None:
        turn.ask(pipe, lambda: woken.append(pipe))

    assert not turn.use("a")  # nobody has it who has not asked
    for pipe in ("a", "b", "b", "c"):
        ask(pipe)
    assert (woken, turn.has("a"), turn.has("b")) == (["a"], True, False)
    turn.release("a")  # a step of it was under way that reads nothing large
    assert turn.has("a")
    assert not turn.use("b")
    assert turn.use("a")
    ask("a")  # for the next one
    turn.leave("c")
    turn.release("a")
    assert (woken, turn.has("b")) == (["a", "b"], True)
    assert turn.use("b")
    turn.release("b")
    assert (woken, turn.has("a")) == (["a", "b", "a"], True)
    assert turn.use("a")
    turn.release("a")
    assert not any(map(turn.has, ("a", "b", "c")))


def test_who_ends_leaves_the_turn_to_others() -> None:
    turn, woken = LargeTurn(), list[str]()
    for pipe in ("a", "b"):
        turn.ask(pipe, lambda pipe=pipe: woken.append(pipe))
    turn.leave("a")
    assert woken == ["a", "b"]
    assert turn.has("b")


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


def test_whose_turn_it_is_waits_for_nobody_who_may_wait_for_it() -> None:
    turn, weights = LargeTurn(), {"a": 0, "b": RESULTS_BYTES_MAX}
    for pipe in weights:
        turn.join(pipe, lambda pipe=pipe: weights[pipe])
    assert turn.others_have_enough("a")
    turn.ask("a", lambda: None)
    assert turn.use("a")
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
