"""The ledger: each message counts once, whatever the order and however often it comes."""

import contextlib
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.core import LedgerError, kinds
from unit.core.strategies import telling_events


def event(kind: int, seq: int = 0, number: int = 0, meta: bytes = b"") -> tuple:
    return (kind, seq, number, "", meta, b"")


OUTCOMES = [
    (kinds.ACTIVITY, kinds.ACTIVITY_COMPLETED),
    (kinds.ACTIVITY, kinds.ACTIVITY_FAILED),
    (kinds.ACTIVITY, kinds.ACTIVITY_CANCELED),
    (kinds.ACTIVITY, kinds.ACTIVITY_TIMED_OUT),
    (kinds.TIMER, kinds.TIMER_FIRED),
    (kinds.CHILD, kinds.CHILD_START_FAILED),
    (kinds.CHILD, kinds.CHILD_COMPLETED),
    (kinds.CHILD, kinds.CHILD_FAILED),
    (kinds.SIGNAL_EXTERNAL, kinds.EXTERNAL_DONE),
    (kinds.SIGNAL_EXTERNAL, kinds.EXTERNAL_FAILED),
    (kinds.CANCEL_EXTERNAL, kinds.EXTERNAL_DONE),
    (kinds.CANCEL_EXTERNAL, kinds.EXTERNAL_FAILED),
    (kinds.WAIT, kinds.MAIL),
]
OPENERS = sorted({opener for opener, _ in OUTCOMES})
RESULTS = sorted({result for _, result in OUTCOMES})


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("result", RESULTS)
def test_each_command_takes_its_own_outcomes_once(
    core: ModuleType, opener: int, result: int
) -> None:
    ledger = core.Ledger()
    ledger.command(event(opener, 3, 7))
    fits = (opener, result) in OUTCOMES
    assert ledger.accept(event(result, 4)) is False
    assert ledger.accept(event(result, 3)) is fits
    assert ledger.accept(event(result, 3)) is False
    assert ledger.is_open(3) is not fits
    assert ledger.words() == ([8], [8] if fits else [])


def test_a_child_starts_before_it_ends(core: ModuleType) -> None:
    ledger = core.Ledger()
    ledger.command(event(kinds.CHILD, 1))
    assert ledger.local == 1
    assert ledger.accept(event(kinds.CHILD_STARTED, 1)) is True
    assert ledger.accept(event(kinds.CHILD_STARTED, 1)) is False
    assert ledger.accept(event(kinds.CHILD_START_FAILED, 1)) is False
    assert ledger.local == 0
    assert ledger.is_open(1)
    assert ledger.accept(event(kinds.CHILD_COMPLETED, 1)) is True


@pytest.mark.parametrize("kind", [kinds.SIGNAL, kinds.UPDATE, kinds.CANCEL, kinds.TERMINATE])
def test_ids_are_seen_once_per_kind(core: ModuleType, kind: int) -> None:
    ledger = core.Ledger()
    assert ledger.accept(event(kind, meta=b"id"))
    assert not ledger.accept(event(kind, meta=b"id"))
    assert ledger.accept(event(kind, meta=b"other"))
    assert ledger.accept(event(kind))
    assert ledger.accept(event(kind)), "without an id each one counts"
    others = {kinds.SIGNAL, kinds.UPDATE, kinds.CANCEL, kinds.TERMINATE} - {kind}
    assert all(ledger.accept(event(other, meta=b"id")) for other in others)


def test_start_and_time_out_come_once(core: ModuleType) -> None:
    ledger = core.Ledger()
    assert not ledger.started
    for kind in (kinds.START, kinds.RUN_TIMED_OUT):
        assert ledger.accept(event(kind)) is True
        assert ledger.accept(event(kind, number=-2)) is False
    assert ledger.started


def test_local_work(core: ModuleType) -> None:
    ledger = core.Ledger()
    for seq, (kind, number) in enumerate(
        [
            (kinds.ACTIVITY, 0),
            (kinds.ACTIVITY, 7),
            (kinds.CHILD, 0),
            (kinds.SIGNAL_EXTERNAL, 0),
            (kinds.CANCEL_EXTERNAL, 0),
            (kinds.TIMER, 50),
            (kinds.WAIT, 0),
        ],
        start=1,
    ):
        ledger.command(event(kind, seq, number))
    assert ledger.local == 4
    assert ledger.local_seqs() == [1, 3, 4, 5]
    assert ledger.counts() == (1, 1, 1)
    ledger.command(event(kinds.REDISPATCH, 1, 9))
    assert ledger.local == 3
    assert ledger.counts() == (2, 1, 1)


def test_code_that_was_stopped_is_local_work_until_it_goes_on(core: ModuleType) -> None:
    ledger = core.Ledger()
    ledger.command(event(kinds.ACTIVITY, 1))
    ledger.command(event(kinds.PAUSED))
    assert (ledger.local, ledger.local_seqs()) == (2, [1])
    ledger.command(event(kinds.RESUMED))
    assert ledger.local == 1


def test_a_canceled_timer_never_fires(core: ModuleType) -> None:
    ledger = core.Ledger()
    ledger.command(event(kinds.TIMER, 1, 50))
    ledger.command(event(kinds.CANCEL_TIMER, 1))
    ledger.command(event(kinds.CANCEL_TIMER, 1))
    assert ledger.accept(event(kinds.TIMER_FIRED, 1)) is False
    assert ledger.words() == ([2], [2])


def test_a_closed_run_takes_nothing(core: ModuleType) -> None:
    ledger = core.Ledger()
    ledger.command(event(kinds.ACTIVITY, 1))
    ledger.command(event(kinds.CONTINUE))
    assert ledger.closed
    assert not ledger.accept(event(kinds.ACTIVITY_COMPLETED, 1))
    assert not ledger.accept(event(kinds.SIGNAL))
    with pytest.raises(LedgerError) as caught:
        ledger.command(event(kinds.PATCH, 2))
    assert caught.value.code == "after_close"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (event(kinds.TIMER, 1, 5), "opened_twice"),
        (event(kinds.WAIT, 2), "opened_twice"),
        (event(kinds.TIMER, 0, 5), "range"),
        (event(kinds.TIMER, 2**24, 5), "range"),
        (event(kinds.ACTIVITY, 9, -1), "range"),
        (event(kinds.REDISPATCH, 1, 0), "range"),
        (event(kinds.REDISPATCH, 2, 7), "not_open"),
        (event(kinds.REDISPATCH, 9, 7), "not_open"),
        (event(kinds.DEADLINE, 3, 7, b"\x01"), "not_open"),
        (event(kinds.DEADLINE, 2, 7, b"\x01"), "not_open"),
        (event(kinds.DEADLINE, 1, 7, b"\x03"), "purpose"),
        (event(kinds.DEADLINE, 1, 7), "purpose"),
        (event(kinds.PAUSED), "opened_twice"),
    ],
)
def test_contradictions(core: ModuleType, command: tuple, code: str) -> None:
    ledger = core.Ledger()
    ledger.command(event(kinds.ACTIVITY, 1))
    ledger.command(event(kinds.TIMER, 2, 5))
    ledger.accept(event(kinds.TIMER_FIRED, 2))
    ledger.command(event(kinds.PAUSED))
    before = ledger.words()
    with pytest.raises(LedgerError) as caught:
        ledger.command(command)
    error = caught.value
    assert (error.code, error.kind, error.seq) == (code, command[0], command[1])
    assert kinds.NAMES[command[0]] in str(error)
    assert ledger.words() == before


def test_code_that_was_not_stopped_can_not_go_on(core: ModuleType) -> None:
    with pytest.raises(LedgerError) as caught:
        core.Ledger().command(event(kinds.RESUMED))
    assert caught.value.code == "not_open"


@given(steps=st.lists(st.tuples(st.booleans(), telling_events), max_size=60))
def test_masks_only_gain_and_settled_was_opened(core: ModuleType, steps: list) -> None:
    ledger = core.Ledger()
    opened = settled = 0
    for is_command, each in steps:
        with contextlib.suppress(LedgerError):
            ledger.command(each) if is_command else ledger.accept(each)
        now = [sum(word << 64 * at for at, word in enumerate(mask)) for mask in ledger.words()]
        assert now[0] & opened == opened
        assert now[1] & settled == settled
        assert now[1] & ~now[0] == 0
        opened, settled = now


@given(messages=st.lists(telling_events, max_size=20), data=st.data())
def test_duplicates_change_nothing(core: ModuleType, messages: list, data: st.DataObject) -> None:
    """Each message again, at any later place: the same are accepted, the state is the same."""
    identified = [each for each in messages if each[0] < 7 or each[4] or each[0] > 10]
    once, often = core.Ledger(), core.Ledger()
    for ledger in (once, often):
        for seq, kind in enumerate(OPENERS[:5], start=1):
            ledger.command(event(kind, seq, 7))
    accepted = [each for each in identified if once.accept(each)]
    found = []
    for at, each in enumerate(identified):
        if often.accept(each):
            found.append(each)
        again = data.draw(st.integers(0, at))
        assert not often.accept(identified[again])
    assert found == accepted
    assert often.words() == once.words()
    assert often.local == once.local
