"""Activity tasks: claims, attempts, leases, retries, beats, recalls, results."""

import asyncio

import pytest

from conformance.mesh import (
    LONG_LEASE_MS,
    NAMESPACE,
    SHORT_LEASE_MS,
    Mesh,
    Router,
    new_run_id,
    task_columns,
    until,
)
from hotmesh.backends.protocol import KEEP, OUTSIDE, Backend, RunStatus, TaskRow
from support.counted import looked_at

UNHOSTED = 2_000
"""Tasks that nobody hosts."""


def finish(task: TaskRow, frame: bytes = b"done", attempt: int = 0) -> dict[str, list[object]]:
    return {
        "finish_run": [task.run_id],
        "finish_seq": [task.seq],
        "finish_attempt": [attempt or task.attempt],
        "finish_frame": [frame],
    }


def retry(task: TaskRow, delay_ms: int = 0, state: bytes = b"failed") -> dict[str, list[object]]:
    return {
        "retry_run": [task.run_id],
        "retry_seq": [task.seq],
        "retry_attempt": [task.attempt],
        "retry_delay": [delay_ms],
        "retry_state": [state],
    }


def beat(
    task: TaskRow,
    lease_ms: int = LONG_LEASE_MS,
    state: bytes | None = None,
    *,
    outside: bool = False,
) -> dict[str, list[object]]:
    return {
        "beat_run": [task.run_id],
        "beat_seq": [task.seq],
        "beat_attempt": [task.attempt],
        "beat_lease": [lease_ms],
        "beat_state": [state],
        "beat_outside": [outside],
    }


async def claim_all(router: Router) -> list[TaskRow]:
    return [TaskRow(*row) for row in (await router.work(room=10)).tasks]


async def drain_start(router: Router, count: int = 1) -> None:
    """Take the start messages of the runs out of the way."""
    await router.acknowledge(await router.read_all(count))


async def test_a_task_is_claimed_with_what_it_was_inserted_with(mesh: Mesh) -> None:
    router = await mesh.join()
    before = (await router.commit()).now_ms
    run_id = await mesh.add_task(router, 7, frame=b"call", state=b"details")
    (task,) = await router.claim()
    assert task[:4] == (run_id, 7, mesh.lane_of("order"), 1)
    assert not task.lost
    assert task[5:7] == (b"call", b"details")
    assert before <= task.scheduled_ms <= before + 60_000


async def test_a_claimed_task_is_nobody_elses(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router)
    await router.claim()
    reply = await router.work(room=10)
    assert list(reply.tasks) == []
    assert reply.next_due_ms is not None
    assert reply.next_due_ms > reply.now_ms


async def test_an_empty_queue_has_no_next_task(mesh: Mesh) -> None:
    router = await mesh.join()
    reply = await router.work(room=10)
    assert (list(reply.tasks), reply.next_due_ms) == ([], None)


async def test_room_bounds_a_claim(mesh: Mesh) -> None:
    router = await mesh.join()
    for number in range(5):
        await mesh.add_task(router, workflow_id=f"order-{number}")
    first = await router.work(room=3)
    second = await router.work(room=3)
    none = await router.work(room=0)
    assert [len(reply.tasks) for reply in (first, second, none)] == [3, 2, 0]


async def test_tasks_of_another_queue_are_not_claimed(mesh: Mesh) -> None:
    router = await mesh.join()
    queue_id = await mesh.backend.queue_id("default", "other")
    run_id = await mesh.start("order")
    columns = task_columns(mesh, run_id, "order", 0)
    columns["task_queue"] = [queue_id]
    await router.commit(**columns)
    assert list((await router.work(room=10)).tasks) == []
    stranger = await mesh.join(queue_id=queue_id, hosts_workflows=False)
    (task,) = await stranger.claim()
    assert (task.run_id, task.lane) == (run_id, mesh.lane_of("order"))


async def test_concurrent_workers_share_tasks_without_overlap(mesh: Mesh, other: Backend) -> None:
    router = await mesh.join()
    for number in range(40):
        await mesh.add_task(router, workflow_id=f"order-{number}")
    workers = [
        await mesh.join(hosts_workflows=False, backend=home)
        for home in (mesh.backend, other, mesh.backend, other)
    ]
    seen: list[bytes] = []

    async def work(worker: Router) -> None:
        while len(seen) < 40:
            reply = await worker.work(room=3)
            seen.extend(row[0] for row in reply.tasks)

    await asyncio.gather(*(work(worker) for worker in workers))
    assert len(set(seen)) == len(seen) == 40


async def test_a_finished_task_is_gone_and_its_result_in_the_lane(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    (task,) = await router.claim()
    reply = await router.work(**finish(task, b"result"))
    assert list(reply.finished_lanes) == [mesh.lane_of("order")]
    assert list(reply.lost) == []
    assert reply.next_due_ms is None
    (message,) = await router.read_all(1)
    assert message[1:4] == (mesh.lane_of("order"), run_id, b"result")


async def test_a_second_finish_changes_nothing(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    (task,) = await router.claim()
    await router.work(**finish(task, b"first"))
    reply = await router.work(**finish(task, b"second"))
    assert [tuple(claim) for claim in reply.lost] == [(run_id, 0, 1)]
    assert list(reply.finished_lanes) == []
    assert await router.frames(1) == [b"first"]


async def test_an_unclaimed_task_cannot_be_finished(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    task = TaskRow(run_id, 0, 0, 1, False, b"", b"", 0)
    for attempt in (0, 1):
        reply = await router.work(**finish(task._replace(attempt=attempt), attempt=attempt))
        assert len(reply.lost) == 1
    assert await router.read() == []
    assert len(await router.claim()) == 1


async def test_a_lease_that_ran_out_is_the_next_attempt(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router, state=b"state")
    await drain_start(router)
    (first,) = await router.claim(lease_ms=SHORT_LEASE_MS)
    (second,) = await router.claim()
    assert (first.attempt, bool(first.lost)) == (1, False)
    assert (second.attempt, bool(second.lost)) == (2, True)
    assert (second.state, second.scheduled_ms) == (b"state", first.scheduled_ms)
    stale = await router.work(**finish(first, b"stale"))
    assert [tuple(claim) for claim in stale.lost] == [(run_id, 0, 1)]
    await router.work(**finish(second, b"fresh"))
    assert await router.frames(1) == [b"fresh"]


async def test_a_retry_is_claimable_after_its_delay_with_its_state(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router)
    (task,) = await router.claim()
    reply = await router.work(**retry(task, 150, b"why"), room=5)
    assert list(reply.tasks) == []
    assert reply.next_due_ms is not None
    assert reply.now_ms < reply.next_due_ms <= reply.now_ms + 150
    (again,) = await router.claim()
    assert (again.attempt, bool(again.lost), again.state) == (2, False, b"why")


async def test_a_retry_can_be_claimed_in_the_same_batch(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router)
    (task,) = await router.claim()
    reply = await router.work(**retry(task, 0), room=5)
    assert [row[3] for row in reply.tasks] == [2]


async def test_after_a_retry_the_old_attempt_counts_no_more(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router)
    await drain_start(router)
    (task,) = await router.claim()
    await router.work(**retry(task, 60_000))
    assert len((await router.work(**finish(task))).lost) == 1
    assert len((await router.work(**beat(task))).lost) == 1
    await router.work(**retry(task, 0))
    assert list((await router.work(room=5)).tasks) == []
    assert await router.read() == []


async def test_a_delayed_task_waits(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router, delay_ms=150)
    reply = await router.work(room=5)
    assert list(reply.tasks) == []
    assert reply.next_due_ms is not None
    (task,) = await router.claim()
    assert task.attempt == 1


async def test_a_task_may_be_inserted_with_attempts_used(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router, attempt=4)
    (task,) = await router.claim()
    assert (task.attempt, bool(task.lost)) == (5, False)


async def test_a_task_that_is_there_stays_as_it_is(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    columns = task_columns(mesh, run_id, "order", 0, attempt=1, frame=b"new", state=b"s")
    await router.commit(**columns)
    (task,) = await router.claim()
    assert (task.attempt, bool(task.lost), task.frame) == (1, False, b"task")
    await router.commit(**columns)
    assert list((await router.work(room=1)).tasks) == []
    assert list((await router.work(**finish(task))).lost) == []


async def test_a_beat_renews_the_lease_and_keeps_details(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router, state=b"first")
    (task,) = await router.claim(lease_ms=SHORT_LEASE_MS)
    reply = await router.work(**beat(task, 30_000, b"halfway"))
    assert (list(reply.lost), list(reply.recalled)) == ([], [])
    assert reply.next_due_ms is not None
    assert reply.next_due_ms >= reply.now_ms + 29_000
    await router.work(**beat(task, 1))
    (again,) = await router.claim()
    assert (again.attempt, bool(again.lost), again.state) == (2, True, b"halfway")


async def test_a_beat_may_store_empty_details(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router, state=b"first")
    (task,) = await router.claim()
    await router.work(**beat(task, 1, b""))
    (again,) = await router.claim()
    assert again.state == b""


async def test_a_recalled_task_that_nobody_claimed_is_answered_at_once(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    await recall(router, run_id, claimed=False)
    (message,) = await router.read_all(1)
    assert message[1:4] == (mesh.lane_of("order"), run_id, b"canceled")
    assert list((await router.work(room=5)).tasks) == []


async def test_the_worker_of_a_recalled_task_hears_of_it(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    (task,) = await router.claim()
    await recall(router, run_id, claimed=True)
    reply = await router.work(**beat(task))
    assert [tuple(claim) for claim in reply.recalled] == [(run_id, 0, 1)]
    assert list(reply.lost) == []
    await router.work(**finish(task, b"canceled by worker"))
    assert await router.frames(1) == [b"canceled by worker"]


async def test_a_claimed_task_is_left_alone_by_a_recall_of_unclaimed_ones(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    (task,) = await router.claim()
    await recall(router, run_id, claimed=False)
    reply = await router.work(**beat(task))
    assert (list(reply.lost), list(reply.recalled)) == ([], [])
    assert await router.read() == []


async def test_recalling_a_task_that_is_gone_changes_nothing(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await drain_start(router)
    await recall(router, run_id, claimed=True)
    assert await router.read() == []


async def test_a_dropped_task_is_gone_whoever_holds_it(mesh: Mesh) -> None:
    router = await mesh.join()
    held = await mesh.add_task(router)
    await router.claim()
    free = await mesh.add_task(router, workflow_id="bill")
    await drain_start(router, 2)
    await router.commit(drop_task_run=[held, free], drop_task_seq=[0, 0])
    reply = await router.work(
        beat_run=[held],
        beat_seq=[0],
        beat_attempt=[1],
        beat_lease=[1_000],
        beat_state=[None],
        beat_outside=[False],
    )
    assert [tuple(claim) for claim in reply.lost] == [(held, 0, 1)]
    assert reply.next_due_ms is None
    assert await router.read() == []


async def test_the_tasks_of_a_router_that_left_are_claimable_at_once(mesh: Mesh) -> None:
    router = await mesh.join()
    worker = await mesh.join(hosts_workflows=False)
    await mesh.add_task(router)
    await worker.claim(lease_ms=LONG_LEASE_MS)
    await mesh.backend.leave(NAMESPACE, worker.router_id)
    (again,) = await router.claim()
    assert (again.attempt, bool(again.lost)) == (2, True)


async def test_the_attempt_says_whose_claim_it_is_not_who_asks(mesh: Mesh) -> None:
    router = await mesh.join()
    outsider = await mesh.join(hosts_workflows=False)
    await mesh.add_task(router)
    (task,) = await router.claim()
    assert list((await outsider.work(**beat(task, state=b"details"))).lost) == []
    await outsider.work(**retry(task, state=b"details"))
    (again,) = await router.claim()
    assert (again.attempt, again.state) == (2, b"details")
    assert len((await outsider.work(**beat(task))).lost) == 1
    assert list((await outsider.work(**finish(again))).lost) == []


async def test_an_activity_is_completed_from_outside_whatever_its_attempt(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    (task,) = await router.claim()
    lane = await mesh.backend.complete_task(NAMESPACE, run_id, 0, 0, b"outside")
    assert lane == mesh.lane_of("order")
    assert len((await router.work(**finish(task))).lost) == 1
    assert await router.frames(1) == [b"outside"]
    assert (await router.work(room=1)).next_due_ms is None


async def test_an_attempt_is_completed_from_outside_only_while_it_is_the_claimed_one(
    mesh: Mesh,
) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)

    async def complete(attempt: int) -> bool:
        frame = b"of %d" % attempt
        return await mesh.backend.complete_task(NAMESPACE, run_id, 0, attempt, frame) is not None

    assert not await complete(1)  # nobody has claimed it
    (first,) = await router.claim()
    await router.work(**retry(first))
    assert not await complete(1)
    (second,) = await router.claim()
    assert not await complete(1)
    assert await complete(2)
    assert len((await router.work(**finish(second))).lost) == 1
    assert await router.frames(1) == [b"of 2"]


async def test_a_first_attempt_without_a_task_is_completed_from_outside(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await drain_start(router)
    assert await mesh.backend.complete_task(NAMESPACE, run_id, 0, 1, b"outside") is not None
    assert await router.frames(1) == [b"outside"]


async def test_completing_an_activity_of_a_closed_or_unknown_run_says_so(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.add_task(router)
    await drain_start(router)
    lane = mesh.lane_of("order")
    await router.close_run(run_id, lane, status=RunStatus.TERMINATED)
    assert await mesh.backend.complete_task(NAMESPACE, run_id, 0, 0, b"late") is None
    assert await mesh.backend.complete_task(NAMESPACE, b"\x02" * 16, 0, 0, b"lost") is None
    assert await router.read() == []


async def test_five_hundred_tasks_go_round_in_one_batch(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await drain_start(router)
    count = 500
    await router.commit(
        task_queue=[mesh.queue_id] * count,
        task_type=["charge"] * count,
        task_lane=[mesh.lane_of("order")] * count,
        task_run=[run_id] * count,
        task_seq=list(range(count)),
        task_attempt=[0] * count,
        task_delay=[0] * count,
        task_frame=[b"%d" % n for n in range(count)],
        task_state=[b""] * count,
    )
    reply = await router.work(room=count)
    tasks = [TaskRow(*row) for row in reply.tasks]
    assert sorted(task.seq for task in tasks) == list(range(count))
    assert all(task.frame == b"%d" % task.seq for task in tasks)
    reply = await router.work(
        finish_run=[task.run_id for task in tasks],
        finish_seq=[task.seq for task in tasks],
        finish_attempt=[task.attempt for task in tasks],
        finish_frame=[task.frame for task in tasks],
    )
    assert set(reply.finished_lanes) == {mesh.lane_of("order")}
    assert len(await router.frames(count)) == count


async def test_an_expired_claim_is_claimable_by_any_worker_of_the_queue(mesh: Mesh) -> None:
    router = await mesh.join()
    worker = await mesh.join(hosts_workflows=False)
    await mesh.add_task(router)
    await worker.claim(lease_ms=SHORT_LEASE_MS)

    async def due() -> bool:
        reply = await worker.work()
        return reply.next_due_ms is not None and reply.next_due_ms <= reply.now_ms

    await until(due)
    (task,) = await router.claim()
    assert bool(task.lost)


async def recall(router: Router, run_id: bytes, *, claimed: bool) -> None:
    await router.commit(
        recall_task_run=[run_id],
        recall_task_seq=[0],
        recall_task_frame=[b"canceled"],
        recall_task_claimed=[claimed],
    )


async def test_only_hosted_types_are_claimed(mesh: Mesh) -> None:
    router = await mesh.join()
    for kind in ("charge", "refund", "ship"):
        await mesh.add_task(router, workflow_id=kind, activity_type=kind, frame=kind.encode())
    assert (await router.work(room=10, types=[])).next_due_ms is None
    assert (await router.work(room=10, types=["refunds"])).next_due_ms is None
    found = await router.claim(2, types=["charge", "ship", "unheard of"])
    assert sorted(task.frame for task in found) == [b"charge", b"ship"]
    reply = await router.work(room=10, types=["charge", "ship"])
    assert list(reply.tasks) == []
    assert reply.next_due_ms is not None
    assert reply.next_due_ms > reply.now_ms  # the ends of the two claims
    (left,) = await router.claim(types=None)
    assert left.frame == b"refund"


async def test_who_claims_any_type_learns_of_all_that_wait(mesh: Mesh) -> None:
    router = await mesh.join()
    assert (await router.work(room=10, types=None)).next_due_ms is None
    for number in range(30):
        await mesh.add_task(router, workflow_id=f"o{number}", activity_type=f"type-{number % 7}")
    found = await router.claim(30, types=None)
    assert len({task.run_id for task in found}) == 30
    for task in found:
        await router.work(**finish(task))
    assert (await router.work(room=10, types=None)).next_due_ms is None


async def test_the_longest_due_goes_first_whatever_its_type(mesh: Mesh) -> None:
    router = await mesh.join()
    for number, kind in enumerate(("ship", "charge", "ship", "charge")):
        # Longest due first: the delays are further and further ahead of now, and all negative.
        await mesh.add_task(
            router,
            workflow_id=f"order-{number}",
            activity_type=kind,
            delay_ms=number * 1_000 - 60_000,
            frame=b"%d" % number,
        )
    first = await router.claim(2, types=["charge", "ship"])
    second = await router.claim(2, types=["charge", "ship"])
    assert [sorted(task.frame for task in part) for part in (first, second)] == [
        [b"0", b"1"],
        [b"2", b"3"],
    ]


async def test_a_task_keeps_its_type_through_claims_retries_and_beats(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router, activity_type="ship")
    (task,) = await router.claim(types=["ship"])
    await router.work(**retry(task))
    assert (await router.work(room=1, types=["charge"])).next_due_ms is None
    (task,) = await router.claim(types=["ship"])
    await router.work(**beat(task, lease_ms=1))
    (task,) = await router.claim(types=["ship"])
    assert (task.attempt, bool(task.lost)) == (3, True)
    assert (await router.work(room=1, types=["charge"])).next_due_ms is None
    await router.backend.leave(NAMESPACE, router.router_id)
    successor = await mesh.join()
    (task,) = await successor.claim(types=["ship"])
    assert task.attempt == 4


async def test_a_claim_that_goes_to_a_client_outlives_its_router(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.add_task(router)
    (task,) = await router.claim()
    reply = await router.work(**beat(task, state=b"told", outside=True))
    assert not reply.lost
    await router.backend.leave(NAMESPACE, router.router_id)
    successor = await mesh.join()
    assert (await successor.work(room=1)).tasks == []
    (seen,) = await mesh.backend.tasks_of(NAMESPACE, task.run_id, [0])
    assert (seen.attempt, seen.owner, seen.state) == (1, OUTSIDE, b"told")
    assert not (await successor.work(**beat(task, KEEP, b"more"))).lost
    (kept,) = await mesh.backend.tasks_of(NAMESPACE, task.run_id, [0])
    assert (kept.due_ms, kept.state) == (seen.due_ms, b"more")
    await successor.work(**retry(task))
    (again,) = await successor.claim()
    assert again.attempt == 2


async def test_a_first_attempt_that_a_client_completes_is_stored_as_claimed(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    columns = task_columns(mesh, run_id, "order", 0, attempt=1, delay_ms=200, state=b"told")
    await router.commit(**columns, outside_run=[run_id], outside_seq=[0])
    (seen,) = await mesh.backend.tasks_of(NAMESPACE, run_id, [0])
    assert (seen.attempt, seen.owner, seen.state) == (1, OUTSIDE, b"told")
    (again,) = await router.claim()
    assert (again.attempt, bool(again.lost), again.state) == (2, True, b"told")
    # A later step that says so again, of what others have claimed, changes nothing.
    await router.commit(**columns, outside_run=[run_id], outside_seq=[0])
    (seen,) = await mesh.backend.tasks_of(NAMESPACE, run_id, [0])
    assert (seen.attempt, seen.owner) == (2, router.router_id)


async def test_a_claim_of_one_type_does_not_look_at_the_others(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside thousands of tasks that nobody hosts, claiming costs what it costs without them."""
    router = await mesh.join()
    run_id = await mesh.start("order")
    hosted = await mesh.start("hosted")

    def tasks(run: bytes, kind: str, count: int) -> dict[str, list[object]]:
        return {
            "task_queue": [mesh.queue_id] * count,
            "task_type": [kind] * count,
            "task_lane": [mesh.lane_of("order")] * count,
            "task_run": [run] * count,
            "task_seq": list(range(count)),
            "task_attempt": [0] * count,
            "task_delay": [0] * count,
            "task_frame": [b"call"] * count,
            "task_state": [b""] * count,
        }

    async def cost_of_claim() -> int:
        claimed: list[TaskRow] = []

        async def claim() -> None:
            claimed.extend(await router.claim(types=["hosted"]))

        cost = await looked_at(mesh.backend, monkeypatch, claim)
        (task,) = claimed
        await router.work(**retry(task))
        return cost

    await router.commit(**tasks(hosted, "hosted", 1))
    before = await cost_of_claim()
    await router.commit(**tasks(run_id, "nobody's", UNHOSTED))
    assert 0 < await cost_of_claim() < 2 * before + 20 < UNHOSTED, before
    assert (await router.work(room=1, types=["neither"])).next_due_ms is None


async def test_the_most_tried_tasks_of_many_runs_are_looked_at_at_once(mesh: Mesh) -> None:
    router = await mesh.join()
    tried, none, untried = [await mesh.start(each) for each in ("tried", "none", "untried")]
    for workflow_id, run_id, seqs in (("tried", tried, (1, 2, 3)), ("untried", untried, (4,))):
        for seq in seqs:
            await router.commit(**task_columns(mesh, run_id, workflow_id, seq))
    claimed = {task.seq: task for task in await claim_all(router)}
    await router.work(**retry(claimed[2], delay_ms=60_000, state=b"why"), room=0)
    await router.work(**retry(claimed[4], delay_ms=60_000), room=0)
    (again,) = await mesh.backend.tasks_of_runs(NAMESPACE, [untried], 9)
    assert [(each.seq, each.attempt, bool(each.owner)) for each in again.tasks] == [(4, 1, False)]

    asked = [none, tried, new_run_id(), untried]
    nothing, found, unknown, other = await mesh.backend.tasks_of_runs(NAMESPACE, asked, 2)
    assert (nothing.total, list(nothing.tasks)) == (unknown.total, list(unknown.tasks)) == (0, [])
    assert (found.total, [each.seq for each in found.tasks]) == (3, [1, 2])
    assert found.tasks[0].owner == router.router_id
    assert (found.tasks[1].owner, found.tasks[1].state) == (b"", b"why")
    assert found.tasks[1].due_ms > found.tasks[1].scheduled_ms > 0
    assert not found.tasks[1].recalled
    assert [each.seq for each in other.tasks] == [4]


async def test_finished_tasks_are_no_longer_looked_at(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    for seq in (1, 2):
        await router.commit(**task_columns(mesh, run_id, "order", seq))
    first, second = await claim_all(router)
    await router.work(**finish(first), room=0)
    await router.commit(drop_task_run=[run_id], drop_task_seq=[second.seq])
    ((total, tasks),) = await mesh.backend.tasks_of_runs(NAMESPACE, [run_id], 5)
    assert (total, list(tasks)) == (0, [])


async def test_a_look_at_large_tasks_is_bounded_in_bytes(mesh: Mesh) -> None:
    router = await mesh.join()
    run_ids: list[bytes] = []
    for number in range(4):
        columns = {"frame": bytes(3 * 1024 * 1024), "workflow_id": f"order-{number}"}
        run_ids.append(await mesh.add_task(router, **columns))
    found = await mesh.backend.tasks_of_runs(NAMESPACE, run_ids, 5)
    assert [each.total for each in found] == [1, 1]
    left = await mesh.backend.tasks_of_runs(NAMESPACE, run_ids[2:], 5)
    assert [each.total for each in left] == [1, 1]
