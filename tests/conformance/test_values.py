"""What may be stored: long names in any script, empty and large frames, every byte."""

import pytest

from conformance.mesh import NAMESPACE, Mesh
from hotmesh.backends.protocol import RunFilter
from hotmesh.visibility import AllOf, Field, FieldIs

NAMES = [
    "x" * 1_000,
    "ü" * 500,
    "\U0001f680" * 250,
    "order 1/2:{3}*[4]?",
    "a'b\"c\\d\n\t",
    "%s $1 ? :name {} ..",
    " leading and trailing ",
    "\uff21\u0301\u200b",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_names_come_back_as_they_were(mesh: Mesh, name: str) -> None:
    router = await mesh.join()
    run_id = await mesh.start(name, workflow_type=name)
    assert (await mesh.send(name, b"signal")).run_id == run_id
    (start, _) = await router.read_all(2)
    assert (start.workflow_id, start.workflow_type) == (name, name)
    where = AllOf((FieldIs(Field.WORKFLOW_ID, name), FieldIs(Field.WORKFLOW_TYPE, name)))
    (row,) = (await mesh.backend.runs(RunFilter(NAMESPACE, where))).rows
    assert (row.run_id, row.workflow_id, row.workflow_type) == (run_id, name, name)
    assert not (await mesh.start_one(mesh.start_item(name))).started


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
async def test_namespaces_and_queues_may_have_any_name(mesh: Mesh, name: str) -> None:
    queue_id = await mesh.backend.queue_id(name, name)
    router = await mesh.join(queue_id=queue_id, namespace=name)
    item = mesh.start_item("order", namespace=name, lane=router.lanes[0])
    assert (await mesh.start_one(item)).started
    (row,) = await mesh.backend.find([(name, "order", b"")])
    assert row is not None
    assert (row.namespace, row.task_queue) == (name, name)
    assert [row.task_queue for row in await mesh.backend.routers(name)] == [name]
    assert len(await router.read_all(1)) == 1


async def test_names_that_look_alike_are_different(mesh: Mesh) -> None:
    names = ["order", "Order", "order ", "ö", "o\u0308"]
    outcomes = await mesh.backend.start([mesh.start_item(name) for name in names])
    assert all(outcome.started for outcome in outcomes)


async def test_every_byte_survives(mesh: Mesh) -> None:
    router = await mesh.join()
    data = bytes(range(256)) * 4
    run_id = await mesh.start("order", header=data, input=data, frame=data, events=[data])
    start, event = await router.read_all(2)
    assert (start.frame, start.header, start.input, event.frame) == (data,) * 4
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[data])
    await router.acknowledge([start, event])
    await router.close_run(run_id, start.lane, result=data)
    assert await mesh.backend.journal(NAMESPACE, run_id) == [data]
    assert [row[2] for row in await mesh.backend.results(NAMESPACE, [run_id])] == [data]


async def test_nothing_is_a_value_too(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order", header=b"", input=b"", frame=b"")
    (start,) = await router.read_all(1)
    assert (start.frame, start.header, start.input) == (b"", b"", b"")
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[b""])
    await router.close_run(run_id, start.lane, result=b"")
    assert await mesh.backend.journal(NAMESPACE, run_id) == [b""]
    assert [tuple(row) for row in await mesh.backend.results(NAMESPACE, [run_id])] == [
        (run_id, 2, b"")
    ]


async def test_large_frames_survive(mesh: Mesh) -> None:
    router = await mesh.join()
    large = bytes(range(256)) * 16 * 1024
    run_id = await mesh.start("order", input=large)
    (start,) = await router.read_all(1)
    assert start.input == large
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[large])
    (loaded,) = (await router.session.load([run_id])).runs
    assert (loaded.input, list(loaded.frames)) == (large, [large])
    await router.close_run(run_id, start.lane, result=large)
    assert [row[2] for row in await mesh.backend.results(NAMESPACE, [run_id])] == [large]


async def test_empty_batches_are_no_error(mesh: Mesh) -> None:
    router = await mesh.join()
    assert list(await mesh.backend.start([])) == []
    assert list(await mesh.backend.send([])) == []
    assert list(await mesh.backend.mail([])) == []
    assert list(await mesh.backend.replies(NAMESPACE, [])) == []
    assert list(await mesh.backend.find([])) == []
    assert list((await router.session.load([])).runs) == []
    await mesh.backend.release(NAMESPACE, router.router_id, [])
    assert list((await router.commit(room=5)).messages) == []
