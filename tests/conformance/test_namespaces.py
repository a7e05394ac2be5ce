"""The namespace is part of every address: what another one has is unknown, and stays as it is.

The tables below name what every method, column and item of the protocol is tried with; one that is
new and missing fails the first test.
"""

import dataclasses
import inspect
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from conformance.mesh import NAMESPACE, Mesh, new_run_id, task_columns
from hotmesh.backends.protocol import (
    Backend,
    MailItem,
    MessageKind,
    NoteItem,
    Registration,
    RunFilter,
    SendItem,
    Session,
    StartItem,
    Step,
    Tasks,
    WaitItem,
)
from hotmesh.exceptions import BackendError
from hotmesh.visibility import AttributeIs, Field, FieldIs

ABROAD = "elsewhere"
ID = "order"
REPLY = b"q" * 16
KEY = "key"
CLAIM_MS = 60_000


class Scene:
    """A run of the one namespace with all that belongs to a run, and a router of the other."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.backend = mesh.backend

    async def set(self) -> None:
        mesh = self.mesh
        self.lane = mesh.lane_of(ID)
        self.router = await mesh.join()
        self.run_id = await mesh.start(ID, attributes=[("kind", b'"good"')])
        await self.router.commit(
            **task_columns(mesh, self.run_id, ID, 1),
            journal_run=[self.run_id],
            journal_seq=[0],
            journal_frame=[b"first"],
        )
        (self.task,) = await self.router.claim()
        await self.router.commit(
            **task_columns(mesh, self.run_id, ID, 2, attempt=1, delay_ms=CLAIM_MS),
            waits=[WaitItem(NAMESPACE, KEY, self.lane, self.run_id, b"waits:")],
            reply_id=[REPLY],
            reply_data=[b"answer"],
        )
        self.abroad = Mesh(self.backend, await self.backend.queue_id(ABROAD, "work"))
        self.foreigner = await self.abroad.join(namespace=ABROAD)

    async def strike(self, **columns: Any) -> None:
        """A step of the other namespace that names what it has no business with."""
        await self.foreigner.step(**columns)

    def tasks(self, **columns: Any) -> Tasks:
        """The other namespace's task batch."""
        return self.foreigner.batch(**columns)

    async def check(self) -> None:
        """Everything is as it was set."""
        (row,) = await self.backend.find([(NAMESPACE, ID, self.run_id)])
        assert row is not None
        assert (row.status, row.transitions, row.attributes) == (1, 1, b'{"kind":"good"}')
        assert [bytes(each) for each in await self.backend.journal(NAMESPACE, self.run_id)] == [
            b"first"
        ]
        (beat,) = [await self.router.beat()]
        assert beat.alive
        assert len(beat.lanes) == 64
        self.router.session.forget()
        reply = await self.router.commit(room=100)
        assert [(row[2], row[3]) for row in reply.messages] == [(self.run_id, b"start")]
        assert not reply.timers
        renewed = await self.router.work(
            beat_run=[self.run_id],
            beat_seq=[1],
            beat_attempt=[1],
            beat_lease=[CLAIM_MS],
            beat_state=[None],
            beat_outside=[False],
            room=10,
        )
        assert not renewed.lost
        assert not renewed.recalled
        assert not renewed.tasks
        assert renewed.next_due_ms is not None

    async def check_at_last(self) -> None:
        """What can only be looked at once: the waiter, the reply, the task that waits."""
        assert await self.backend.mail([MailItem(NAMESPACE, KEY, b"datum")]) == [self.lane]
        taken = [tuple(row) for row in await self.backend.replies(NAMESPACE, [REPLY])]
        assert taken == [(REPLY, b"answer")]
        await self.router.commit(
            recall_task_run=[self.run_id],
            recall_task_seq=[2],
            recall_task_frame=[b"recalled"],
            recall_task_claimed=[False],
        )
        frames = [row.frame for row in await self.router.read()]
        assert sorted(frames) == [b"recalled", b"waits:datum"]


@pytest.fixture
async def scene(mesh: Mesh) -> AsyncIterator[Scene]:
    scene = Scene(mesh)
    await scene.set()
    yield scene
    await scene.abroad.close()


Case = Callable[[Scene], Awaitable[None]]


async def start(scene: Scene) -> None:
    item = scene.abroad.start_item("other", namespace=ABROAD)
    assert (await scene.backend.start([item]))[0].started
    taken = scene.abroad.start_item(ID, namespace=ABROAD, conflict=2, events=[b"event"])
    assert (await scene.backend.start([taken]))[0] == (True, taken.run_id, 1)


async def send(scene: Scene) -> None:
    for run_id in (scene.run_id, b""):
        item = SendItem(ABROAD, ID, run_id, MessageKind.EVENT, b"x", True)
        (outcome,) = await scene.backend.send([item])
        assert run_id == b"" or (outcome.delivered, outcome.status) == (False, 0)
        assert outcome.run_id != scene.run_id or not outcome.delivered


async def mail(scene: Scene) -> None:
    assert list(await scene.backend.mail([MailItem(ABROAD, KEY, b"x")])) == []


async def results(scene: Scene) -> None:
    rows = [tuple(row) for row in await scene.backend.results(ABROAD, [scene.run_id])]
    assert rows == [(scene.run_id, 0, b"")]


async def replies(scene: Scene) -> None:
    assert list(await scene.backend.replies(ABROAD, [REPLY])) == []


async def find(scene: Scene) -> None:
    assert list(await scene.backend.find([(ABROAD, ID, scene.run_id)])) == [None]


async def runs(scene: Scene) -> None:
    for where in (None, FieldIs(Field.WORKFLOW_ID, ID), AttributeIs("a", 1)):
        page = await scene.backend.runs(RunFilter(ABROAD, where))
        assert scene.run_id not in [bytes(row.run_id) for row in page.rows]


async def attribute_names(scene: Scene) -> None:
    name = {"attribute_run": [scene.run_id], "attribute_name": ["of-here"]}
    await scene.router.commit(attribute_value=[b"1"], **name)
    assert "of-here" in await scene.backend.attribute_names(NAMESPACE, ["of-here"], 0)
    assert list(await scene.backend.attribute_names(ABROAD, ["of-here"], 99)) == []
    await scene.router.commit(attribute_value=[b""], **name)


async def journal(scene: Scene) -> None:
    assert list(await scene.backend.journal(ABROAD, scene.run_id)) == []


async def tasks_of(scene: Scene) -> None:
    assert list(await scene.backend.tasks_of(ABROAD, scene.run_id, [1, 2])) == []
    ours = await scene.backend.tasks_of(NAMESPACE, scene.run_id, [0, 1, 2])
    assert [(task.seq, task.attempt, bool(task.owner)) for task in ours] == [
        (1, 1, True),
        (2, 1, False),
    ]


async def tasks_of_runs(scene: Scene) -> None:
    ((total, tasks),) = await scene.backend.tasks_of_runs(ABROAD, [scene.run_id], 5)
    assert (total, list(tasks)) == (0, [])
    ((total, tasks),) = await scene.backend.tasks_of_runs(NAMESPACE, [scene.run_id], 5)
    assert (total, [task.seq for task in tasks]) == (2, [1, 2])


async def pending(scene: Scene) -> None:
    cursor = b""
    while True:
        rows, cursor = await scene.backend.pending(ABROAD, cursor, 100)
        assert not any(scene.run_id in tuple(row) for row in rows)
        if not cursor:
            break


async def routers(scene: Scene) -> None:
    rows = await scene.backend.routers(ABROAD)
    assert [row.router_id for row in rows] == [scene.foreigner.router_id]


async def prune(scene: Scene) -> None:
    run_id = await scene.mesh.start("closed")
    lane = scene.mesh.lane_of("closed")
    await scene.router.close_run(run_id, lane)
    await scene.router.acknowledge([r for r in await scene.router.read() if r.run_id == run_id])
    assert await scene.backend.prune(ABROAD, 0) == 0
    assert await scene.backend.prune(NAMESPACE, 0) == 1


async def beat(scene: Scene) -> None:
    known = Registration(scene.router.router_id, ABROAD, scene.abroad.queue_id, True, 1, b"{}")
    lanes = (await scene.backend.beat(known)).lanes
    assert not set(lanes) & set(scene.router.lanes)
    await scene.backend.leave(ABROAD, scene.router.router_id)
    with pytest.raises(BackendError, match="namespace"):
        await scene.backend.beat(
            Registration(os.urandom(16), ABROAD, scene.mesh.queue_id, True, CLAIM_MS, b"{}")
        )


async def release(scene: Scene) -> None:
    await scene.backend.release(ABROAD, scene.router.router_id, scene.router.lanes)


async def leave(scene: Scene) -> None:
    await scene.backend.leave(ABROAD, scene.router.router_id)


async def stand_down(scene: Scene) -> None:
    await scene.backend.stand_down(ABROAD, scene.router.router_id, 1, [])


async def session(scene: Scene) -> None:
    opened = await scene.backend.session(ABROAD, scene.router.router_id, 1_000)
    try:
        assert (await opened.step(Step(scene.router.router_id, scene.router.lanes, 10))).fenced
    finally:
        await opened.close()


async def tasks(scene: Scene) -> None:
    foreign = dataclasses.replace(scene.tasks(), queue_id=scene.mesh.queue_id, room=10)
    with pytest.raises(BackendError, match="namespace"):
        await scene.backend.tasks(foreign)


async def complete_task(scene: Scene) -> None:
    assert await scene.backend.complete_task(ABROAD, scene.run_id, 1, 0, b"x") is None


async def note(scene: Scene) -> None:
    await scene.backend.note([NoteItem(ABROAD, scene.run_id, "kind", b'"bad"')])


async def step(scene: Scene) -> None:
    opened = await scene.backend.session(ABROAD, scene.foreigner.router_id, 1_000)
    try:
        reply = await opened.step(Step(scene.foreigner.router_id, scene.router.lanes, 10))
        assert (len(reply.messages), len(reply.timers)) == (0, 0)
    except BackendError as error:
        assert "task queue" in str(error)
    finally:
        await opened.close()


async def load(scene: Scene) -> None:
    assert list((await scene.foreigner.session.load([scene.run_id])).runs) == []


METHODS: dict[str, Case] = {
    case.__name__: case
    for case in (
        *(start, send, mail, results, replies, find, runs, journal, pending, tasks_of),
        *(tasks_of_runs, routers),
        *(prune, beat, release, leave, stand_down, session, tasks, complete_task, note, step, load),
        attribute_names,
    )
}
NAMES_NOBODY = {"connect", "close", "exists", "for_another_loop", "forget"}
CHANNELS = {"notify", "listen", "unlisten"}
"""Their channels are made of queue ids, which are no other namespace's, and of the namespace."""
MAKES_AN_ID = {"queue_id"}


async def claimed(scene: Scene, kind: str, **columns: Any) -> None:
    """One column set of a task batch, with the claim of the other namespace's router."""
    keys = {"run": [scene.run_id], "seq": [1], "attempt": [1]}
    named = {f"{kind}_{name}": value for name, value in {**keys, **columns}.items()}
    reply = await scene.backend.tasks(scene.tasks(**named))
    assert list(reply.lost) == [(scene.run_id, 1, 1)] or kind == "retry"


TASK_COLUMNS: dict[str, Case] = {
    "finish": lambda scene: claimed(scene, "finish", frame=[b"x"]),
    "retry": lambda scene: claimed(scene, "retry", delay=[0], state=[b"x"]),
    "beat": lambda scene: claimed(scene, "beat", lease=[0], state=[b"x"], outside=[True]),
}
STEP_COLUMNS: dict[str, Case] = {
    "task": lambda scene: scene.strike(
        **{
            **task_columns(scene.abroad, scene.run_id, ID, 1),
            "task_queue": [scene.abroad.queue_id],
        },
        drop_task_run=[scene.run_id],
        drop_task_seq=[1],
    ),
    "outside": lambda scene: scene.strike(outside_run=[scene.run_id] * 2, outside_seq=[1, 2]),
    "drop_task": lambda scene: scene.strike(drop_task_run=[scene.run_id] * 2, drop_task_seq=[1, 2]),
    "recall_task": lambda scene: scene.strike(
        recall_task_run=[scene.run_id] * 2,
        recall_task_seq=[1, 2],
        recall_task_frame=[b"x"] * 2,
        recall_task_claimed=[True] * 2,
    ),
    "attribute": lambda scene: scene.strike(
        attribute_run=[scene.run_id] * 2,
        attribute_name=["kind", "more"],
        attribute_value=[b"", b"1"],
    ),
    "close": lambda scene: scene.strike(
        close_run=[scene.run_id],
        close_lane=[scene.lane],
        close_status=[2],
        close_result=[b"x"],
        close_waits=[True],
    ),
    "message": lambda scene: scene.strike(
        message_lane=[scene.lane] * 2,
        message_run=[scene.run_id] * 2,
        message_kind=[MessageKind.EVENT, MessageKind.RESULT],
        message_frame=[b"x"] * 2,
    ),
    "move": lambda scene: scene.strike(
        move_run=[scene.run_id],
        move_from=[scene.lane],
        move_to=[scene.foreigner.lanes[0]],
    ),
    "sends": lambda scene: scene.strike(
        sends=[SendItem(ABROAD, ID, scene.run_id, MessageKind.EVENT, b"x", True)]
    ),
    "starts": lambda scene: scene.strike(
        starts=[scene.abroad.start_item(ID, namespace=ABROAD, conflict=2, events=[b"x"])]
    ),
    "waits": lambda scene: scene.strike(
        waits=[WaitItem(ABROAD, "own", scene.foreigner.lanes[0], new_run_id(), b"x")]
    ),
    "mails": lambda scene: scene.strike(mails=[MailItem(ABROAD, KEY, b"x")]),
    "reply": lambda scene: scene.strike(reply_id=[REPLY], reply_data=[b"forged"]),
}
OF_OWN_RUNS = {"journal", "ack", "timer", "drop_timer"}
"""Made by the core for runs that it has read in the router's own lanes or loaded by its session."""
NOT_AN_ADDRESS = {
    "router_id",
    "lanes",
    "room",
    "size_max",
    "namespace",
    "queue_id",
    "lease_ms",
    "types",
    "latest_ms",
}


def _columns(batch: type[Any]) -> set[str]:
    """The column sets of a batch: fields without their last word, items as they are."""
    found: set[str] = set()
    for each in dataclasses.fields(batch):
        if each.name not in NOT_AN_ADDRESS:
            items = each.name in ("starts", "sends", "waits", "mails")
            found.add(each.name if items else each.name.rpartition("_")[0])
    return found


def test_every_method_and_column_is_tried() -> None:
    methods = {
        name
        for port in (Backend, Session)
        for name, method in vars(port).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }
    assert methods - NAMES_NOBODY - CHANNELS - MAKES_AN_ID == set(METHODS)
    assert _columns(Step) - OF_OWN_RUNS == set(STEP_COLUMNS)
    assert _columns(Tasks) == set(TASK_COLUMNS)
    for item in (StartItem, SendItem, MailItem, NoteItem, WaitItem, Registration):
        assert "namespace" in item._fields
    for batch in (Tasks, RunFilter):
        assert "namespace" in {each.name for each in dataclasses.fields(batch)}


async def test_nothing_reaches_another_namespace(scene: Scene) -> None:
    await scene.check()
    for what, table in (
        ("method", METHODS),
        ("column", STEP_COLUMNS),
        ("task column", TASK_COLUMNS),
    ):
        for name, case in table.items():
            try:
                await case(scene)
                await scene.check()
            except Exception as error:
                raise AssertionError(f"{what} {name!r} crosses namespaces") from error
    await scene.check_at_last()


async def test_mail_and_replies_of_two_namespaces_do_not_mix(scene: Scene) -> None:
    await scene.foreigner.commit(reply_id=[REPLY], reply_data=[b"theirs"])
    theirs = [tuple(row) for row in await scene.backend.replies(ABROAD, [REPLY])]
    assert theirs == [(REPLY, b"theirs")]
    ours = [tuple(row) for row in await scene.backend.replies(NAMESPACE, [REPLY])]
    assert ours == [(REPLY, b"answer")]


async def test_a_run_id_of_another_namespace_can_be_started_by_nobody(scene: Scene) -> None:
    item = scene.abroad.start_item("other", namespace=ABROAD, run_id=scene.run_id)
    try:
        (outcome,) = await scene.backend.start([item])
    except BackendError:
        pass  # where both are in one table
    else:
        assert outcome.started  # where each has keys of its own
    await scene.check()
