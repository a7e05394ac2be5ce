"""Starting runs: one open run per workflow id, policies, idempotence, delays."""

import asyncio
import json
from typing import Any

import pytest

from conformance.mesh import NAMESPACE, Mesh, new_run_id
from hotmesh.backends.protocol import (
    Backend,
    ConflictPolicy,
    ReusePolicy,
    RunStatus,
    StartOutcome,
)

CLOSED = [status for status in RunStatus if status != RunStatus.RUNNING]


async def test_a_start_brings_its_own_columns_to_the_lane_owner(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    (message,) = await router.read_all(1)
    assert message[1:8] == (
        mesh.lane_of("order"),
        run_id,
        b"start",
        "order",
        "Order",
        b"header",
        b"input",
    )
    assert not message.journaled


async def test_starting_the_same_run_again_changes_nothing(mesh: Mesh) -> None:
    router = await mesh.join()
    item = mesh.start_item("order", events=[b"hello"])
    assert await mesh.start_one(item) == (True, item.run_id, 1)
    assert await mesh.start_one(item) == (True, item.run_id, 1)
    assert await mesh.backend.start([item, item]) == [(True, item.run_id, 1)] * 2
    assert await router.frames(2) == [b"start", b"hello"]


async def test_starting_the_same_run_again_succeeds_after_it_closed(mesh: Mesh) -> None:
    router = await mesh.join()
    item = mesh.start_item("order")
    await mesh.start_one(item)
    await router.acknowledge(await router.read_all(1))
    await router.close_run(item.run_id, item.lane)
    assert await mesh.start_one(item) == (True, item.run_id, RunStatus.COMPLETED)
    assert await router.read() == []


async def test_starting_an_older_run_again_leaves_the_newer_one_in_place(mesh: Mesh) -> None:
    router = await mesh.join()
    item = mesh.start_item("order")
    await mesh.start_one(item)
    await router.close_run(item.run_id, item.lane)
    newer = await mesh.start("order")
    outcome = await mesh.start_one(item)
    assert outcome.started
    (row,) = await mesh.backend.find([(NAMESPACE, "order", b"")])
    assert row is not None
    assert row.run_id == newer


async def test_an_open_run_makes_a_start_fail(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    assert await mesh.start_one(mesh.start_item("order", events=[b"lost"])) == (False, run_id, 1)
    assert await router.frames(1) == [b"start"]


async def test_use_existing_delivers_the_events_to_the_open_run(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    item = mesh.start_item("order", conflict=ConflictPolicy.USE_EXISTING, events=[b"one", b"two"])
    assert await mesh.start_one(item) == (False, run_id, 1)
    rows = await router.read_all(3)
    assert [row.frame for row in rows] == [b"start", b"one", b"two"]
    assert {row.run_id for row in rows} == {run_id}


async def test_use_existing_starts_a_run_when_none_is_open(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order", conflict=ConflictPolicy.USE_EXISTING, events=[b"one"])
    assert await router.frames(2) == [b"start", b"one"]


@pytest.mark.parametrize("status", CLOSED)
async def test_allow_duplicate_takes_the_id_over_from_a_closed_run(
    mesh: Mesh, status: RunStatus
) -> None:
    router = await mesh.join()
    first = await mesh.start("order")
    await router.close_run(first, mesh.lane_of("order"), status=status)
    second = await mesh.start("order")
    found = await mesh.backend.find([(NAMESPACE, "order", b""), (NAMESPACE, "order", first)])
    assert [row and (row.run_id, row.status) for row in found] == [(second, 1), (first, status)]


@pytest.mark.parametrize("batched", [False, True])
async def test_only_the_closed_run_that_was_looked_at_is_taken_over(
    mesh: Mesh, batched: bool
) -> None:
    router = await mesh.join()
    first = await mesh.start("order", over=b"")
    others = [mesh.start_item(f"other-{batched}-{i}", events=[b"one"]) for i in range(2)]

    async def started(over: bytes | None, **changes: Any) -> StartOutcome:
        item = mesh.start_item("order", over=over, events=[b"event"], **changes)
        if not batched:
            return await mesh.start_one(item)
        return (await mesh.backend.start([others[0], item, others[1]]))[1]

    assert await started(b"") == (False, first, RunStatus.RUNNING)
    assert await started(b"", conflict=ConflictPolicy.USE_EXISTING) == (False, first, 1)
    await router.acknowledge(await router.read_all(6 if batched else 2))
    await router.close_run(first, mesh.lane_of("order"))
    assert await started(b"") == (False, first, RunStatus.COMPLETED)
    assert await started(new_run_id()) == (False, first, RunStatus.COMPLETED)
    rejected = await started(first, reuse=ReusePolicy.REJECT_DUPLICATE)
    assert rejected == (False, first, RunStatus.COMPLETED)
    outcome = await started(first)
    assert outcome.started
    assert await started(first) == (False, outcome.run_id, RunStatus.RUNNING)


@pytest.mark.parametrize("status", CLOSED)
async def test_reject_duplicate_refuses_whatever_the_run_ended_as(
    mesh: Mesh, status: RunStatus
) -> None:
    router = await mesh.join()
    first = await mesh.start("order")
    await router.close_run(first, mesh.lane_of("order"), status=status)
    item = mesh.start_item("order", reuse=ReusePolicy.REJECT_DUPLICATE)
    assert await mesh.start_one(item) == (False, first, status)


@pytest.mark.parametrize(
    ("status", "starts"),
    [
        (RunStatus.COMPLETED, False),
        (RunStatus.FAILED, True),
        (RunStatus.CANCELED, True),
        (RunStatus.TERMINATED, True),
        (RunStatus.TIMED_OUT, True),
    ],
)
async def test_failed_only_starts_after_anything_but_success(
    mesh: Mesh, status: RunStatus, starts: bool
) -> None:
    router = await mesh.join()
    first = await mesh.start("order")
    await router.close_run(first, mesh.lane_of("order"), status=status)
    item = mesh.start_item("order", reuse=ReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)
    outcome = await mesh.start_one(item)
    assert outcome == ((True, item.run_id, 1) if starts else (False, first, status))


async def test_the_first_of_two_starts_of_one_id_in_a_batch_wins(mesh: Mesh) -> None:
    first, second, unrelated = (mesh.start_item(name) for name in ("order", "order", "bill"))
    assert await mesh.backend.start([first, second, unrelated]) == [
        (True, first.run_id, 1),
        (False, first.run_id, 1),
        (True, unrelated.run_id, 1),
    ]


async def test_one_of_many_concurrent_starts_of_an_id_wins(mesh: Mesh, other: Backend) -> None:
    router = await mesh.join()
    items = [mesh.start_item("order") for _ in range(20)]
    homes = [mesh.backend, other]
    answers = await asyncio.gather(*(homes[n % 2].start([item]) for n, item in enumerate(items)))
    outcomes = [outcome for (outcome,) in answers]
    (winner,) = [outcome.run_id for outcome in outcomes if outcome.started]
    assert {outcome.run_id for outcome in outcomes} == {winner}
    (message,) = await router.read_all(1)
    assert message.run_id == winner


async def test_ids_of_different_namespaces_are_different(mesh: Mesh) -> None:
    await mesh.start("order")
    queue_id = await mesh.backend.queue_id("elsewhere", "work")
    lane = mesh.lane_of("order") + (queue_id - mesh.queue_id) * 64
    item = mesh.start_item("order", namespace="elsewhere", lane=lane)
    assert (await mesh.start_one(item)).started
    found = await mesh.backend.find([("elsewhere", "order", b""), (NAMESPACE, "order", b"")])
    assert [row and row.namespace for row in found] == ["elsewhere", NAMESPACE]


async def test_a_batch_of_starts_of_two_namespaces_is_answered_in_order(mesh: Mesh) -> None:
    queue_id = await mesh.backend.queue_id("elsewhere", "work")
    lane = mesh.lane_of("order") + (queue_id - mesh.queue_id) * 64
    items = [
        mesh.start_item("order"),
        mesh.start_item("order", namespace="elsewhere", lane=lane),
        mesh.start_item("bill"),
    ]
    outcomes = await mesh.backend.start(items)
    assert outcomes == [(True, item.run_id, 1) for item in items]


async def test_a_delayed_start_is_a_timer_and_no_message(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=60_000)
    run_id = await mesh.start("order", delay_ms=30_000, events=[b"early"])
    assert await router.frames(1) == [b"early"]
    (timer,) = await router.timers(1)
    assert (timer.lane, timer.run_id, timer.key) == (mesh.lane_of("order"), run_id, 0)


async def test_a_delayed_start_is_seen_by_a_session_that_has_read_that_far(mesh: Mesh) -> None:
    router = await mesh.join(horizon_ms=60_000)
    await router.commit(room=10)
    run_id = await mesh.start("order", delay_ms=50)
    (timer,) = await router.timers(1)
    assert timer.run_id == run_id


async def test_a_start_may_bring_attributes(mesh: Mesh) -> None:
    run_id = await mesh.start("order", attributes=[("color", b'"red"'), ("size", b"3")])
    (row,) = await mesh.backend.find([(NAMESPACE, "order", b"")])
    assert row is not None
    assert row.run_id == run_id
    assert json.loads(row.attributes) == {"color": "red", "size": 3}


async def test_run_ids_need_not_be_in_order(mesh: Mesh) -> None:
    router = await mesh.join()
    older, newer = new_run_id(), new_run_id()
    await mesh.start("order", run_id=newer)
    await router.close_run(newer, mesh.lane_of("order"))
    await mesh.start("order", run_id=older)
    (row,) = await mesh.backend.find([(NAMESPACE, "order", b"")])
    assert row is not None
    assert row.run_id == older
