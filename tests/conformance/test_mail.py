"""Mail: a datum meets whoever waits for its key, whichever comes first."""

from conformance.mesh import NAMESPACE, Mesh, Router
from hotmesh.backends.protocol import Backend, MailItem, WaitItem


def wait_item(mesh: Mesh, run_id: bytes, workflow_id: str = "order", **changes: object) -> WaitItem:
    item = WaitItem(NAMESPACE, "key", mesh.lane_of(workflow_id), run_id, b"frame:")
    return item._replace(**changes)


def mail_item(data: bytes, **changes: object) -> MailItem:
    return MailItem(NAMESPACE, "key", data)._replace(**changes)


async def start_and_drain(mesh: Mesh, router: Router, workflow_id: str = "order") -> bytes:
    run_id = await mesh.start(workflow_id)
    await router.acknowledge(await router.read_all(1))
    return run_id


async def test_mail_after_the_wait_is_delivered_once(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await start_and_drain(mesh, router)
    await router.commit(waits=[wait_item(mesh, run_id)])
    assert list(await mesh.backend.mail([mail_item(b"data")])) == [mesh.lane_of("order")]
    (message,) = await router.read_all(1)
    assert message[1:4] == (mesh.lane_of("order"), run_id, b"frame:data")
    assert list(await mesh.backend.mail([mail_item(b"more")])) == []
    assert await router.read() == []


async def test_mail_before_the_wait_is_kept(mesh: Mesh, other: Backend) -> None:
    router = await mesh.join()
    run_id = await start_and_drain(mesh, router)
    assert list(await other.mail([mail_item(b"data")])) == []
    await router.commit(waits=[wait_item(mesh, run_id)])
    assert await router.frames(1) == [b"frame:data"]
    await router.commit(waits=[wait_item(mesh, run_id)])
    assert await router.read() == []


async def test_kept_mail_is_delivered_in_order(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await start_and_drain(mesh, router)
    await mesh.backend.mail([mail_item(b"1"), mail_item(b"2")])
    await mesh.backend.mail([mail_item(b"3")])
    await router.commit(waits=[wait_item(mesh, run_id, frame=b"a"), wait_item(mesh, run_id)])
    assert await router.frames(2) == [b"a1", b"frame:2"]


async def test_those_who_wait_are_served_in_order(mesh: Mesh) -> None:
    router = await mesh.join()
    order = await start_and_drain(mesh, router, "order")
    bill = await start_and_drain(mesh, router, "bill")
    await router.commit(waits=[wait_item(mesh, bill, "bill")])
    await router.commit(waits=[wait_item(mesh, order)])
    await mesh.backend.mail([mail_item(b"1"), mail_item(b"2")])
    rows = await router.read_all(2)
    assert {(row.run_id, row.frame) for row in rows} == {
        (bill, b"frame:1"),
        (order, b"frame:2"),
    }


async def test_keys_and_namespaces_are_apart(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await start_and_drain(mesh, router)
    await mesh.backend.queue_id("elsewhere", "work")
    await router.commit(waits=[wait_item(mesh, run_id)])
    other_mail = [mail_item(b"x", key="other"), mail_item(b"x", namespace="elsewhere")]
    assert list(await mesh.backend.mail(other_mail)) == []
    assert await router.read() == []
    await mesh.backend.mail([mail_item(b"data")])
    assert await router.frames(1) == [b"frame:data"]


async def test_a_step_sends_mail_to_those_who_wait_and_to_itself(mesh: Mesh) -> None:
    router = await mesh.join()
    order = await start_and_drain(mesh, router, "order")
    bill = await start_and_drain(mesh, router, "bill")
    await router.commit(waits=[wait_item(mesh, bill, "bill")])
    reply = await router.commit(
        waits=[wait_item(mesh, order, key="own")],
        mails=[mail_item(b"hello"), mail_item(b"self", key="own")],
    )
    assert set(reply.mail_lanes) == {mesh.lane_of("order"), mesh.lane_of("bill")}
    rows = await router.read_all(2)
    assert {(row.run_id, row.frame) for row in rows} == {
        (bill, b"frame:hello"),
        (order, b"frame:self"),
    }


async def test_a_closed_run_waits_no_more(mesh: Mesh) -> None:
    router = await mesh.join()
    order = await start_and_drain(mesh, router, "order")
    bill = await start_and_drain(mesh, router, "bill")
    await router.commit(waits=[wait_item(mesh, order), wait_item(mesh, order)])
    await router.commit(waits=[wait_item(mesh, bill, "bill")])
    await router.close_run(order, mesh.lane_of("order"))
    assert list(await mesh.backend.mail([mail_item(b"data")])) == [mesh.lane_of("bill")]
    (message,) = await router.read_all(1)
    assert message.run_id == bill


async def test_empty_mail_is_mail(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await start_and_drain(mesh, router)
    await mesh.backend.mail([mail_item(b"")])
    await router.commit(waits=[wait_item(mesh, run_id)])
    assert await router.frames(1) == [b"frame:"]
