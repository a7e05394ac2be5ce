"""Routers that can't go on: their lanes go to others, what they have begun stays theirs."""

import asyncio
import threading
from typing import Any

from conformance.mesh import (
    LONG_LEASE_MS,
    NAMESPACE,
    SHORT_LEASE_MS,
    Mesh,
    Router,
    task_columns,
    until,
)
from conformance.test_tasks import beat, drain_start, finish
from hotmesh.backends.protocol import LOST, HeldTask, RunStatus, TaskRow

BEGUN, NOT_BEGUN = 1, 0


def held(mesh: Mesh, run_id: bytes, attempt: int, seq: int = 7, **changes: Any) -> HeldTask:
    task = HeldTask(
        mesh.queue_id, "charge", mesh.lane_of("order"), run_id, seq, attempt, b"held", -1
    )
    return task._replace(**changes)


def claim_of(run_id: bytes, seq: int = 7) -> TaskRow:
    """The claim of a first attempt."""
    return TaskRow(run_id, seq, 0, 1, False, b"", b"", 0)


async def stand_down(router: Router, *tasks: HeldTask) -> None:
    namespace = router.registration.namespace
    await router.backend.stand_down(namespace, router.router_id, LONG_LEASE_MS, tasks)


async def test_a_router_that_stood_down_is_fenced_and_its_lanes_are_free(mesh: Mesh) -> None:
    silent, other = await mesh.join(), await mesh.join()
    await stand_down(silent)
    reply = await silent.step(reply_id=[b"r" * 16], reply_data=[b"late"])
    assert reply.fenced
    assert list(await mesh.backend.replies(other.registration.namespace, [b"r" * 16])) == []
    assert not (await mesh.backend.beat(silent.registration)).alive
    assert len((await other.beat()).lanes) == 64


async def test_what_has_begun_stays_claimed_by_who_began_it(mesh: Mesh) -> None:
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await stand_down(silent, held(mesh, run_id, BEGUN))
    assert list((await other.work(room=1)).tasks) == []
    claim = claim_of(run_id)
    assert list((await silent.work(**beat(claim))).lost) == []
    reply = await silent.work(**finish(claim))
    assert (list(reply.lost), list(reply.finished_lanes)) == ([], [mesh.lane_of("order")])


async def test_what_has_not_begun_is_claimed_by_anybody_as_the_first_attempt(mesh: Mesh) -> None:
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await stand_down(silent, held(mesh, run_id, NOT_BEGUN))
    (task,) = await other.claim()
    assert (task.run_id, task.seq, task.attempt, bool(task.lost)) == (run_id, 7, 1, False)
    assert task.frame == b"held"


async def test_whoever_takes_the_lane_leaves_the_task_as_it_is(mesh: Mesh) -> None:
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await stand_down(silent, held(mesh, run_id, BEGUN))
    await other.beat()
    await other.commit(**task_columns(mesh, run_id, "order", 7, attempt=1))
    assert list((await other.work(room=1)).tasks) == []
    assert list((await silent.work(**finish(claim_of(run_id)))).lost) == []


async def test_no_task_is_made_of_what_has_ended_meanwhile(mesh: Mesh) -> None:
    """Else its attempts would be numbered anew."""
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await stand_down(silent, held(mesh, run_id, BEGUN, 1), held(mesh, run_id, NOT_BEGUN, 2))
    await other.beat()
    assert list((await silent.work(**finish(claim_of(run_id, 1)))).lost) == []
    (task,) = await other.claim()
    assert list((await other.work(**finish(task))).lost) == []
    for seq in (1, 2):
        await other.commit(**task_columns(mesh, run_id, "order", seq, attempt=LOST))
    reply = await other.work(room=10)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)


async def test_no_task_is_made_of_what_a_client_has_completed(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    for seq, is_held in ((1, False), (2, True)):
        if is_held:
            await stand_down(router, held(mesh, run_id, BEGUN, seq))
            router = await mesh.join()
        lane = await mesh.backend.complete_task(NAMESPACE, run_id, seq, 1, b"done")
        assert lane == mesh.lane_of("order")
        await router.commit(**task_columns(mesh, run_id, "order", seq, attempt=LOST))
    reply = await router.work(room=10)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)


async def test_what_a_client_has_completed_is_not_kept(mesh: Mesh) -> None:
    """Else it would be made once more when the claim is over."""
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    assert await mesh.backend.complete_task(NAMESPACE, run_id, 1, 1, b"done") is not None
    await stand_down(silent, held(mesh, run_id, BEGUN, 1))
    assert len((await silent.work(**beat(claim_of(run_id, 1)))).lost) == 1
    await other.beat()
    await other.commit(**task_columns(mesh, run_id, "order", 1, attempt=LOST))
    reply = await other.work(room=10)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)


async def test_an_end_is_noted_until_the_journal_has_a_task_of_it(mesh: Mesh) -> None:
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await stand_down(silent, held(mesh, run_id, BEGUN, 1))
    await other.beat()
    lost = task_columns(mesh, run_id, "order", 1, attempt=LOST)
    await other.commit(**lost)
    assert list((await silent.work(**finish(claim_of(run_id, 1)))).lost) == []
    await other.commit(**lost)  # no router would: a note would drop it
    assert [task.attempt for task in await other.claim()] == [2]


async def test_a_task_is_made_of_what_was_lost_or_stays_as_it_is(mesh: Mesh) -> None:
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await stand_down(silent, held(mesh, run_id, NOT_BEGUN, 1))
    await other.beat()
    for seq in (1, 2):
        await other.commit(**task_columns(mesh, run_id, "order", seq, attempt=LOST))
    assert {(task.seq, task.attempt) for task in await other.claim(2)} == {(1, 1), (2, 2)}


async def test_an_attempt_that_somebody_made_a_task_of_is_claimed_while_nobody_has(
    mesh: Mesh,
) -> None:
    late, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await other.commit(**task_columns(mesh, run_id, "order", 7, attempt=1))
    await stand_down(late, held(mesh, run_id, BEGUN))
    assert list((await other.work(room=1)).tasks) == []
    assert list((await late.work(**finish(claim_of(run_id)))).lost) == []


async def test_an_attempt_is_lost_once_somebody_makes_the_next(mesh: Mesh) -> None:
    late, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await other.commit(**task_columns(mesh, run_id, "order", 7, attempt=1))
    (second,) = await other.claim()
    assert second.attempt == 2
    await stand_down(late, held(mesh, run_id, BEGUN))
    assert len((await late.work(**finish(claim_of(run_id)))).lost) == 1
    assert list((await other.work(**finish(second))).lost) == []


async def test_what_a_closed_run_wanted_is_not_kept(mesh: Mesh) -> None:
    router, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await drain_start(router if mesh.lane_of("order") in router.lanes else other)
    await router.close_run(run_id, mesh.lane_of("order"), status=RunStatus.TERMINATED)
    await stand_down(router, held(mesh, run_id, NOT_BEGUN))
    reply = await other.work(room=1)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)


async def test_what_may_not_be_committed_is_kept_if_it_is(mesh: Mesh) -> None:
    router, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    await router.commit(journal_run=[run_id], journal_seq=[0], journal_frame=[b"first"])
    await stand_down(
        router,
        held(mesh, run_id, NOT_BEGUN, 1, transition=0),
        held(mesh, run_id, NOT_BEGUN, 2, transition=1),
    )
    reply = await other.work(room=10)
    assert [TaskRow(*row).seq for row in reply.tasks] == [1]


async def test_claims_outlive_it(mesh: Mesh) -> None:
    router, other = await mesh.join(), await mesh.join()
    await mesh.add_task(router)
    (task,) = await router.claim()
    await stand_down(router)
    assert list((await other.work(room=1)).tasks) == []
    assert list((await router.work(**finish(task))).lost) == []


async def test_another_loop_has_calls_of_its_own(mesh: Mesh) -> None:
    router, other = await mesh.join(), await mesh.join()
    twin = mesh.backend.for_another_loop()

    async def elsewhere() -> bool:
        beat = await twin.beat(router.registration)
        namespace = router.registration.namespace
        await twin.stand_down(namespace, router.router_id, LONG_LEASE_MS, [])
        await twin.close()
        return beat.alive

    alive: list[bool] = []
    thread = threading.Thread(target=lambda: alive.append(asyncio.run(elsewhere())))
    thread.start()
    await asyncio.to_thread(thread.join)
    assert alive == [True]
    assert (await router.step()).fenced
    assert not (await other.step()).fenced


async def test_it_may_be_repeated_when_the_answer_was_lost(mesh: Mesh) -> None:
    silent, other = await mesh.join(), await mesh.join()
    run_id = await mesh.start("order")
    tasks = held(mesh, run_id, BEGUN, 1), held(mesh, run_id, NOT_BEGUN, 2)
    await stand_down(silent, *tasks)
    assert list((await silent.work(**finish(claim_of(run_id, 1)))).lost) == []
    (task,) = await other.claim()
    assert list((await other.work(**finish(task))).lost) == []
    await stand_down(silent, *tasks)
    reply = await other.work(room=1)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)


async def test_who_was_declared_dead_adds_no_task(mesh: Mesh) -> None:
    late, other = await mesh.join(lease_ms=SHORT_LEASE_MS), await mesh.join()
    run_id = await mesh.start("order")

    async def dead() -> bool:
        await other.beat()
        return (await late.step()).fenced

    await until(dead)
    await stand_down(late, held(mesh, run_id, BEGUN, 1), held(mesh, run_id, NOT_BEGUN, 2))
    reply = await other.work(room=1)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)
    assert len((await late.work(**finish(claim_of(run_id, 1)))).lost) == 1
