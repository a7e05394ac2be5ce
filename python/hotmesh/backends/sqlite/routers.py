"""The rollcall: who is alive, and which lanes are whose."""

from __future__ import annotations

import json
from collections.abc import Sequence

from hotmesh.backends.protocol import Beat, HeldTask, Registration, RouterRow
from hotmesh.backends.queue_ids import misnamed_sides
from hotmesh.backends.sqlite import statements
from hotmesh.backends.sqlite.done import delete_old
from hotmesh.backends.sqlite.queues import ensure_queue
from hotmesh.backends.sqlite.starts import check_queue, is_queue_of
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.backends.sqlite.visibility import delete_expired_runs
from hotmesh.limits import LANES_PER_QUEUE, LEASE_MS_MAX, SIDE_QUEUE_KEEP_MS

REPLY_KEEP_MS = 10 * 60 * 1000
"""How long an answer waits for its client."""

REPLIES_DELETED_MAX = 1_000
RUNS_DELETED_MAX = 200
"""What one beat cleans up at most."""

ROUTER_KEEP_MS = 24 * 60 * 60 * 1000
"""How long a dead router stays listed: one that wakes up before hears that it was dead."""

_SQL = {**statements.load("client"), **statements.load("routers")}
_ABANDON_TASKS = statements.load("tasks")["abandon_tasks"]

_ALIVE = 1
_SECOND_MS = 1000


def beat(tx: Transaction, registration: Registration) -> Beat:
    """See :meth:`hotmesh.backends.protocol.Backend.beat`."""
    router_id, namespace = registration.router_id, registration.namespace
    types = registration.workflow_types
    state = tx.one(_SQL["router_state"], (router_id,))
    if registration.beats and (
        state is None or not is_queue_of(tx, namespace, registration.queue_id)
    ):  # or a row is damaged; the queue's is put right when the router joins again
        return Beat(False, tx.now_ms, (), (), 0, tx.clock_shift_ms, went_back=True)
    went_back = state is not None and state[2] < registration.beats
    check_queue(tx, namespace, registration.queue_id)
    if state is not None and state[:2] != (_ALIVE, namespace):
        count = _count_routers(tx, registration.queue_id)
        return Beat(False, tx.now_ms, (), (), count, tx.clock_shift_ms)
    _settle_clock(tx, registration, is_known=state is not None)
    _declare_dead(tx, registration)
    tx.run(
        _SQL["put_router"],
        (
            router_id,
            namespace,
            registration.queue_id,
            registration.hosts_workflows,
            None if types is None else json.dumps(list(types)),
            tx.now_ms,
            tx.now_ms + registration.lease_ms,
            registration.beats + 1,
            registration.info,
        ),
    )
    _clean_up(tx)
    routers = _count_routers(tx, registration.queue_id)
    if not registration.hosts_workflows:
        return Beat(True, tx.now_ms, (), (), routers, tx.clock_shift_ms, went_back)
    _mend_sides(tx, registration)
    lanes, surplus = _share_lanes(tx, router_id, registration.queue_id, routers)
    used_after_ms = tx.now_ms - SIDE_QUEUE_KEEP_MS
    for queue_id, side, in_use, hosts in tx.all(
        _SQL["side_queues"], (used_after_ms, registration.queue_id)
    ):
        hosted = in_use and (types is None or side in types)
        found, more = _share_lanes(tx, router_id, queue_id, hosts if hosted else 0)
        lanes += found
        surplus += more
    return Beat(True, tx.now_ms, sorted(lanes), surplus, routers, tx.clock_shift_ms, went_back)


def _mend_sides(tx: Transaction, registration: Registration) -> None:
    """Damaged rows of the task queue's side queues are put right."""
    queue_id = registration.queue_id
    tx.run(_SQL["mend_homes"], (queue_id,))
    rows = tx.all(_SQL["names_of_sides"], (queue_id,))
    if rows:
        ((namespace, name),) = tx.all(_SQL["queue_names"], (queue_id,))
        for _, key in misnamed_sides((namespace, name), registration.workflow_types, rows):
            ensure_queue(tx, key)


def _settle_clock(tx: Transaction, registration: Registration, *, is_known: bool) -> None:
    """Keep the store's time going evenly.

    A jump that a live router has seen is taken out of it, unless the clock was settled since. And
    it never goes back behind what any router has seen that has not left, but for a second that may
    be due to the usual corrections of clocks.
    """
    jump_ms = registration.jump_ms
    if jump_ms and is_known and registration.jump_shift_ms == tx.clock_shift_ms:
        tx.shift_clock(-jump_ms)
        if jump_ms > 0:
            tx.run(_SQL["take_jump_out"], (jump_ms, tx.now_ms))
    latest = tx.one(_SQL["latest_seen"], (_SECOND_MS, LEASE_MS_MAX))
    if latest is not None and latest[0] is not None and latest[0] > tx.now_ms + _SECOND_MS:
        tx.shift_clock(latest[0] - tx.now_ms)


def _declare_dead(tx: Transaction, registration: Registration) -> None:
    until = tx.now_ms if registration.latest_ms is None else registration.latest_ms
    longest = tx.now_ms + _SECOND_MS + LEASE_MS_MAX
    dead = tx.all(_SQL["declare_dead"], (min(tx.now_ms, until), registration.router_id, longest))
    if dead:
        tx.run_many(_SQL["free_lanes"], dead)


def _count_routers(tx: Transaction, queue_id: int) -> int:
    row = tx.one(_SQL["count_routers"], (queue_id,))
    return row[0] if row is not None else 0


def _share_lanes(
    tx: Transaction, router_id: bytes, queue_id: int, routers: int
) -> tuple[list[int], list[int]]:
    """This router's lanes of a queue, after taking free ones up to a fair share among so many
    routers (0: no share at all); and those of them that are more than that."""
    fair = -(-LANES_PER_QUEUE // routers) if routers else 0
    first = queue_id * LANES_PER_QUEUE
    owners: dict[int, bytes] = dict(tx.all(_SQL["owned_lanes"], (first, first + LANES_PER_QUEUE)))
    mine = [lane for lane, owner in owners.items() if owner == router_id]
    free = [lane for lane in range(first, first + LANES_PER_QUEUE) if lane not in owners]
    taken = free[: max(0, fair - len(mine))]
    tx.run_many(_SQL["take_lane"], [(lane, router_id) for lane in taken])
    lanes = sorted(mine + taken)
    return lanes, lanes[fair:]


def _clean_up(tx: Transaction) -> None:
    delete_expired_runs(tx, RUNS_DELETED_MAX)
    delete_old(tx)
    tx.run(_SQL["delete_stale_replies"], (tx.now_ms - REPLY_KEEP_MS, REPLIES_DELETED_MAX))
    longest = tx.now_ms + _SECOND_MS + LEASE_MS_MAX  # else it is damaged
    tx.run(_SQL["forget_routers"], (tx.now_ms - ROUTER_KEEP_MS, longest))


def release(tx: Transaction, namespace: str, router_id: bytes, lanes: Sequence[int]) -> None:
    """See :meth:`hotmesh.backends.protocol.Backend.release`."""
    tx.run_many(_SQL["release_lane"], [(lane, router_id, namespace) for lane in lanes])


def leave(tx: Transaction, namespace: str, router_id: bytes) -> None:
    """See :meth:`hotmesh.backends.protocol.Backend.leave`."""
    tx.run(_SQL["leave"], (tx.now_ms, router_id, namespace))
    tx.run(_SQL["leave_lanes"], (router_id, namespace))
    tx.run(_ABANDON_TASKS, (tx.now_ms, router_id, namespace))


def stand_down(
    tx: Transaction, namespace: str, router_id: bytes, lease_ms: int, held: Sequence[HeldTask]
) -> None:
    """See :meth:`hotmesh.backends.protocol.Backend.stand_down`."""
    now = tx.now_ms
    was_alive = tx.run(_SQL["stand_down"], (now, router_id, namespace)) > 0
    tx.run_many(
        _SQL["hold_task"],
        [
            (*each, router_id, now + lease_ms, now, was_alive)
            if each.attempt
            else (*each, None, now, now, was_alive)
            for each in held
        ],
    )
    tx.run(_SQL["leave_lanes"], (router_id, namespace))


def listing(tx: Transaction, namespace: str) -> list[RouterRow]:
    """See :meth:`hotmesh.backends.protocol.Backend.routers`."""
    rows = tx.all(_SQL["list_routers"], (namespace,))
    return [RouterRow._make((*row[:6], bool(row[6]), row[7])) for row in rows]
