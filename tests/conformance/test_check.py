"""What waits can be read page by page, and what is wrong in it is found."""

from typing import Any

import orjson
import pytest

from conformance.mesh import NAMESPACE, TASK_QUEUE, Mesh, Router, task_columns
from conformance.test_mail import wait_item
from conformance.test_moves import forwarded, move
from hotmesh.backends.protocol import PENDING_KINDS, MessageKind, MessageRow, Pending
from hotmesh.client._check import check, look
from hotmesh.core import encode_transition, kinds
from hotmesh.engine.wire import run_id_text
from hotmesh.limits import LANES_PER_QUEUE

START = (kinds.START, 0, 0, "", b"", b"")
CHILD = orjson.dumps({"id": "child"})


def command(kind: int, number: int = 0, name: str = "", meta: bytes = b"") -> tuple[Any, ...]:
    return (kind, 1, number, name, meta, b"")


async def begun(mesh: Mesh, router: Router, *commands: tuple[Any, ...], **columns: Any) -> bytes:
    """A run that has asked for something, and nothing else is stored of it."""
    run_id = await mesh.start("order")
    await router.acknowledge(await router.read_all(1))
    frame = encode_transition(1, [START], list(commands))
    for name in ("timer_run", "task_run"):
        if name in columns:
            columns[name] = [run_id]
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[frame], **columns)
    return run_id


async def read(mesh: Mesh, limit: int) -> set[Pending]:
    """All pages; none has more rows than asked for."""
    found: list[Pending] = []
    cursor = b""
    while True:
        rows, cursor = await mesh.backend.pending(NAMESPACE, cursor, limit)
        assert len(rows) <= limit
        found += [row._replace(run_id=bytes(row.run_id)) for row in rows]
        if not cursor:
            assert len(set(found)) == len(found)
            return set(found)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_all_that_waits_is_read_whatever_the_page(mesh: Mesh, limit: int) -> None:
    router = await mesh.join()
    elsewhere = await mesh.backend.queue_id("elsewhere", "work")
    await mesh.start("order", namespace="elsewhere", lane=elsewhere * 64)
    runs = [await mesh.start(f"order-{number}") for number in range(4)]
    lanes = [mesh.lane_of(f"order-{number}") for number in range(4)]
    await router.commit(
        timer_lane=lanes, timer_due=[10**13] * 4, timer_run=runs, timer_key=[4, 8, -1, 0]
    )
    for seq, run_id in enumerate(runs):
        await router.commit(**task_columns(mesh, run_id, f"order-{seq}", seq))
    await router.claim(2)
    await router.commit(waits=[wait_item(mesh, run_id) for run_id in runs])
    found = await read(mesh, limit)
    for kind in PENDING_KINDS:
        assert {each.run_id for each in found if each.kind == kind} == set(runs)
    by_run = {(each.kind, each.run_id): each.number for each in found}
    assert [by_run["timer", run_id] for run_id in runs] == [4, 8, -1, 0]
    assert [by_run["task", run_id] for run_id in runs] == [0, 1, 2, 3]


async def test_nothing_is_wrong_with_what_will_move(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await begun(mesh, router, command(kinds.PATCH))
    await mesh.start("new")
    await mesh.start("later", delay_ms=10**9)
    assert await look(mesh.backend, NAMESPACE) == []
    await mesh.send("order", b"signal", run_id=run_id)
    assert await check(mesh.backend, NAMESPACE, 0.0) == []


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        (command(kinds.ACTIVITY, 0, "pay"), "activity 1 'pay' is done by nobody"),
        (command(kinds.ACTIVITY, 7, "pay"), "activity 1 'pay' has neither a task nor a result"),
        (command(kinds.TIMER, 10**13), "timer 1 is not stored"),
        (command(kinds.CHILD, 0, "Bill", CHILD), "child workflow 1 'Bill' is done by nobody"),
        (command(kinds.SIGNAL_EXTERNAL, 0, "go"), "signal to another workflow 1 'go' is done by"),
        (command(kinds.WAIT, 0, "key"), "wait for mail 1 'key' is in no line"),
    ],
)
async def test_what_will_never_come_is_found(mesh: Mesh, asked: tuple[Any, ...], what: str) -> None:
    router = await mesh.join()
    await begun(mesh, router, asked)
    (problem,) = await check(mesh.backend, NAMESPACE, 0.0)
    assert problem.workflow_id == "order"
    assert problem.what.startswith(what)
    await mesh.send("order", b"anything", kind=MessageKind.RESULT)
    expected = [problem] if asked[0] == kinds.TIMER else []
    assert await look(mesh.backend, NAMESPACE) == expected


@pytest.mark.parametrize(
    ("asked", "columns"),
    [
        (
            command(kinds.TIMER, 10**13),
            {"timer_lane": [0], "timer_due": [10**13], "timer_run": [], "timer_key": [4]},
        ),
        (command(kinds.ACTIVITY, 0, "pay"), "task"),
    ],
)
async def test_what_is_stored_will_come(mesh: Mesh, asked: tuple[Any, ...], columns: Any) -> None:
    router = await mesh.join()
    if columns == "task":
        columns = task_columns(mesh, b"", "order", 1, activity_type="pay")
        asked = command(kinds.ACTIVITY, mesh.queue_id, "pay")
    else:
        columns = {**columns, "timer_lane": [mesh.lane_of("order")]}
    await begun(mesh, router, asked, **columns)
    assert await look(mesh.backend, NAMESPACE) == []


async def test_a_child_that_ended_without_a_word_is_found(mesh: Mesh) -> None:
    router = await mesh.join()
    child = await mesh.start("child")
    await router.acknowledge(await router.read_all(1))
    frame = encode_transition(1, [START], [])
    await router.commit(journal_run=[child], journal_seq=[0], journal_frame=[frame])
    parent = await begun(mesh, router, command(kinds.CHILD, 0, "Bill", CHILD))
    started = encode_transition(2, [(kinds.CHILD_STARTED, 1, 0, "", child, b"")], [])
    await router.commit(journal_run=[parent], journal_seq=[1], journal_frame=[started])
    assert await look(mesh.backend, NAMESPACE) == []
    assert not (await router.close_run(child, mesh.lane_of("child"))).refused
    (problem,) = await look(mesh.backend, NAMESPACE)
    assert problem.what == "child workflow 1 'Bill' is closed or gone, and said nothing"


async def test_a_run_that_nothing_starts_and_one_that_can_not_be_read_are_found(mesh: Mesh) -> None:
    router = await mesh.join()
    lost = await mesh.start("lost")
    damaged = await mesh.start("damaged")
    await router.acknowledge(await router.read_all(2))
    await router.commit(journal_run=[damaged], journal_seq=[0], journal_frame=[b"garbage"])
    problems = {each.workflow_id: each.what for each in await look(mesh.backend, NAMESPACE)}
    assert problems.keys() == {"lost", "damaged"}
    assert problems["lost"].startswith("nothing will start it")
    assert problems["damaged"].startswith("its journal can't be read")
    assert lost != damaged


async def test_what_is_left_of_a_closed_run_is_found(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await router.acknowledge(await router.read_all(1))
    await router.close_run(run_id, mesh.lane_of("order"))
    (problem,) = await look(mesh.backend, NAMESPACE)
    lane = mesh.lane_of("order")
    assert (
        problem.what == f"left over of a run that is not open: 1 activity task(s), in lane {lane}"
    )


@pytest.mark.parametrize(("key", "is_listed"), [(0, False), (-1, False), (-2, False), (4, True)])
async def test_of_timers_of_a_closed_run_its_own_come_to_nothing_and_are_not_listed(
    mesh: Mesh, key: int, is_listed: bool
) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await router.acknowledge(await router.read_all(1))
    lane = mesh.lane_of("order")
    now = (await router.commit()).now_ms
    row = {"timer_lane": [lane], "timer_due": [now + 3_600_000], "timer_run": [run_id]}
    await router.commit(**row, timer_key=[key])
    await router.close_run(run_id, lane)
    found = await look(mesh.backend, NAMESPACE)
    assert bool(found) is is_listed


async def test_what_is_in_a_side_queue_is_looked_at_as_the_rest(mesh: Mesh) -> None:
    mover = await mesh.join(workflow_types=[])
    run_ids = [await mesh.start(workflow_id) for workflow_id in ("kept", "lost")]
    rows = {row.run_id: row for row in await mover.read_all(2)}
    side = await mesh.backend.queue_id(NAMESPACE, TASK_QUEUE, "Order") * LANES_PER_QUEUE
    for run_id, is_kept in zip(run_ids, (True, False), strict=True):
        row = rows[run_id]
        target = side + row.lane % LANES_PER_QUEUE
        await mover.commit(
            **move(run_id, row.lane, target),
            **(forwarded(row, target, MessageKind.START) if is_kept else acknowledged(row)),
        )
    (problem,) = await look(mesh.backend, NAMESPACE)
    assert (problem.workflow_id, problem.run_id) == ("lost", run_id_text(run_ids[1]))
    assert "nothing will start it" in problem.what


def acknowledged(row: MessageRow) -> dict[str, list[Any]]:
    return {"ack_lane": [row.lane], "ack_id": [row.id]}


async def beside(mesh: Mesh) -> int:
    """The id of another task queue of the namespace."""
    return await mesh.backend.queue_id(NAMESPACE, "elsewhere")


@pytest.mark.parametrize("number", [0, 1], ids=["another number", "another task queue"])
async def test_a_message_in_a_wrong_lane_is_found(mesh: Mesh, number: int) -> None:
    router = await mesh.join()
    run_id = await begun(mesh, router, command(kinds.PATCH))
    lane = mesh.lane_of("order")
    wrong = [lane ^ 1, await beside(mesh) * LANES_PER_QUEUE + lane % LANES_PER_QUEUE][number]
    (row,) = await read_sent(mesh, router, run_id)
    await router.commit(**forwarded(row, wrong, MessageKind.EVENT))
    (problem,) = await check(mesh.backend, NAMESPACE, 0.0)
    assert (problem.workflow_id, problem.run_id) == ("order", run_id_text(run_id))
    queue = ["work", "elsewhere"][number]
    assert problem.what == (
        f"a message lies in lane {wrong}, which is one of task queue {queue!r}; "
        f"the run is in lane {lane} of 'work'"
    )


async def read_sent(mesh: Mesh, router: Router, run_id: bytes) -> list[MessageRow]:
    """A message to the run, read by the router of its lane."""
    await mesh.send("order", b"signal", run_id=run_id)
    return await router.read_all(1)


@pytest.mark.parametrize("number", [0, 1], ids=["another number", "another task queue"])
async def test_a_timer_in_a_wrong_lane_is_found(mesh: Mesh, number: int) -> None:
    router = await mesh.join()
    lane = mesh.lane_of("order")
    wrong = [lane ^ 1, await beside(mesh) * LANES_PER_QUEUE + lane % LANES_PER_QUEUE][number]
    timer = {"timer_lane": [wrong], "timer_due": [10**13], "timer_run": [], "timer_key": [4]}
    await begun(mesh, router, command(kinds.TIMER, 10**13), **timer)
    (problem,) = await check(mesh.backend, NAMESPACE, 0.0)
    assert problem.workflow_id == "order"
    assert problem.what.startswith(f"a timer lies in lane {wrong}, which is one of task queue")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"task_type": ["refund"]}, "activity 1 'pay' has a task of type 'refund'"),
        (
            {"task_queue": []},
            "activity 1 'pay' has a task in the task queue of id {other}, not {own}",
        ),
        ({"task_lane": []}, "a task, or what becomes of it, lies in lane {lane}, which is one of"),
    ],
)
async def test_a_task_in_a_wrong_place_is_found(mesh: Mesh, change: Any, what: str) -> None:
    router = await mesh.join()
    columns = task_columns(mesh, b"", "order", 1, activity_type="pay")
    other, lane = await beside(mesh), mesh.lane_of("order") ^ 1
    wrong = {"task_queue": [other], "task_lane": [lane]}
    columns |= {name: value or wrong[name] for name, value in change.items()}
    run_id = await begun(mesh, router, command(kinds.ACTIVITY, mesh.queue_id, "pay"), **columns)
    (problem,) = await check(mesh.backend, NAMESPACE, 0.0)
    assert (problem.workflow_id, problem.run_id) == ("order", run_id_text(run_id))
    assert problem.what.startswith(what.format(own=mesh.queue_id, other=other, lane=lane))
