"""The kind table: it makes sense, both cores do what it says, and Rust's is written from it."""

from pathlib import Path
from types import ModuleType

import pytest

from hotmesh.backends.protocol import RunStatus
from hotmesh.core import kinds
from hotmesh.core.kind_table import (
    Body,
    Compared,
    KindTable,
    Local,
    Maker,
    Message,
    Meta,
    Number,
    Role,
    Row,
)
from unit.core.test_router import COMPLETE, RUN, START, Bench, event, row

ROOT = Path(__file__).parents[3]

NUMBERS = {
    "START": 1,
    "ACTIVITY_COMPLETED": 2,
    "ACTIVITY_FAILED": 3,
    "ACTIVITY_CANCELED": 4,
    "ACTIVITY_TIMED_OUT": 5,
    "TIMER_FIRED": 6,
    "SIGNAL": 7,
    "UPDATE": 8,
    "CANCEL": 9,
    "TERMINATE": 10,
    "QUERY": 11,
    "CHILD_STARTED": 12,
    "CHILD_START_FAILED": 13,
    "CHILD_COMPLETED": 14,
    "CHILD_FAILED": 15,
    "EXTERNAL_DONE": 16,
    "EXTERNAL_FAILED": 17,
    "MAIL": 18,
    "RUN_TIMED_OUT": 19,
    "ACTIVITY": 32,
    "CANCEL_ACTIVITY": 33,
    "TIMER": 34,
    "CANCEL_TIMER": 35,
    "DEADLINE": 36,
    "CHILD": 37,
    "CANCEL_CHILD": 38,
    "SIGNAL_EXTERNAL": 39,
    "CANCEL_EXTERNAL": 40,
    "PATCH": 41,
    "UPSERT": 42,
    "ENRICH": 43,
    "EMIT": 44,
    "TRACE": 45,
    "WAIT": 46,
    "SEND_MAIL": 47,
    "UPDATE_ACCEPTED": 48,
    "UPDATE_COMPLETED": 49,
    "REDISPATCH": 51,
    "DIGESTS": 52,
    "PAUSED": 53,
    "RESUMED": 54,
    "COMPLETE": 64,
    "FAIL": 65,
    "CANCELED": 66,
    "CONTINUE": 67,
    "TERMINATED": 68,
    "TIMED_OUT": 69,
}
"""As they are stored: one is added, none is ever changed or given away."""

ROWS = list(kinds.TABLE)
JOBS = [each for each in ROWS if each.role is Role.JOB]
COMMANDS = [each for each in ROWS if each.role is not Role.JOB]
OPENERS = sorted(kinds.OPENING)
QUEUE = 7


def named(value: object) -> str:
    kind = value.kind if isinstance(value, Row) else value
    return kinds.NAMES[kind] if isinstance(kind, int) else str(kind)


def test_numbers_never_change() -> None:
    assert {name: kind for kind, name in kinds.NAMES.items()} == NUMBERS


def test_each_kind_has_a_row() -> None:
    assert {each.kind for each in ROWS} == set(kinds.NAMES)


@pytest.mark.parametrize(
    "wrong", [Row(kinds.START, Role.JOB, Maker.CALLER), Row(256, *ROWS[0][1:])]
)
def test_a_number_is_used_once_and_is_a_byte(wrong: Row) -> None:
    table = KindTable()
    table.add(kinds.TABLE[kinds.START])
    with pytest.raises(AssertionError):
        table.add(wrong)


@pytest.mark.parametrize("each", JOBS, ids=named)
def test_a_job_says_what_a_job_can_be(each: Row) -> None:
    assert each.kind < kinds.ACTIVITY
    assert each.maker not in (Maker.CODE, Maker.ROUTER)
    assert not each.opens
    assert each.local is Local.NEVER
    assert each.compared is Compared.NOTHING
    assert not each.optional
    assert (each.message is Message.EVENT) is (each.meta is Meta.IDENTITY)
    assert set(each.about) <= kinds.OPENING


@pytest.mark.parametrize("each", COMMANDS, ids=named)
def test_a_command_says_what_a_command_can_be(each: Row) -> None:
    assert each.maker in (Maker.CODE, Maker.ROUTER)
    assert each.message is None
    assert each.journaled
    assert not each.handled
    assert not each.answered
    assert (each.role is Role.CLOSING) is (each.kind >= kinds.COMPLETE) is (each.status > 0)
    if each.local is Local.WITHOUT_QUEUE:
        assert each.number is Number.QUEUE
    if each.local is not Local.NEVER:
        assert each.opens
    if each.maker is Maker.ROUTER or each.optional:
        assert each.compared is Compared.NOTHING
    if each.compared is Compared.BODY:
        assert each.body is not Body.NONE


def test_each_run_status_is_left_by_one_closing_command() -> None:
    closed = [status for status in RunStatus if status is not RunStatus.RUNNING]
    assert sorted(kinds.CLOSE_STATUS.values()) == closed


def test_what_opens_is_settled_by_something_and_the_other_way_round() -> None:
    assert {opener for found in kinds.SETTLES.values() for opener in found} == kinds.OPENING


# What the cores do.


@pytest.mark.parametrize("each", COMMANDS, ids=named)
def test_a_core_records_a_command_as_its_row_says(core: ModuleType, each: Row) -> None:
    ledger = core.Ledger()
    about = [kind for kind in each.about if kind in kinds.OPENING]
    if about:
        ledger.command(event(about[0], 3, QUEUE))
    if each.kind == kinds.RESUMED:
        ledger.command(event(kinds.PAUSED))
    ledger.command(event(each.kind, 3, QUEUE, b"\x01" if each.meta is Meta.PURPOSE else b""))
    assert ledger.is_open(3) is (each.opens or (bool(about) and not each.settles))
    assert ledger.closed is (each.role is Role.CLOSING)
    if each.opens:
        assert ledger.local == (each.local in (Local.ALWAYS, Local.UNTIL_STARTED))


@pytest.mark.parametrize("each", [each for each in COMMANDS if each.opens], ids=named)
def test_work_is_local_as_its_row_says(core: ModuleType, each: Row) -> None:
    ledger = core.Ledger()
    ledger.command(event(each.kind, 3, 0))
    assert ledger.local == (each.local is not Local.NEVER)
    ledger.accept(event(kinds.CHILD_STARTED, 3))
    assert ledger.local == (each.local in (Local.ALWAYS, Local.WITHOUT_QUEUE))


@pytest.mark.parametrize("opener", OPENERS, ids=named)
@pytest.mark.parametrize("each", JOBS, ids=named)
def test_a_core_takes_a_job_as_its_row_says(core: ModuleType, each: Row, opener: int) -> None:
    ledger = core.Ledger()
    ledger.command(event(opener, 3, QUEUE))
    job = event(each.kind, 3, meta=b"id")
    fits = each.journaled and (not each.about or opener in each.about)
    assert ledger.accept(job) is fits
    assert ledger.is_open(3) is not (fits and each.settles)
    assert ledger.accept(job) is False


@pytest.mark.parametrize("each", JOBS, ids=named)
def test_a_core_journals_a_job_as_its_row_says(core: ModuleType, each: Row) -> None:
    bench = Bench(core)
    bench.jobs(row(1, START, journaled=False))
    opener = each.about[0] if each.about else kinds.PATCH
    bench.router.complete(RUN, 100, [event(opener, 1, QUEUE)])
    bench.commit()
    bench.read(row(2, event(each.kind, 1)))
    bench.router.complete(RUN, 200, [])
    is_second_start = each.kind == kinds.START
    assert ("journal_run" in bench.commit()) is (each.journaled and not is_second_start)


@pytest.mark.parametrize("each", [each for each in JOBS if each.journaled], ids=named)
def test_only_what_was_accepted_is_kept_for_a_run_whose_end_is_not_stored(
    core: ModuleType, each: Row
) -> None:
    bench = Bench(core)
    bench.jobs(row(1, START, journaled=False))
    bench.router.complete(RUN, 100, [COMPLETE])
    job = event(each.kind, 1)
    _, _, late, _, _ = bench.read(row(2, job))
    assert late == ([] if each.message is Message.EVENT else [(RUN, job)])


@pytest.mark.parametrize("opener", OPENERS, ids=named)
def test_what_is_stored_of_a_command_goes_with_its_run(core: ModuleType, opener: int) -> None:
    bench = Bench(core)
    bench.begin(event(opener, 1, QUEUE))
    bench.jobs(row(2, event(kinds.SIGNAL)))
    bench.router.complete(RUN, 200, [COMPLETE])
    columns = bench.commit()
    assert bool({"drop_timer_run", "drop_task_run"} & set(columns)) is (opener in kinds.STORED)


@pytest.mark.parametrize("each", COMMANDS, ids=named)
def test_a_replay_issues_what_its_row_says(core: ModuleType, each: Row) -> None:
    command = event(each.kind, 1)
    is_missed = core.match_commands([command], []) == 0
    assert is_missed is (each.maker is Maker.CODE)
    assert core.match_commands([], [command]) == 0
