"""Creates runs, and sends messages and mail to them: the part that clients and steps share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotmesh.backends.protocol import (
    ConflictPolicy,
    MailItem,
    MessageKind,
    NoteItem,
    ReusePolicy,
    RunStatus,
    SendItem,
    SendOutcome,
    StartItem,
    StartOutcome,
    WaitItem,
)
from hotmesh.backends.sqlite import pieces, statements
from hotmesh.backends.sqlite.rows import Rows
from hotmesh.backends.sqlite.transaction import Transaction
from hotmesh.exceptions import BackendError
from hotmesh.limits import LANES_PER_QUEUE

_SQL = statements.load("client")
_CLAIM_WORKFLOW_IDS = Rows(_SQL["claim_workflow_ids"])
_TAKE_WORKFLOW_ID = _SQL["take_workflow_id"]
_QUEUE_IN_NAMESPACE = _SQL["queue_in_namespace"]
_HOLDER = _SQL["holder"]
_HEARD = _SQL["heard"]
_HEARD_LARGE = _SQL["heard_large"]
_NAMED_RUN = _SQL["named_run"]
_RUN_STATUS = _SQL["run_status"]
_INSERT_RUNS = Rows(_SQL["insert_runs"])
_STEP_SQL = statements.load("step")
_POST_TIMER = _STEP_SQL["post_timer"]
_HOME_OF_QUEUE = _SQL["home_of_queue"]
_PUT_ATTRIBUTE = _STEP_SQL["put_attribute"]

_FAILED = (RunStatus.FAILED, RunStatus.CANCELED, RunStatus.TERMINATED, RunStatus.TIMED_OUT)


def is_queue_of(tx: Transaction, namespace: str, queue_id: int) -> bool:
    """Whether a task queue is one of a namespace."""
    return tx.one(_QUEUE_IN_NAMESPACE, (queue_id, namespace)) is not None


def check_queue(tx: Transaction, namespace: str, queue_id: int) -> None:
    """Refuse a task queue of another namespace.

    Raises:
        BackendError: it is not one of the namespace.
    """
    if not is_queue_of(tx, namespace, queue_id):
        raise BackendError(f"task queue {queue_id} is not one of namespace {namespace!r}")


def start_all(tx: Transaction, items: Sequence[StartItem]) -> list[StartOutcome]:
    """Create each run whose workflow id is free or may be taken over, in order."""
    if not items:
        return []
    of = _columns(items)
    claimed = tx.run_rows(_CLAIM_WORKFLOW_IDS, (of.namespace, of.workflow_id, of.run_id))
    if claimed == len(items):
        _create(tx, items)
        status = RunStatus.RUNNING
        return [StartOutcome(True, run_id, status) for run_id in of.run_id]
    return [_start_one(tx, item) for item in items]


def _columns(items: Sequence[StartItem]) -> Any:
    """A start item whose fields are columns: the values of all items."""
    return StartItem._make(zip(*items, strict=True))


def _start_one(tx: Transaction, item: StartItem) -> StartOutcome:
    """Start where some workflow id of the batch was taken: by this item, or by a run."""
    known = tx.one(_RUN_STATUS, (item.run_id, item.namespace))
    if known is not None:
        return StartOutcome(True, item.run_id, known[0])
    if item.again_ms and item.events:
        heard = _heard(tx, item.namespace, item.workflow_id, b"", item.events[0], item.again_ms)
        if heard is not None:
            return StartOutcome(False, heard[0], RunStatus.RUNNING)  # as it was then
    holder = tx.one(_HOLDER, (item.namespace, item.workflow_id))
    if holder is not None:
        run_id, lane, status = holder
        if status == RunStatus.RUNNING:
            if item.conflict == ConflictPolicy.USE_EXISTING:
                _deliver_events(tx, lane, run_id, item.events)
            return StartOutcome(False, run_id, status)
        if not _reusable(item.reuse, status) or item.over not in (None, run_id):
            return StartOutcome(False, run_id, status)
        tx.run(_TAKE_WORKFLOW_ID, (item.run_id, item.namespace, item.workflow_id))
    _create(tx, [item])
    return StartOutcome(True, item.run_id, RunStatus.RUNNING)


def _reusable(policy: int, status: int) -> bool:
    if policy == ReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY:
        return status in _FAILED
    return policy != ReusePolicy.REJECT_DUPLICATE


def _create(tx: Transaction, items: Sequence[StartItem]) -> None:
    """Insert runs that hold their workflow ids already, with their first messages."""
    of = _columns(items)
    names = (of.namespace, of.workflow_id, of.workflow_type)
    numbers = (of.lane, of.expire_s, [tx.wall_ms] * len(items))
    if not pieces.any_large(of.input):
        tx.run_rows(_INSERT_RUNS, (of.run_id, *names, *numbers), (of.header, of.input))
    else:
        inputs = pieces.whole(of.input)
        tx.run_rows(_INSERT_RUNS, (of.run_id, *names, *numbers, of.header, inputs))
        pieces.write(tx, of.run_id, [pieces.INPUT] * len(items), of.input)
    if any(of.events) or any(of.delay_ms):
        _deliver_first(tx, items)
    else:
        tx.deliver(of.lane, of.run_id, [int(MessageKind.START)] * len(items), of.frame)
    if any(of.attributes):
        attributes = [
            (name, value.decode(), item.run_id, item.namespace)
            for item in items
            for name, value in item.attributes
            if value
        ]
        tx.run_many(_PUT_ATTRIBUTE, attributes)


def _deliver_first(tx: Transaction, items: Sequence[StartItem]) -> None:
    """Deliver start messages, now or later, and the events that follow them."""
    now = tx.now_ms
    lanes: list[int] = []
    runs: list[bytes] = []
    kinds: list[int] = []
    frames: list[bytes] = []
    for item in items:
        first = [] if item.delay_ms > 0 else [item.frame]
        count = len(first) + len(item.events)
        lanes += [item.lane] * count
        runs += [item.run_id] * count
        kinds += [int(MessageKind.START)] * len(first)
        kinds += [int(MessageKind.EVENT)] * len(item.events)
        frames += first
        frames += item.events
    tx.deliver(lanes, runs, kinds, frames)
    delayed = [(i.lane, now + i.delay_ms, i.run_id, 0) for i in items if i.delay_ms > 0]
    if delayed:
        tx.run_many(_POST_TIMER, delayed)
        tx.count_posted_timers()


def _deliver_events(tx: Transaction, lane: int, run_id: bytes, frames: Sequence[bytes]) -> None:
    count = len(frames)
    tx.deliver([lane] * count, [run_id] * count, [int(MessageKind.EVENT)] * count, frames)


def send_all(tx: Transaction, items: Sequence[SendItem]) -> list[SendOutcome]:
    """Deliver each message whose run exists and is open (or need not be)."""
    outcomes: list[SendOutcome] = []
    delivered: list[tuple[int, bytes, int, bytes]] = []
    for item in items:
        named = (item.namespace, item.workflow_id)
        if item.again_ms and not item.allow_closed:
            heard = _heard(tx, *named, item.run_id, item.frame, item.again_ms)
            if heard is not None:
                run_id, lane, status = heard
                outcomes.append(SendOutcome(True, run_id, status, lane))
                continue
        row = tx.one(_NAMED_RUN, (item.run_id, *named)) if item.run_id else tx.one(_HOLDER, named)
        if row is None:
            outcomes.append(SendOutcome(False, item.run_id, 0, 0))
            continue
        run_id, lane, status = row
        reaches = status == RunStatus.RUNNING or item.allow_closed
        kind = item.kind
        if kind == MessageKind.END:
            lane, kind = _home(tx, lane)
        if reaches:
            delivered.append((lane, run_id, kind, item.frame))
        outcomes.append(SendOutcome(reaches, run_id, status, lane))
    if delivered:
        lanes, runs, kinds, frames = zip(*delivered, strict=True)
        tx.deliver(lanes, runs, kinds, frames)
    return outcomes


def _heard(
    tx: Transaction, namespace: str, workflow_id: str, run_id: bytes, frame: bytes, again_ms: int
) -> tuple[bytes, int, int] | None:
    """The run, its lane and status, that has handled a message that is sent again, and closed."""
    since_ms = tx.wall_ms - again_ms
    known = (workflow_id, namespace, run_id, since_ms)
    found = tx.one(_HEARD, (*known, frame))
    if found is not None:
        return found
    for run, lane, status, seq in tx.all(_HEARD_LARGE, known):
        if pieces.has(tx, run, seq, frame):
            return run, lane, status
    return None


def _home(tx: Transaction, lane: int) -> tuple[int, int]:
    """The lane of what takes no code of its run, and as what kind of message it goes there."""
    queue_id, index = divmod(lane, LANES_PER_QUEUE)
    home = tx.one(_HOME_OF_QUEUE, (queue_id,))
    if home is None or home[0] is None:
        return lane, MessageKind.EVENT
    return home[0] * LANES_PER_QUEUE + index, MessageKind.RESULT


def wait_all(tx: Transaction, items: Sequence[WaitItem]) -> list[int]:
    """Give each run the oldest mail of its key, or a place in line; the lanes delivered to."""
    lanes: list[int] = []
    for item in items:
        mail = tx.one(_SQL["oldest_mail"], (item.namespace, item.key))
        if mail is None:
            tx.run(
                _SQL["insert_wait"],
                (item.namespace, item.key, item.lane, item.run_id, item.frame),
            )
            continue
        mail_id, data = mail
        tx.run(_SQL["delete_mail"], (mail_id,))
        tx.deliver([item.lane], [item.run_id], [MessageKind.RESULT], [item.frame + data])
        lanes.append(item.lane)
    return lanes


def note_all(tx: Transaction, items: Sequence[NoteItem]) -> None:
    """Write into the records of runs."""
    rows = [(item.name, item.value.decode(), item.run_id, item.namespace) for item in items]
    tx.run_many(_PUT_ATTRIBUTE, rows)


def mail_all(tx: Transaction, items: Sequence[MailItem]) -> list[int]:
    """Give each datum to the first run in line for its key, or keep it; the lanes delivered to."""
    lanes: list[int] = []
    for item in items:
        wait = tx.one(_SQL["oldest_wait"], (item.namespace, item.key))
        if wait is None:
            tx.run(_SQL["insert_mail"], (item.namespace, item.key, item.data))
            continue
        wait_id, lane, run_id, frame = wait
        tx.run(_SQL["delete_wait"], (wait_id,))
        tx.deliver([lane], [run_id], [MessageKind.RESULT], [frame + item.data])
        lanes.append(lane)
    return lanes
