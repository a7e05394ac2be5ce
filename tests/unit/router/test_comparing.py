"""Arguments of a replay beside those recorded: equal, different, or in another order."""

from collections.abc import Sequence

import pytest

from hotmesh.core import Event, kinds
from hotmesh.engine.arguments import ArgumentDigests
from hotmesh.router.comparing import ArgumentComparer

DIGESTS = ArgumentDigests(b"run", b"input")


def call(text: str, name: str = "a") -> Event:
    return (kinds.ACTIVITY, 1, 0, name, b"", text.encode())


def timer(due_ms: int) -> Event:
    return (kinds.TIMER, 1, due_ms, "", b"", b"")


def sealed(commands: Sequence[Event]) -> list[Event]:
    """As a journal holds them where a codec has encrypted the bodies, differently each time."""
    digests = DIGESTS.command(commands)
    hidden = [(*c[:5], b"\xff%d" % at if c[5] else b"") for at, c in enumerate(commands)]
    return hidden if digests is None else [digests, *hidden]


@pytest.fixture(params=[list, sealed])
def stored(request: pytest.FixtureRequest) -> object:
    return request.param


def compared(
    stored: object, *transitions: tuple[Sequence[Event], Sequence[Event]]
) -> tuple[ArgumentComparer, list[Event | None]]:
    comparer = ArgumentComparer(DIGESTS)
    moved = [
        comparer.compare(index, stored(recorded), issued)  # type: ignore[operator]
        for index, (recorded, issued) in enumerate(transitions)
    ]
    return comparer, [each and each.command for each in moved]


def test_equal_arguments_are_no_change(stored: object) -> None:
    same = [call("1"), timer(5), call("2")]
    comparer, moved = compared(stored, (same, same), ([], []))
    assert moved == [None, None]
    assert comparer.changes == []
    assert comparer.permuted() is None


def test_other_arguments_are_a_change_and_no_more(stored: object) -> None:
    comparer, moved = compared(stored, ([call("1"), timer(5)], [call("1 new"), timer(6)]))
    assert moved == [None]
    assert [change.command[0] for change in comparer.changes] == [kinds.ACTIVITY, kinds.TIMER]
    assert comparer.permuted() is None


@pytest.mark.parametrize(
    ("recorded", "issued"),
    [
        ([call("1"), call("2")], [call("2"), call("1")]),
        ([call("1"), call("2"), call("3")], [call("1"), call("3"), call("2")]),
        ([call("1"), call("2")], [call("2"), call("new")]),
        ([timer(1), timer(2)], [timer(2), timer(1)]),
    ],
)
def test_arguments_of_another_command_are_found_within_a_transition(
    stored: object, recorded: list[Event], issued: list[Event]
) -> None:
    _, moved = compared(stored, (recorded, issued))
    assert moved[0] is not None


def test_arguments_of_another_activity_are_no_other_order(stored: object) -> None:
    _, moved = compared(
        stored, ([call("1", "a"), call("2", "b")], [call("2", "a"), call("1", "b")])
    )
    assert moved == [None]


def test_another_order_over_several_transitions_is_found_at_the_end(stored: object) -> None:
    comparer, moved = compared(
        stored,
        ([call("1")], [call("3")]),
        ([call("2")], [call("2")]),
        ([call("3")], [call("1")]),
    )
    assert moved == [None, None, None]
    found = comparer.permuted()
    assert found is not None
    assert found.transition == 0


def test_a_shift_over_several_transitions_is_a_change(stored: object) -> None:
    comparer, _ = compared(stored, ([call("1")], [call("2")]), ([call("2")], [call("3")]))
    assert comparer.permuted() is None
    assert len(comparer.changes) == 2
