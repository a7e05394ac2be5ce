"""How much a step answers: queries of one run whose answers are large are spread over several."""

import sys
from collections.abc import Sequence
from typing import cast

import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import LoadedRun, Loads, MessageRow, Session, Step, StepReply
from hotmesh.converter import DataConverter, decode_values, encode_values
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.limits import BATCH_BYTES_MAX
from hotmesh.router.pipe import Pipe
from hotmesh.router.replaying import Engine
from unit.router.test_step_size import LANE, START, pipe_of

RUN, NEIGHBOUR = b"\1" * 16, b"\2" * 16
ANSWER = 1_000
STEP_MAX = 4 * ANSWER
ARGUMENTS = encode_values(DataConverter.default, [], "arguments")


@workflow.defn
class Tells:
    """Answers each query with the number of signals so far, at length."""

    def __init__(self) -> None:
        self.signals = 0

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.signals < 0)

    @workflow.signal
    def count(self) -> None:
        self.signals += 1

    @workflow.update
    def change(self) -> bytes:
        self.signals += 1
        return bytes([self.signals]) * ANSWER

    @workflow.query
    def tell(self) -> bytes:
        return bytes([self.signals]) * ANSWER


class Store:
    """Messages of one lane that wait; what steps journal, answer and acknowledge."""

    def __init__(self, *frames: tuple[bytes, bytes], away_at: int = -1) -> None:
        self.messages = dict(enumerate(frames, 1))
        self.journal: dict[bytes, list[bytes]] = {}
        self.taken: set[int] = set()
        self.answers: dict[bytes, bytes] = {}
        self.steps: list[list[tuple[bytes, int]]] = []
        """Reply ids and sizes of the answers of each step that has some."""
        self.count = 0
        self.away_at = away_at

    async def step(self, step: Step) -> StepReply:
        self.count += 1
        if self.count == self.away_at:
            raise BackendUnavailableError("away")
        for run_id, seq, frame in zip(
            step.journal_run, step.journal_seq, step.journal_frame, strict=True
        ):
            assert len(self.journal.setdefault(run_id, [])) == seq
            self.journal[run_id].append(bytes(frame))
        if step.reply_id:
            self.steps.append(list(zip(step.reply_id, map(len, step.reply_data), strict=True)))
        self.answers.update(zip(step.reply_id, step.reply_data, strict=True))
        for number in step.ack_id:
            run_id, frame = self.messages.pop(number)
            assert frame[0] != kinds.QUERY or query_id(number) in self.answers
        rows: list[MessageRow] = []
        if step.room:
            rows = [self._row(number) for number in self.messages if number not in self.taken]
            self.taken.update(row.id for row in rows)
        return StepReply(1, messages=rows)

    def _row(self, number: int) -> MessageRow:
        run_id, frame = self.messages[number]
        if frame != START:
            return MessageRow(number, LANE, run_id, frame, None, None, None, None, None)
        known = run_id in self.journal
        return MessageRow(number, LANE, run_id, frame, "w", "Tells", b"", ARGUMENTS, known)

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        runs: list[LoadedRun] = []
        for run_id in run_ids:
            frames = self.journal.get(run_id, [])
            runs.append(
                LoadedRun(run_id, LANE, 1, "w", "Tells", b"", ARGUMENTS, frames, b"{}", len(frames))
            )
        return Loads(runs, ())

    def forget(self, lanes: object = None) -> None:
        del lanes
        self.taken.clear()


def query_id(number: int) -> bytes:
    return bytes([number]) * 16


def query(number: int, run_id: bytes = RUN) -> tuple[bytes, bytes]:
    """The message with that number."""
    return run_id, encode_event((kinds.QUERY, 0, 0, "tell", query_id(number), ARGUMENTS))


def signal(run_id: bytes = RUN) -> tuple[bytes, bytes]:
    return run_id, encode_event((kinds.SIGNAL, 0, 0, "count", b"", ARGUMENTS))


def pipe_that_tells(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    monkeypatch.setattr("hotmesh.engine.handlers.BATCH_BYTES_MAX", STEP_MAX)
    monkeypatch.setattr("hotmesh.router.activating.STEP_BYTES_MAX", STEP_MAX)
    definition = WorkflowDefinition.of(Tells)
    assert definition is not None
    return pipe_of(
        engine=Engine({definition.name: definition}, EngineOptions(DataConverter.default)),
        notifier=_Silent(),
    )


def update(number: int, run_id: bytes = RUN) -> tuple[bytes, bytes]:
    """The message with that number."""
    document = {"id": f"u-{number}", "completed": query_id(number).hex()}
    body = wire.join_document(document, ARGUMENTS)
    return run_id, encode_event((kinds.UPDATE, 0, 0, "change", b"", body))


class _Silent:
    """Nobody waits for word."""

    def done(self, _: object) -> None:
        """Something is done."""

    def tasks(self, *_: object) -> None:
        """There are tasks."""


async def turn_until_idle(pipe: Pipe, store: Store) -> None:
    session = pipe._session = cast("Session", store)
    for _ in range(100):
        try:
            if await pipe._turn(session):
                return
        except BackendUnavailableError:
            pass
    raise AssertionError("it never came to rest")


@pytest.mark.parametrize("away_at", [-1, 2, 3, 4, 6])
async def test_large_answers_of_one_run_are_spread_over_steps(
    monkeypatch: pytest.MonkeyPatch, away_at: int
) -> None:
    numbers = range(2, 22)
    store = Store((RUN, START), *map(query, numbers), away_at=away_at)
    pipe = pipe_that_tells(monkeypatch)
    await turn_until_idle(pipe, store)
    assert [reply for step in store.steps for reply, _ in step] == list(map(query_id, numbers))
    assert max(sum(size for _, size in step[:-1]) for step in store.steps) < STEP_MAX
    assert len(store.steps) >= len(numbers) * ANSWER // STEP_MAX
    assert store.messages == {}
    assert len(store.journal[RUN]) == 1


async def test_queries_that_wait_see_what_came_with_them_and_neighbours_move(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frames = [(RUN, START), *map(query, range(2, 12)), signal()]
    frames += [(NEIGHBOUR, START), query(14, NEIGHBOUR)]
    store = Store(*frames)
    pipe = pipe_that_tells(monkeypatch)
    await turn_until_idle(pipe, store)
    assert store.messages == {}
    assert {store.answers[query_id(number)][-10:] for number in range(2, 12)} == {
        store.answers[query_id(2)][-10:]
    }
    # After the full step it is the neighbour's turn before the rest of the queries.
    assert store.steps[1][0][0] == query_id(14)


async def test_small_answers_are_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store((RUN, START), *map(query, range(2, 22)))
    pipe = pipe_that_tells(monkeypatch)
    monkeypatch.setattr("hotmesh.engine.handlers.BATCH_BYTES_MAX", 100 * ANSWER)
    await turn_until_idle(pipe, store)
    assert len(store.steps) == 1
    assert len(store.answers) == 20


async def test_a_query_that_was_refused_does_not_count_as_unanswered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store((RUN, START), *map(query, range(2, 12)))
    pipe = pipe_that_tells(monkeypatch)
    for number in (2, 5, 11):  # its failure was sent
        pipe._failures._refused_queries.add(query_id(number))
        store.answers[query_id(number)] = b"N"
    pipe._failures.any = True
    await turn_until_idle(pipe, store)
    assert store.messages == {}
    answered = [reply for step in store.steps for reply, _ in step]
    assert [each for each in answered if each[0] not in (2, 5, 11)] == [
        query_id(number) for number in range(2, 11) if number not in (2, 5)
    ]


@pytest.mark.parametrize("away_at", [-1, 2, 3, 4, 6])
async def test_updates_with_large_answers_are_spread_over_steps(
    monkeypatch: pytest.MonkeyPatch, away_at: int
) -> None:
    answer = BATCH_BYTES_MAX // 4
    monkeypatch.setattr(sys.modules[__name__], "ANSWER", answer)
    numbers = range(2, 32)
    store = Store((RUN, START), *map(update, numbers), signal(), away_at=away_at)
    definition = WorkflowDefinition.of(Tells)
    assert definition is not None
    engine = Engine({definition.name: definition}, EngineOptions(DataConverter.default))
    pipe = pipe_of(engine=engine, notifier=_Silent())
    await turn_until_idle(pipe, store)
    assert store.messages == {}
    replies = [reply for step in store.steps for reply, _ in step]
    assert replies == list(map(query_id, numbers))  # in order, each once
    made = [decode_values(DataConverter.default, store.answers[reply][1:]) for reply in replies]
    assert [each[0][:1] for each in made] == [bytes([number]) for number in range(1, 31)]
    assert max(len(step) for step in store.steps) == BATCH_BYTES_MAX // ANSWER
