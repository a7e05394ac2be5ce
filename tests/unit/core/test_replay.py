"""Matching issued commands against recorded ones."""

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.core import kinds
from unit.core.strategies import telling_events


def command(kind: int, seq: int = 1, name: str = "", body: bytes = b"") -> tuple:
    return (kind, seq, 0, name, b"", body)


ONE = command(kinds.ACTIVITY, 1, "charge")
TWO = command(kinds.TIMER, 2)


@pytest.mark.parametrize(
    ("recorded", "issued", "index"),
    [
        ([], [], -1),
        ([ONE, TWO], [ONE, TWO], -1),
        ([ONE], [command(kinds.ACTIVITY, 1, "charge", b"other arguments")], -1),
        ([ONE], [command(kinds.ACTIVITY, 1, "refund")], 0),
        ([ONE], [command(kinds.ACTIVITY, 2, "charge")], 0),
        ([ONE, TWO], [ONE, command(kinds.CHILD, 2)], 1),
        ([ONE, TWO], [ONE], 1),
        ([ONE], [ONE, TWO], 1),
        ([command(kinds.REDISPATCH), ONE, command(kinds.TERMINATED)], [ONE], -1),
        ([ONE, command(kinds.TIMED_OUT)], [ONE], -1),
        ([ONE], [command(kinds.REDISPATCH), ONE], 0),
        ([command(kinds.DIGESTS), ONE], [ONE], -1),
    ],
)
def test_first_difference(core: ModuleType, recorded: list, issued: list, index: int) -> None:
    assert core.match_commands(recorded, issued) == index


@given(commands=st.lists(telling_events.filter(lambda event: event[0] < kinds.REDISPATCH)))
def test_the_same_program_always_matches(core: ModuleType, commands: list) -> None:
    assert core.match_commands(commands, commands) == -1


@given(
    commands=st.lists(telling_events.filter(lambda event: event[0] < kinds.REDISPATCH), min_size=1),
    data=st.data(),
)
def test_a_changed_program_fails_at_the_change(
    core: ModuleType, commands: list, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(commands) - 1))
    changed = list(commands)
    changed[place] = (*commands[place][:3], commands[place][3] + "!", *commands[place][4:])
    assert core.match_commands(commands, changed) == place
