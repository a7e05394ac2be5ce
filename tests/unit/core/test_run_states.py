"""The states of a run: every arrow of the table is taken here, and there is no other."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotmesh.core import RouterError, encode_transition, kinds, run_states
from hotmesh.core._python import output, router, run
from hotmesh.core.run_states import ANSWERING, ARROWS, BUSY, CLOSED, COLD, GONE, IDLE, NAMES
from unit.core.test_router import COMPLETE, LANE, RUN, START, Bench, event, row

Do = Callable[[Bench], Any]

BEGUN = encode_transition(1, [START], [])
ENDED = encode_transition(1, [START], [COMPLETE])
PATCH, QUERY, SIGNAL = event(kinds.PATCH), event(kinds.QUERY), event(kinds.SIGNAL)


def begun(bench: Bench) -> None:
    bench.begin(PATCH)


def ended(bench: Bench) -> None:
    bench.router.load(RUN, LANE, [ENDED], True, ())


def asked(bench: Bench) -> None:
    ended(bench)
    bench.read(row(9, QUERY))


INTO: dict[int, Do] = {
    GONE: lambda bench: None,
    COLD: lambda bench: bench.read(row(2, SIGNAL)),
    IDLE: begun,
    BUSY: lambda bench: bench.read(row(1, START, journaled=False)),
    CLOSED: ended,
    ANSWERING: asked,
}
"""State → how a new router's run comes into it."""


def closes(bench: Bench) -> None:
    bench.router.complete(RUN, 100, [COMPLETE])


def finishes(bench: Bench) -> None:
    bench.router.complete(RUN, 100, [])
    bench.read(row(3, SIGNAL))  # too late: it is delivered first
    bench.commit()


HAPPENS: dict[str, Do] = {
    "find": INTO[COLD],
    "begin": INTO[BUSY],
    "load": lambda bench: bench.router.load(RUN, LANE, [BEGUN], False, ()),
    "load_closed": ended,
    "give": lambda bench: bench.read(row(3, SIGNAL), row(4, SIGNAL)),
    "ask": lambda bench: bench.read(row(3, QUERY), row(4, QUERY)),
    "defer": lambda bench: bench.router.defer_queries(RUN, 1),
    "close": closes,
    "complete": lambda bench: bench.router.complete(RUN, 100, []),
    "fail": lambda bench: bench.router.fail(RUN),
    "evict": lambda bench: bench.router.evict(RUN),
    "finish": finishes,
    "leave": lambda bench: bench.router.leave(RUN),
    "forget": lambda bench: bench.router.forget({LANE}),
}
"""Name of what happens → how."""

WITHIN = {
    ("begin", GONE): BUSY,  # its start is given to it
    ("give", BUSY): BUSY,  # beside what it was given just now
    ("ask", BUSY): BUSY,
    ("ask", ANSWERING): ANSWERING,
}
"""Arrows that are taken on the way, and where the run is after that."""

BEFORE: dict[tuple[str, int], Do] = {
    ("give", BUSY): INTO[IDLE],
    ("ask", BUSY): INTO[IDLE],
    ("ask", ANSWERING): INTO[CLOSED],
    ("defer", BUSY): lambda bench: (begun(bench), bench.read(row(2, QUERY))),
}
"""What leads to these, where it is not what leads into the state."""

TAKEN = [(name, before) for name, arrow in ARROWS.items() for before in arrow]
STATES = [state for state in NAMES if state != GONE]


def shown(value: Any) -> str:
    return NAMES[value] if isinstance(value, int) else str(value)


def state_of(bench: Bench) -> int:
    try:
        return bench.router.run_state(RUN)[2]
    except RouterError as error:
        assert error.code == "unknown"
        return GONE


class Recorded(dict[int, int]):
    """An arrow that notes from where it is taken."""

    def __init__(self, name: str, taken: set[tuple[str, int]]) -> None:
        super().__init__(ARROWS[name])
        self._name = name
        self._taken = taken

    def __getitem__(self, state: int) -> int:
        self._taken.add((self._name, state))
        return super().__getitem__(state)

    def __contains__(self, state: object) -> bool:
        found = super().__contains__(state)
        if found and GONE in self.values():
            self._taken.add((self._name, state))  # type: ignore[arg-type]
        return found


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """The arrows that the Python core takes: (name, state before)."""
    found: set[tuple[str, int]] = set()
    for module in (run, output, router):
        for name in ARROWS:
            if hasattr(module, name.upper()):
                monkeypatch.setattr(module, name.upper(), Recorded(name, found))
    return found


@pytest.mark.parametrize(("name", "before"), TAKEN, ids=shown)
def test_every_arrow_is_taken(
    core: ModuleType, taken: set[tuple[str, int]], name: str, before: int
) -> None:
    bench = Bench(core)
    if (name, before) in BEFORE:
        BEFORE[name, before](bench)
    else:
        INTO[before](bench)
        assert state_of(bench) == before
    taken.clear()
    HAPPENS[name](bench)
    assert state_of(bench) == WITHIN.get((name, before), ARROWS[name][before])
    if core.__name__.endswith("_python") and name != "forget":  # asks nothing
        assert (name, before) in taken


def test_a_run_that_begins_is_idle_until_its_start_is_given_to_it(core: ModuleType) -> None:
    bench = Bench(core)
    bench.router = core.Router(5_000, 0)  # so much that it is never given
    bench.read(row(1, START, journaled=False))
    assert state_of(bench) == ARROWS["begin"][GONE]


@pytest.mark.parametrize(
    ("name", "code", "state"),
    [
        *(("load", "warm", state) for state in STATES if state != COLD),
        *(("leave", "warm", state) for state in STATES if state != COLD),
        *(("complete", "cold", COLD), ("close", "cold", COLD), ("defer", "cold", COLD)),
    ],
    ids=shown,
)
def test_where_there_is_no_arrow_the_caller_is_told(
    core: ModuleType, name: str, code: str, state: int
) -> None:
    assert state not in ARROWS[name]
    bench = Bench(core)
    INTO[state](bench)
    with pytest.raises(RouterError) as raised:
        HAPPENS[name](bench)
    assert raised.value.code == code
    assert state_of(bench) == state


@pytest.mark.parametrize("state", STATES, ids=shown)
def test_a_run_is_evicted_where_there_is_an_arrow(core: ModuleType, state: int) -> None:
    bench = Bench(core)
    INTO[state](bench)
    assert bench.router.evict(RUN) is (state in run_states.EVICT)


def test_each_state_can_be_reached_and_left() -> None:
    assert {after for arrow in ARROWS.values() for after in arrow.values()} == set(NAMES)
    assert {before for arrow in ARROWS.values() for before in arrow} == set(NAMES)
