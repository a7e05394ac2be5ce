"""What is sent again because its answer was lost: handled meanwhile, by a run that has closed."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from conformance.mesh import NAMESPACE, Mesh, Router
from hotmesh.backends.outgoing import Tries
from hotmesh.backends.postgres.link import LinkPool
from hotmesh.backends.protocol import ConflictPolicy, MessageKind, RunStatus, SendItem, SendOutcome
from hotmesh.backends.redis.servers import Route
from hotmesh.client._coalescer import Coalescer
from hotmesh.exceptions import BackendUnavailableError
from hotmesh.limits import ROPE_BYTES

LONG_MS = 60_000
FRAME = b"\x07 a signal and what tells it from others"


async def handle(
    mesh: Mesh, router: Router, run_id: bytes, *frames: bytes, workflow_id: str = "order"
) -> None:
    """Read what there is for a run, journal it with these frames, and close the run."""
    rows = await router.read_all(1 + len(frames))
    assert [row.frame for row in rows] == [b"start", *frames]
    await router.commit(
        journal_run=[run_id] * 2,
        journal_seq=[0, 1],
        journal_frame=[b"began", b"<" + b"".join(frames) + b">"],
        ack_lane=[row.lane for row in rows],
        ack_id=[row.id for row in rows],
    )
    await router.close_run(run_id, mesh.lane_of(workflow_id))


def again(
    workflow_id: str = "order",
    frame: bytes = FRAME,
    *,
    run_id: bytes = b"",
    kind: int = MessageKind.EVENT,
    again_ms: int = LONG_MS,
    namespace: str = NAMESPACE,
) -> SendItem:
    return SendItem(namespace, workflow_id, run_id, kind, frame, False, again_ms)


@pytest.fixture(params=["client", "router"])
def sender(request: pytest.FixtureRequest) -> str:
    """Who sends: they share what it does."""
    return request.param


async def send(mesh: Mesh, router: Router, sender: str, *items: SendItem) -> Sequence[SendOutcome]:
    if sender == "client":
        return await mesh.backend.send(items)
    return (await router.commit(sends=list(items))).send_outcomes


@pytest.fixture
async def reader(mesh: Mesh) -> Router:
    return await mesh.join()


@pytest.mark.parametrize("kind", [MessageKind.EVENT, MessageKind.END])
async def test_what_a_closed_run_has_handled_is_delivered(
    mesh: Mesh, reader: Router, sender: str, kind: MessageKind
) -> None:
    run_id = await mesh.start("order")
    await mesh.send("order", FRAME)
    await handle(mesh, reader, run_id, FRAME)
    for item in (again(kind=kind), again(run_id=run_id, kind=kind)):
        (outcome,) = await send(mesh, reader, sender, item)
        assert (outcome.delivered, outcome.run_id) == (True, run_id)
    assert await reader.read_all(0) == []


async def test_what_a_closed_run_has_not_handled_is_refused(
    mesh: Mesh, reader: Router, sender: str
) -> None:
    run_id = await mesh.start("order")
    await mesh.send("order", b"another signal")
    await handle(mesh, reader, run_id, b"another signal")
    (outcome,) = await send(mesh, reader, sender, again())
    assert outcome == (False, run_id, RunStatus.COMPLETED, mesh.lane_of("order"))


async def test_a_first_try_is_not_taken_for_a_repeat(
    mesh: Mesh, reader: Router, sender: str
) -> None:
    run_id = await mesh.start("order")
    await mesh.send("order", FRAME)
    await handle(mesh, reader, run_id, FRAME)
    (outcome,) = await send(mesh, reader, sender, again(again_ms=0))
    assert not outcome.delivered


async def test_what_an_earlier_run_has_handled_does_not_reach_the_newest(
    mesh: Mesh, reader: Router, sender: str
) -> None:
    first = await mesh.start("order")
    await mesh.send("order", FRAME)
    await handle(mesh, reader, first, FRAME)
    second = await mesh.start("order")
    await handle(mesh, reader, second)
    third = await mesh.start("order")
    assert len(await reader.read_all(1)) == 1
    items = [again(), again(frame=b"new"), again(run_id=third)]
    outcomes = await send(mesh, reader, sender, *items)
    assert [(each.delivered, each.run_id) for each in outcomes] == [
        (True, first),
        (True, third),
        (True, third),
    ]
    assert await reader.frames(2) == [b"new", FRAME]


async def test_runs_that_closed_before_the_first_try_are_not_looked_at(
    mesh: Mesh, reader: Router, sender: str
) -> None:
    run_id = await mesh.start("order")
    await mesh.send("order", FRAME)
    await handle(mesh, reader, run_id, FRAME)
    await asyncio.sleep(0.02)
    (outcome,) = await send(mesh, reader, sender, again(again_ms=1))
    assert not outcome.delivered


async def test_an_open_run_is_sent_it_again(mesh: Mesh, reader: Router, sender: str) -> None:
    """It drops what it has had by itself."""
    await mesh.start("order")
    await mesh.send("order", FRAME)
    (outcome,) = await send(mesh, reader, sender, again())
    assert outcome.delivered
    assert await reader.frames(3) == [b"start", FRAME, FRAME]


async def test_other_workflows_and_namespaces_are_not_looked_at(
    mesh: Mesh, reader: Router, sender: str
) -> None:
    run_id = await mesh.start("order")
    await mesh.send("order", FRAME)
    await handle(mesh, reader, run_id, FRAME)
    await mesh.start("bill")
    assert (await mesh.backend.send([again("bill")]))[0].delivered
    assert await reader.frames(2) == [b"start", FRAME]
    items = [again("bill", run_id=run_id), again("nobody")]
    outcomes = await send(mesh, reader, sender, *items)
    assert [(each.delivered, each.status) for each in outcomes] == [(False, 0), (False, 0)]
    await mesh.backend.queue_id("elsewhere", "work")
    for item in (again(namespace="elsewhere"), again(namespace="elsewhere", run_id=run_id)):
        (outcome,) = await mesh.backend.send([item])
        assert (outcome.delivered, outcome.status) == (False, 0)


async def test_a_query_is_asked_again(mesh: Mesh, reader: Router, sender: str) -> None:
    run_id = await mesh.start("order")
    await mesh.send("order", FRAME)
    await handle(mesh, reader, run_id, FRAME)
    item = SendItem(NAMESPACE, "order", b"", MessageKind.RESULT, FRAME, True, LONG_MS)
    (outcome,) = await send(mesh, reader, sender, item)
    assert outcome.delivered
    assert await reader.frames(1) == [FRAME]


async def test_a_journal_of_many_pages_is_looked_through(
    mesh: Mesh, reader: Router, sender: str
) -> None:
    run_id = await mesh.start("order")
    await mesh.send("order", FRAME)
    rows = await reader.read_all(2)
    frames = [bytes(20_000)] * 30 + [b"<" + FRAME + b">"] + [b"more"] * 600
    await reader.commit(
        journal_run=[run_id] * len(frames),
        journal_seq=list(range(len(frames))),
        journal_frame=frames,
        ack_lane=[row.lane for row in rows],
        ack_id=[row.id for row in rows],
    )
    await reader.close_run(run_id, mesh.lane_of("order"))
    outcomes = await send(mesh, reader, sender, again(), again(frame=b"what nobody has had"))
    assert [outcome.delivered for outcome in outcomes] == [True, False]


async def test_a_large_transition_is_looked_through(
    mesh: Mesh, reader: Router, sender: str
) -> None:
    run_id = await mesh.start("order")
    rows = await reader.read_all(1)
    # Wherever a store may cut it, the frame lies across.
    large = bytes(2 * ROPE_BYTES - len(FRAME) // 2) + FRAME + bytes(ROPE_BYTES)
    await reader.commit(
        journal_run=[run_id] * 2,
        journal_seq=[0, 1],
        journal_frame=[b"began", large],
        ack_lane=[row.lane for row in rows],
        ack_id=[row.id for row in rows],
    )
    await reader.close_run(run_id, mesh.lane_of("order"))
    outcomes = await send(mesh, reader, sender, again(), again(frame=b"what nobody has had"))
    assert [outcome.delivered for outcome in outcomes] == [True, False]


@pytest.mark.parametrize("again_ms", [LONG_MS, 0])
async def test_a_start_whose_events_an_open_run_took(
    mesh: Mesh, reader: Router, again_ms: int
) -> None:
    """Signal with start: repeated after that run has closed, it is no new one."""
    run_id = await mesh.start("order")
    item = mesh.start_item("order", conflict=ConflictPolicy.USE_EXISTING, events=[FRAME])
    outcome = await mesh.start_one(item)
    assert outcome == (False, run_id, RunStatus.RUNNING)
    await handle(mesh, reader, run_id, FRAME)
    outcome = await mesh.start_one(item._replace(again_ms=again_ms))
    if again_ms:
        assert outcome == (False, run_id, RunStatus.RUNNING)
        assert await reader.read_all(0) == []
    else:
        assert outcome == (True, item.run_id, RunStatus.RUNNING)
        assert await reader.frames(2) == [b"start", FRAME]


async def test_a_start_whose_events_an_open_run_took_once_the_id_is_taken_again(
    mesh: Mesh, reader: Router
) -> None:
    run_id = await mesh.start("order")
    item = mesh.start_item("order", conflict=ConflictPolicy.USE_EXISTING, events=[FRAME])
    await mesh.start_one(item)
    await handle(mesh, reader, run_id, FRAME)
    await mesh.start("order")
    assert len(await reader.read_all(1)) == 1
    others = [mesh.start_item(name, again_ms=LONG_MS) for name in ("bill", "letter")]
    outcomes = await mesh.backend.start([others[0], item._replace(again_ms=LONG_MS), others[1]])
    assert list(outcomes) == [
        (True, others[0].run_id, RunStatus.RUNNING),
        (False, run_id, RunStatus.RUNNING),
        (True, others[1].run_id, RunStatus.RUNNING),
    ]
    assert await reader.frames(2) == [b"start", b"start"]


def losing_an_answer(
    call: Callable[..., Awaitable[Any]], meanwhile: Callable[[], Awaitable[None]]
) -> Callable[..., Awaitable[Any]]:
    """The call, whose first answer is lost, after which something happens."""
    answers = 0

    async def lossy(*args: Any) -> Any:
        nonlocal answers
        answer = await call(*args)
        answers += 1
        if answers == 1:
            await meanwhile()
            raise BackendUnavailableError("its answer was lost")
        return answer

    return lossy


async def test_a_client_that_sends_again_is_told_that_it_was_accepted(
    mesh: Mesh, reader: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await mesh.start("order")
    handled = lambda: handle(mesh, reader, run_id, FRAME)  # noqa: E731
    monkeypatch.setattr(mesh.backend, "send", losing_an_answer(mesh.backend.send, handled))
    sends = Coalescer(mesh.backend.send, Tries, lambda *_: None, lambda item: len(item.frame))
    outcome = await sends.submit(again(again_ms=0))
    assert (outcome.delivered, outcome.run_id) == (True, run_id)
    assert await reader.read_all(0) == []


async def test_a_client_that_starts_again_with_a_signal_starts_nothing(
    mesh: Mesh, reader: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await mesh.start("order")
    handled = lambda: handle(mesh, reader, run_id, FRAME)  # noqa: E731
    monkeypatch.setattr(mesh.backend, "start", losing_an_answer(mesh.backend.start, handled))
    item = mesh.start_item("order", conflict=ConflictPolicy.USE_EXISTING, events=[FRAME])
    starts = Coalescer(mesh.backend.start, Tries, lambda *_: None, lambda item: len(item.input))
    outcome = await starts.submit(item)
    assert outcome == (False, run_id, RunStatus.RUNNING)
    assert await reader.read_all(0) == []


@pytest.mark.parametrize("what", ["send", "start"])
async def test_a_backend_that_repeats_a_call_by_itself_says_so(
    mesh: Mesh, reader: Router, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """SQLite has no connection to lose, and repeats nothing."""
    run_id = await mesh.start("order")
    lossy_call = {"postgres": (LinkPool, "row"), "redis": (Route, "evaluate")}
    if mesh.backend.name not in lossy_call:
        return
    owner, name = lossy_call[mesh.backend.name]
    carry_out = getattr(owner, name)

    async def handled() -> None:
        with monkeypatch.context() as undone:
            undone.setattr(owner, name, carry_out)
            await handle(mesh, reader, run_id, FRAME)

    lossy = losing_an_answer(carry_out, handled)
    monkeypatch.setattr(owner, name, lambda *args: lossy(*args))
    if what == "send":
        (outcome,) = await mesh.backend.send([again(again_ms=0)])
        assert (outcome.delivered, outcome.run_id) == (True, run_id)
    else:
        item = mesh.start_item("order", conflict=ConflictPolicy.USE_EXISTING, events=[FRAME])
        assert await mesh.start_one(item) == (False, run_id, RunStatus.RUNNING)
    assert await reader.read_all(0) == []
