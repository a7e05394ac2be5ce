"""Sending messages to runs by workflow id: delivery, refusal, closed runs."""

from conformance.mesh import NAMESPACE, Mesh
from hotmesh.backends.protocol import MessageKind, RunStatus, SendItem


async def test_a_message_goes_to_the_newest_run(mesh: Mesh) -> None:
    router = await mesh.join()
    first = await mesh.start("order")
    await router.close_run(first, mesh.lane_of("order"))
    second = await mesh.start("order")
    outcome = await mesh.send("order", b"signal")
    assert outcome == (True, second, RunStatus.RUNNING, mesh.lane_of("order"))
    assert (await router.read_all(3))[-1].run_id == second


async def test_a_message_may_name_its_run(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    assert (await mesh.send("order", b"signal", run_id=run_id)).delivered
    assert await router.frames(2) == [b"start", b"signal"]


async def test_a_message_to_nobody_is_refused(mesh: Mesh) -> None:
    outcome = await mesh.send("order", b"signal")
    assert (outcome.delivered, outcome.status) == (False, 0)


async def test_a_run_id_of_another_workflow_or_namespace_is_unknown(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    bill = await mesh.start("bill")
    outcome = await mesh.send("order", b"signal", run_id=bill)
    assert (outcome.delivered, outcome.status) == (False, 0)
    await mesh.backend.queue_id("elsewhere", "work")
    item = SendItem("elsewhere", "order", b"", MessageKind.EVENT, b"signal", False)
    (outcome,) = await mesh.backend.send([item])
    assert (outcome.delivered, outcome.status) == (False, 0)
    assert len(await router.read_all(2)) == 2


async def test_a_closed_run_refuses_signals_but_not_queries(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await router.acknowledge(await router.read_all(1))
    await router.close_run(run_id, mesh.lane_of("order"), status=RunStatus.CANCELED)
    outcome = await mesh.send("order", b"signal")
    assert outcome == (False, run_id, RunStatus.CANCELED, mesh.lane_of("order"))
    outcome = await mesh.send("order", b"query", kind=MessageKind.RESULT, allow_closed=True)
    assert outcome == (True, run_id, RunStatus.CANCELED, mesh.lane_of("order"))
    assert await router.frames(1) == [b"query"]


async def test_a_batch_answers_each_item_in_order(mesh: Mesh) -> None:
    await mesh.start("order")
    await mesh.start("bill")
    names = ["bill", "nobody", "order", "bill"]
    items = [SendItem(NAMESPACE, name, b"", MessageKind.EVENT, b"x", False) for name in names]
    outcomes = await mesh.backend.send(items)
    assert [outcome.delivered for outcome in outcomes] == [True, False, True, True]


async def test_an_empty_frame_is_a_message(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    await mesh.send("order", b"")
    assert await router.frames(2) == [b"start", b""]
