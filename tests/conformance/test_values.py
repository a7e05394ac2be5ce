"""What may be stored: long names in any script, empty and large frames, every byte."""

import asyncio
import os
from typing import Any

import pytest

from conformance.mesh import NAMESPACE, Mesh
from hotmesh.backends.protocol import RunFilter
from hotmesh.core.rope import Rope
from hotmesh.limits import BATCH_BYTES_MAX, ROPE_BYTES
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


async def test_a_frame_in_pieces_is_one_frame(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id, other = await mesh.start("order"), await mesh.start("other")
    large = os.urandom(3 * ROPE_BYTES // 2)
    rope = Rope((b"head", large, large, large, b"tail"))
    await router.commit(
        journal_run=[run_id, other, run_id],
        journal_seq=[0, 0, 1],
        journal_frame=[rope, b"small", b"more"],
    )
    assert list(await mesh.backend.journal(NAMESPACE, run_id)) == [bytes(rope), b"more"]
    loaded = (await router.session.load([run_id])).runs
    assert [list(run.frames) for run in loaded] == [[bytes(rope), b"more"]]
    assert list(await mesh.backend.journal(NAMESPACE, other)) == [b"small"]


async def test_a_large_message_comes_whole(mesh: Mesh) -> None:
    router = await mesh.join()
    large = os.urandom(3 * BATCH_BYTES_MAX // 2)
    await mesh.start("order", input=large)
    await mesh.send("order", large)
    await mesh.send("order", b"small")
    start, *events = await router.read_all(3)
    assert start.input == large
    assert [event.frame for event in events] == [large, b"small"]


async def test_a_large_step_that_is_refused_leaves_nothing(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    columns: dict[str, Any] = {
        "journal_run": [run_id],
        "journal_seq": [1],
        "journal_frame": [os.urandom(3 * BATCH_BYTES_MAX // 2)],
    }
    reply = await router.step(**columns)
    assert reply.stale == [run_id]
    assert list(await mesh.backend.journal(NAMESPACE, run_id)) == []


async def test_large_values_are_found_listed_and_pruned(mesh: Mesh) -> None:
    router = await mesh.join()
    large, result = os.urandom(2 * ROPE_BYTES + 1), os.urandom(ROPE_BYTES)
    items = [mesh.start_item("large", input=large), mesh.start_item("small", input=b"small")]
    outcomes = await mesh.backend.start(items)
    runs = [outcome.run_id for outcome in outcomes]
    keys = [(NAMESPACE, name, b"") for name in ("large", "small")]
    assert [row and row.input for row in await mesh.backend.find(keys)] == [large, b"small"]
    for run_id, name, value in zip(runs, ("large", "small"), (result, b"r"), strict=True):
        await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[large])
        await router.close_run(run_id, mesh.lane_of(name), result=value)
    found = await mesh.backend.find(keys)
    assert [row and (row.input, row.result) for row in found] == [
        (large, result),
        (b"small", b"r"),
    ]
    results: dict[bytes, bytes] = {}
    while len(results) < len(runs):
        asked = [run_id for run_id in runs if run_id not in results]
        results |= {row[0]: row[2] for row in await mesh.backend.results(NAMESPACE, asked)}
    assert [results[run_id] for run_id in runs] == [result, b"r"]
    await asyncio.sleep(0.002)  # they are older than nothing by then
    assert await mesh.backend.prune(NAMESPACE, 0) == len(runs)
    assert list(await mesh.backend.find(keys)) == [None, None]
    assert list(await mesh.backend.journal(NAMESPACE, runs[0])) == []


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
