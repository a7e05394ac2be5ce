"""Looks at runs from outside, and deletes those that nobody wants to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from hotmesh.backends.pending import following, pack, unpack
from hotmesh.backends.pending_task import PendingTask, RunTasks
from hotmesh.backends.protocol import Pending, RunFilter, RunPage, RunRow
from hotmesh.backends.sqlite import pieces, statements
from hotmesh.backends.sqlite.filtering import compiled
from hotmesh.backends.sqlite.rows import Rows, bytes_of
from hotmesh.backends.sqlite.transaction import Row, Transaction
from hotmesh.limits import BATCH_BYTES_MAX, NAMED_RUNS_MAX

_SQL = statements.load("visibility")
_CLIENT_SQL = statements.load("client")
_PENDING_SQL = statements.load("pending")
_RESULTS = Rows(_CLIENT_SQL["results"])

_AFTER_ALL = b"\xff" * 17
"""Sorts behind every run id."""


def find(tx: Transaction, keys: Sequence[tuple[str, str, bytes]]) -> list[RunRow | None]:
    """See :meth:`hotmesh.backends.protocol.Backend.find`."""
    found: list[RunRow | None] = []
    for namespace, workflow_id, run_id in keys:
        newest = (run_id,) if run_id else tx.one(_SQL["newest_run_id"], (namespace, workflow_id))
        row = newest and tx.one(_SQL["find_run"], (newest[0], namespace, workflow_id))
        if row and None in row[8:10]:
            parts = zip(row[8:10], (pieces.INPUT, pieces.RESULT), strict=True)
            values = [_large(tx, row[0], part) if each is None else each for each, part in parts]
            row = (*row[:8], *values, *row[10:])
        found.append(_run_row(row) if row else None)
    return found


def runs(tx: Transaction, filter: RunFilter) -> RunPage:  # noqa: A002 - the protocol's name
    """See :meth:`hotmesh.backends.protocol.Backend.runs`."""
    where, parameters = compiled(filter.where)
    statement = _SQL["list_runs"].replace("{where}", where)
    before = filter.before or _AFTER_ALL
    values = (filter.namespace, before, *parameters, filter.limit + 1)
    rows = tx.within(statement, values, _bytes_listed)
    is_full = sum(map(_bytes_listed, rows)) >= BATCH_BYTES_MAX
    more = is_full or len(rows) > filter.limit
    page = [row for row in rows[: filter.limit] if isinstance(row[0], bytes)]  # else damaged
    return RunPage([_run_row(row) for row in page], more)


def _bytes_listed(row: Row) -> int:
    return bytes_of(row[7], row[10])


def attribute_names(
    tx: Transaction, namespace: str, wanted: Sequence[str], others: int
) -> set[str]:
    """See :meth:`hotmesh.backends.protocol.Backend.attribute_names`."""
    found = {name for name in wanted if _has_name(tx, namespace, name)}
    name = ""
    for _ in range(others):
        (name,) = tx.one(_SQL["following_attribute_name"], (name,)) or (None,)
        if name is None:
            break
        if _has_name(tx, namespace, name):
            found.add(name)
    return found


def _has_name(tx: Transaction, namespace: str, name: str) -> bool:
    row = tx.one(_SQL["has_attribute_name"], (name, NAMED_RUNS_MAX, namespace, NAMED_RUNS_MAX))
    return row is not None and bool(row[0])


def _run_row(row: Row) -> RunRow:
    return RunRow._make((*row[:10], row[10].encode(), *row[11:]))


def results(
    tx: Transaction, namespace: str, run_ids: Sequence[bytes]
) -> list[tuple[bytes, int, bytes]]:
    """See :meth:`hotmesh.backends.protocol.Backend.results`."""
    columns = (run_ids, [namespace] * len(run_ids))
    rows = tx.rows_within(_RESULTS, columns, _bytes)
    if rows and rows[-1][2] is None:
        run_id, status, _ = rows[-1]
        rows[-1] = (run_id, status, _large(tx, run_id, pieces.RESULT))
    return cast("list[tuple[bytes, int, bytes]]", rows)


def _bytes(row: Row) -> int:
    try:
        return len(row[2])
    except TypeError:  # it lies in pieces, so that it is the last one; or it is damaged
        return BATCH_BYTES_MAX if row[2] is None else 0


def replies(
    tx: Transaction, namespace: str, reply_ids: Sequence[bytes], received: Sequence[bytes]
) -> list[tuple[bytes, bytes]]:
    """See :meth:`hotmesh.backends.protocol.Backend.replies`."""
    if received:
        tx.need_write()
        tx.run_many(_CLIENT_SQL["delete_reply"], [(key, namespace) for key in received])
    statement = _CLIENT_SQL["read_reply"]
    found: list[Row] = []
    room = BATCH_BYTES_MAX
    for key in reply_ids:
        row = tx.one(statement, (key, namespace))
        if row is not None:
            found.append(row)
            room -= bytes_of(row[1])
            if room <= 0:
                break
    return [(key, data) for key, data in found]


def pending(
    tx: Transaction, namespace: str, cursor: bytes, limit: int
) -> tuple[list[Pending], bytes]:
    """See :meth:`hotmesh.backends.protocol.Backend.pending`."""
    kind, place = unpack(cursor)
    rows = tx.all(_PENDING_SQL[f"pending_{kind}"], (namespace, *place, limit))
    ended = len(rows) < limit
    columns = len(place)
    following_page = following(kind) if ended else pack(kind, rows[-1][:columns])
    return [Pending(kind, *row[columns:]) for row in rows], following_page


def tasks_of(
    tx: Transaction, namespace: str, run_id: bytes, seqs: Sequence[int]
) -> list[PendingTask]:
    """See :meth:`hotmesh.backends.protocol.Backend.tasks_of`."""
    rows = [tx.one(_SQL["task_of"], (namespace, run_id, seq)) for seq in seqs]
    return [PendingTask._make(row) for row in rows if row is not None]


def tasks_of_runs(
    tx: Transaction, namespace: str, run_ids: Sequence[bytes], limit: int
) -> list[RunTasks]:
    """See :meth:`hotmesh.backends.protocol.Backend.tasks_of_runs`."""
    answers: list[RunTasks] = []
    room = BATCH_BYTES_MAX
    for run_id in run_ids:
        rows = tx.all(_SQL["tasks_of_run"], (namespace, run_id, limit))
        total = rows[0][-1] if rows else 0
        answers.append(RunTasks(total, [PendingTask._make(row[:-1]) for row in rows]))
        room -= sum(bytes_of(row[4], row[5]) for row in rows)
        if room <= 0:
            break
    return answers


def journal(tx: Transaction, namespace: str, run_id: bytes) -> list[bytes]:
    """See :meth:`hotmesh.backends.protocol.Backend.journal`."""
    if tx.one(_CLIENT_SQL["run_status"], (run_id, namespace)) is None:
        return []
    rows = tx.all(statements.load("step")["read_journal"], (run_id,))
    return [frame if frame is not None else _large(tx, run_id, seq) for frame, seq in rows]


def _large(tx: Transaction, run_id: bytes, part: int) -> bytes:
    """A value that lies in pieces; nothing where they are missing, which is damage."""
    return pieces.read(tx, run_id, part) or b""


def prune(tx: Transaction, namespace: str, closed_until_ms: int, limit: int) -> int:
    """Delete closed runs, up to a limit; how many."""
    return _delete(tx, tx.all(_SQL["closed_until"], (namespace, closed_until_ms, limit)))


def delete_expired_runs(tx: Transaction, limit: int) -> int:
    """Delete runs whose time to be kept is over, up to a limit; how many."""
    return _delete(tx, tx.all(_SQL["expired"], (tx.wall_ms, limit)))


def _delete(tx: Transaction, rows: Sequence[Row]) -> int:
    run_ids = [(row[0],) for row in rows]
    rows_of = ("journal", "pieces", "attributes", "tasks", "ended")
    for statement in (f"delete_{each}" for each in rows_of):
        tx.run_many(_SQL[statement], run_ids)
    tx.run_many(_SQL["delete_current"], [(row[1], row[2], row[0]) for row in rows])
    tx.run_many(_SQL["delete_run"], run_ids)
    return len(rows)
