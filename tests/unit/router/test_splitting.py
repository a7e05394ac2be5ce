"""A refused step, applied run by run: every run's part is whole, only the guilty are left out."""

import dataclasses
from typing import Any

import pytest

from hotmesh.backends.protocol import MailItem, SendItem, Step, StepReply, WaitItem
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.router.effects import Effects, start_item
from hotmesh.router.splitting import NOBODY, FencedError, apply_apart, parts_of

RUNS = [bytes([n]) * 16 for n in range(1, 6)]


def effects_of(runs: list[bytes]) -> Effects:
    """Effects of every kind of each run, in turn."""
    effects = Effects()
    effects.replies.append((NOBODY, b"late"))
    for run in runs:
        effects.begin(run)
        effects.starts.append(start_item("n", "child", run, "Type", 1, {}, run))
        effects.sends.append(SendItem("n", "other", b"", 1, run, False))
        effects.waits.append(WaitItem("n", "key", 1, run, run))
        effects.mails.append(MailItem("n", "key", run))
        effects.replies.append((run, run))
        effects.messages.append((1, b"parent", 2, run))
        effects.attributes.append((run, "name", run))
        effects.timers.append((1, 2, run, 3))
        effects.drop_timers.append((1, 2, run, 3))
        effects.recalls.append((run, 4, run, True))
    return effects


def whole_of(runs: list[bytes]) -> tuple[Step, Effects]:
    effects = effects_of(runs)
    step = Step(b"router", [1], 500, journal_run=[*runs], journal_seq=[0] * len(runs))
    step.journal_frame = [*runs]
    step.ack_lane, step.ack_id = [1], [7]
    step.close_run, step.close_lane = [*runs], [1] * len(runs)
    step.close_status, step.close_result = [2] * len(runs), [*runs]
    step.close_waits = [True] * len(runs)
    effects.fill(step)
    return step, effects


def lengths(step: Step) -> dict[str, int]:
    """How many entries each column has."""
    found: dict[str, int] = {}
    for each in dataclasses.fields(step):
        value: Any = getattr(step, each.name)
        if isinstance(value, list):
            found[each.name] = len(value)
    return found


class Store:
    """Takes steps, but for those that hold a run of which it takes nothing."""

    def __init__(self, *guilty: bytes) -> None:
        self.guilty = guilty
        self.applied: list[bytes] = []
        self.answer = StepReply(0)

    async def step(self, step: Step) -> StepReply:
        assert not step.lanes
        assert not step.ack_id
        if any(run in step.journal_run for run in self.guilty):
            raise BackendError("not that one")
        self.applied += step.journal_run
        return self.answer


def test_each_part_holds_all_that_is_a_runs_and_nothing_else() -> None:
    step, effects = whole_of(RUNS)
    parts = dict(parts_of(step, effects))
    assert set(parts) == {*RUNS, NOBODY}
    alone, theirs = whole_of(RUNS[:1])
    theirs.replies.clear()
    of_one = {name: n for name, n in lengths(parts[RUNS[0]]).items() if n}
    wanted = {name: n for name, n in lengths(alone).items() if n}
    assert set(of_one) == set(wanted) - {"ack_lane", "ack_id", "lanes"}
    assert set(of_one.values()) == {1}
    for run in RUNS:
        part = parts[run]
        assert part.journal_frame == part.message_frame == part.reply_data == [run]
        assert part.starts[0].input == part.sends[0].frame == part.mails[0].data == run
        assert part.recall_task_frame == part.attribute_value == [run]
    assert parts[NOBODY].reply_data == [b"late"]


def test_what_was_taken_back_is_nobodys() -> None:
    effects = Effects()
    effects.take_back(effects.begin(RUNS[0]))
    effects.begin(RUNS[1])
    effects.replies.append((b"r", b""))
    assert effects.owner_of("replies", 0) == RUNS[1]


@pytest.mark.parametrize("guilty", [[], RUNS[:1], RUNS[2:4], RUNS])
async def test_only_the_guilty_are_left_out(guilty: list[bytes]) -> None:
    store = Store(*guilty)
    refused = await apply_apart(store, parts_of(*whole_of(RUNS)))  # type: ignore[arg-type]
    assert set(refused) == set(guilty)
    assert store.applied == [run for run in RUNS if run not in guilty]


async def test_a_router_that_is_dead_applies_nothing_more() -> None:
    store = Store(RUNS[0])
    store.answer = StepReply(0, fenced=True)
    with pytest.raises(FencedError):
        await apply_apart(store, parts_of(*whole_of(RUNS)))  # type: ignore[arg-type]


async def test_a_store_that_goes_away_is_waited_for() -> None:
    class Away(Store):
        async def step(self, step: Step) -> StepReply:
            raise BackendUnavailableError("away")

    with pytest.raises(BackendUnavailableError):
        await apply_apart(Away(), parts_of(*whole_of(RUNS)))  # type: ignore[arg-type]


async def test_runs_that_cannot_close_yet_are_left_as_they_were() -> None:
    store = Store()
    store.answer = StepReply(0, refused=[RUNS[0]])
    assert await apply_apart(store, parts_of(*whole_of(RUNS[:2]))) == {}  # type: ignore[arg-type]
