"""A router's step: reading, acknowledging, journal, both fences, closes, replies."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from conformance.mesh import NAMESPACE, SHORT_LEASE_MS, Mesh, Router, new_run_id, until
from hotmesh.backends.protocol import Backend, MessageKind, RunStatus, SendItem, Step


async def test_a_message_is_returned_once_until_it_is_forgotten(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    (message,) = await router.read_all(1)
    for _ in range(40):  # longer than any stride of re-reading behind a cursor
        assert await router.read() == []
    router.session.forget()
    assert await router.read_all(1) == [message]


async def test_forgetting_lanes_leaves_the_others_alone(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    await mesh.start("bill")
    assert mesh.lane_of("order") != mesh.lane_of("bill")
    rows = await router.read_all(2)
    router.session.forget([mesh.lane_of("bill")])
    assert await router.read_all(1) == [row for row in rows if row.workflow_id == "bill"]


async def test_an_acknowledged_message_never_comes_again(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order", events=[b"one", b"two"])
    start, one, two = await router.read_all(3)
    await router.acknowledge([start, two])
    router.session.forget()
    assert await router.read_all(1) == [one]


async def test_messages_of_a_lane_come_in_the_order_they_were_sent(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    for number in range(30):
        await mesh.send("order", b"%d" % number)
    assert await router.frames(31) == [b"start", *(b"%d" % number for number in range(30))]


async def test_messages_of_a_batch_come_in_its_order(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    frames = [b"%d" % number for number in range(200)]
    items = [SendItem(NAMESPACE, "order", b"", MessageKind.EVENT, f, False) for f in frames[:100]]
    await mesh.backend.send(items)
    await router.commit(
        message_lane=[mesh.lane_of("order")] * 100,
        message_run=[run_id] * 100,
        message_kind=[MessageKind.RESULT] * 100,
        message_frame=frames[100:],
    )
    assert await router.frames(201) == [b"start", *frames]


async def test_a_journal_of_any_length_is_read_to_its_end(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    rows, at_once = 51_000, 3_000
    for first in range(0, rows, at_once):
        numbers = range(first, first + at_once)
        await router.commit(
            journal_run=[run_id] * at_once,
            journal_seq=list(numbers),
            journal_frame=[b"%d" % number for number in numbers],
        )
    frames = [bytes(frame) for frame in await mesh.backend.journal(NAMESPACE, run_id)]
    assert frames == [b"%d" % number for number in range(rows)]
    (loaded,) = (await router.session.load([run_id])).runs
    assert [bytes(frame) for frame in loaded.frames] == frames


async def test_room_bounds_what_is_read_and_the_rest_comes_next(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.backend.start([mesh.start_item(f"order-{n}") for n in range(25)])
    seen: set[str | None] = set()

    async def all_seen() -> bool:
        rows = await router.read(room=10)
        assert len(rows) <= 10
        assert not seen & {row.workflow_id for row in rows}
        seen.update(row.workflow_id for row in rows)
        return len(seen) == 25

    await until(all_seen)
    assert await router.read() == []


async def test_a_busy_lane_does_not_starve_the_others(mesh: Mesh) -> None:
    router = await mesh.join()
    for workflow_id in ("order", "bill", "parcel"):
        await mesh.start(workflow_id, events=[b"%d" % n for n in range(40)])
    seen: set[bytes] = set()
    for _ in range(4):
        seen.update(row.run_id for row in await router.read(room=20))
    assert len(seen) >= 2


async def test_no_room_reads_nothing(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    reply = await router.commit(room=0)
    assert list(reply.messages) == []
    assert len(await router.read_all(1)) == 1


async def test_only_the_lanes_of_the_step_are_read(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    mine = router.last_beat
    router.last_beat = mine._replace(lanes=[n for n in mine.lanes if n != mesh.lane_of("order")])
    assert await router.read() == []
    router.last_beat = mine
    assert len(await router.read_all(1)) == 1


async def test_two_sessions_of_a_router_work_side_by_side(mesh: Mesh) -> None:
    router = await mesh.join()
    second = await mesh.backend.session(NAMESPACE, router.router_id, 1_000)
    mesh.sessions.append(second)
    first_half = router.last_beat._replace(lanes=router.lanes[:32])
    await mesh.backend.start([mesh.start_item(f"order-{n}") for n in range(50)])
    lanes = router.lanes[32:]
    router.last_beat = first_half
    seen: list[int] = []

    async def all_seen() -> bool:
        rows, reply = await asyncio.gather(
            router.read(), second.step(Step(router.router_id, lanes=lanes, room=500))
        )
        seen.extend(row.id for row in rows)
        seen.extend(row[0] for row in reply.messages)
        return len(seen) == 50

    await until(all_seen)
    assert len(set(seen)) == 50


async def test_concurrent_sends_are_all_read_once(mesh: Mesh, other: Backend) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    frames = [b"%d" % number for number in range(60)]

    async def send(home: Backend, frame: bytes) -> None:
        item = SendItem(NAMESPACE, "order", run_id, MessageKind.EVENT, frame, False)
        (outcome,) = await home.send([item])
        assert outcome.delivered

    read, *_ = await asyncio.gather(
        router.read_all(61),
        *(send((mesh.backend, other)[n % 2], frame) for n, frame in enumerate(frames)),
    )
    assert sorted(row.frame for row in read) == sorted([b"start", *frames])


async def test_the_journal_is_loaded_in_order(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await router.commit(journal_run=[run_id] * 2, journal_seq=[0, 1], journal_frame=[b"a", b"b"])
    await router.commit(journal_run=[run_id], journal_seq=[2], journal_frame=[b"c"])
    assert await mesh.backend.journal(NAMESPACE, run_id) == [b"a", b"b", b"c"]
    missing = b"\x01" * 16
    (loaded,) = (await router.session.load([missing, run_id])).runs
    assert loaded[:7] == (
        run_id,
        mesh.lane_of("order"),
        RunStatus.RUNNING,
        "order",
        "Order",
        b"header",
        b"input",
    )
    assert list(loaded.frames) == [b"a", b"b", b"c"]
    assert loaded.attributes == b"{}"
    assert loaded.next_seq == 3


async def test_a_start_read_again_says_that_the_run_is_journaled(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    assert [bool(row.journaled) for row in await router.read_all(1)] == [False]
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[b"a"])
    router.session.forget()
    assert [bool(row.journaled) for row in await router.read_all(1)] == [True]


async def make_gone(mesh: Mesh, router: Router, run_id: bytes) -> None:
    """Close the run and delete it."""
    await router.close_run(run_id, mesh.lane_of("order"))
    assert await mesh.backend.prune(NAMESPACE, -60_000) == 1


async def make_closed(mesh: Mesh, router: Router, run_id: bytes) -> None:
    """Close the run."""
    await router.close_run(run_id, mesh.lane_of("order"))


async def make_two_rows(mesh: Mesh, router: Router, run_id: bytes) -> None:
    """Give the run a journal of two rows."""
    del mesh
    await router.commit(journal_run=[run_id] * 2, journal_seq=[0, 1], journal_frame=[b"a", b"b"])


@pytest.mark.parametrize(
    ("make", "seqs"),
    [
        (make_two_rows, [0]),
        (make_two_rows, [1]),
        (make_two_rows, [1, 2]),
        (make_two_rows, [3]),
        (make_two_rows, [3, 4]),
        (make_closed, [0]),
        (make_gone, [0]),
        (make_gone, [5]),
    ],
    ids=["again", "last again", "overlap", "hole", "two past a hole", "closed", "gone", "gone, 5"],
)
async def test_a_step_for_a_run_that_is_stored_otherwise_is_not_applied(
    mesh: Mesh, make: Callable[[Mesh, Router, bytes], Awaitable[None]], seqs: list[int]
) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    bill = await mesh.start("bill")
    rows = await router.read_all(2)
    await make(mesh, router, run_id)
    journal = await mesh.backend.journal(NAMESPACE, run_id)
    reply = await router.step(
        journal_run=[bill, *[run_id] * len(seqs)],
        journal_seq=[0, *seqs],
        journal_frame=[b"x"] * (1 + len(seqs)),
        ack_lane=[row.lane for row in rows],
        ack_id=[row.id for row in rows],
        starts=[mesh.start_item("parcel")],
        reply_id=[b"q" * 16],
        reply_data=[b"x"],
    )
    assert (list(reply.stale), reply.fenced, list(reply.refused)) == ([run_id], False, [])
    assert await mesh.backend.journal(NAMESPACE, run_id) == journal
    assert await mesh.backend.journal(NAMESPACE, bill) == []
    assert list(await mesh.backend.find([(NAMESPACE, "parcel", b"")])) == [None]
    assert list(await mesh.backend.replies(NAMESPACE, [b"q" * 16])) == []
    router.session.forget()
    assert len(await router.read_all(2)) == 2


async def test_every_run_that_is_stored_otherwise_is_named(mesh: Mesh) -> None:
    router = await mesh.join()
    runs = [await mesh.start(f"order-{number}") for number in range(300)]
    lost = runs[::3]
    reply = await router.step(
        journal_run=runs,
        journal_seq=[4 if run_id in lost else 0 for run_id in runs],
        journal_frame=[b"x"] * len(runs),
    )
    assert sorted(reply.stale) == sorted(lost)
    assert await mesh.backend.journal(NAMESPACE, runs[1]) == []


async def test_nothing_is_stored_of_a_run_that_is_not_there(mesh: Mesh) -> None:
    router = await mesh.join()
    gone = new_run_id()
    await router.commit(
        attribute_run=[gone] * 2,
        attribute_name=["stage", "stage"],
        attribute_value=[b"1", b""],
        message_lane=[mesh.lane_of("order")] * 2,
        message_run=[gone] * 2,
        message_kind=[MessageKind.RESULT, MessageKind.EVENT],
        message_frame=[b"lost"] * 2,
    )
    assert await router.read() == []
    run_id = await mesh.start("order", run_id=gone)
    (row,) = await mesh.backend.find([(NAMESPACE, "order", run_id)])
    assert row is not None
    assert row.attributes == b"{}"


async def test_a_dead_router_changes_nothing(mesh: Mesh) -> None:
    dying = await mesh.join(lease_ms=SHORT_LEASE_MS)
    run_id = await mesh.start("order")
    (message,) = await dying.read_all(1)
    heir = await mesh.join()

    async def inherited() -> bool:
        return len((await heir.beat()).lanes) == 64

    await until(inherited)
    reply = await dying.close_run(
        run_id,
        message.lane,
        room=10,
        journal_run=[run_id],
        journal_seq=[0],
        journal_frame=[b"late"],
        ack_lane=[message.lane],
        ack_id=[message.id],
        timer_lane=[message.lane],
        timer_due=[0],
        timer_run=[run_id],
        timer_key=[4],
        attribute_run=[run_id],
        attribute_name=["late"],
        attribute_value=[b"1"],
        starts=[mesh.start_item("child")],
    )
    assert reply.fenced
    assert list(reply.messages) == []
    assert await heir.read_all(1) == [message]
    assert heir.seen_timers == set()
    found = await mesh.backend.find([(NAMESPACE, "order", b""), (NAMESPACE, "child", b"")])
    assert [row and (row.status, row.attributes, row.transitions) for row in found] == [
        (RunStatus.RUNNING, b"{}", 0),
        None,
    ]
    assert not (await dying.beat()).alive


async def test_a_router_that_never_joined_is_fenced(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    router.registration = router.registration._replace(router_id=b"nobody".ljust(16))
    reply = await router.step(journal_run=[run_id], journal_seq=[0], journal_frame=[b"a"])
    assert reply.fenced
    assert await mesh.backend.journal(NAMESPACE, run_id) == []


async def test_closing_a_run_stores_its_end(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    (message,) = await router.read_all(1)
    reply = await router.close_run(
        run_id,
        message.lane,
        status=RunStatus.FAILED,
        result=b"why",
        ack_lane=[message.lane],
        ack_id=[message.id],
    )
    assert (reply.fenced, list(reply.refused)) == (False, [])
    assert list(await mesh.backend.results(NAMESPACE, [run_id])) == [
        (run_id, RunStatus.FAILED, b"why")
    ]


async def test_a_close_is_refused_while_an_event_is_unread(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    bill = await mesh.start("bill")
    rows = await router.read_all(2)
    assert (await mesh.send("order", b"signal")).delivered
    columns = {
        "ack_lane": [row.lane for row in rows],
        "ack_id": [row.id for row in rows],
        "journal_run": [bill],
        "journal_seq": [0],
        "journal_frame": [b"a"],
    }
    reply = await router.close_run(run_id, mesh.lane_of("order"), **columns)
    assert list(reply.refused) == [run_id]
    assert list(await mesh.backend.results(NAMESPACE, [run_id])) == []
    assert await mesh.backend.journal(NAMESPACE, bill) == []

    (signal,) = await router.read_all(1)
    columns["ack_lane"].append(signal.lane)
    columns["ack_id"].append(signal.id)
    reply = await router.close_run(run_id, mesh.lane_of("order"), **columns)
    assert list(reply.refused) == []
    assert [row[1] for row in await mesh.backend.results(NAMESPACE, [run_id])] == [
        RunStatus.COMPLETED
    ]


async def test_an_event_that_was_read_but_not_acknowledged_holds_the_run_open(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order", events=[b"signal"])
    start, _ = await router.read_all(2)
    reply = await router.close_run(
        run_id, start.lane, ack_lane=[start.lane], ack_id=[start.id], room=10
    )
    assert list(reply.refused) == [run_id]


async def test_results_and_queries_do_not_hold_a_run_open(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await mesh.send("order", b"query", kind=MessageKind.RESULT)
    reply = await router.close_run(run_id, mesh.lane_of("order"))
    assert list(reply.refused) == []


async def test_events_of_one_run_do_not_hold_another_open(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("bill", events=[b"signal"])
    run_id = await mesh.start("order")
    reply = await router.close_run(run_id, mesh.lane_of("order"))
    assert list(reply.refused) == []


async def test_no_accepted_signal_is_lost_by_a_concurrent_close(mesh: Mesh, other: Backend) -> None:
    router = await mesh.join()
    for number in range(20):
        workflow_id = f"order-{number}"
        run_id = await mesh.start(workflow_id)
        (start,) = await router.read_all(1)
        item = SendItem(NAMESPACE, workflow_id, b"", MessageKind.EVENT, b"signal", False)
        acks = {"ack_lane": [start.lane], "ack_id": [start.id]}
        (sent,), closed = await asyncio.gather(
            other.send([item]), router.close_run(run_id, start.lane, **acks)
        )
        assert sent.delivered == (list(closed.refused) == [run_id])
        if sent.delivered:
            assert sorted(row.frame for row in await router.read_all(1)) == [b"signal"]
        router.session.forget()
        await router.acknowledge(await router.read())


async def test_continuing_as_new_hands_the_workflow_id_on(mesh: Mesh) -> None:
    router = await mesh.join()
    first = await mesh.start("order")
    (message,) = await router.read_all(1)
    item = mesh.start_item("order")
    reply = await router.close_run(
        first,
        message.lane,
        status=RunStatus.CONTINUED_AS_NEW,
        ack_lane=[message.lane],
        ack_id=[message.id],
        starts=[item],
        room=10,
    )
    assert list(reply.start_outcomes) == [(True, item.run_id, 1)]
    rows = list(reply.messages) or await router.read_all(1)
    assert [row[2] for row in rows] == [item.run_id]
    (row,) = await mesh.backend.find([(NAMESPACE, "order", b"")])
    assert row is not None
    assert (row.run_id, row.status) == (item.run_id, RunStatus.RUNNING)


async def test_a_step_starts_children_and_sends_to_others(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    taken = await mesh.start("taken")
    child = mesh.start_item("child")
    reply = await router.commit(
        starts=[child, mesh.start_item("taken")],
        sends=[
            SendItem(NAMESPACE, "child", b"", MessageKind.EVENT, b"to child", False),
            SendItem(NAMESPACE, "nobody", b"", MessageKind.EVENT, b"lost", False),
        ],
    )
    assert list(reply.start_outcomes) == [(True, child.run_id, 1), (False, taken, 1)]
    delivered, lost = reply.send_outcomes
    assert delivered == (True, child.run_id, 1, mesh.lane_of("child"))
    assert (lost.delivered, lost.status) == (False, 0)
    rows = [row for row in await router.read_all(4) if row.run_id == child.run_id]
    assert [row.frame for row in rows] == [b"start", b"to child"]


async def test_the_first_reply_of_an_id_counts_and_stays_until_it_was_received(mesh: Mesh) -> None:
    router = await mesh.join()
    ids = [b"a" * 16, b"b" * 16]
    await router.commit(reply_id=ids, reply_data=[b"", b"second"])
    await router.commit(reply_id=[ids[1]], reply_data=[b"again"])
    missing = b"c" * 16
    for _ in range(2):  # the first answer may have been lost
        replies = await mesh.backend.replies(NAMESPACE, [missing, *ids])
        assert sorted(tuple(reply) for reply in replies) == [(ids[0], b""), (ids[1], b"second")]
    replies = await mesh.backend.replies(NAMESPACE, [missing, ids[1]], [ids[0]])
    assert [tuple(reply) for reply in replies] == [(ids[1], b"second")]
    assert list(await mesh.backend.replies(NAMESPACE, [missing], [ids[1]])) == []
    assert list(await mesh.backend.replies(NAMESPACE, ids)) == []


@pytest.mark.parametrize("count", [500])
async def test_a_big_batch_moves_every_run_by_a_step(mesh: Mesh, count: int) -> None:
    router = await mesh.join()
    items = [mesh.start_item(f"order-{n}", events=[b"go"]) for n in range(count)]
    outcomes = await mesh.backend.start(items)
    assert all(outcome.started for outcome in outcomes)
    rows = await router.read_all(2 * count)
    runs = [item.run_id for item in items]
    lanes = [item.lane for item in items]
    reply = await router.commit(
        journal_run=runs,
        journal_seq=[0] * count,
        journal_frame=[b"frame"] * count,
        ack_lane=[row.lane for row in rows],
        ack_id=[row.id for row in rows],
        close_run=runs,
        close_lane=lanes,
        close_status=[RunStatus.COMPLETED] * count,
        close_result=[b"%d" % n for n in range(count)],
        close_waits=[False] * count,
        room=500,
    )
    assert list(reply.messages) == []
    results = await mesh.backend.results(NAMESPACE, runs)
    assert {run_id: result for run_id, _, result in results} == {
        run_id: b"%d" % n for n, run_id in enumerate(runs)
    }
