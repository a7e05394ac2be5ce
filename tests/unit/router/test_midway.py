"""Code that is stopped midway, since it has made much: nothing of it is lost or done twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import RunStatus, Step, StepReply
from hotmesh.core import Event, kinds
from hotmesh.engine import wire
from hotmesh.limits import BATCH_BYTES_MAX
from unit.engine.driving import cancel, query, signal, value_of, values
from unit.router.miniature import Make, Miniature, Place
from unit.router.test_coding import begin, coded, opened, sealed

PIECE = BATCH_BYTES_MAX // 4
COUNT = 12


@workflow.defn
class Waits:
    """Updates that wait for a signal, and answer at length; it ends with the last of them."""

    def __init__(self) -> None:
        self.is_open = False
        self.late: list[int] = []
        self.seen: list[int] = []

    @workflow.run
    async def run(self) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.seen) == COUNT)
        return [self.seen, self.late]

    @workflow.signal
    def go(self) -> None:
        self.is_open = True

    @workflow.signal
    def come_late(self, number: int) -> None:
        self.late.append(number)

    @workflow.update
    async def take(self, number: int) -> bytes:
        await workflow.wait_condition(lambda: self.is_open)
        self.seen.append(number)
        return bytes([number]) * PIECE

    @workflow.query
    def count(self) -> int:
        return len(self.seen)


@workflow.defn
class Given:
    """Answers updates at length, before it has looked at what it was given."""

    def __init__(self) -> None:
        self.seen = 0

    @workflow.run
    async def run(self, text: str) -> int:
        await workflow.wait_condition(lambda: self.seen == COUNT)
        return len(text)

    @workflow.update
    def take(self, number: int) -> bytes:
        self.seen += 1
        return bytes([number]) * PIECE


@workflow.defn
class Begins:
    """Begins activities with large arguments one by one."""

    def __init__(self) -> None:
        self.begun = 0

    @workflow.run
    async def run(self) -> None:
        for number in range(COUNT):
            body = bytes([number]) * PIECE
            workflow.start_activity("act", body, start_to_close_timeout=timedelta(seconds=1))
            self.begun += 1
            await asyncio.sleep(0)
        await workflow.wait_condition(lambda: False)

    @workflow.query
    def count(self) -> int:
        return self.begun


def update(number: int) -> Event:
    document = {"id": f"u-{number}", "completed": (b"%d" % number).hex()}
    body = wire.join_document(document, values(number))
    return (kinds.UPDATE, 0, 0, "take", b"id-%d" % number, body)


async def waiting(make: Make, place: Place, **changes: Any) -> Miniature:
    """All updates wait, and what lets them go is on its way."""
    mini = make(Waits, **changes)
    place.begin("Waits")
    place.tell(*map(update, range(COUNT)))
    await mini.settle()
    place.tell(signal("go"))
    return mini


def check(mini: Miniature, late: Sequence[int] = ()) -> None:
    """The run has ended, all were answered, in steps of a batch."""
    place = mini.place
    assert place.messages == {}
    assert list(place.replies) == [b"%d" % number for number in range(COUNT)]
    assert mini.run().status == kinds.CLOSE_STATUS[kinds.COMPLETE]
    sizes = [sum(map(len, step.reply_data)) for step in place.steps]
    assert max(sizes) < BATCH_BYTES_MAX + PIECE
    assert mini.journal()[-1][2][-1][5] == values([list(range(COUNT)), list(late)])


@pytest.mark.parametrize("fate", ["lost", "not answered", "stale"])
@pytest.mark.parametrize("at", range(1, 7))
async def test_a_step_that_fails_is_made_again(
    make: Make, place: Place, fate: str, at: int
) -> None:
    mini = await waiting(make, place)
    place.fates = ["applied"] * at + [fate]
    await mini.settle()
    check(mini)
    seen = mini.kinds()
    assert sum(commands[-1:] == ["PAUSED"] for _, commands in seen) == 2
    assert sum(commands[:1] == ["RESUMED"] for _, commands in seen) == 2


@pytest.mark.parametrize("turns", range(1, 6))
async def test_another_worker_goes_on(make: Make, place: Place, turns: int) -> None:
    mini = await waiting(make, place)
    await mini.turns(turns)
    other = make(Waits)
    place.forget()
    await other.settle()
    check(other)


async def test_behind_a_codec(make: Make, place: Place) -> None:
    mini = coded(make, Waits)
    await begin(place, "Waits")
    for number in range(COUNT):
        *rest, body = update(number)
        document, _ = wire.split_document(body)
        place.tell((*rest, wire.join_document(document, await sealed(number))))  # type: ignore[arg-type]
    await mini.settle()
    *rest, _ = signal("go")
    place.tell((*rest, await sealed()))  # type: ignore[arg-type]
    await mini.turns(2)
    assert mini.kinds()[-1][1][-1] == "PAUSED"
    other = coded(make, Waits)
    place.forget()
    await other.settle()
    assert list(place.replies) == [b"%d" % number for number in range(COUNT)]
    assert place.messages == {}
    assert await opened(mini.journal()[-1][2][-1][5]) == [list(range(COUNT)), []]


@pytest.mark.parametrize("fate", ["applied", "lost", "not answered"])
async def test_a_run_that_is_stopped_before_its_beginning_keeps_what_it_was_given(
    make: Make, place: Place, fate: str
) -> None:
    mini = make(Given)
    place.begin("Given", "x" * 100_000)
    place.tell(*map(update, range(COUNT)))
    place.fates = ["applied", "applied", fate]
    await mini.settle()
    assert mini.kinds()[0] == (
        ["START"] + ["UPDATE"] * COUNT,
        ["UPDATE_ACCEPTED", "UPDATE_COMPLETED"] * 4 + ["PAUSED"],
    )
    assert value_of(mini.journal()[-1][2][-1][5]) == 100_000
    assert list(place.replies) == [b"%d" % number for number in range(COUNT)]


async def test_queries_are_answered_once_the_code_has_come_to_rest(
    make: Make, place: Place
) -> None:
    mini = await waiting(make, place)
    place.tell(query("count", reply=b"first"))
    await mini.turns(2)
    assert mini.kinds()[-1][1][-1] == "PAUSED"
    place.tell(query("count", reply=b"second"))
    await mini.settle()
    answers = {place.replies.pop(each) for each in (b"first", b"second")}
    assert answers == {b"R" + values(COUNT)}
    check(mini)


@pytest.mark.parametrize("order", [(b"fine", b"failed"), (b"failed", b"fine")])
async def test_a_query_is_answered_beside_one_that_the_code_has_failed_with(
    make: Make, place: Place, order: tuple[bytes, bytes]
) -> None:
    mini = make(Begins)
    place.begin("Begins")
    failures = mini.pipe._failures
    failures._refused_queries.add(b"failed")
    failures.any = True
    place.tell(*(query("count", reply=reply) for reply in order))
    await mini.turns(2)
    assert mini.kinds() == [(["START"], ["ACTIVITY"] * 4 + ["PAUSED"])]
    await mini.settle()
    assert place.replies[b"fine"] == b"R" + values(COUNT)


async def test_signals_that_come_meanwhile_are_seen_behind_it(make: Make, place: Place) -> None:
    mini = await waiting(make, place)
    await mini.turns(2)
    assert mini.kinds()[-1][1][-1] == "PAUSED"
    place.tell(signal("come_late", 1))
    await mini.turns(2)
    place.tell(signal("come_late", 2))
    await mini.settle()
    check(mini)  # as if all of it had been one activation


@pytest.mark.parametrize("event", [signal("come_late", 7), cancel("enough")])
async def test_a_run_whose_end_is_refused_sees_the_event_before_it(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch, event: Event
) -> None:
    mini = await waiting(make, place)
    apply = place.step

    async def step(given: Step) -> StepReply:
        if given.close_run and place.step is step:
            monkeypatch.undo()
            place.tell(event)
        return await apply(given)

    monkeypatch.setattr(place, "step", step)
    await mini.settle()
    if event[0] == kinds.SIGNAL:
        check(mini, [7])
    else:
        assert mini.run().status == kinds.CLOSE_STATUS[kinds.CANCELED]
    assert place.messages == {}


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_goes_wrong(make: Make, place: Place, seed: int) -> None:
    draw = random.Random(seed)
    minis = [await waiting(make, place)]
    late: list[int] = []
    for _ in range(12):
        place.fates = draw.choices(["applied", "lost", "not answered", "stale"], [6, 1, 1, 1], k=2)
        await minis[-1].turns(draw.randint(1, 2))
        if draw.random() < 0.2 and minis[-1].run().status == RunStatus.RUNNING:
            late.append(len(late))
            place.tell(signal("come_late", late[-1]))
        if draw.random() < 0.2:
            minis.append(make(Waits))
            place.forget()
    place.fates = []
    await minis[-1].settle()
    result = minis[-1].journal()[-1][2][-1]
    assert result[0] == kinds.COMPLETE
    seen = value_of(result[5])[1]
    assert seen == late[: len(seen)]
    check(minis[-1], seen)
